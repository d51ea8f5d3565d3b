"""What ends a process logs without depending on the log."""

from __future__ import annotations

import threading

import pytest

from stoker.topology.bounded_log import log_within


def test_a_log_that_blocks_is_left_behind() -> None:
    """The fact is logged once the handler is free again."""
    let_go, logged = threading.Event(), threading.Event()

    def log() -> None:
        assert let_go.wait(60)
        logged.set()

    log_within(log, 0.01)
    assert not logged.is_set()
    let_go.set()
    assert logged.wait(60)


def test_an_error_of_the_log_does_not_come_back() -> None:
    """A handler or a filter may be broken."""
    log_within(lambda: 1 / 0)


def test_a_process_without_another_thread_logs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it ends is then what matters most."""

    def fail(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    logged = list[str]()
    log_within(lambda: logged.append("why"))
    assert logged == ["why"]
