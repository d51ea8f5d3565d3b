"""`JobEvent`: the union of the classes of events on `<namespace>.events`, one frozen class for each kind.

A field that a class has beside those of all events is one of `JobEvent.avsc`, under the same name. What is known
of one kind only goes into `detail`, a map of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

from .own import encode_own

OWN_FIELDS: Final = ("reason", "message", "error_type", "detail", "fingerprint", "stack", "began", "due")
"""The fields of the schema that not all kinds have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSubject:
    """The subject of an event: a job, and one record of it.

    Attributes:
        job_id, job_type: empty where only the record's place is known, and where the event is about no single job.
        partition, offset: -1 where there is no record.
        attempt: 0 where there is none.
        tenant, key: empty where the job has none.
        enqueued: when the job was enqueued; None where that is not known.
        replay: the id of the replay that has published the record; empty for most.
    """

    job_id: str
    job_type: str
    queue: str
    topic: str
    partition: int = -1
    offset: int = -1
    attempt: int = 0
    tenant: str = ""
    key: str = ""
    enqueued: datetime | None = None
    replay: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """The fields of all events; `worker` is the worker's id, and `release` what that worker runs."""

    kind: ClassVar[str]
    subject: EventSubject
    at: datetime
    worker: str
    release: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed(_Event):
    """A run failed; `began` is None where no run did."""

    message: str
    error_type: str
    fingerprint: str = ""
    stack: str = ""
    began: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetried(_Failed):
    """A run failed, and another attempt follows at `due`."""

    kind: ClassVar[str] = "retried"
    reason: ClassVar[str] = "failed"
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeadLettered(_Failed):
    """The job became a dead letter; `reason` is its dead reason."""

    kind: ClassVar[str] = "dead"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSnoozed(_Event):
    """The job asked to be run later, at `due`."""

    kind: ClassVar[str] = "snoozed"
    reason: ClassVar[str] = "snoozed"
    began: datetime | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeferred(_Event):
    """The worker does not know the job's type or schema; it looks again at `due`."""

    kind: ClassVar[str] = "deferred"
    reason: str
    message: str
    due: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobExpired(_Event):
    """The job could not start in time."""

    kind: ClassVar[str] = "expired"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDiscarded(_Event):
    """The job discarded itself."""

    kind: ClassVar[str] = "discarded"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEndedByCancel(_Event):
    """The job was cancelled; `by` has who did it, why, and by which order, or of which job it is a duplicate."""

    kind: ClassVar[str] = "cancelled"
    message: str
    by: Mapping[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> Mapping[str, str]:
        """`operator`, `reason`, `order_id`; of a duplicate `reason`, which is that word, and `winner`."""
        return self.by


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgressed(_Event):
    """A running job reported its progress; `message` is its note."""

    kind: ClassVar[str] = "progress"
    message: str
    done: float
    total: float | None

    @property
    def detail(self) -> Mapping[str, str]:
        """`done`, and `total` where it is known."""
        total = {} if self.total is None else {"total": f"{self.total:.15g}"}
        return {"done": f"{self.done:.15g}", **total}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBlocking(_Event):
    """A partition waits for the job; `reason` is the state that the job is in."""

    kind: ClassVar[str] = "blocking"
    reason: str
    since: datetime
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> Mapping[str, str]:
        """`since`, and what else is known of that state."""
        return {"since": self.since.isoformat(), **self.more}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsWaiting(_Event):
    """How many jobs of a queue wait at one worker, by reason; the subject is the queue.

    Attributes:
        counts: {reason: jobs}: `key`, `due`, or `gate:` with the gate's word; under `due-at` the epoch second at which
            the next one of `due` is due.
    """

    kind: ClassVar[str] = "waiting"
    counts: Mapping[str, int]

    @property
    def detail(self) -> Mapping[str, str]:
        """The counts."""
        return {reason: str(count) for reason, count in self.counts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDecided(_Event):
    """A worker decided about all jobs of a type, or all that need a dependency; `reason` is the part that did so.

    What operators do is no event: it is on the audit topic.
    """

    kind: ClassVar[str] = "audit"
    reason: str
    phase: str
    more: Mapping[str, str]

    @property
    def detail(self) -> Mapping[str, str]:
        """`phase`, and what else is known of it."""
        return {"phase": self.phase, **self.more}


JobEvent = (
    JobRetried
    | JobDeadLettered
    | JobSnoozed
    | JobDeferred
    | JobExpired
    | JobDiscarded
    | JobEndedByCancel
    | JobProgressed
    | JobBlocking
    | JobsWaiting
    | WorkerDecided
)


def event_datum(event: JobEvent) -> dict[str, Any]:
    """An event as a datum of its schema."""
    own = {name: getattr(event, name) for name in OWN_FIELDS if hasattr(event, name)}
    return {
        "event": event.kind,
        **asdict(event.subject),
        "at": event.at,
        "worker": event.worker,
        "release": event.release,
        **own,
    }


def encode_event(event: JobEvent) -> bytes:
    """Write an event, framed."""
    return encode_own("JobEvent", event_datum(event))
