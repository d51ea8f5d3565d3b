"""Isolated jobs that do not end at their timeout: a runner of the worker hangs, or the kernel holds a killed child."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from stoker.consumers.errors import TooManyStuck
from stoker.consumers.isolation.child_process import ChildProcess
from stoker.consumers.isolation.child_slot import ChildSlot
from stoker.consumers.isolation.isolated_runners import IsolatedRunners
from stoker.consumers.records.outcomes import DONE, Retried
from support.programs import isolated_jobs
from support.scenes.isolated_runners import declare, is_gone, isolated, watched
from support.scenes.watched_runners import hurry
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # each child imports the application, on a machine that may do much else


class BlockingFilter(logging.Filter):
    """Blocks the thread that handles a child's log, as a handler may that sends it over a network."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        """Wait until let go."""
        return self.let_go.wait(120)


@pytest.mark.expected_errors("is stuck")
def test_another_runner_takes_the_place_of_one_that_hangs_and_its_child_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so, without the advice to isolate what is isolated; stuck ones are counted, up to the bound."""
    hurry(monkeypatch)
    monkeypatch.setattr("stoker.consumers.isolation.child_slot.ENDS_WITHIN_S", 0.2)
    monkeypatch.setattr(IsolatedRunners, "ends_within_s", 0.2)
    block = BlockingFilter()
    isolated_jobs.LOGGER.addFilter(block)
    pipeline, queue, (log, add) = declare(
        isolated_jobs.log_without_end, isolated_jobs.add, timeout=timedelta(seconds=1)
    )
    try:
        with caplog.at_level(logging.INFO), isolated(pipeline, queue) as here, watched(here) as dog:
            stuck = here.offer(log, "again")
            wait_until(lambda: dog.stuck == 1, 60, "the report")
            child = here.runners.slots[0].child  # type: ignore[attr-defined]
            wait_until(lambda: is_gone(child.pid), what="the end of the child")
            assert here.run(add, str(tmp_path / "notes"), 1, 2) is DONE
            assert dog.crashed is None
            second = here.offer(log, "again")
            wait_until(lambda: dog.crashed, 60, "the worker to give up")
            block.let_go.set()
            outcomes = here.wait(stuck, second)
    finally:
        isolated_jobs.LOGGER.removeFilter(block)
    assert isinstance(dog.crashed, TooManyStuck)
    assert [type(outcome) for outcome in outcomes] == [Retried, Retried]
    assert here.assignment.crash_history.crashes == {}
    first, last = [text for record in caplog.records if "is stuck" in (text := record.getMessage())]
    assert "another runner takes its place" in first
    assert "the worker stops" in last
    for report in (first, last):
        assert "the runner that waits for its child process hangs, so the child is killed" in report
        assert "isolation='process'" not in report


def test_a_run_that_has_ended_costs_the_next_one_nothing_where_its_runner_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may end between the watchdog's look and the kill, and its child serve another job by then."""
    pipeline, queue, (sleep,) = declare(isolated_jobs.sleep, crash_limit=1)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        first = here.offer(sleep, str(file), 1.0)
        wait_until(lambda: len(isolated_jobs.notes(file)) == 1, 60, "the first job's begin")
        (slot,) = here.runners.slots
        assert isinstance(slot, ChildSlot)
        slot.reported = slot.run
        assert here.wait(first) == [DONE]
        assert slot.child is None
        second = here.offer(sleep, str(file), 2.0)
        wait_until(lambda: len(isolated_jobs.notes(file)) == 2, 60, "the second job's begin")
        here.runners.replace(slot)
        assert here.wait(second) == [DONE]
    assert "crash" not in caplog.text


@pytest.mark.expected_errors("has not ended")
def test_a_killed_child_that_the_kernel_holds_does_not_hold_its_runner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs none of the job's code any more: the run has failed, the log has why, and nobody calls the job stuck."""
    monkeypatch.setattr("stoker.consumers.isolation.child_process.KILL_WAIT_S", 0.1)
    pipeline, queue, (sleep, add) = declare(isolated_jobs.sleep, isolated_jobs.add, timeout=timedelta(seconds=1))
    kill, held = ChildProcess.kill, set[int]()

    def kill_unless_held(child: ChildProcess) -> None:
        child.is_doomed = True
        if child.pid not in held:
            kill(child)

    monkeypatch.setattr(ChildProcess, "kill", kill_unless_held)
    busy: list[int] = []

    def note_busy(record: logging.LogRecord) -> bool:
        if "has not ended" in record.getMessage() and (counts := here.runners.counts()) is not None:
            busy.append(counts.busy)
        return True

    logger = logging.getLogger("stoker.isolation")
    monkeypatch.setattr(logger, "filters", [note_busy])
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here, watched(here) as dog:
        job = here.offer(sleep, str(file), 60.0)
        wait_until(lambda: isolated_jobs.notes(file), 60, "the job's begin")
        held.add(int(isolated_jobs.notes(file)[0]))
        assert isinstance(here.wait(job, within_s=60)[0], Retried)
        assert here.run(add, str(file), 1, 2) is DONE
        assert dog.stuck == 0
        held.clear()
        for child in here.runners._pool._children:
            if child.is_doomed:
                kill(child)
    assert busy == [0], "a handler that blocks or raises does not keep the child"
    (report,) = [text for record in caplog.records if "has not ended" in (text := record.getMessage())]
    assert f"job {job} (sleep): its process" in report
