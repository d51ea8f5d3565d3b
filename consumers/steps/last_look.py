"""`hold_back`: the last look before a handler is called: has an order come since the claim, or a gate closed?

An order looks in the slots for the runs that it means. It does not find a job that was claimed and is not in its slot
yet. So a runner looks once more when the run is in its slot: either the order finds the run, or the run the order.
"""

from __future__ import annotations

from typing import assert_never

from ..gates.counted_records import Beginning
from ..job.signals import INTERRUPTS, JobCancelled
from ..records.outcomes import INTERRUPTED
from ..runners.slots import RunInSlot
from .results import Decided, Raised
from .steps import DecodedJob

HeldBack = Raised | Decided
"""The result of a run whose handler is not called: its job is cancelled, or waits, or comes again elsewhere."""


def hold_back(job: DecodedJob, slot: RunInSlot) -> HeldBack | None:
    """End a run that must not call its handler after all; None where it may.

    Call it only while a cancel stands or a gate is to be asked: all other jobs would pay for the call.
    """
    if job.cancels.stands and _is_cancelled(job):
        return Raised(JobCancelled())
    return _ask_gates(job, slot) if job.gates.asked_last else None


def _ask_gates(job: DecodedJob, slot: RunInSlot) -> HeldBack | None:
    """Let the gates count the run, unless one of them holds it back now, or it is interrupted already."""
    answer = slot.ask_or_withdraw(job.run, job.gates.begin)
    match answer:
        case Beginning.BEGINS:
            return None
        case Beginning.WAITS:
            return Decided(None)
        case Beginning.ENDS:
            return Raised(JobCancelled()) if _is_cancelled(job) else Decided(INTERRUPTED)
        case "timeout" | "cancel" | "shutdown":  # it is interrupted already, and no gate has counted it
            return Raised(INTERRUPTS[answer]()) if job.gates.counted.hooked else None
        case _:
            assert_never(answer)


def _is_cancelled(job: DecodedJob) -> bool:
    """Whether it was cancelled; the run has the reason then."""
    by = job.cancels.of(job.record, job.run.queue)
    if by is not None and job.run.interrupt_reason is None:
        job.run.note_cancelled(by)
        job.run.interrupt("cancel")
    return by is not None
