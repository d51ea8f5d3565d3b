"""`job_fields`: what every log record about a job carries, so that the job's id finds them all."""

from __future__ import annotations

from ..topology.headers import JOB_ID, JOB_TYPE
from . import log_keys
from .record import Record
from .writes import text_of


def job_fields(record: Record, queue: str) -> dict[str, object]:
    """The extra fields of a log record about the job of this record."""
    return {
        log_keys.JOB_ID: text_of(record.headers.get(JOB_ID)),
        log_keys.JOB_TYPE: text_of(record.headers.get(JOB_TYPE)),
        log_keys.QUEUE: queue,
        log_keys.RECORD: str(record),
    }
