"""The step *run*: calls the handler, at the edge where any exception is a value; sync in a slot, async in a task."""

from __future__ import annotations

import asyncio
import inspect
from contextvars import Context
from typing import NoReturn

from opentelemetry import context as trace_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ...topology.wire.headers import TRACE_PARENT, TRACE_STATE
from ..job.context import enter_job
from ..job.job_errors import is_kind_of
from ..job.run import Run
from ..job.signals import INTERRUPTS, JobInterrupted, TimeLimitExceeded
from ..runners.async_slots import AsyncSlot, Holder, in_steps
from ..runners.forks import PROCESS, end_copy
from ..runners.slots import Slot
from .steps import RETURNED_NOTHING, DecodedJob, Raised, Result, check_returned, read_raised

_PROPAGATOR = TraceContextTextMapPropagator()


def run_sync(job: DecodedJob, slot: Slot) -> Result:
    """Call a sync handler in this thread; an interrupt raises an exception in it."""
    try:
        return _run_in_slot(job, slot)
    except JobInterrupted as interrupt:  # between the handler's end and the slot's
        slot.end()
        return _interrupted(job, interrupt)


def _run_in_slot(job: DecodedJob, slot: Slot) -> Result:
    slot.begin(job.run, job.job_type.limits)
    result: Result = RETURNED_NOTHING
    try:
        result = Context().run(_call_sync, job)
        return result
    finally:
        if slot.generation != PROCESS.generation:
            _end_copy(result)
        slot.end()


def _call_sync(job: DecodedJob) -> Result:
    """Call the handler in a context of its own, which holds nothing but the job and its trace."""
    enter_job(job.run)
    try:
        if TRACE_PARENT in job.record.layout.positions:
            join_trace(job.run)
        return check_returned(job.job_type.handler(*job.args, **job.kwargs), job.job_type)
    except JobInterrupted as interrupt:
        return _interrupted(job, interrupt)
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises, SystemExit too, is its failure
        return read_raised(error, job.job_type)


def _interrupted(job: DecodedJob, interrupt: BaseException) -> Raised:
    """The result of a run that an interrupt has ended, or that has raised one by itself."""
    reason = job.run.interrupt_reason
    if reason == "timeout" or is_kind_of(interrupt, TimeLimitExceeded):
        return Raised(time_limit_exceeded(job.run))
    return read_raised(interrupt, job.job_type) if reason is None else Raised(INTERRUPTS[reason]())


def time_limit_exceeded(run: Run) -> TimeLimitExceeded:
    """The error of a run that is past its deadline; it says which of its limits that is."""
    limits = run.limits
    return TimeLimitExceeded(limits.timeout_s, limits.heartbeat_s if run.is_silent else None)


async def run_async(job: DecodedJob, slot: AsyncSlot) -> Result:
    """Await an async handler in its slot; an interrupt cancels it."""
    coroutine = _call_async(job, slot.holder)
    slot.begin(job.run, job.job_type.limits, coroutine)
    try:
        result = await in_steps(slot, coroutine)
    except BaseException as error:  # noqa: BLE001  # an interrupt before the job began, or on the way out of it
        result = Raised(error)
    slot.end()
    return _own_or_ours(job, slot, result) if isinstance(result, Raised) else result


def _own_or_ours(job: DecodedJob, slot: AsyncSlot, result: Raised) -> Raised:
    """Tell what the job raised by itself from the worker's interrupt."""
    if is_kind_of(result.error, JobInterrupted):
        slot.leave()  # it may come anywhere on the way out, where the job has ended or is suspended
        return _interrupted(job, result.error)
    if is_kind_of(result.error, asyncio.CancelledError) and job.run.interrupt_reason == "timeout":
        return _interrupted(job, result.error)
    return result


async def _call_async(job: DecodedJob, holder: Holder) -> Result:
    """Call and await the handler; `in_steps` gives it a context of its own."""
    enter_job(job.run)
    try:
        if TRACE_PARENT in job.record.layout.positions:
            join_trace(job.run)
        result: Result = check_returned(await _awaited(job), job.job_type)
    except (JobInterrupted, asyncio.CancelledError) as error:
        result = Raised(error)  # the job's own, or the worker's: that is told when it has left its slot
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises is its failure
        result = read_raised(error, job.job_type)
    if holder.generation != PROCESS.generation:
        _end_copy(result)
    return result


def _end_copy(result: Result) -> NoReturn:
    """End a process that the job has forked, as the program would have ended that the job took it for."""
    end_copy(result.error if isinstance(result, Raised) else None)


async def _awaited(job: DecodedJob) -> object:
    """Call and await; a decorator around the `async def` may have awaited it already."""
    result = job.job_type.handler(*job.args, **job.kwargs)
    return await result if inspect.isawaitable(result) else result


def join_trace(run: Run) -> None:
    """Let spans of the job join the trace under which it was enqueued; it ends with the run's context."""
    headers = run.record.headers
    carrier = {
        name: headers[name].decode("ascii", "replace") for name in (TRACE_PARENT, TRACE_STATE) if name in headers
    }
    trace_context.attach(_PROPAGATOR.extract(carrier))
