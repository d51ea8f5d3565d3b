"""The errors of enqueueing a job; `except EnqueueError` catches all of them.

    EnqueueError
    ├── CallRefused               the call cannot be sent as it is: fix the call; nothing was sent
    │   ├── PayloadRefused        a value does not fit the contract (is also `schemas.PayloadRefused`)
    │   ├── PayloadTooLarge       the payload is above the job type's limit
    │   └── OptionRefused         a key, id, expiry, source or header is not allowed
    ├── NotReady                  the cluster is not as the pipeline declares: fix it; nothing was sent
    │   ├── TopologyNotReady      topics are missing or of another shape
    │   ├── ContractNotReady      the contract could not be registered, so no worker could decode the job
    │   └── RegistryUnreachable   the Schema Registry did not answer: try again later
    ├── BrokerUnreachable         no broker answered in time: perhaps sent
    │   └── UnreachableAtStart    not even to verify the topology: nothing was sent
    ├── QueueFull                 as many jobs wait in the queue as it declares: nothing was sent
    ├── BufferFull                this producer's buffer stayed full: nothing was sent
    ├── SpoolFull                 the job belongs in the spool, which holds as much as it may: perhaps sent
    ├── SpoolFailed               no broker answered, and the spool cannot be written: perhaps sent
    ├── RecordTooLarge            above the broker's or client's limit: nothing was sent
    ├── UnknownTopic              the topic or partition is gone: nothing was sent
    ├── NotAuthorized             the broker refuses these credentials: perhaps sent, if it did not refuse at once
    │   └── NotAuthorizedAtStart  a right is missing before the first job: nothing was sent
    ├── DeliveryFailed            the brokers refused it for another reason: perhaps sent
    ├── Unconfirmed               `flush` or `close` ended with jobs unconfirmed: perhaps sent
    ├── BulkFailed                some jobs of `enqueue_many` failed; lists which
    ├── SettingRefused            a client option breaks a guarantee, or does not exist
    ├── ClientNotStarted          the machine has no thread or memory left for a client: nothing was sent
    ├── ProducerClosed            the producer was closed before the call
    ├── ProducerForked            the producer was made before `os.fork`: make one in the child
    └── WouldDeadlock             a waiting call was made from a delivery callback

`maybe_published` is true if the job may be on its topic all the same. Where it is true, enqueue the job again with
the same job id: the ledger runs it once. `is_temporary` is true if the same call may succeed later without a change
to anything. The constructor's arguments are the exception's `args`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from .. import schemas
from ..topology.counts import counted, counted_doing


class EnqueueError(Exception):
    """Root of everything that enqueueing raises on purpose."""

    maybe_published: bool = False
    is_temporary: bool = False


class CallRefused(EnqueueError):
    """The call cannot be sent as it is; nothing was sent."""


class PayloadRefused(CallRefused, schemas.PayloadRefused):
    """A value does not fit the job's contract; nothing was sent.

    `field` is the dotted path of the value, "" when it is the payload as a whole.
    """

    def __str__(self) -> str:
        return f"{schemas.PayloadRefused.__str__(self)}; nothing was sent"


class PayloadTooLarge(CallRefused):
    """The encoded payload is above the job type's limit; nothing was sent."""

    def __init__(self, job_type: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(job_type, size_bytes, limit_bytes)
        self.job_type, self.size_bytes, self.limit_bytes = job_type, size_bytes, limit_bytes

    def __str__(self) -> str:
        return (
            f"job type {self.job_type!r}: the payload has {self.size_bytes:,} bytes and the limit is "
            f"{self.limit_bytes:,}; nothing was sent. Store the bulk elsewhere and send a reference, or raise "
            "max_payload_bytes"
        )


class OptionRefused(CallRefused):
    """One of the call's options is not allowed; nothing was sent."""

    def __init__(self, job_type: str, option: str, reason: str) -> None:
        super().__init__(job_type, option, reason)
        self.job_type, self.option, self.reason = job_type, option, reason

    def __str__(self) -> str:
        return f"job type {self.job_type!r}: {self.option} {self.reason}; nothing was sent"


class NotReady(EnqueueError):
    """The cluster is not as the pipeline declares; nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason.removesuffix('.')}; nothing was sent"


class TopologyNotReady(NotReady):
    """Topics are missing or of another shape; the reason names the command that fixes it."""


class ContractNotReady(NotReady):
    """The job's contract could not be registered, so no worker could decode the job."""


class RegistryUnreachable(NotReady):
    """The Schema Registry did not answer when the job's contract was to be registered; the next enqueue tries again."""


class _OfJob(EnqueueError):
    """A failure of one job on its way to the brokers.

    Attributes:
        job_id: use it again to enqueue the job a second time.
        topic: where it was to go.
        reason: the client's or broker's message.
    """

    def __init__(self, job_id: str, topic: str, reason: str) -> None:
        super().__init__(job_id, topic, reason)
        self.job_id, self.topic, self.reason = job_id, topic, reason

    def _say(self, what: str) -> str:
        return f"job {self.job_id} to topic {self.topic!r}: {what} ({self.reason})"


class BrokerUnreachable(_OfJob):
    """No broker confirmed the job in time; it may have been published."""

    maybe_published = True
    is_temporary = True

    def __str__(self) -> str:
        return self._say(
            "the brokers did not confirm it in time; whether it was published is unknown. Look whether the cluster is "
            "up and bootstrap_servers is right, then enqueue it again with the same job id: the ledger runs it once"
        )


class UnreachableAtStart(BrokerUnreachable):
    """No broker answered when the topology was verified or a contract registered; no job was sent."""

    maybe_published = False

    def __str__(self) -> str:
        return f"no broker answered, so nothing was sent: {self.reason}. The next enqueue tries again"


class QueueFull(EnqueueError):
    """As many jobs wait in the queue as its `max_waiting` allows; the job was not sent.

    Attributes:
        queue: its name.
        depth: how many jobs waited there, some of them running.
        max_waiting: as declared.
        age: for how long the oldest job of the main topic had waited, to some ten per cent; None where that is unknown.
        measured_ago: how old these figures were.
        waited: for how long the call has waited for room; zero where the queue refuses at once.
    """

    is_temporary = True

    def __init__(  # what callers decide by, each a field
        self,
        job_type: str,
        queue: str,
        depth: int,
        max_waiting: int,
        age: timedelta | None = None,
        measured_ago: timedelta = timedelta(0),
        waited: timedelta = timedelta(0),
    ) -> None:
        super().__init__(job_type, queue, depth, max_waiting, age, measured_ago, waited)
        self.job_type, self.queue, self.depth, self.max_waiting = job_type, queue, depth, max_waiting
        self.age, self.measured_ago, self.waited = age, measured_ago, waited

    def __str__(self) -> str:
        age = f", the oldest for {_seconds(self.age)}" if self.age is not None else ""
        full = f"is still full after {_seconds(self.waited)}" if self.waited else "is full"
        waiting = counted_doing(self.depth, "job", "wait")
        return (
            f"job type {self.job_type!r}: queue {self.queue!r} {full}: {waiting}{age}, and max_waiting "
            f"is {self.max_waiting:,}; nothing was sent. Enqueue it again later, or start more workers"
        )


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():,.1f} s"


class BufferFull(_OfJob):
    """The producer's buffer stayed full for the whole wait; the job was not sent."""

    is_temporary = True

    def __str__(self) -> str:
        return self._say(
            "the producer's buffer stayed full, so it was not sent. Enqueue slower, or raise max_buffered_jobs or "
            "max_buffered_bytes"
        )


UNREACHED: Final = (BrokerUnreachable, BufferFull)
"""The errors of a job that no broker has answered for, or that waits behind such ones; a spool takes it."""


class SpoolFull(_OfJob):
    """No broker has confirmed the job in time, or earlier jobs are in the producer's spool; it has no room for it."""

    maybe_published = True
    is_temporary = True

    def __str__(self) -> str:
        return self._say(
            "the spool is full, so the job was not kept. Bring the brokers back if they do not answer, prune what they "
            "refuse with `stoker outbox prune`, or raise the spool's max_jobs or max_bytes; then enqueue it again with "
            "the same job id"
        )


class SpoolFailed(_OfJob):
    """No broker has confirmed the job in time, and the producer's spool cannot be written."""

    maybe_published = True

    def __str__(self) -> str:
        return self._say(
            "no broker answers and the spool cannot be written, so the job was not kept. See to the file, its folder "
            "and its disk; then enqueue it again with the same job id"
        )


class RecordTooLarge(_OfJob):
    """The record is above the broker's or the client's limit; the job was not sent."""

    def __str__(self) -> str:
        return self._say(
            "the record is too large for the brokers, so it was not published. Raise the topic's max.message.bytes and "
            "the client's message.max.bytes, or lower the job type's max_payload_bytes so that it is refused earlier"
        )


class UnknownTopic(_OfJob):
    """The topic or its partition does not exist; the job was not sent."""

    def __str__(self) -> str:
        return self._say("the topic or partition does not exist, so it was not published; run `stoker topology apply`")


class NotAuthorized(_OfJob):
    """The brokers refuse the credentials, or their rights.

    The job was not sent where they refuse the job itself. Where they refuse a new connection, a former one may have
    carried it: `maybe_published` is true then.
    """

    def __str__(self) -> str:
        published = "whether it was published is unknown" if self.maybe_published else "it was not published"
        return self._say(
            f"the brokers refuse these credentials, or their right to write; {published}. Grant the right, or "
            "fix the SASL options"
        )


class NotAuthorizedAtStart(NotAuthorized):
    """The credentials may not read what a producer verifies at its start; no job was sent."""

    def __str__(self) -> str:
        return f"the producer lacks a right at its start, nothing was sent. {self.reason}"


class DeliveryFailed(_OfJob):
    """The brokers or the client gave up on the job for another reason; it may have been published."""

    maybe_published = True
    is_temporary = True

    def __str__(self) -> str:
        return self._say(
            "delivery failed; whether it was published is unknown. Enqueue it again with the same job id: the ledger "
            "runs it once"
        )


class Unconfirmed(EnqueueError):
    """`flush` or `close` ran out of time with jobs unconfirmed; their futures show which."""

    maybe_published = True
    is_temporary = True

    def __init__(self, count: int, waited_s: float) -> None:
        super().__init__(count, waited_s)
        self.count, self.waited_s = count, waited_s

    def __str__(self) -> str:
        return (
            f"{counted_doing(self.count, 'job', 'were')} not confirmed within "
            f"{self.waited_s:g} s, and may have been published. Enqueue again each job whose future is not confirmed, "
            "with the same job id: the ledger runs it once"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCall:
    """One call of `enqueue_many` that failed.

    Attributes:
        index: its place in the iterable, from 0.
        job_id: None when the call was refused before it had one.
    """

    index: int
    job_type: str
    job_id: str | None
    error: EnqueueError


class BulkFailed(EnqueueError):
    """Some calls of `enqueue_many` failed; all the others that were read are confirmed.

    Attributes:
        confirmed: how many are on their topics, confirmed by the brokers.
        spooled: how many wait in the producer's spool.
        read: how many were read from the iterable, failed ones included.
        failures: the first failures with their errors, at most 100.
        failed_indexes: places in the iterable of all failures, ascending.
    """

    def __init__(
        self,
        confirmed: int,
        read: int,
        failures: tuple[FailedCall, ...],
        failed_indexes: tuple[int, ...],
        spooled: int = 0,
    ) -> None:
        super().__init__(confirmed, read, failures, failed_indexes, spooled)
        self.confirmed, self.read, self.spooled = confirmed, read, spooled
        self.failures, self.failed_indexes = failures, failed_indexes
        self.maybe_published = any(failure.error.maybe_published for failure in failures)
        self.is_temporary = all(failure.error.is_temporary for failure in failures)

    def __str__(self) -> str:
        if not self.failures:  # as it stands on an error that ended the reading of the iterable
            return f"none of {counted(self.read, 'job')} failed and {self._safe()}"
        first = self.failures[0]
        return (
            f"{len(self.failed_indexes):,} of {counted(self.read, 'job')} failed and {self._safe()}; the "
            f"first that failed was number {first.index}, {first.job_type!r}: {first.error}. Enqueue those of "
            "`failed_indexes` again, once the causes are fixed"
        )

    def _safe(self) -> str:
        spooled = f", {self.spooled:,} more are in the spool" if self.spooled else ""
        return f"{self.confirmed:,} are confirmed{spooled}"


class SettingRefused(EnqueueError):
    """A client option would break a guarantee, or librdkafka does not know it."""

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(option, reason)
        self.option, self.reason = option, reason

    def __str__(self) -> str:
        return (
            f"client option {self.option!r}: {self.reason}. Fix it where it is given: `--option`, a STOKER_KAFKA_* "
            "variable, or ClusterSettings.options"
        )


class ClientNotStarted(EnqueueError):
    """The machine has no thread or memory left for a Kafka client, so nothing was sent; it may have later."""

    is_temporary = True

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"no Kafka client could be started, so nothing was sent: {self.reason}. Then enqueue again"


class ProducerClosed(EnqueueError):
    """The producer was closed before the call; nothing was sent."""

    def __str__(self) -> str:
        return "this producer is closed, nothing was sent; enqueue before closing it, or make another"


class ProducerForked(EnqueueError):
    """The producer was made in the parent of this process; nothing was sent."""

    def __str__(self) -> str:
        return (
            "this producer was made before os.fork() and its connections belong to the parent, nothing was sent; "
            "make a producer in the child (with gunicorn or uWSGI: after the fork, not while preloading)"
        )


class WouldDeadlock(EnqueueError):
    """A call that waits came from a future's callback, in a thread that reads confirmations; nothing was sent."""

    def __str__(self) -> str:
        return (
            "a waiting call was made from a future's callback, which runs in a thread that reads the confirmations, "
            "nothing was sent; use enqueue_future there, or make the call from another thread"
        )
