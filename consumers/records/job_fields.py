"""The job of a record in the log: its name in texts, and the fields by which its id finds them all."""

from __future__ import annotations

from typing import Final

from ...schemas import wire_text
from ...topology.wire.headers import JOB_ID, JOB_TYPE, TRACE_PARENT
from .. import log_keys
from .record import Record

PARTS: Final = 4
"""The parts of a `traceparent`: version, trace, span, flags."""


def named_job(record: Record) -> str:
    """The job of this record as texts name it, after the word job: its id and type, or its place where it has no id.

    Texts name it for readers who do not see the fields; a log of Python's own `logging` prints the text alone.
    """
    job_id, job_type = wire_text(record.header(JOB_ID)), wire_text(record.header(JOB_TYPE))
    return " ".join((job_id or f"at {record}", f"({job_type})" if job_type else "")).rstrip()


def job_fields(record: Record, queue: str) -> dict[str, object]:
    """The extra fields of a log record about the job of this record."""
    fields: dict[str, object] = {
        log_keys.JOB_ID: wire_text(record.header(JOB_ID)),
        log_keys.JOB_TYPE: wire_text(record.header(JOB_TYPE)),
        log_keys.QUEUE: queue,
        log_keys.RECORD: str(record),
    }
    parent = wire_text(record.header(TRACE_PARENT)).split("-") if record.layout.is_traced else []
    if len(parent) == PARTS:
        fields[log_keys.TRACE_ID] = parent[1]
    tenant = record.tenant
    return fields if tenant is None else {**fields, log_keys.TENANT: wire_text(tenant)}
