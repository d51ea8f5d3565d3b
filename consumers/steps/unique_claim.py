"""`claim` where job types of the queue are unique: a record whose job is a duplicate ends before it is decoded."""

from __future__ import annotations

from ..records.outcomes import Outcome
from ..records.record import Record
from .steps import StepContext, claim


def claim_unique(record: Record, step_context: StepContext) -> Outcome | None:
    """Check what is known of a record before it is read; None lets it go on."""
    outcome = claim(record, step_context)
    if outcome is not None:
        return outcome
    unique = step_context.unique(record.assignment.partition)
    return None if unique is None else unique.admit(record, step_context.cancels)
