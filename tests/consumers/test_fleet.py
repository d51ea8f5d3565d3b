"""A fleet keeps its processes running, pauses longer for those that keep ending, and ends them all when told to."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker.consumers import fleet as fleets
from stoker.consumers.fleet import Fleet
from stoker.consumers.machine import describe_exit
from stoker.operations.cli.exit_codes import ExitCode
from support.blocking_log import blocking_log
from support.waiting import wait_until

GRACE = timedelta(seconds=30)
NOTE_AND = "import os, signal, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n'); "
WAIT_FOR_SIGTERM = (
    f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); {NOTE_AND} signal.pause()"
)
IGNORE_SIGTERM = f"import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); {NOTE_AND} signal.pause()"
NOTE_SIGNAL = f"""
import signal, sys
def note(number, frame):
    open(sys.argv[1], 'a').write(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, note), signal.signal(signal.SIGINT, note)
{NOTE_AND}signal.pause()
"""


class Supervised:
    """A fleet running in a thread."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.exit_code: int | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.exit_code = self.fleet.run()

    def wait_ended(self) -> int | None:
        """The exit code, once the fleet has ended."""
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.exit_code


@contextmanager
def supervised(code: str, size: int, *arguments: str, grace: timedelta = GRACE) -> Iterator[Supervised]:
    """A fleet of Python one-liners, ended afterwards."""
    running = Supervised(Fleet(command=[sys.executable, "-c", code, *arguments], size=size, grace=grace))
    running.thread.start()
    try:
        yield running
    finally:
        running.fleet.stop()
        try:
            running.wait_ended()
        finally:
            for left in running.fleet.process_ids():
                os.kill(left, signal.SIGKILL)


@pytest.mark.expected_errors("ended on its own")
def test_a_process_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The others go on, and the fleet is as large as before."""
    monkeypatch.setattr(fleets, "FIRST_PAUSE_S", 0.01)
    with supervised(WAIT_FOR_SIGTERM, 2, str(tmp_path / "ready")) as running:
        wait_until(lambda: len(running.fleet.process_ids()) == 2, what="two processes")
        victim, survivor = running.fleet.process_ids()
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: len(ids := running.fleet.process_ids()) == 2 and victim not in ids, what="a new second process"
        )
        assert survivor in running.fleet.process_ids()


@pytest.mark.expected_errors("ended on its own")
def test_the_pause_doubles_while_processes_end_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken code does not make the fleet spin."""
    pauses: list[float] = []
    monkeypatch.setattr(fleets, "LONGEST_PAUSE_S", 0.08)
    monkeypatch.setattr(fleets, "YOUNG_S", 100.0)  # a busy machine takes its time to start a process
    note_end = Fleet._note_end

    def note(self: Fleet, member: fleets._Member, process_id: int, code: int) -> None:
        note_end(self, member, process_id, code)
        pauses.append(member.pause_s)

    monkeypatch.setattr(Fleet, "_note_end", note)
    running = Supervised(Fleet(command=[sys.executable, "-c", "raise SystemExit(1)"], size=1, grace=GRACE))
    monkeypatch.setattr(fleets._Member.__init__, "__defaults__", _with_first_pause(0.01))
    running.thread.start()
    wait_until(lambda: len(pauses) >= 4, 60, "four ends")
    running.fleet.stop()
    running.wait_ended()
    assert pauses[:4] == [0.02, 0.04, 0.08, 0.08]


def _with_first_pause(pause_s: float) -> tuple[object, ...]:
    defaults = fleets._Member.__init__.__defaults__
    assert defaults is not None
    return tuple(pause_s if value == fleets.FIRST_PAUSE_S else value for value in defaults)


@pytest.mark.expected_errors("ended on its own", "could not be started")
def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the machine has no memory for one more just now, the others go on, and the fleet is whole again later."""
    monkeypatch.setattr(fleets, "FIRST_PAUSE_S", 0.01)
    opened, refusals = subprocess.Popen, iter([OSError(errno.ENOMEM, "Cannot allocate memory")] * 2)
    with supervised(WAIT_FOR_SIGTERM, 2, str(tmp_path / "ready")) as running:
        wait_until(lambda: len(running.fleet.process_ids()) == 2, what="two processes")
        victim, survivor = running.fleet.process_ids()

        def refuse(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
            for refusal in refusals:
                raise refusal
            return opened(*arguments, **options)

        monkeypatch.setattr(subprocess, "Popen", refuse)
        os.kill(victim, signal.SIGKILL)
        wait_until(
            lambda: len(ids := running.fleet.process_ids()) == 2 and victim not in ids, what="a new second process"
        )
        assert next(refusals, None) is None
        assert survivor in running.fleet.process_ids()


def test_told_to_stop_it_ends_all_gracefully(tmp_path: Path) -> None:
    """Each process gets SIGTERM, and the fleet ends with the last one."""
    ready = tmp_path / "ready"
    with supervised(WAIT_FOR_SIGTERM, 3, str(ready)) as running:
        wait_until(lambda: ready.exists() and len(ready.read_text().splitlines()) == 3, what="three processes")
        running.fleet.stop()
        assert running.wait_ended() == 0
        assert running.fleet.process_ids() == []


@pytest.mark.expected_errors("it hangs, and is killed")
@pytest.mark.parametrize(("signals", "how"), [(1, "asked to stop, and"), (2, "asked to stop at once, and")])
def test_a_process_that_hangs_is_killed_once_the_time_for_a_stop_is_over(
    signals: int, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The fleet says so, and ends with a code that is not 0; after a second signal it waits for no grace."""
    monkeypatch.setattr(fleets, "PROCESS_AFTER_GRACE_S", 0.3 if signals == 1 else 1000.0)
    monkeypatch.setattr(fleets, "PROCESS_AT_ONCE_S", 0.3 if signals == 2 else 1000.0)
    ready = tmp_path / "ready"
    with supervised(IGNORE_SIGTERM, 2, str(ready), grace=timedelta(seconds=0.2)) as running:
        wait_until(lambda: ready.exists() and len(ready.read_text().splitlines()) == 2, what="two processes")
        for _ in range(signals):
            running.fleet._on_signal(signal.SIGTERM, None)
        assert running.wait_ended() == -signal.SIGKILL
    messages = [record.getMessage() for record in caplog.records if "hangs" in record.getMessage()]
    assert {int(message.split()[2]) for message in messages} == set(map(int, ready.read_text().split()))
    assert all(how in message for message in messages)


@pytest.mark.expected_errors("it hangs, and is killed")
def test_processes_that_hang_are_killed_also_where_the_log_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All of them, before anything is logged about one."""
    monkeypatch.setattr(fleets, "PROCESS_AFTER_GRACE_S", 0.1)
    ready = tmp_path / "ready"
    with supervised(IGNORE_SIGTERM, 2, str(ready), grace=timedelta()) as running, blocking_log("stoker.fleet"):
        wait_until(lambda: ready.exists() and len(ready.read_text().splitlines()) == 2, what="two processes")
        running.fleet.stop()
        assert running.wait_ended() == -signal.SIGKILL


@pytest.mark.expected_errors("it hangs, and is killed", "were killed and have not ended")
def test_a_process_that_the_kernel_holds_does_not_keep_the_fleet_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even SIGKILL ends it, and nothing else would."""
    monkeypatch.setattr(fleets, "PROCESS_AFTER_GRACE_S", 0.1)
    monkeypatch.setattr(fleets, "KILLED_WITHIN_S", 0.2)
    ready = tmp_path / "ready"
    with supervised(IGNORE_SIGTERM, 1, str(ready), grace=timedelta()) as running, monkeypatch.context() as held:
        wait_until(lambda: ready.exists() and ready.read_text().endswith("\n"), what="the process")
        held.setattr(subprocess.Popen, "kill", lambda _process: None)
        running.fleet.stop()
        assert running.wait_ended() == 1
    for member in running.fleet._members:
        assert member.process is not None
        member.process.wait(30)


def test_a_process_that_uses_its_grace_is_not_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its jobs may run until the grace ends, and it settles behind that."""
    monkeypatch.setattr(fleets, "PROCESS_AFTER_GRACE_S", 0.0)
    ready, code = (
        tmp_path / "ready",
        f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit(0)))
{NOTE_AND}signal.pause()
""",
    )
    with supervised(code, 1, str(ready), grace=GRACE) as running:
        wait_until(ready.exists, what="the process")
        running.fleet._on_signal(signal.SIGTERM, None)
        assert running.wait_ended() == 0


@pytest.mark.expected_errors("ended on its own (exit code 2)")
def test_a_process_that_a_job_ends_as_if_its_options_were_refused_is_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """C and Fortran libraries call `exit(2)`: that must not stop the fleet, and is no word about its options."""
    monkeypatch.setattr(fleets, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(fleets, "YOUNG_S", 0.0)
    code = WAIT_FOR_SIGTERM.replace("SIGTERM", "SIGHUP").replace("sys.exit(0)", "sys.exit(2)")
    with supervised(code, 2, str(tmp_path / "ready")) as running:
        wait_until(lambda: _count_noted(tmp_path / "ready") == 2, what="two processes")
        victim, survivor = running.fleet.process_ids()
        os.kill(victim, signal.SIGHUP)
        wait_until(
            lambda: len(ids := running.fleet.process_ids()) == 2 and victim not in ids, what="a new second process"
        )
        assert survivor in running.fleet.process_ids()


def _count_noted(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.expected_errors("refused its options", "contracts are refused")
@pytest.mark.parametrize("code", [ExitCode.USAGE, ExitCode.REFUSED])
def test_a_process_that_refuses_to_run_stops_the_fleet(
    code: ExitCode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another one would refuse its options or contracts again; its exit code is the fleet's."""
    monkeypatch.setattr(fleets, "YOUNG_S", 100.0)  # a busy machine takes its time to start a process
    started = tmp_path / "started"
    with supervised(f"{NOTE_AND}sys.exit({code})", 1, str(started)) as running:
        assert running.wait_ended() == code
    assert len(started.read_text().splitlines()) == 1


def test_a_stop_in_the_middle_of_a_start_reaches_the_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that comes while a process is being started must not leave that one running for ever."""
    start = subprocess.Popen
    holder: list[Fleet] = []

    def stop_before_it_is_known(*arguments: object, **options: object) -> object:
        process = start(*arguments, **options)  # type: ignore[call-overload]  # passes on what it got
        holder[0].stop()
        return process

    monkeypatch.setattr(subprocess, "Popen", stop_before_it_is_known)
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    running = Supervised(Fleet(command=command, size=1, grace=GRACE))
    holder.append(running.fleet)
    running.thread.start()
    assert running.wait_ended() == 0


def test_ctrl_c_of_a_fleet_is_sigterm_for_its_processes(tmp_path: Path) -> None:
    """A worker excuses failures after a SIGINT, but the terminal has not reached the programs of this one's jobs."""
    with supervised(NOTE_SIGNAL, 1, str(tmp_path / "notes")) as running:
        wait_until((tmp_path / "notes").exists, what="the process to be ready")
        running.fleet._on_signal(signal.SIGINT, None)
        running.wait_ended()
    assert (tmp_path / "notes").read_text().split()[1:] == ["SIGTERM"]


def test_ctrl_c_at_a_terminal_reaches_each_process_once(tmp_path: Path) -> None:
    """The terminal signals its whole process group: members in a group of their own get only what the fleet sends."""
    started = tmp_path / "groups"
    code = "import os, sys, signal; open(sys.argv[1], 'w').write(str(os.getpgid(0))); signal.pause()"
    with supervised(code, 1, str(started)) as running:
        group = wait_until(lambda: started.exists() and started.read_text(), what="the process")
        assert int(str(group)) != os.getpgid(0)
        running.fleet.stop()


@pytest.mark.parametrize(
    ("code", "said"), [(1, "exit code 1"), (-9, "killed by SIGKILL"), (-15, "killed by SIGTERM"), (-99, "signal 99")]
)
def test_an_exit_is_reported_in_words(code: int, said: str) -> None:
    """As an operator reads it."""
    assert said in describe_exit(code)
