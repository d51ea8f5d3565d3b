"""An admin client with its errors: what it fails with becomes an error that names the cause and the fix."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from .clients import make_client
from .handshake import unreachable
from .kafka_errors import FORBIDDEN, NO_COORDINATOR, NO_LEADER
from .settings import ClusterSettings, ClusterUnreachable, NotAuthorized

NO_CONNECTION: Final = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
"""No broker can be talked to, or none accepts this client."""
UNREACHABLE_CODES: Final = NO_CONNECTION | NO_COORDINATOR | NO_LEADER | {KafkaError._NOENT}
"""The brokers give no answer: there is no connection, or a coordinator or a leader is on its way. The last code is the
client's own: it has found no leader of any partition, as while the only broker restarts."""
_LAST_CLIENT_ERRORS: Final = 10
"""The number of a client's errors about its connections that are kept: it repeats them for as long as they last."""


class AdminConnection:
    """One admin client, the errors of its connections, and the errors that both become."""

    def __init__(self, cluster: ClusterSettings, config: Mapping[str, object]) -> None:
        """Make the client; nothing is connected yet.

        Raises:
            ClientOptionRefused: the options do not do.
        """
        self._cluster = cluster
        self._client_errors: deque[str] = deque(maxlen=_LAST_CLIENT_ERRORS)
        self.note_client_error = _noting(self._client_errors)
        """Keeps what a client reports of its connections: it explains more than a timeout does."""
        self.client = make_client(AdminClient, {**config, "error_cb": self.note_client_error})

    def unreachable(self, reason: str) -> ClusterUnreachable:
        """The error for a cluster that did not answer, for this reason or for one that the client has reported."""
        self.client.poll(0)  # delivers the client's errors
        return unreachable(self._cluster, [*self._client_errors, reason])

    def translated(self, error: KafkaError, operation: str, resource: str) -> Exception:
        """The error for an answer; `operation` on `resource` is the right that the question takes."""
        if error.code() in UNREACHABLE_CODES:
            return self.unreachable(error.str())
        if error.code() in FORBIDDEN:
            return NotAuthorized(self._cluster.principal, [(operation, resource)])
        return KafkaException(error)


def _noting(errors: deque[str]) -> Callable[[KafkaError], None]:
    """A callback that has no reference to the client's owner: else both were in a cycle, and collected as garbage."""
    return lambda error: errors.append(error.str())
