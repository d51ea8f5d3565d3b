"""`hold_back`: the last look before a handler is called: has an order come since the claim, or a gate begun to hold?

An order looks in the slots for the runs that it means. It does not find a job that was claimed and is not in its slot
yet. So a runner looks once more when the run is in its slot: either the order finds the run, or the run the order.
"""

from __future__ import annotations

from typing import assert_never

from ..gates.gate_row import Beginning
from ..job.endings import INTERRUPTS
from ..records.outcomes import INTERRUPTED
from ..runners.slots import RunInSlot
from .results import HeldBack, Raised
from .steps import DecodedJob, StepContext, cancelled, cancelled_before


def hold_back(job: DecodedJob, slot: RunInSlot, step_context: StepContext) -> HeldBack | Raised | None:
    """End a run that must not call its handler after all; None where it may.

    Threads and event loops call it only while a cancel stands or a gate is to be asked: each job would pay for a call.
    """
    by_order = cancelled_before(job.record, step_context) if step_context.cancels.stands else None
    if by_order is not None:
        return HeldBack(by_order)
    return _ask_gates(job, slot, step_context) if step_context.gates.asked_last else None


def _ask_gates(job: DecodedJob, slot: RunInSlot, step_context: StepContext) -> HeldBack | Raised | None:
    """Let the gates count the run, unless one of them holds it back now, or it is interrupted already."""
    gates = step_context.gates
    answer = slot.ask_or_withdraw(job.run, gates.begin)
    match answer:
        case Beginning.BEGINS:
            return None
        case Beginning.WAITS:
            return HeldBack(None)
        case Beginning.ENDS:
            return HeldBack(cancelled_before(job.record, step_context) or INTERRUPTED)
        case "cancel" if gates.has_hooks:  # no gate has counted it
            return HeldBack(cancelled(job.run.cancellation, "before it ran"))
        case "timeout" | "shutdown" if gates.has_hooks:  # as above
            return Raised(INTERRUPTS[answer]())
        case "timeout" | "cancel" | "shutdown":
            return None
        case _:
            assert_never(answer)
