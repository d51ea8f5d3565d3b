"""`make_runners`: which kinds of runners a queue has. A new kind is a class in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...topology import JobType
from ..isolation.isolated_runners import IsolatedRunners
from ..runners.async_runners import AsyncRunners
from ..runners.kinds import Runners
from ..runners.slots import Slot
from ..runners.thread_runners import ThreadRunners
from ..steps.results import Ran
from ..steps.run_step import run_async, run_sync
from ..steps.steps import DecodedJob, StepContext
from .runner_parts import RunnerParts


def make_runners(parts: RunnerParts) -> list[Runners[Any]]:
    """All kinds, in the order in which each is asked for its records; the last one takes all that is left."""
    return [isolated_runners(parts), *async_runners(parts), thread_runners(parts)]


def thread_runners(parts: RunnerParts) -> ThreadRunners:
    """Threads for sync jobs."""
    return ThreadRunners(
        parts.settings.concurrency,
        parts.pipe.in_thread(run_sync),
        parts.step_context.queue.name,
        settle_done=parts.pipe.settle_done,
        ready=parts.make_ready(),
    )


def async_runners(parts: RunnerParts) -> list[AsyncRunners]:
    """An event loop for async jobs, where there are any."""
    names = _names(parts, lambda job_type: job_type.is_async)
    if not names:
        return []
    pipe, queue = parts.pipe, parts.step_context.queue.name
    size, ready = parts.settings.async_concurrency, parts.make_ready()
    own = names if len(names) < len(parts.step_context.job_types) else ()  # where all are async, no record is looked at
    return [AsyncRunners(size, pipe.in_task(run_async), queue, own, settle_done=pipe.settle_done, ready=ready)]


def isolated_runners(parts: RunnerParts) -> IsolatedRunners:
    """Child processes for isolated jobs, and for those that may have killed a worker."""

    def run_in_child(job: DecodedJob, slot: Slot, step_context: StepContext) -> Ran:
        return isolated.run(job, slot, step_context)

    isolated = IsolatedRunners(
        parts.step_context,
        parts.settings,
        parts.pipe.in_thread(run_in_child),
        parts.pipe.settle_done,
        send_back=parts.pipe.send_back,
        ready=parts.make_ready(),
    )
    return isolated


def _names(parts: RunnerParts, is_of_kind: Callable[[JobType[..., Any]], bool]) -> frozenset[bytes]:
    """The job types of a kind, as on the wire."""
    return frozenset(name.encode() for name, found in parts.step_context.job_types.items() if is_of_kind(found))
