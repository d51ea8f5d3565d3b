"""`JobContext`: what a running job may know about itself, reached with `current_job()`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ...schemas import wire_text
from ...topology.declaration.priorities import NORMAL
from ...topology.tracing.remote_context import current_ids
from ...topology.wire.headers import REPLAY, SCHEDULE, SCHEDULED_FOR, TENANT, TRACE_PARENT, parse_instant, priority_of
from ...topology.wire.names import id_space
from .. import log_keys
from ..inbox import DEFAULT_TABLE, Inbox, identify
from ..records.job_record import JobRecord
from .dependencies import DependencyBlock
from .heartbeats import NOTE_LIMIT, JobProgress
from .run import CurrentRun

_LOGGER = logging.getLogger("stoker.job")
_current: ContextVar[CurrentRun | None] = ContextVar("stoker_job", default=None)


class NoCurrentJob(RuntimeError):
    """`current_job()` was called by code that no worker runs, or in a thread that a job has started."""

    def __init__(self) -> None:
        super().__init__(
            "there is no current job: this code was called directly, not by a worker, or runs in a thread that the job "
            "has started. Use current_job_or_none() where the first can be; a thread has the job where it runs "
            "contextvars.copy_context().run, copied in the job"
        )


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Put the job's fields into the record, beside the caller's own."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


class JobContext:
    """A running job's view of its run; it is read-only."""

    __slots__ = ("_run",)

    def __init__(self, run: CurrentRun) -> None:
        self._run = run

    def __eq__(self, other: object) -> bool:
        """Contexts of one run are the same."""
        return isinstance(other, JobContext) and other._run is self._run

    def __hash__(self) -> int:
        """As equality asks."""
        return hash((JobContext, id(self._run)))

    def __repr__(self) -> str:
        """Job, type and attempt."""
        return f"JobContext(job_id={self.shown_id!r}, job_type={self.job_type!r}, attempt={self.attempt})"

    @property
    def job_id(self) -> str:
        """The job's id, equal in all attempts and replays."""
        return self._run.job_id

    @property
    def job_type(self) -> str:
        """The name of the job's type."""
        return self._run.job_type

    @property
    def queue(self) -> str:
        """The name of its queue."""
        return self._run.queue

    @property
    def attempt(self) -> int:
        """1 for the first run; snoozes, shutdowns and crashes do not count."""
        return self._run.attempt

    @property
    def attempts(self) -> int:
        """How many runs the policy allows."""
        return self._run.attempts

    @property
    def record(self) -> JobRecord:
        """The Kafka record of this run."""
        return self._run.record

    @property
    def deadline_at_s(self) -> float:
        """`time.monotonic()` at which the run is interrupted for its limits; its heartbeats move it on."""
        return self._run.deadline_at_s

    @property
    def should_stop(self) -> bool:
        """Whether to come to an end: the worker shuts down, the partition moves away, or the job is cancelled.

        It is true as well once the run is past its deadline. A long job asks now and then, and ends, for instance by
        returning `Snooze(timedelta(0))` after noting how far it has come. If it goes on instead, it is interrupted
        when the worker's grace is over, and delivered again.
        """
        return self._run.take_heartbeats().should_stop

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Report how far the run is, in units of its own; shown to operators, and a heartbeat.

        Args:
            done: units that are done.
            total: all units, where that is known.
            note: what the job is at; cut at 200 characters.

        Raises:
            TypeError, ValueError: that are no numbers. Here, and not where they are shown: there they end the worker.
        """
        total = None if total is None else float(total)
        latest = JobProgress(done=float(done), total=total, note=str(note)[:NOTE_LIMIT])
        self._run.take_heartbeats().progress(latest)

    def heartbeat(self) -> None:
        """Show that the run is alive: at least as often as the job type's `heartbeat`, if it declares one."""
        self._run.take_heartbeats().heartbeat()

    @property
    def key(self) -> str | None:
        """The ordering key."""
        return None if self.record.key is None else self.record.key.decode("utf-8", "backslashreplace")

    @property
    def tenant(self) -> str | None:
        """The tenant for which the job runs; None where its record names none."""
        value = self.headers.get(TENANT)
        return value.decode("utf-8", "backslashreplace") if value else None

    @property
    def priority(self) -> str:
        """The job's priority: `normal` where its record names no other."""
        return priority_of(self.headers) or NORMAL

    @property
    def schedule(self) -> str | None:
        """Name of the schedule that has enqueued the job; None where none has."""
        value = self.headers.get(SCHEDULE)
        return value.decode("utf-8", "backslashreplace") if value else None

    @property
    def scheduled_for(self) -> datetime | None:
        """The instant for which its schedule has enqueued the job, in UTC; None where none has."""
        value = self.headers.get(SCHEDULED_FOR)
        try:
            return None if value is None else parse_instant(value)
        except ValueError:
            return None

    @property
    def headers(self) -> Mapping[str, bytes]:
        """{name: value} of the record, the caller's own included; they cannot be changed."""
        return MappingProxyType(self.record.headers)

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
    def id_space(self) -> str:
        """`<namespace>.<queue>`: inside it an idempotency key or job id names one job."""
        return id_space(self.record.topic)

    def inbox(self, connection: object, *, table: str = DEFAULT_TABLE, effect: str = "") -> Inbox:
        """Put this job's id and the writes of a `with` block into one transaction, so that they happen once.

        `with current_job().inbox(connection) as inbox:`, or `async with` where the connection is async. An exception
        rolls back, the end of the block commits, unless a transaction block of the caller's encloses it, which then
        does. If an earlier run has committed, entering raises `AlreadyDone`, and a worker takes the job as done.

        Args:
            connection: psycopg 3, asyncpg, SQLAlchemy, sqlite3 or aiosqlite; open, and not used elsewhere meanwhile.
            table: `table` or `schema.table`, made by `stoker inbox create`.
            effect: the name of this block, where the job has several; such a job must catch `AlreadyDone` around
                each, because the worker cannot know whether the other effects are done.

        Raises:
            UnsupportedConnection: the connection is of no driver that is known.
            InvalidTableName, InvalidEffectName: table or effect cannot be called so.
        """
        identity = identify(self.id_space, self.record.deduplication_id or self.job_id, effect)
        return Inbox(connection, identity, table=table, entered=self._run.inbox_blocks())

    def dependency(self, name: str) -> DependencyBlock:
        """Put the calls of a dependency into a `with` block, whose end counts for the breaker of that dependency.

        An exception that leaves the block counts as its failure, unless the job type's retry policy names it as
        permanent or ignored. While the breaker is open, entering raises `DependencyDown`, and the job waits, at no
        attempt's cost.

        Args:
            name: as the pipeline declares it, or a job type in `needs=`; another one raises `UnknownDependency`, where
                the block is entered.
        """
        return DependencyBlock(self._run.dependencies, name, self._run)

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
        return self._run.shown_id

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the job's id, type, queue and attempt, its tenant and span if there are."""
        return _JobLogger(_LOGGER, log_fields(self))


def log_fields(job: JobContext) -> dict[str, object]:
    """The extra fields of log records that a job writes."""
    fields: dict[str, object] = {
        log_keys.JOB_ID: job.shown_id,
        log_keys.JOB_TYPE: job.job_type,
        log_keys.QUEUE: job.queue,
        log_keys.ATTEMPT: job.attempt,
        **current_ids(),
    }
    tenant = job.tenant
    return fields if tenant is None else {**fields, log_keys.TENANT: wire_text(tenant)}


def current_job() -> JobContext:
    """The job that this code runs for.

    Raises:
        NoCurrentJob: no worker runs this code, or a thread that the job has started does, without the job's context.
    """
    run = _current.get()
    if run is None:
        raise NoCurrentJob
    return JobContext(run)


def current_job_or_none() -> JobContext | None:
    """The job that this code runs for, or None where the function was called directly."""
    run = _current.get()
    return None if run is None else JobContext(run)


enter_job: Callable[[CurrentRun], object] = _current.set
"""Makes a run the current one of the context that this is called in, which is the run's own."""
