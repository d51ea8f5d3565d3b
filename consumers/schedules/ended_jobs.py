"""`EndedJobs`: whether the job that a schedule has enqueued before has ended, by what its group has committed."""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from ...schemas.control_records import RecordPlace
from ..records.commit_metadata import CommitMetadata

ASK_S = 5.0


class EndedJobs:
    """Asks the coordinator of a queue's group; made with the first question.

    Args:
        make_client: makes a client that has the group's name, and does not join it.
    """

    def __init__(self, make_client: Callable[[], Consumer]) -> None:
        self._make_client = make_client
        self._client: Consumer | None = None

    def has_ended(self, place: RecordPlace) -> bool:
        """Whether the record there is complete: its job is done, has failed, or is to run again later.

        Raises:
            KafkaException: the coordinator does not answer.
        """
        if self._client is None:
            self._client = self._make_client()
        (found,) = self._client.committed([TopicPartition(place.topic, place.partition)], timeout=ASK_S)
        if found.error is not None:
            raise KafkaException(found.error)
        return is_complete(place.offset, found.offset, found.metadata)

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def is_complete(offset: int, committed_offset: int, metadata: str | None) -> bool:
    """Whether a commit says so of an offset. Pure.

    Where its runs are on the progress topic, thousands of jobs wait; the offset then counts as incomplete, until the
    commit passes it.
    """
    if offset < committed_offset:
        return True
    state = CommitMetadata.decode(metadata, committed_offset) if committed_offset >= 0 else None
    if state is None or state.spilled_at is not None or offset >= state.position:
        return False
    return not any(start <= offset < end for start, end in state.incomplete)
