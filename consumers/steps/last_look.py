"""`hold_back`: the last look before a handler is called: has an order come since the claim, or a gate closed?

An order looks in the slots for the runs that it means. It does not find a job that was claimed and is not in its slot
yet. So a runner looks once more when the run is in its slot: either the order finds the run, or the run the order.
"""

from __future__ import annotations

from typing import assert_never

from ..gates.counted_records import Beginning
from ..job.signals import INTERRUPTS
from ..records.outcomes import INTERRUPTED, Cancelled
from ..runners.slots import RunInSlot
from .results import HeldBack, Raised
from .steps import DecodedJob, cancelled


def hold_back(job: DecodedJob, slot: RunInSlot) -> HeldBack | Raised | None:
    """End a run that must not call its handler after all; None where it may.

    Call it only while a cancel stands or a gate is to be asked: all other jobs would pay for the call.
    """
    by_order = _cancelled(job) if job.cancels.stands else None
    if by_order is not None:
        return HeldBack(by_order)
    return _ask_gates(job, slot) if job.gates.asked_last else None


def _ask_gates(job: DecodedJob, slot: RunInSlot) -> HeldBack | Raised | None:
    """Let the gates count the run, unless one of them holds it back now, or it is interrupted already."""
    answer = slot.ask_or_withdraw(job.run, job.gates.begin)
    match answer:
        case Beginning.BEGINS:
            return None
        case Beginning.WAITS:
            return HeldBack(None)
        case Beginning.ENDS:
            return HeldBack(_cancelled(job) or INTERRUPTED)
        case "cancel" if job.gates.has_hooks:  # no gate has counted it
            return HeldBack(cancelled(job.run.cancellation, "before it ran"))
        case "timeout" | "shutdown" if job.gates.has_hooks:  # as above
            return Raised(INTERRUPTS[answer]())
        case "timeout" | "cancel" | "shutdown":
            return None
        case _:
            assert_never(answer)


def _cancelled(job: DecodedJob) -> Cancelled | None:
    by = job.cancels.of(job.record, job.run.queue)
    return None if by is None else cancelled(by, "before it ran")
