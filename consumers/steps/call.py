"""The handler's edge, where whatever a handler raises becomes a value: the worker calls it here, and so does a child.

Nothing here interrupts a job, or knows of slots: `run_step.py` does. What has interrupted it is read here.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import CoroutineType
from typing import NoReturn, Protocol

from opentelemetry import context as trace_context

from ...topology.tracing.remote_context import RemoteContext
from ..job.context import enter_job
from ..job.endings import INTERRUPTS, JobInterrupted, TimeLimitExceeded
from ..job.job_errors import is_kind_of
from ..job.run import CurrentRun
from ..records.job_record import JobRecord
from ..runners.async_slots import LoopState
from ..runners.forks import PROCESS, end_copy
from .results import FailureRules, Raised, Result, check_returned, read_raised


class CallableType(FailureRules, Protocol):
    """The part of a job type that a call needs."""

    @property
    def handler(self) -> Callable[..., object]:
        """The function, sync or async."""
        ...


class CallableJob(Protocol):
    """The part of a job that a call needs: the worker's `DecodedJob` has it, and a child's `ChildJob`."""

    @property
    def job_type(self) -> CallableType:
        """The job's type."""
        ...

    @property
    def args(self) -> Sequence[object]:
        """The positional arguments."""
        ...

    @property
    def kwargs(self) -> Mapping[str, object]:
        """The named arguments."""
        ...

    @property
    def record(self) -> JobRecord:
        """The record that holds the job."""
        ...

    @property
    def run(self) -> CurrentRun:
        """The run, as the job sees it."""
        ...


def call_sync(job: CallableJob) -> Result:
    """Call a sync handler, in a context of its own that holds nothing but the job and its trace."""
    enter_job(job.run)
    try:
        if job.record.layout.is_traced or job.run.trace_context is not None:
            enter_trace(job)
        return check_returned(job.job_type.handler(*job.args, **job.kwargs), job.job_type)
    except JobInterrupted as interrupt:
        return read_interrupt(interrupt, job)
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises, SystemExit too, is its failure
        return read_raised(error, job.job_type)


async def call_async(job: CallableJob, loop_state: LoopState) -> Result:
    """Call and await an async handler; `resume_watched` gives it a context of its own."""
    enter_job(job.run)
    try:
        if job.record.layout.is_traced or job.run.trace_context is not None:
            enter_trace(job)
        returned = job.job_type.handler(*job.args, **job.kwargs)
        if type(returned) is CoroutineType or inspect.isawaitable(returned):  # else a decorator has awaited it already
            returned = await returned
        result: Result = check_returned(returned, job.job_type)
    except (JobInterrupted, asyncio.CancelledError) as error:
        result = read_interrupt(error, job)
    except BaseException as error:  # noqa: BLE001  # edge of the job: whatever it raises is its failure
        result = read_raised(error, job.job_type)
    if loop_state.generation != PROCESS.generation:
        end_copy_after(result)
    return result


def read_interrupt(interrupt: BaseException, job: CallableJob) -> Raised:
    """The result of a run that an interrupt has ended, or that has raised one by itself."""
    reason = job.run.interrupt_reason
    if reason == "timeout" or is_kind_of(interrupt, TimeLimitExceeded):
        return Raised(time_limit_exceeded(job.run))
    return read_raised(interrupt, job.job_type) if reason is None else Raised(INTERRUPTS[reason]())


def time_limit_exceeded(run: CurrentRun) -> TimeLimitExceeded:
    """The error of a run that is past its deadline; it names the limit."""
    limits = run.limits
    return TimeLimitExceeded(limits.timeout_s, limits.heartbeat_s if run.is_silent else None)


def end_copy_after(result: Result) -> NoReturn:
    """End a process that the job has forked, with the exit code that the job's result asks for."""
    end_copy(result.error if isinstance(result, Raised) else None)


def enter_trace(job: CallableJob) -> None:
    """Let spans of the job be children of its run, or of its enqueue where no tracer records the run.

    It ends with the run's context.
    """
    context = job.run.trace_context
    trace_context.attach(RemoteContext(job.record) if context is None else context)
