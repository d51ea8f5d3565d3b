"""A guarded thread never ends unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from stoker.consumers.guarded_thread import GuardedThread, first_crash

FAULT = ValueError("a fault")


def fail() -> None:
    raise FAULT


def ended(thread: GuardedThread) -> GuardedThread:
    """The thread, once it has run."""
    thread.start()
    thread.join(60)
    assert not thread.is_alive
    return thread


def test_what_ends_a_thread_is_kept_and_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python prints it; so it is seen also where nobody looks at the thread any more, as in a shutdown."""
    printed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: printed.append(args.exc_value))
    thread = ended(GuardedThread("stoker-test", fail))
    assert (thread.crashed, printed) == (FAULT, [FAULT])
    assert first_crash([ended(GuardedThread("stoker-test", lambda: None)), thread]) is FAULT


def test_what_ends_a_thread_goes_to_who_takes_it() -> None:
    """That one logs it, so that Python does not print it again."""
    taken: list[BaseException] = []
    assert ended(GuardedThread("stoker-test", fail, taken.append)).crashed is FAULT
    assert taken == [FAULT]


@pytest.mark.parametrize("run", [fail, lambda: None])
def test_what_is_done_at_the_end_waits_for_no_crash_to_be_known(run: Callable[[], None]) -> None:
    """To disconnect may take long, and the worker is to stop meanwhile."""
    taken: list[BaseException] = []
    found: list[int] = []
    thread = ended(GuardedThread("stoker-test", run, taken.append, at_end=lambda: found.append(len(taken))))
    assert found == [0 if thread.crashed is None else 1]


def test_a_thread_that_was_not_started_is_not_waited_for() -> None:
    """Some are started only when they are needed, and stopped in any case."""
    thread = GuardedThread("stoker-test", fail)
    thread.join()
    assert (thread.ident, thread.is_alive, thread.crashed) == (0, False, None)
    assert first_crash([thread]) is None


def test_the_current_thread_knows_itself_and_may_keep_its_process_alive() -> None:
    """A worker that is not the program's own is stopped with it."""
    found: list[tuple[bool, bool]] = []

    def look() -> None:
        found.append((thread.is_current, threading.current_thread().daemon))

    thread = GuardedThread("stoker-test", look)
    thread.start(daemon=False)
    thread.join(60)
    assert found == [(True, False)]
    assert not thread.is_current
