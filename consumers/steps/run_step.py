"""The step *run*: calls a handler in a slot of this process, a sync one in a thread, an async one in a task."""

from __future__ import annotations

import asyncio
from contextvars import Context

from ..job.endings import JobInterrupted
from ..job.job_errors import is_kind_of
from ..runners.async_slots import AsyncSlot, resume_watched
from ..runners.forks import PROCESS
from ..runners.slots import Slot
from .call import call_async, call_sync, end_copy_after, read_interrupt
from .last_look import hold_back
from .results import RETURNED_NOTHING, Raised, Ran, Result
from .steps import DecodedJob, StepContext


def run_sync(job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
    """Call a sync handler in this thread; an interrupt raises an exception in it, but ends no job that has ended.

    A job does not begin after an order that holds it back (`hold_back`).
    """
    result: Result | None = None
    try:
        slot.begin(job.run, job.job_type.run_limits)
        try:
            may_be_held = step_context.cancels.stands or step_context.gates.asked_last
            if may_be_held and (held := hold_back(job, slot, step_context)) is not None:
                return held
            result = Context().run(call_sync, job)
        finally:
            if slot.generation != PROCESS.generation:
                end_copy_after(result or RETURNED_NOTHING)
            slot.end()
    except JobInterrupted as interrupt:  # between the handler's end and the slot's
        slot.end()
        result = result or read_interrupt(interrupt, job)
    return result


async def run_async(job: DecodedJob, slot: AsyncSlot, step_context: StepContext) -> Ran:
    """Await an async handler in its slot, unless an order holds it back as in `run_sync`; an interrupt cancels it."""
    coroutine = call_async(job, slot.loop_state)
    slot.begin(job.run, job.job_type.run_limits, coroutine)
    result: Ran | None = None
    try:
        if step_context.cancels.stands or step_context.gates.asked_last:
            result = hold_back(job, slot, step_context)
        if result is None:
            try:
                result = await resume_watched(slot, coroutine)
            except BaseException as error:  # noqa: BLE001  # an interrupt on the way out of the job
                result = Raised(error)
    finally:
        coroutine.close()  # which is nothing to one that has ended
        slot.end()
    return _own_or_ours(job, slot, result) if isinstance(result, Raised) else result


def _own_or_ours(job: DecodedJob, slot: AsyncSlot, result: Raised) -> Raised:
    """Distinguish what the job raised by itself from the worker's interrupt."""
    if is_kind_of(result.error, JobInterrupted):
        slot.leave()  # it may come anywhere on the way out, where the job has ended or is suspended
        return result if result.answer is not None else read_interrupt(result.error, job)
    if is_kind_of(result.error, asyncio.CancelledError) and job.run.interrupt_reason == "timeout":
        return read_interrupt(result.error, job)
    return result
