"""`decode_noted`: the step *decode* of a queue whose late jobs are followed: it notes each job that begins."""

from __future__ import annotations

from ..gates.gate import Wait
from ..records.outcomes import Outcome
from ..records.record import Record
from .steps import DecodedJob, StepContext, decode


def decode_noted(record: Record, step_context: StepContext) -> DecodedJob | Wait | Outcome:
    """Decode a record, and note it where its job begins."""
    decoded = decode(record, step_context)
    if step_context.note_begun is not None and isinstance(decoded, DecodedJob):
        step_context.note_begun(record)
    return decoded
