"""Whatever a job does to the event loop that it runs on, the loop goes on, and so does the worker."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.records.outcomes import DONE, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.runners.async_runners import AsyncRunners
from stoker.consumers.runners.async_slots import AsyncSlot
from stoker.consumers.steps.run_step import run_async
from support.programs import isolated_jobs
from support.programs.isolated_jobs import MISUSES
from support.scenes.deliveries import declare, plain_record
from support.scenes.isolated_runners import declare as declare_isolated
from support.scenes.isolated_runners import isolated
from support.waiting import wait_until


@pytest.mark.expected_errors("the event loop goes on")
@pytest.mark.parametrize("how", MISUSES)
@pytest.mark.parametrize("pause_s", [0, 0.05])
def test_the_jobs_behind_it_run(how: str, pause_s: float) -> None:
    """Twenty of them, on the same loop and the same thread."""

    async def act(number: int) -> None:
        threads.append(threading.get_ident())
        if number == 0:
            await isolated_jobs.misuse_loop(how, pause_s)

    async def run_one(record: Record, slot: AsyncSlot) -> None:
        job: Any = delivery.job()
        job.args = (record.offset,)
        await run_async(job, slot, delivery.step_context)
        ended.append(record.offset)

    delivery, threads, ended = declare(act), list[int](), list[int]()
    runners = AsyncRunners(3, run_one, "q")
    runners.start()
    try:
        for number in range(21):
            runners.make_ready([plain_record(number)])
            wait_until(lambda: len(ended) == number + 1, 60, f"job {number}")  # noqa: B023  # called at once
    finally:
        runners.interrupt()
        runners.wait_ended(time.monotonic() + 5)
    assert runners.crashed is None
    assert len(set(threads)) == 1


@pytest.mark.expected_errors("the event loop goes on")
def test_in_a_child_process_as_well(tmp_path: Path) -> None:
    """No child dies of it, so nobody is blamed for a crash."""
    pipeline, queue, (misuse, add) = declare_isolated(isolated_jobs.misuse_loop, isolated_jobs.add_async)
    with isolated(pipeline, queue) as here:
        children = here.wait_idle(2)
        for how in MISUSES:
            for pause_s in (0.0, 0.05):
                assert isinstance(here.run(misuse, how, pause_s), type(DONE) | Retried), how
            assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE, how
        assert set(here.runners.process_ids()) == set(children)
    assert here.assignment.crash_history.crashes == {}
