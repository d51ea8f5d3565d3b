"""Children that die, or are deaf, before they have begun with a job: it is not blamed at once, nor tried for ever."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers.isolation.child_process import ChildProcess
from stoker.consumers.isolation.job_deaths import JobDeaths
from stoker.consumers.isolation.messages import RunJob
from stoker.consumers.isolation.pool import ChildPool
from stoker.consumers.records.cancellation import Cancellation
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, Cancelled, Dead
from stoker.consumers.runners.slots import Slot
from stoker.consumers.steps.last_look import hold_back
from stoker.consumers.steps.results import HeldBack, Raised
from stoker.consumers.steps.steps import DecodedJob, StepContext
from support import small_children
from support.programs import isolated_jobs
from support.scenes.deliveries import declare as declare_delivery
from support.scenes.isolated_runners import declare, is_gone, isolated, watched
from support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)  # each child imports the application, on a machine that may do much else
MIB = 1024 * 1024
WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stoker.consumers.isolation.crashes.FIRST_PAUSE", timedelta(milliseconds=10))


def kill_amid_message(monkeypatch: pytest.MonkeyPatch, is_meant: Callable[[RunJob], bool]) -> None:
    """Let the kernel kill each child that is given such a job while it receives it, as for want of memory."""
    begin = ChildProcess.begin

    def begin_with_one_that_dies(child: ChildProcess, message: RunJob) -> bool:
        if not is_meant(message):
            return begin(child, message)
        os.kill(child.pid, signal.SIGSTOP)  # so that it has not taken all of it before
        killing = threading.Timer(0.1, os.kill, (child.pid, signal.SIGKILL))
        killing.start()
        try:
            return begin(child, message)
        finally:
            killing.join()

    monkeypatch.setattr(ChildProcess, "begin", begin_with_one_that_dies)


def lines_about(caplog: pytest.LogCaptureFixture, job_id: str) -> list[str]:
    """What the log has of one job."""
    return [message for record in caplog.records if job_id in (message := record.getMessage())]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not keep a limit on address space")
def test_a_job_whose_message_no_child_can_hold_ends_as_a_dead_letter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its children end at once instead of being deaf, with the reason; the job is quarantined, and others run."""
    pipeline, queue, (weigh, add) = declare(small_children.weigh, isolated_jobs.add, crash_limit=2)
    with isolated(pipeline, queue) as here:
        large = here.offer(weigh, b"x" * small_children.LARGE_BYTES)
        others = [here.offer(add, str(tmp_path / "notes"), number, 0) for number in range(3)]
        outcome, *rest = here.wait(large, *others, within_s=WITHIN_S)
    assert isinstance(outcome, Dead)
    assert (outcome.reason, outcome.crashes) == ("quarantined", 2)
    assert "before it began with the job" in outcome.failure.message
    assert "MemoryError" in outcome.failure.stack
    assert rest == [DONE] * 3
    assert here.assignment.crash_history.crashes == {0: 2}
    assert capfd.readouterr().err.count("cannot hear its worker any more: MemoryError") == 6
    lines = lines_about(caplog, f"{large} (weigh)")
    assert len(lines) == 6
    assert ["that is crash" in line for line in lines] == [False, False, True] * 2


@pytest.mark.parametrize("size_bytes", [1, 4 * MIB])
def test_a_job_whose_children_are_killed_as_they_receive_it_ends_as_a_dead_letter(
    size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether the worker notices it as it sends or as it waits; each death is in the log, with its job."""
    kill_amid_message(monkeypatch, lambda message: message.job_type == "swallow")
    pipeline, queue, (swallow, add) = declare(isolated_jobs.swallow, isolated_jobs.add, crash_limit=2)
    with isolated(pipeline, queue) as here:
        deadly = here.offer(swallow, "x" * size_bytes)
        others = [here.offer(add, str(tmp_path / "notes"), number, 0) for number in range(3)]
        outcome, *rest = here.wait(deadly, *others, within_s=WITHIN_S)
    assert isinstance(outcome, Dead)
    assert (outcome.reason, outcome.crashes) == ("quarantined", 2)
    assert "was killed by SIGKILL, perhaps by the kernel" in outcome.failure.message
    assert "before it began with the job" in outcome.failure.message
    assert rest == [DONE] * 3
    lines = lines_about(caplog, f"{deadly} (swallow)")
    assert len(lines) == 6
    assert "the job runs in another process, at no attempt's cost" in lines[0]
    assert ["that is crash" in line for line in lines] == [False, False, True] * 2


def hang_children(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let each child hang as it is given its job; returns what is set then."""
    begun, begin = threading.Event(), ChildProcess.begin

    def begin_with_one_that_hangs(child: ChildProcess, job: RunJob) -> bool:
        os.kill(child.pid, signal.SIGSTOP)
        begun.set()
        return begin(child, job)

    monkeypatch.setattr(ChildProcess, "begin", begin_with_one_that_hangs)
    return begun


def test_a_job_whose_children_do_not_take_it_ends_as_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is silent is killed by the worker, which does not blame the kernel for that."""
    monkeypatch.setattr("stoker.consumers.isolation.child_process.FIRST_TAKE_WITHIN_S", 0.2)
    begin = ChildProcess.begin

    def begin_with_one_that_hangs(child: ChildProcess, job: RunJob) -> bool:
        os.kill(child.pid, signal.SIGSTOP)
        return begin(child, job)

    monkeypatch.setattr(ChildProcess, "begin", begin_with_one_that_hangs)
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, crash_limit=1)
    with isolated(pipeline, queue) as here:
        outcome = here.wait(here.offer(swallow, "x"), within_s=WITHIN_S)[0]
    assert isinstance(outcome, Dead)
    assert "was killed by the worker, since it was silent for" in outcome.failure.message
    assert "kernel" not in outcome.failure.message + caplog.text


@pytest.mark.parametrize(
    ("size_bytes", "first_within_s", "bytes_per_s"),
    [(1, 60.0, 4 * MIB), (4 * MIB, 60.0, 4 * MIB), (4 * MIB, 0.2, MIB // 8)],
)
def test_a_child_has_longer_for_its_first_job_and_for_a_large_one(
    size_bytes: int,
    first_within_s: float,
    bytes_per_s: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thread of the application may load something there, or the machine swap; the job's time starts behind that."""
    process = "stoker.consumers.isolation.child_process"
    monkeypatch.setattr(f"{process}.TAKE_WITHIN_S", 0.2)
    monkeypatch.setattr(f"{process}.FIRST_TAKE_WITHIN_S", first_within_s)
    monkeypatch.setattr(f"{process}.TAKEN_BYTES_PER_S", bytes_per_s)
    monkeypatch.setattr("stoker.consumers.isolation.child_slot.ENDS_WITHIN_S", 0.2)
    begin = ChildProcess.begin

    def begin_with_a_slow_one(child: ChildProcess, job: RunJob) -> bool:
        os.kill(child.pid, signal.SIGSTOP)
        threading.Timer(2.5, os.kill, (child.pid, signal.SIGCONT)).start()
        return begin(child, job)

    monkeypatch.setattr(ChildProcess, "begin", begin_with_a_slow_one)
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, timeout=timedelta(seconds=1))
    with isolated(pipeline, queue) as here, watched(here):
        assert here.run(swallow, "x" * size_bytes) is DONE
    assert lines_about(caplog, "job-0") == []


def test_a_cancel_ends_a_job_that_its_child_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: it has not begun, so there is nothing to clean up."""
    begun = hang_children(monkeypatch)
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, crash_limit=1)
    with isolated(pipeline, queue) as here, watched(here) as dog:
        job = here.offer(swallow, "x" * 4 * MIB)
        assert begun.wait(WITHIN_S)
        assert dog.cancel(lambda _run: Cancellation(operator="ana")) == 1
        assert isinstance(here.wait(job, within_s=8)[0], Cancelled)


def test_a_child_is_not_silent_whose_lines_were_not_read_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its job starts behind many lines that the worker's logging takes slowly: it is left alone, and runs once."""
    monkeypatch.setattr("stoker.consumers.isolation.child_process.TAKE_WITHIN_S", 0.2)
    monkeypatch.setattr("stoker.consumers.isolation.child_process.LINES_AT_ONCE", 5)
    left, begin = tmp_path / "left", ChildProcess.begin

    def begin_behind_lines(child: ChildProcess, job: RunJob) -> bool:
        if job.job_type == "sleep":
            isolated_jobs.note(str(left), "log")
            wait_until(lambda: "logged" in isolated_jobs.notes(left), what="the lines")
        return begin(child, job)

    def take_slowly(_: logging.LogRecord) -> bool:
        time.sleep(0.05)
        return True

    monkeypatch.setattr(ChildProcess, "begin", begin_behind_lines)
    pipeline, queue, (log, sleep) = declare(isolated_jobs.log_later, isolated_jobs.sleep, crash_limit=1)
    isolated_jobs.LOGGER.addFilter(take_slowly)
    try:
        with caplog.at_level(logging.INFO), isolated(pipeline, queue) as here:
            assert here.run(log, str(left), 30) is DONE
            assert here.run(sleep, str(tmp_path / "notes"), 4.0) is DONE
    finally:
        isolated_jobs.LOGGER.removeFilter(take_slowly)
    assert len(isolated_jobs.notes(tmp_path / "notes")) == 1
    assert "line 29" in caplog.text
    assert "silent" not in caplog.text


def test_a_job_that_begins_after_all_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two of its children were killed while they received it, by somebody else: it is done, and nothing is kept."""
    victims = iter([True, True])
    kill_amid_message(monkeypatch, lambda _message: next(victims, False))
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow)
    with isolated(pipeline, queue) as here:
        assert here.wait(here.offer(swallow, "x"), within_s=WITHIN_S) == [DONE]
        assert here.assignment.crash_history.crashes == {}
        assert not here.runners._deaths
    assert len(lines_about(caplog, "job-0 (swallow)")) == 2


def test_children_that_died_before_they_were_given_the_job_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many there are: nothing of the job can have killed them."""
    pipeline, queue, (add,) = declare(isolated_jobs.add, crash_limit=1)
    with isolated(pipeline, queue, isolated_concurrency=3) as here:
        children = here.wait_idle(4)
        idle, look_at = set(children), ChildPool._look_at
        monkeypatch.setattr(
            ChildPool, "_look_at", lambda pool, child: None if child.pid in idle else look_at(pool, child)
        )
        for child in children:
            os.kill(child, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, children)), what="the end of the children")
        job = here.offer(add, str(tmp_path / "notes"), 1, 2)
        wait_until(lambda: len(lines_about(caplog, "job-0 (add)")) == 4, what="the job to be given to each of them")
        idle.clear()
        assert here.wait(job, within_s=WITHIN_S) == [DONE]
    assert here.assignment.crash_history.crashes == {}
    assert all("nothing is counted" in line for line in lines_about(caplog, "job-0 (add)"))


def test_a_shutdown_while_a_child_receives_its_job_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker itself kills the child then, and the job is delivered again."""
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, crash_limit=1)
    begun = hang_children(monkeypatch)
    with isolated(pipeline, queue) as here:
        job = here.offer(swallow, "x" * 4 * MIB)
        assert begun.wait(WITHIN_S)
        here.runners.interrupt()
        assert here.wait(job, within_s=WITHIN_S) == [INTERRUPTED]
    assert here.assignment.crash_history.crashes == {}
    assert lines_about(caplog, "job-0") == []


def test_a_shutdown_before_a_child_is_given_its_job_is_no_death(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker itself kills the child then: the log does not blame the kernel for it."""
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, crash_limit=1)

    def shut_down_behind(job: DecodedJob, slot: Slot, step_context: StepContext) -> HeldBack | Raised | None:
        held = hold_back(job, slot, step_context)
        children = here.runners.process_ids()
        here.runners.interrupt()
        wait_until(lambda: all(map(is_gone, children)), what="the end of the children")
        return held

    monkeypatch.setattr("stoker.consumers.isolation.isolated_runners.hold_back", shut_down_behind)
    with isolated(pipeline, queue) as here:
        assert here.wait(here.offer(swallow, "x"), within_s=WITHIN_S) == [INTERRUPTED]
    assert lines_about(caplog, "job-0") == []


def test_deaths_before_the_begin_are_counted_though_a_gate_holds_the_job_back_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a job whose children die would go on for ever where a limit comes in between each time."""
    kill_amid_message(monkeypatch, lambda _message: True)
    looks = count()

    def hold_back_each_second_time(job: DecodedJob, *_: Any) -> HeldBack | None:
        if next(looks) % 2 == 0:
            return None
        here.runners.make_ready([job.record])
        return HeldBack(None)

    monkeypatch.setattr("stoker.consumers.isolation.isolated_runners.hold_back", hold_back_each_second_time)
    pipeline, queue, (swallow,) = declare(isolated_jobs.swallow, crash_limit=1)
    with isolated(pipeline, queue) as here:
        outcome = here.wait(here.offer(swallow, "x"), within_s=WITHIN_S)[0]
    assert isinstance(outcome, Dead)
    assert next(looks) == 5, "three runs that did not begin, and two that were held back"


def test_deaths_before_the_begin_are_forgotten_once_the_job_has_ended_elsewhere() -> None:
    """As by a cancel while a gate held it back; one that has not ended keeps them."""
    record = declare_delivery().job().record
    deaths = JobDeaths()
    assert [deaths.note_not_begun(record) for _ in range(2)] == [1, 2]
    deaths.forget_settled()
    assert record in deaths
    record.assignment.progress.note_delivered(record.offset)
    record.assignment.progress.complete(record.offset)
    deaths.forget_settled()
    assert not deaths
