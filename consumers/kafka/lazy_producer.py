"""`LazyProducer`: a client that is made for its first record, and made anew when it has failed for good."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Producer

from ...producers.client import disconnect
from ...topology.cluster.kafka_errors import as_error, is_fatal


class LazyProducer:
    """For one thread. Falsy while there is no client.

    A client that has failed for good is given up, and the next record gets another one.

    Args:
        on_finished: called with the error that has ended a client, once that is given up. It may leave records
            unanswered, which this class does not know: an owner that needs their answers writes them again.
    """

    def __init__(
        self, make: Callable[[], Producer], on_finished: Callable[[KafkaError], None] = lambda _error: None
    ) -> None:
        self._make, self._on_finished = make, on_finished
        self._client: Producer | None = None

    def __bool__(self) -> bool:
        return self._client is not None

    def client(self) -> Producer:
        """The client, which is made where there is none.

        Raises:
            KafkaException: it cannot be made.
        """
        if self._client is None:
            self._client = self._make()
        return self._client

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take the brokers' answers, if there is a client; wait for the first one for so long at the most."""
        if self._client is not None:
            self._serve(self._client.poll, timeout_s)

    def flush(self, within_s: float) -> None:
        """Wait until all is answered, for so long at the most."""
        if self._client is not None:
            self._serve(self._client.flush, within_s)

    def _serve(self, take_answers: Callable[[float], int], within_s: float) -> None:
        try:
            take_answers(within_s)
        except KafkaException as failed:  # the client raises a fatal error from whatever is called next, once
            if not self.drop_if_fatal(as_error(failed)):
                raise

    def drop_if_fatal(self, error: KafkaError) -> bool:
        """Give the client up where this error ends it: the next record gets another one. Returns whether it does."""
        is_over = is_fatal(error)
        if is_over and self._client is not None:
            self._client = None
            self._on_finished(error)
        return is_over

    def close(self, within_s: float) -> None:
        """Let what was sent be confirmed, for so long at the most, and give the client up."""
        client, self._client = self._client, None
        if client is not None:
            disconnect(client, within_s)
