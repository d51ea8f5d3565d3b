"""The step *run*: calls the handler, at the edge where any exception is a value; sync in a slot, async in a task."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import context as trace_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..topology.headers import TRACE_PARENT, TRACE_STATE
from .async_slots import AsyncSlot, in_steps
from .context import JobContext, enter_job
from .signals import TimeLimitExceeded
from .slots import Slot
from .steps import Raised, Result, Returned, Stopped, Task, check_returned

_PROPAGATOR = TraceContextTextMapPropagator()


def run_sync(task: Task, slot: Slot) -> Result:
    """Call a sync handler in this thread; the watchdog may end it by raising `TimeLimitExceeded` in it."""
    try:
        return _run_in_slot(task, slot)
    except TimeLimitExceeded:  # it struck between the handler's end and the slot's: the run took too long all the same
        slot.end()
        return _timed_out(task)


def _run_in_slot(task: Task, slot: Slot) -> Result:
    context = task.context
    enter_job(context)
    slot.begin(context, task.job_type.limits)
    try:
        if TRACE_PARENT in task.record.headers:
            with _enqueuer_trace(context):
                return check_returned(task.job_type.handler(*task.args, **task.kwargs))
        return check_returned(task.job_type.handler(*task.args, **task.kwargs))
    except TimeLimitExceeded:
        return _timed_out(task)
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises, SystemExit too, is its failure
        return Raised(error)
    finally:
        slot.end()
        enter_job(None)


def _timed_out(task: Task) -> Raised:
    return Raised(time_limit_exceeded(task.context))


def time_limit_exceeded(context: JobContext) -> TimeLimitExceeded:
    """The error of a run that is past its deadline; it says which of its limits that is."""
    limits = context.limits
    return TimeLimitExceeded(limits.timeout_s, limits.heartbeat_s if context.is_silent else None)


async def run_async(task: Task, slot: AsyncSlot, is_stopping: Callable[[], bool]) -> Result:
    """Await an async handler in its slot; a cancellation by the worker's shutdown is no failure."""
    coroutine = _call_async(task)
    enter_job(task.context)
    slot.begin(task.context, task.job_type.limits, coroutine)
    try:
        result: Result = Returned(await in_steps(slot, coroutine))
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises is its failure
        result = Raised(error)
    finally:
        enter_job(None)
    was_struck = slot.end()
    return _own_or_ours(task, slot, result, was_struck, is_stopping()) if isinstance(result, Raised) else result


def _own_or_ours(task: Task, slot: AsyncSlot, result: Raised, was_struck: bool, is_stopping: bool) -> Result:
    """Tell what the job raised by itself from what the worker has thrown into it."""
    if isinstance(result.error, TimeLimitExceeded):
        slot.leave()  # it may have struck anywhere on the way out, where the job has ended or is suspended
        return _timed_out(task)
    if isinstance(result.error, asyncio.CancelledError):
        if was_struck:
            return _timed_out(task)
        return Stopped() if is_stopping else result
    return result


async def _call_async(task: Task) -> object:
    if TRACE_PARENT in task.context.headers:
        with _enqueuer_trace(task.context):
            return await _awaited(task)
    return await _awaited(task)


async def _awaited(task: Task) -> object:
    """Call and await; a decorator around the `async def` may have awaited it already."""
    result = task.job_type.handler(*task.args, **task.kwargs)
    return await result if inspect.isawaitable(result) else result


@contextmanager
def _enqueuer_trace(context: JobContext) -> Iterator[None]:
    """Let spans of the job join the trace under which it was enqueued."""
    carrier = {
        name: context.headers[name].decode("ascii", "replace")
        for name in (TRACE_PARENT, TRACE_STATE)
        if name in context.headers
    }
    token = trace_context.attach(_PROPAGATOR.extract(carrier))
    try:
        yield
    finally:
        trace_context.detach(token)
