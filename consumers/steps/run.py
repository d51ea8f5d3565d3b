"""The step *run*: calls the handler, at the edge where any exception is a value; sync in a slot, async in a task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import Context
from typing import NoReturn

from opentelemetry import context as trace_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ...topology.wire.headers import TRACE_PARENT, TRACE_STATE
from ..job.context import JobContext, enter_job
from ..job.job_errors import is_kind_of
from ..job.signals import TimeLimitExceeded
from ..runners.async_slots import AsyncSlot, Holder, in_steps
from ..runners.forks import PROCESS, end_copy
from ..runners.slots import Slot
from .steps import RETURNED_NOTHING, DecodedJob, Raised, Result, Stopped, check_returned, read_raised

_PROPAGATOR = TraceContextTextMapPropagator()


def run_sync(task: DecodedJob, slot: Slot) -> Result:
    """Call a sync handler in this thread; the watchdog may end it by raising `TimeLimitExceeded` in it."""
    try:
        return _run_in_slot(task, slot)
    except TimeLimitExceeded:  # raised between the handler's end and the slot's: the run took too long
        slot.end()
        return _timed_out(task)


def _run_in_slot(task: DecodedJob, slot: Slot) -> Result:
    slot.begin(task.context, task.job_type.limits)
    result: Result = RETURNED_NOTHING
    try:
        result = Context().run(_call_sync, task)
        return result
    finally:
        if slot.generation != PROCESS.generation:
            _end_copy(result)
        slot.end()


def _call_sync(task: DecodedJob) -> Result:
    """Call the handler in a context of its own, which holds nothing but the job and its trace."""
    enter_job(task.context)
    try:
        if TRACE_PARENT in task.record.layout.positions:
            join_trace(task.context)
        return check_returned(task.job_type.handler(*task.args, **task.kwargs), task.job_type)
    except TimeLimitExceeded:
        return _timed_out(task)
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises, SystemExit too, is its failure
        return read_raised(error, task.job_type)


def _timed_out(task: DecodedJob) -> Raised:
    return Raised(time_limit_exceeded(task.context))


def time_limit_exceeded(context: JobContext) -> TimeLimitExceeded:
    """The error of a run that is past its deadline; it says which of its limits that is."""
    limits = context.limits
    return TimeLimitExceeded(limits.timeout_s, limits.heartbeat_s if context.is_silent else None)


async def run_async(task: DecodedJob, slot: AsyncSlot, is_stopping: Callable[[], bool]) -> Result:
    """Await an async handler in its slot; a cancellation by the worker's shutdown is no failure."""
    coroutine = _call_async(task, slot.holder)
    slot.begin(task.context, task.job_type.limits, coroutine)
    try:
        result = await in_steps(slot, coroutine)
    except BaseException as error:  # noqa: BLE001  # an interrupt before the job began, or on the way out of it
        result = Raised(error)
    was_interrupted = slot.end()
    return _own_or_ours(task, slot, result, was_interrupted, is_stopping()) if isinstance(result, Raised) else result


def _own_or_ours(task: DecodedJob, slot: AsyncSlot, result: Raised, was_interrupted: bool, is_stopping: bool) -> Result:
    """Tell what the job raised by itself from the worker's interrupt."""
    if is_kind_of(result.error, TimeLimitExceeded):
        slot.leave()  # it may come anywhere on the way out, where the job has ended or is suspended
        return _timed_out(task)
    if is_kind_of(result.error, asyncio.CancelledError):
        if was_interrupted:
            return _timed_out(task)
        return Stopped() if is_stopping else result
    return result


async def _call_async(task: DecodedJob, holder: Holder) -> Result:
    """Call and await the handler; `in_steps` gives it a context of its own."""
    enter_job(task.context)
    try:
        if TRACE_PARENT in task.record.layout.positions:
            join_trace(task.context)
        result: Result = check_returned(await _awaited(task), task.job_type)
    except (TimeLimitExceeded, asyncio.CancelledError) as error:
        result = Raised(error)  # the job's own, or the worker's: that is told when it has left its slot
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises is its failure
        result = read_raised(error, task.job_type)
    if holder.generation != PROCESS.generation:
        _end_copy(result)
    return result


def _end_copy(result: Result) -> NoReturn:
    """End a process that the job has forked, as the program would have ended that the job took it for."""
    end_copy(result.error if isinstance(result, Raised) else None)


async def _awaited(task: DecodedJob) -> object:
    """Call and await; a decorator around the `async def` may have awaited it already."""
    result = task.job_type.handler(*task.args, **task.kwargs)
    return await result if inspect.isawaitable(result) else result


def join_trace(context: JobContext) -> None:
    """Let spans of the job join the trace under which it was enqueued; it ends with the run's context."""
    carrier = {
        name: context.headers[name].decode("ascii", "replace")
        for name in (TRACE_PARENT, TRACE_STATE)
        if name in context.headers
    }
    trace_context.attach(_PROPAGATOR.extract(carrier))
