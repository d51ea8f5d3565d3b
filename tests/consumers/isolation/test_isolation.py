"""Jobs in child processes: what they know and leave behind, which limits are kept, and what their ends lead to."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers import WorkerSettings
from stoker.consumers.gates.pauses import Pause, Pauses
from stoker.consumers.inspection.queue_inspection import RunInspection, inspect_runs
from stoker.consumers.isolation.child_process import ChildProcess
from stoker.consumers.isolation.child_run import _Watch
from stoker.consumers.isolation.crashes import ChildDied, CrashPause
from stoker.consumers.isolation.isolated_runners import IsolatedRunners
from stoker.consumers.isolation.messages import BEGUN, HEARTBEAT, Ended, FromChild, LogLine, send
from stoker.consumers.job.endings import TimeLimitExceeded
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, Cancelled, Dead, Retried, Snoozed
from stoker.consumers.records.record import Record
from stoker.consumers.runners.slots import Slot
from stoker.consumers.steps.results import RETURNED_NOTHING, Decided, Raised
from stoker.topology import RetryPolicy
from stoker.topology.declaration.delays import DelayClass
from support.programs import isolated_jobs
from support.scenes.deliveries import declare as declare_delivery
from support.scenes.isolated_runners import Isolated, declare, is_gone, isolated
from support.waiting import wait_until

MIB = 1024 * 1024
CHILD_DIED = ChildDied(signal=9, exit_code=None, resident_bytes=0, ran_s=1.0, pid=1)


def test_sync_and_async_jobs_run_in_another_process(tmp_path: Path) -> None:
    """Their outcome is the one that identity is asked of, and one child runs them one after another."""
    pipeline, queue, (add, add_async) = declare(isolated_jobs.add, isolated_jobs.add_async)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(add, str(file), 1, 2) is DONE
        assert here.run(add_async, str(file), 3, 4) is DONE
    (first, first_pid), (second, second_pid) = (line.split() for line in isolated_jobs.notes(file))
    assert (first, second) == ("3", "7")
    assert first_pid == second_pid != str(os.getpid())


def test_a_job_in_a_child_knows_itself(tmp_path: Path) -> None:
    """`current_job` works there as in the worker."""
    pipeline, queue, (tell,) = declare(isolated_jobs.tell_context)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        here.run(tell, str(file), key=b"k", headers={"mine": b"own"}, attempt=2)
    assert isolated_jobs.notes(file) == [repr(("job-0", "tell_context", "q", 2, 5, "k", "unit.q/0/0", b"own"))]


def test_a_failure_in_a_child_is_decided_by_the_types_policy() -> None:
    """With error, text and stack as if it had been raised in the worker; what the policy calls permanent is."""
    pipeline, queue, (fail, leave) = declare(
        isolated_jobs.fail, isolated_jobs.exit_politely, retry=RetryPolicy(permanent=(ValueError,))
    )
    with isolated(pipeline, queue) as here:
        dead = here.run(fail, "broken")
        retried = here.run(leave, 3)
    assert isinstance(dead, Dead)
    assert (dead.reason, dead.failure.error_type, dead.failure.message) == ("permanent", "ValueError", "broken")
    assert "isolated_jobs.py" in dead.failure.stack
    assert isinstance(retried, Retried)
    assert (retried.next_attempt, retried.failure.error_type) == (2, "SystemExit")


@pytest.mark.parametrize("handler", [isolated_jobs.answer, isolated_jobs.answer_async])
def test_what_an_isolated_job_answers_means_the_same_as_elsewhere(handler: Callable[[str], object]) -> None:
    """Returned or raised, alone or in a group, and of classes that no other process knows."""
    pipeline, queue, (act,) = declare(handler)
    with isolated(pipeline, queue) as here:
        assert here.run(act, "return a discard") == Cancelled(reason="discarded", detail="sold out")
        for snoozed in (here.run(act, "raise a snooze"), here.run(act, "return an odd snooze")):
            assert isinstance(snoozed, Snoozed)
            assert snoozed.delay is DelayClass.SHORT
        for how, told in (("return a retry", "busy"), ("return a generator", "a generator"), ("x", "an exception")):
            retried = here.run(act, how)
            assert isinstance(retried, Retried)
            assert told in retried.failure.message
    assert here.assignment.crash_history.crashes == {}


@pytest.mark.parametrize("how", ["hold_the_interpreter", "sleep"])
def test_a_job_past_its_timeout_is_killed_also_inside_of_c_code(how: str, tmp_path: Path) -> None:
    """It costs an attempt, the failure says where the job was, and the next job has a child."""
    pipeline, queue, (stay, add) = declare(getattr(isolated_jobs, how), isolated_jobs.add, timeout=timedelta(seconds=1))
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        outcome = here.run(stay, str(file), 60)
        assert isinstance(outcome, Retried)
        assert outcome.next_attempt == 2
        assert outcome.failure.error_type == "stoker.consumers.job.endings.TimeLimitExceeded"
        assert "timeout of 1 s" in outcome.failure.message
        assert f"in {how}" in outcome.failure.stack
        assert is_gone(int(isolated_jobs.notes(file)[0]))
        assert here.run(add, str(file), 1, 2) is DONE
    assert here.assignment.crash_history.crashes == {}


@pytest.mark.parametrize("size_bytes", [1, 4 * MIB])
def test_a_job_whose_child_does_not_begin_with_it_runs_in_another(
    size_bytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread of an earlier job holds the interpreter: its child is killed, and nobody blamed, nor timed meanwhile."""
    monkeypatch.setattr("stoker.consumers.isolation.child_process.TAKE_WITHIN_S", 1.5)
    handlers = (isolated_jobs.hold_the_interpreter_later, isolated_jobs.swallow)
    pipeline, queue, (hold, swallow) = declare(*handlers, timeout=timedelta(seconds=1))
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(hold, str(file), 60) is DONE
        (child,) = wait_until(lambda: isolated_jobs.notes(file), 60, "the thread that holds the interpreter")
        assert here.run(swallow, "x" * size_bytes) is DONE
        assert is_gone(int(child))
    assert here.assignment.crash_history.crashes == {}


def test_a_job_above_its_memory_limit_is_killed() -> None:
    """It costs an attempt; one that stays below is left alone."""
    pipeline, queue, (grow,) = declare(isolated_jobs.grow, memory_limit_bytes=400 * MIB)
    with isolated(pipeline, queue) as here:
        outcome = here.run(grow, 500 * MIB, 60)
        assert isinstance(outcome, Retried)
        assert outcome.failure.error_type == "stoker.consumers.job.endings.MemoryLimitExceeded"
        assert here.run(grow, MIB, 0) is DONE
    assert here.assignment.crash_history.crashes == {}


@pytest.mark.parametrize(
    ("how", "argument", "evidence"),
    [
        ("exit_at_once", 7, "ended with exit code 7"),
        ("segfault", 0, "was killed by SIGSEGV"),
        ("kill_itself", 9, "was killed by SIGKILL, perhaps by the kernel"),
    ],
)
def test_a_job_that_kills_its_process_is_quarantined_with_the_evidence(
    how: str, argument: int, evidence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After as many deaths as its queue bears, none of which costs an attempt, while other jobs run."""
    monkeypatch.setattr("stoker.consumers.isolation.crashes.FIRST_PAUSE", timedelta(milliseconds=10))
    pipeline, queue, (die, add) = declare(getattr(isolated_jobs, how), isolated_jobs.add)
    with isolated(pipeline, queue) as here:
        deadly = here.offer(die, argument)
        others = [here.offer(add, str(tmp_path / "notes"), number, 0) for number in range(10)]
        (outcome, *rest) = here.wait(deadly, *others)
    assert isinstance(outcome, Dead)
    assert (outcome.reason, outcome.crashes) == ("quarantined", 3)
    assert "its process died 3 times" in outcome.failure.message
    assert evidence in outcome.failure.message
    assert "MiB resident" in outcome.failure.message
    assert outcome.failure.stack.count(evidence.partition(",")[0]) == 3
    assert ("in segfault" in outcome.failure.stack) is (how == "segfault")
    assert rest == [DONE] * 10
    assert here.assignment.crash_history.crashes == {0: 3}


def test_crashes_of_an_earlier_owner_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that has killed the processes of other workers is quarantined by the next death."""
    pipeline, queue, (die,) = declare(isolated_jobs.exit_at_once)
    with isolated(pipeline, queue) as here:
        here.assignment.crash_history.crashes[0] = 2
        outcome = here.run(die, 1)
    assert isinstance(outcome, Dead)
    assert outcome.crashes == 3


def test_what_a_job_has_started_ends_with_its_child(tmp_path: Path) -> None:
    """Also where a forked process holds the child's pipe open, which must not hide the child's death."""
    pipeline, queue, (start,) = declare(isolated_jobs.start_a_program, crash_limit=1)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        outcome = here.run(start, str(file))
    assert isinstance(outcome, Dead)
    assert "exit code 7" in outcome.failure.message
    started = [int(number) for number in isolated_jobs.notes(file)[0].split()]
    wait_until(lambda: all(map(is_gone, started)), what=f"the end of {started}")


def test_a_childs_log_is_the_workers(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """With the job's id on every line, the caller's extras, and the error with its traceback."""
    pipeline, queue, (log,) = declare(isolated_jobs.log_something)
    with caplog.at_level(logging.INFO), isolated(pipeline, queue) as here:
        assert here.run(log, "hello") is DONE
    lines = {record.getMessage(): record for record in caplog.records if record.name in ("isolated", "stoker.job")}
    assert set(lines) == {"by the job: hello", "by a library: hello", "with a traceback"}
    assert {vars(record)["job_id"] for record in lines.values()} == {"job-0"}
    assert vars(lines["by the job: hello"])["nested"] == {"list": [1, "2"]}
    shown = lines["with a traceback"]
    assert shown.exc_text is not None
    assert "KeyError: 'hello'" in shown.exc_text
    assert shown.exc_info is not None
    assert repr(shown.exc_info[1]) == "KeyError('hello')"
    assert "printed hello" in capfd.readouterr().out


def test_a_job_that_ends_well_is_done_though_its_output_cannot_be_written() -> None:
    """A disk that is full is no crash of the job, which would be run again and quarantined."""
    pipeline, queue, (say,) = declare(isolated_jobs.print_to_a_full_disk)
    with isolated(pipeline, queue) as here:
        assert here.run(say, "hello") is DONE
    assert here.assignment.crash_history.crashes == {}


def test_a_job_that_logs_without_end_has_its_timeout(caplog: pytest.LogCaptureFixture) -> None:
    """The worker reads its log, and the clock all the same."""
    pipeline, queue, (log,) = declare(isolated_jobs.log_without_end, timeout=timedelta(milliseconds=500))
    with caplog.at_level(logging.INFO), isolated(pipeline, queue) as here:
        assert isinstance(here.run(log, "again"), Retried)
        caplog.clear()


def test_heartbeats_reach_the_worker(tmp_path: Path) -> None:
    """Each heartbeat moves the deadline on, so that only silence ends the job."""
    pipeline, queue, (work, sleep) = declare(
        isolated_jobs.give_signs, isolated_jobs.sleep, heartbeat=timedelta(milliseconds=500)
    )
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(work, str(file), 20) is DONE
        silent = here.run(sleep, str(file), 60.0)
    assert len(isolated_jobs.notes(file)) == 21
    assert isinstance(silent, Retried)
    assert "no heartbeat for 0.5 s" in silent.failure.message


def test_a_job_in_a_child_learns_that_it_should_stop(tmp_path: Path) -> None:
    """When its partition is given away, say."""
    pipeline, queue, (work,) = declare(isolated_jobs.give_signs)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        job = here.offer(work, str(file), 10_000)
        wait_until(lambda: isolated_jobs.notes(file), what="the job's begin", within_s=60)
        here.assignment.leave()
        assert here.wait(job) == [DONE]
    assert isolated_jobs.notes(file)[-1] == "stopped"


def test_signals_of_the_terminal_are_left_to_the_worker(tmp_path: Path) -> None:
    """A child goes on at Ctrl+C and SIGTERM, but what it starts can be terminated as usual."""
    pipeline, queue, (ignore,) = declare(isolated_jobs.ignore_signals)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(ignore, str(file)) is DONE
    assert isolated_jobs.notes(file) == ["0"]


def test_a_stop_cuts_short_what_runs(tmp_path: Path) -> None:
    """At no attempt's cost: the record is delivered again; the children are gone."""
    pipeline, queue, (sleep,) = declare(isolated_jobs.sleep)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        job = here.offer(sleep, str(file), 60.0)
        wait_until(lambda: isolated_jobs.notes(file), what="the job's begin", within_s=60)
        children = here.runners.process_ids()
        here.runners.interrupt()
        assert here.wait(job) == [INTERRUPTED]
    wait_until(lambda: all(map(is_gone, children)), what="the end of the children")
    assert here.assignment.crash_history.crashes == {}


def test_a_job_that_waits_after_a_crash_is_taken_back_with_its_partition() -> None:
    """It has not begun again, so its next owner may have it at once."""
    pipeline, queue, (die,) = declare(isolated_jobs.exit_at_once)
    with isolated(pipeline, queue) as here:
        here.offer(die, 1)
        wait_until(lambda: here.assignment.crash_history.crashes == {0: 1}, 60, "the first crash")
        wait_until(lambda: here.gates.view.count, what="the record")
        (wait,) = here.gates.view.waiting().values()
        taken = here.gates.wait_set.drop([here.assignment])
        here.assignment.leave()
        here.runners.drop([here.assignment])
        assert not here.runners._deaths, "nobody will ask for the evidence"
    assert wait.why == CrashPause(timedelta(seconds=1))
    assert [record.offset for record in taken] == [0]
    assert here.outcomes == {}


def test_a_job_that_is_paused_while_it_waits_for_a_child_does_not_begin(tmp_path: Path) -> None:
    """It waits at the gates until the pause ends; the child goes to others."""
    pipeline, queue, (add,) = declare(isolated_jobs.add)
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        pauses = Pauses(here.gates)
        here.gates.add([pauses])
        job_id = here.offer(add, str(file), 1, 2)  # no child runs yet, and one takes its time to start
        pauses.begin(Pause("q"))
        wait_until(lambda: here.gates.view.count, what="the record")
        assert isolated_jobs.notes(file) == []
        assert here.outcomes == {}
        pauses.end(Pause("q"))
        assert here.wait(job_id) == [DONE]


def test_an_inspection_shows_where_a_child_is(tmp_path: Path) -> None:
    """The job's own frames rather than those of the thread that waits for it, and the job is not disturbed."""
    pipeline, queue, (wait, hold) = declare(isolated_jobs.wait_for, isolated_jobs.hold_the_interpreter)
    file, marker = tmp_path / "notes", tmp_path / "marker"
    with isolated(pipeline, queue) as here:
        job = here.offer(wait, str(file), str(marker))
        wait_until(lambda: isolated_jobs.notes(file), 60, "the job's begin")
        shown = wait_until(lambda: _shown(here, "wait_for"), 60, "its stack")
        assert shown is not None
        assert (shown.job_id, shown.state) == ("job-0", "running")
        marker.touch()
        assert here.wait(job) == [DONE]
        here.offer(hold, str(file), 60)
        wait_until(lambda: len(isolated_jobs.notes(file)) == 2, 60, "the next job's begin")
        assert wait_until(lambda: _shown(here, "does not answer"), 60, "a line that says so")


def _shown(here: Isolated, part: str) -> RunInspection | None:
    (run,) = inspect_runs(here.runners.slots, time.monotonic())
    return run if any(part in line for line in run.stack) else None


class SaidAndDied(ChildProcess):
    """A child that has said something and died, and nobody has listened so far."""

    def __init__(self, *said: FromChild) -> None:
        self._pipe, theirs = Pipe()
        self._has_hung_up = False
        with theirs:
            for message in said:
                send(theirs, message)

    def ended(self) -> bool:
        """It has."""
        return True

    @property
    def has_ended(self) -> bool:
        """It has."""
        return True

    def death(self, ran_s: float | None) -> ChildDied:
        """By a kill."""
        return replace(CHILD_DIED, ran_s=ran_s)


def test_a_child_that_dies_after_its_job_has_ended_well_is_held_against_nobody() -> None:
    """The outcome may stand in the pipe behind other words: it is read to its end before the child's death counts."""
    run = declare_delivery().job().run
    words: list[FromChild] = [BEGUN, HEARTBEAT, *[LogLine(pickle.dumps({"name": "isolated", "levelno": 1}))] * 250]
    well, badly = SaidAndDied(*words, Ended(None)), SaidAndDied(*words)
    assert _Watch(well, run, None)._look() is RETURNED_NOTHING
    assert isinstance(_Watch(badly, run, None)._look(), ChildDied)


def test_a_job_that_is_held_back_after_crashes_keeps_their_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a limit at its last look: it runs again later, and the dead letter shows each of its crashes."""
    monkeypatch.setattr("stoker.consumers.isolation.crashes.FIRST_PAUSE", timedelta(0))
    pipeline, queue, (die,) = declare(isolated_jobs.exit_at_once)
    with isolated(pipeline, queue) as here:
        run, endings = here.runners._run, list[object]()

        def held_back_once(*arguments: Any) -> Any:
            is_held = len(endings) == 2
            endings.append(Decided(None) if is_held else run(*arguments))
            if is_held:
                here.runners.make_ready([arguments[0].record])
            return endings[-1]

        monkeypatch.setattr(here.runners, "_run", held_back_once)
        outcome = here.run(die, 7)
    assert [type(ending) for ending in endings] == [ChildDied, ChildDied, Decided, ChildDied]
    assert isinstance(outcome, Dead)
    assert outcome.failure.stack.count("ended with exit code 7") == 3


def test_isolated_runners_fail_with_their_threads() -> None:
    """The worker must not live on with runners that nobody wakes, or with children that nobody starts."""
    of_threads, of_children = ValueError("of threads"), ValueError("of children")
    runners = IsolatedRunners(
        declare_delivery().step_context,
        WorkerSettings(),
        lambda *_: None,
        deque[Record].clear,
        send_back=lambda *_: False,
    )
    assert runners.crashed is None
    runners._threads._threads[0].crashed = of_threads
    assert runners.crashed is of_threads
    runners._pool.thread.crashed = of_children
    assert runners.crashed is of_children


def test_a_crash_is_forgotten_once_its_job_has_ended_in_any_way() -> None:
    """Else the evidence of each crash, and its record, would stay for as long as the worker lives."""
    pipeline, queue, _ = declare(isolated_jobs.add)
    with isolated(pipeline, queue) as here:
        for ending in (RETURNED_NOTHING, Decided(INTERRUPTED), Raised(TimeLimitExceeded(1.0))):
            job = declare_delivery().job()
            here.runners._deaths.note_crash(job.record, CHILD_DIED)
            here.runners._run = lambda *_arguments, ending=ending: ending  # type: ignore[method-assign]
            here.runners.run(job, Slot(), here.step_context)
            assert not here.runners._deaths
        skipped = declare_delivery().job().record
        here.runners._deaths.note_crash(skipped, CHILD_DIED)
        here.runners.note_settled()
        assert not here.runners._deaths, "its twin was done meanwhile, and a commit has forgotten its crashes"
