"""Each run has a context of its own: nothing that a job sets in one is seen by another, on whatever runs them."""

from __future__ import annotations

import asyncio
import decimal
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace

from stoker.consumers import current_job_or_none
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.runners.async_slots import AsyncSlot, LoopState
from stoker.consumers.runners.slots import Slot
from stoker.consumers.steps.results import Raised
from stoker.consumers.steps.run_step import run_async, run_sync
from stoker.topology.wire import headers as wire
from support.programs import isolated_jobs
from support.scenes.deliveries import STEP_CONTEXT, declare
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def look_and_leave() -> tuple[str, int, object]:
    """What a job finds, before it leaves the same behind."""
    found = (TENANT.get(), decimal.getcontext().prec, baggage.get_baggage("user"))
    TENANT.set("left behind")
    decimal.getcontext().prec = 3
    context.attach(baggage.set_baggage("user", "left behind"))
    return found


def run_both(act: Any, headers: dict[str, bytes | None] | None = None) -> None:
    """Run it as a sync job, and as an async one whose task has run others before."""

    def act_sync(number: int) -> None:
        act()

    async def act_async(number: int) -> None:
        await asyncio.sleep(0)
        act()

    async def run_twice() -> None:
        for _ in range(2):
            slot = AsyncSlot("slot", LoopState(), lambda _what: None)
            result = await run_async(declare(act_async).job(headers=headers), slot, STEP_CONTEXT)
            assert not isinstance(result, Raised), result.error

    for _ in range(2):
        result = run_sync(declare(act_sync).job(headers=headers), Slot(), STEP_CONTEXT)
        assert not isinstance(result, Raised), result.error
    asyncio.run(run_twice())


def test_what_one_job_sets_is_not_seen_by_the_next() -> None:
    """A context variable, the decimal context, the baggage of a trace."""
    found = list[tuple[str, int, object]]()
    run_both(lambda: found.append(look_and_leave()))
    assert found == [("nobody", 28, None)] * 4


def test_what_is_around_a_runner_is_not_seen_by_its_jobs() -> None:
    """So a job does not depend on what happened to start its thread."""
    token = TENANT.set("around")
    try:
        found = list[str]()
        run_both(lambda: found.append(TENANT.get()))
    finally:
        TENANT.reset(token)
    assert found == ["nobody"] * 4
    assert current_job_or_none() is None


def test_jobs_that_are_suspended_side_by_side_keep_their_own_context() -> None:
    """Each step of a job is in its own context, and so is what it has started."""

    async def act(number: int) -> str:
        TENANT.set(str(number))
        await asyncio.sleep(0)
        task = asyncio.create_task(_tenant())
        found, _ = await asyncio.gather(asyncio.to_thread(TENANT.get), task)
        assert (found, task.result(), TENANT.get()) == (str(number),) * 3
        return found

    async def run_many() -> list[Any]:
        runs = []
        for number in range(20):
            job = declare(act).job()
            job.args = (number,)
            slot = AsyncSlot("slot", LoopState(), lambda _what: None)
            runs.append(run_async(job, slot, STEP_CONTEXT))
        return await asyncio.gather(*runs)

    assert [result.value for result in asyncio.run(run_many())] == [str(number) for number in range(20)]


async def _tenant() -> str:
    return TENANT.get()


def test_the_enqueuers_trace_is_there_and_ends_with_the_run() -> None:
    """It is the one thing, beside the job, that a run's context holds."""
    parent = f"00-{TRACE_ID}-b7ad6b7169203331-01".encode()
    found = list[str]()
    run_both(
        lambda: found.append(f"{trace.get_current_span().get_span_context().trace_id:032x}"),
        headers={wire.TRACE_PARENT: parent},
    )
    run_both(lambda: found.append(f"{trace.get_current_span().get_span_context().trace_id:032x}"))
    assert found == [TRACE_ID] * 4 + ["0" * 32] * 4


@pytest.mark.parametrize("handler", [isolated_jobs.leave_context_behind, isolated_jobs.leave_context_behind_async])
def test_in_a_child_process_as_well(handler: Any, tmp_path: Path) -> None:
    """One child runs many jobs."""
    pipeline, queue, (act,) = declare_isolated(handler)
    with isolated(pipeline, queue) as here:
        assert [here.run(act, str(tmp_path / "found")) for _ in range(3)] == [DONE] * 3
    assert isolated_jobs.notes(tmp_path / "found") == ["28"] * 3
