"""A process that a job forks never goes on as a second worker: it ends when it comes back to what has run the job."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from stoker.consumers.records.outcomes import DONE
from stoker.consumers.runners.forks import PROCESS
from support.program import TESTS
from support.programs import isolated_jobs
from support.scenes.isolated_runners import declare, isolated
from support.scenes.worker import DEADLINE_S
from support.waiting import wait_until

RUNNER = """
import sys
from support.programs.forking_jobs import run
run(sys.argv[1], sys.argv[2])
"""
WAYS = [
    "return", "exit", "raise", "thread return", "multiprocessing",
    "async return", "async exit", "async raise", "async await", "async task", "async to_thread", "async callback",
]  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_no_job_runs_twice_and_no_copy_outlives_its_worker(how: str, tmp_path: Path) -> None:
    """Ten jobs before one that forks, and ten behind it: one run each, in one process, and one end of it."""
    notes = tmp_path / "notes"
    command = (sys.executable, "-W", "ignore", "-c", RUNNER, how, str(notes))
    done = subprocess.run(
        command, cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)}, timeout=60, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = [line.split() for line in isolated_jobs.notes(notes)]
    worker = next(pid for what, pid in lines if what == "ended")
    runs = Counter(what for what, _ in lines)
    assert runs == {**{str(number): 1 for number in range(20)}, "fork": 1, "ended": 1}
    assert {pid for _, pid in lines} == {worker}
    forked = json.loads((tmp_path / "notes.forked").read_text())
    wait_until(lambda: not psutil.pid_exists(forked), DEADLINE_S, "the end of the copy")


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 3), ("raise", 1), ("async exit", 3)])
def test_a_copy_ends_with_the_exit_code_of_a_program(how: str, code: int, tmp_path: Path) -> None:
    """The job may wait for it."""
    notes = tmp_path / "notes"
    command = (sys.executable, "-W", "ignore", "-c", RUNNER, how, str(notes))
    subprocess.run(command, cwd=TESTS, env={**os.environ, "PYTHONPATH": str(TESTS)}, timeout=60, check=True)
    assert json.loads((tmp_path / "notes.code").read_text()) == code


@pytest.mark.parametrize("handler", [isolated_jobs.fork_and_return, isolated_jobs.fork_and_return_async])
def test_in_a_child_process_as_well(handler: object, tmp_path: Path) -> None:
    """The child goes on, and what it forked is no second one."""
    pipeline, queue, (act,) = declare(handler)  # type: ignore[arg-type]  # sync or async
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert [here.run(act, str(file)) for _ in range(3)] == [DONE] * 3
    lines = [line.split() for line in isolated_jobs.notes(file)]
    assert len(lines) == 3
    assert len({pid for pid, _ in lines}) == 1
    assert {code for _, code in lines} == {"0"}
    assert here.assignment.crash_history.crashes == {}


@pytest.mark.parametrize("handler", [isolated_jobs.terminate_a_copy, isolated_jobs.terminate_a_copy_async])
def test_a_job_in_a_child_process_can_terminate_what_it_has_forked(handler: object, tmp_path: Path) -> None:
    """The child ignores SIGTERM, but its copies do not: a job that leaves a pool of processes would wait for good."""
    pipeline, queue, (act,) = declare(handler, timeout=timedelta(seconds=10))  # type: ignore[arg-type]  # sync or async
    file = tmp_path / "notes"
    with isolated(pipeline, queue) as here:
        assert here.run(act, str(file)) is DONE
    assert isolated_jobs.notes(file) == ["-15"]


def test_a_signal_that_a_worker_handles_ends_a_copy_of_it() -> None:
    """The worker's own handler would only note it there, and nothing would come of that."""
    former, noted = signal.signal(signal.SIGTERM, signal.SIG_DFL), list[int]()
    try:
        for _ in range(2):  # the second worker of this process takes over from the first one
            PROCESS.handle_signal(signal.SIGTERM, lambda number, _frame: noted.append(number))
        copy = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        copy.start()
        copy.terminate()
        copy.join(DEADLINE_S)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
        copy.kill()
    assert copy.exitcode == -signal.SIGTERM
    assert noted == [signal.SIGTERM]


def test_a_worker_that_begins_in_a_forked_process_is_no_copy() -> None:
    """Servers fork first and begin their work then; it is told by what was there before the fork."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from support.programs.forking_jobs import run_here

            code = 0 if run_here() == ["ran"] and PROCESS.generation else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
