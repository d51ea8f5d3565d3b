"""`Picture`: what `stoker top` knows at one moment, as data: queues, types, workers, slow jobs, failure groups."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """One queue. A figure that is not known is None.

    Attributes:
        waiting: jobs on all of its topics, delayed ones included.
        oldest_s: for how long the oldest job has waited that may run.
        enqueued_per_s, done_per_s: between the last two readings; the queue grows by their difference.
        failed_per_s: runs that failed, by the events of the last minute.
        dead_records: records of the dead-letter topic: dead letters, open and settled, and their dispositions.
        note: why it stands still; empty otherwise.
    """

    name: str
    waiting: int
    oldest_s: float | None
    enqueued_per_s: float | None
    done_per_s: float | None
    failed_per_s: float
    workers: int
    dead_records: int
    note: str = ""

    @property
    def growth_per_s(self) -> float | None:
        """By how much the number of waiting jobs grows."""
        if self.enqueued_per_s is None or self.done_per_s is None:
            return None
        return self.enqueued_per_s - self.done_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeLine:
    """One job type, by the events of the last minute.

    Attributes:
        median_s, p95_s: how long runs took that succeeded; None without any.
    """

    name: str
    queue: str
    done_per_s: float
    failed_per_s: float
    median_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLine:
    """One worker process, by its last status.

    Attributes:
        state: its word, or `silent`.
        busy, runners: jobs that run, and how many could.
        silent_s: the age of its status.
    """

    id: str
    host: str
    state: str
    busy: int
    runners: int
    memory_bytes: int
    silent_s: float
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLine:
    """A running job that holds up its partition, or is stuck, by its worker's report."""

    job_id: str
    job_type: str
    queue: str
    state: str
    running_s: float
    timeout_s: float | None
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureLine:
    """Failed runs that are alike.

    Attributes:
        count: in the time that `Picture.failures_of` names.
    """

    error_type: str
    message: str
    job_type: str
    fingerprint: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All of it, at one moment.

    Attributes:
        watched_s: for how long events have been watched, a minute at the most.
        failures_of: what the failure groups count, in words.
        missing: what is not known, and how to have it; sentences.
        trouble: why the picture is not newer; empty where it is.
    """

    namespace: str
    at: datetime
    queues: tuple[QueueLine, ...] = ()
    types: tuple[TypeLine, ...] = ()
    workers: tuple[WorkerLine, ...] = ()
    slow: tuple[SlowLine, ...] = ()
    failures: tuple[FailureLine, ...] = ()
    watched_s: float = 0.0
    failures_of: str = ""
    missing: tuple[str, ...] = ()
    trouble: str = ""


def picture_document(picture: Picture) -> dict[str, object]:
    """The picture for programs."""
    found = asdict(picture)
    for line, queue in zip(found["queues"], picture.queues, strict=True):
        line["growth_per_s"] = queue.growth_per_s
    return {**found, "at": picture.at.astimezone(UTC)}
