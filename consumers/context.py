"""`JobContext`: what a running job may know about itself, reached with `current_job()`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..topology.headers import REPLAY, TRACE_PARENT
from . import log_keys
from .record import Record

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
        deadline_s: `time.monotonic()` at which the timeout strikes; set when the run begins.
    """

    job_id: str
    job_type: str
    queue: str
    attempt: int
    attempts: int
    record: Record
    deadline_s: float = math.inf

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
    def is_last_attempt(self) -> bool:
        """Whether a failure of this run ends in the dead letters."""
        return self.attempt >= self.attempts

    @property
    def trace_parent(self) -> str | None:
        """The W3C `traceparent` under which the job was enqueued."""
        value = self.headers.get(TRACE_PARENT)
        return None if value is None else value.decode("ascii", "replace")

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the job's id, type, queue and attempt."""
        extra = {
            log_keys.JOB_ID: self.job_id,
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


def enter_job(job: JobContext | None) -> None:
    """Make `job` the current one of this thread or asyncio task; None ends it."""
    _current.set(job)
