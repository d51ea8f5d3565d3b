"""Logs jobs that did not succeed."""

from __future__ import annotations

import logging

from ...topology import Queue
from .. import log_keys
from ..records.job_fields import job_fields
from ..records.outcomes import Dead, Deferred, Retried
from ..records.record import Record, attempt_or_1

_LOGGER = logging.getLogger("stoker.worker")


def log_setback(record: Record, outcome: Retried | Dead | Deferred, queue: Queue) -> None:
    """Log a job that did not succeed, once, with everything that finds it again."""
    extra = job_fields(record, queue.name)
    extra |= {
        log_keys.ATTEMPT: attempt_or_1(record.headers),
        log_keys.OUTCOME: type(outcome).__name__.lower(),
    }
    match outcome:
        case Retried(due=due, next_attempt=attempt, failure=failure):
            extra |= {log_keys.ERROR_TYPE: failure.error_type, log_keys.DUE: due.isoformat()}
            _LOGGER.warning("job failed, attempt %d follows: %s", attempt, failure.message, extra=extra)
        case Dead(reason=reason, failure=failure):
            extra |= {log_keys.ERROR_TYPE: failure.error_type, log_keys.REASON: reason}
            _LOGGER.warning("job is a dead letter (%s): %s", reason, failure.message, extra=extra)
        case Deferred(reason=reason, detail=detail, due=due):
            extra |= {log_keys.REASON: reason, log_keys.DUE: due.isoformat()}
            _LOGGER.warning("job is deferred: %s", detail, extra=extra)


def log_excused(record: Record, outcome: Retried | Dead, queue: Queue) -> None:
    """Log a job that failed where Ctrl+C may have ended what it had started."""
    failure = outcome.failure
    _LOGGER.warning(
        "job failed after Ctrl+C, which also reaches the programs that jobs have started; it is delivered again, at no "
        "attempt's cost: %s", failure.message,
        extra={**job_fields(record, queue.name), log_keys.ERROR_TYPE: failure.error_type},
    )  # fmt: skip
