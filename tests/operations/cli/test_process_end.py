"""A command's process ends, whatever jobs have left behind in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from stoker.operations.cli.process_end import stop_signals

LEAVING = """
import multiprocessing, signal, sys, threading, time, concurrent.futures
from stoker.operations.cli import main, process_end
process_end.LEFT_BEHIND_S = 0.5
how = sys.argv.pop()
if how == "thread":
    threading.Thread(target=time.sleep, args=(600,)).start()
if how == "executor":
    concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 600)
if how == "process":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(3,)).start()
main(prog_name="stoker")
"""


@pytest.mark.parametrize(
    ("how", "word", "code"),
    [("thread", "--version", 0), ("executor", "no-such-command", 2), ("process", "--version", 0)],
)
def test_a_command_does_not_wait_for_what_was_left_behind(how: str, word: str, code: int) -> None:
    """It has its own exit code, and logs without what it ends."""
    command = (sys.executable, "-W", "ignore", "-c", LEAVING, word, how)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, start_new_session=True)
    assert ended.returncode == code
    assert "the process ends without" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_a_command_to_stop_once(number: signal.Signals) -> None:
    """What is at hand is finished; a second one has its former effect, and behind the command each one has it again."""
    asked, former_got = list[str](), list[int]()
    at_first = signal.signal(number, lambda got, _frame: former_got.append(got))
    try:
        with stop_signals(lambda: asked.append("asked")) as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), number)
            assert (stop.is_set(), asked, former_got) == (True, ["asked"], [])
            os.kill(os.getpid(), number)
            assert (asked, former_got) == (["asked"], [number])
        os.kill(os.getpid(), number)
        assert (asked, former_got) == (["asked"], [number] * 2)
    finally:
        signal.signal(number, at_first)
