"""`JobContext`: what a running job may know about itself, reached with `current_job()`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ...schemas import wire_text
from ...topology.declaration.job_type import NO_LIMITS, RunLimits
from ...topology.wire.headers import REPLAY, TRACE_PARENT
from ...topology.wire.names import queue_scope
from .. import log_keys
from ..inbox import DEFAULT_TABLE, Inbox, identify
from ..records.record import Record
from .heartbeats import NOTE_LIMIT, JobProgress, RunSigns, Signs
from .signals import InterruptReason

_LOGGER = logging.getLogger("stoker.job")
_current: ContextVar[JobContext | None] = ContextVar("stoker_job", default=None)


class NoCurrentJob(RuntimeError):
    """`current_job()` was called by code that no worker runs."""

    def __init__(self) -> None:
        super().__init__(
            "there is no current job: this code was called directly, not by a worker; "
            "use current_job_or_none() where both can be"
        )


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the job's fields into the record, beside the caller's own."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


@dataclass(slots=True)
class JobContext:
    """One run of one job; to be read only (not frozen, because each job makes one and freezing triples its cost).

    Attributes:
        job_id: the same through all attempts and replays.
        job_type, queue: names.
        attempt: 1 for the first run; snoozes, shutdowns and crashes do not count.
        attempts: how many runs the policy allows.
        record: the Kafka record of this run.
        deadline_s: `time.monotonic()` at which the run is interrupted for its limits; set when the run
            begins, and moved on by its signs of life.
        limits: how long it may take; set when the run begins.
        signs: takes the run's signs of life; None until the first, where the run is in this process.
        interrupt_reason: why the worker ends the run, the first reason where there are several; None while it goes on.
    """

    job_id: str
    job_type: str
    queue: str
    attempt: int
    attempts: int
    record: Record
    deadline_s: float = math.inf
    limits: RunLimits = NO_LIMITS
    signs: Signs | None = None
    interrupt_reason: InterruptReason | None = None
    _entered: dict[str, bool] = field(init=False, repr=False, compare=False)
    """The inboxes that this run has left; not set before the first, because each job would pay for it."""

    @property
    def should_stop(self) -> bool:
        """Whether to come to an end: the worker shuts down, the partition moves away, or the run is past its limits.

        A long job asks now and then, and ends, for instance by returning `Snooze(timedelta(0))` after noting how far
        it has come. If it goes on instead, it is interrupted when the worker's grace is over, and delivered again.
        """
        return self._signs().should_stop

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the run is, in units of its own; shown to operators, and a sign of life.

        Args:
            done: units that are done.
            total: all units, where that is known.
            note: what the job is at; cut at 200 characters.

        Raises:
            TypeError, ValueError: that are no numbers. Here, and not where they are shown: there they end the worker.
        """
        total = None if total is None else float(total)
        self._signs().progress(JobProgress(done=float(done), total=total, note=str(note)[:NOTE_LIMIT]))

    def heartbeat(self) -> None:
        """Give a sign of life: needed at least as often as the job type's `heartbeat` says, if it declares one."""
        self._signs().heartbeat()

    def _signs(self) -> Signs:
        if self.signs is None:
            self.signs = RunSigns(self)
        return self.signs

    @property
    def began_s(self) -> float:
        """`time.monotonic()` at which the run began."""
        signs = self.signs
        return signs.began_s if isinstance(signs, RunSigns) else self.deadline_s - self.limits.first_s

    def excuse(self, lost_s: float) -> None:
        """Give the run time back that it lost through no fault of its own."""
        self.deadline_s += lost_s
        if isinstance(self.signs, RunSigns):
            self.signs.began_s += lost_s
            self.signs.last_s += lost_s

    @property
    def is_silent(self) -> bool:
        """Whether its deadline is that of the next sign of life, not that of the timeout."""
        limits = self.limits
        return limits.heartbeat_s < limits.timeout_s and self.deadline_s < self.began_s + limits.timeout_s

    @property
    def latest_progress(self) -> JobProgress | None:
        """What `progress` was told last, in this process."""
        return self.signs.latest if isinstance(self.signs, RunSigns) else None

    @property
    def key(self) -> str | None:
        """The ordering key."""
        return None if self.record.key is None else self.record.key.decode("utf-8", "backslashreplace")

    @property
    def headers(self) -> Mapping[str, bytes]:
        """{name: value} of the record, the caller's own included."""
        return self.record.headers

    @property
    def place(self) -> str:
        """Where the record of this run stands: `topic/partition/offset`."""
        return str(self.record)

    @property
    def replay_id(self) -> str | None:
        """Set when an operator's replay published the record."""
        value = self.headers.get(REPLAY)
        return None if value is None else value.decode("utf-8", "backslashreplace")

    @property
    def scope(self) -> str:
        """`<namespace>.<queue>`: inside of it an idempotency key or job id means one job."""
        return queue_scope(self.record.assignment.topic)

    def inbox(self, connection: object, *, table: str = DEFAULT_TABLE, step: str = "") -> Inbox:
        """Put this job's id and the writes of a `with` block into one transaction, so that they happen once.

        `with current_job().inbox(connection) as inbox:`, or `async with` where the connection is async. An exception
        rolls back, the end of the block commits, unless a transaction block of the caller's encloses it, which then
        does. If an earlier run has committed, entering raises `AlreadyDone`, and a worker takes the job as done.

        Args:
            connection: psycopg 3, asyncpg, SQLAlchemy, sqlite3 or aiosqlite; open, and used by nobody else meanwhile.
            table: `table` or `schema.table`, made by `stoker inbox create`.
            step: parts one of several blocks of the same job from the others; such a job must catch `AlreadyDone`
                around each, because the worker cannot know whether the other steps are done.

        Raises:
            UnsupportedConnection: the connection is of no driver that is known.
            InvalidTableName, InvalidStepName: table or step cannot be called so.
        """
        try:
            entered = self._entered
        except AttributeError:
            entered = self._entered = {}
        identity = identify(self.scope, self.record.deduplication_id or self.job_id, step)
        return Inbox(connection, identity, table=table, entered=entered)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run ends in the dead letters."""
        return self.attempt >= self.attempts

    @property
    def trace_parent(self) -> str | None:
        """The W3C `traceparent` under which the job was enqueued."""
        value = self.headers.get(TRACE_PARENT)
        return None if value is None else value.decode("ascii", "replace")

    @property
    def shown_id(self) -> str:
        """The job's id for logs and views, where one of a megabyte is cut."""
        return wire_text(self.job_id)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the job's id, type, queue and attempt."""
        extra = {
            log_keys.JOB_ID: self.shown_id,
            log_keys.JOB_TYPE: self.job_type,
            log_keys.QUEUE: self.queue,
            log_keys.ATTEMPT: self.attempt,
        }
        return _JobLogger(_LOGGER, extra)


def current_job() -> JobContext:
    """The job that this code runs for.

    Raises:
        NoCurrentJob: no worker runs this code.
    """
    job = _current.get()
    if job is None:
        raise NoCurrentJob
    return job


def current_job_or_none() -> JobContext | None:
    """The job that this code runs for, or None where the function was called directly."""
    return _current.get()


def enter_job(job: JobContext) -> None:
    """Make `job` the current one of the context that this is called in, which is the run's own."""
    _current.set(job)
