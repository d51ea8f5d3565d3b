"""`job_fields`: what every log record about a job carries, so that the job's id finds them all."""

from __future__ import annotations

from typing import Final

from ...schemas import wire_text
from ...topology.wire.headers import JOB_ID, JOB_TYPE, TRACE_PARENT
from .. import log_keys
from .record import Record

PARTS: Final = 4
"""The parts of a `traceparent`: version, trace, span, flags."""


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
