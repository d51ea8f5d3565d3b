"""Logs jobs that did not succeed."""

from __future__ import annotations

import logging
from datetime import datetime

from ...topology import Queue
from .. import log_keys
from ..records.job_fields import job_fields, named_job
from ..records.outcomes import Dead, Deferred, Failure, Retried
from ..records.record import Record, attempt_or_1

_LOGGER = logging.getLogger("stoker.worker")


def log_setback(record: Record, outcome: Retried | Dead | Deferred, queue: Queue) -> None:
    """Log a job that did not succeed, once, with everything that finds it again."""
    job = named_job(record)
    extra = job_fields(record, queue.name)
    extra |= {
        log_keys.ATTEMPT: attempt_or_1(record.headers),
        log_keys.OUTCOME: type(outcome).__name__.lower(),
    }
    match outcome:
        case Retried(due=due, next_attempt=attempt, failure=failure):
            extra |= {log_keys.ERROR_TYPE: failure.error_type, log_keys.DUE: due.isoformat()}
            _LOGGER.warning(
                "job %s failed, and attempt %d follows at %s: %s", job, attempt, _shown(due), _described(failure),
                extra=extra,
            )  # fmt: skip
        case Dead(reason=reason, failure=failure):
            extra |= {log_keys.ERROR_TYPE: failure.error_type, log_keys.REASON: reason}
            _LOGGER.warning(
                "job %s is a dead letter (%s), which `stoker dead` shows and replays: %s", job, reason,
                failure.message if failure.error_type == reason else _described(failure), extra=extra,
            )  # fmt: skip
        case Deferred(reason=reason, detail=detail, due=due):
            extra |= {log_keys.REASON: reason, log_keys.DUE: due.isoformat()}
            _LOGGER.warning(
                "job %s is deferred until %s, since a newer worker may know it: %s", job, _shown(due), detail,
                extra=extra,
            )  # fmt: skip


def log_excused(record: Record, outcome: Retried | Dead, queue: Queue) -> None:
    """Log a job that failed where Ctrl+C may have ended what it had started."""
    failure = outcome.failure
    _LOGGER.warning(
        "job %s failed after Ctrl+C, which also reaches the programs that jobs have started; it is delivered again, at "
        "no attempt's cost: %s", named_job(record), _described(failure),
        extra={**job_fields(record, queue.name), log_keys.ERROR_TYPE: failure.error_type},
    )  # fmt: skip


def _shown(due: datetime) -> str:
    return f"{due:%Y-%m-%d %H:%M:%SZ}"


def _described(failure: Failure) -> str:
    """The error with its class, without which the message of a KeyError is a mere key."""
    return f"{failure.error_type}: {failure.message}" if failure.message else failure.error_type
