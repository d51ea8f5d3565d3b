"""The poll thread of a queue: when it joins its group, and that it ends by a shutdown."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from stoker.consumers.poll_thread_state import PollThreadState
from stoker.consumers.queue_worker import QueueWorker


class Parts:
    """All that a poll thread calls; `calls` is what it was asked for. It stops with its first turn."""

    crashed = None

    def __init__(self) -> None:
        self.calls = list[str]()
        self.poll_state = PollThreadState()

    def worker(self) -> QueueWorker:
        """A poll thread with these parts."""
        part = cast(Any, self)
        return QueueWorker(
            "work", self.poll_state, partitions=part, housekeeping=part, fetching=part, threads=part, shutdown=part
        )

    def start(self) -> None:
        """As its threads."""

    def join(self) -> None:
        """As its membership."""
        self.calls.append("join")

    def turn(self, *_last_turn_at_s: float) -> None:
        """As what a turn consists of."""
        self.poll_state.is_stopping.set()

    def run(self) -> None:
        """As its shutdown."""
        self.calls.append("shut down")


@pytest.mark.parametrize("may_begin", [False, True])
def test_a_worker_that_is_stopped_before_it_has_joined_its_group_does_not_join(may_begin: bool) -> None:
    """It would cause a rebalance, only to leave at once."""
    parts, begin = Parts(), threading.Event()
    if may_begin:
        begin.set()
    parts.poll_state.is_stopping.set()
    parts.worker().run(begin)
    assert parts.calls == ["shut down"]


def test_a_worker_whose_threads_cannot_be_started_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its poll thread is no more, so nobody takes it for one that hangs."""

    def fail(_self: Parts) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Parts, "start", fail)
    parts = Parts()
    with pytest.raises(RuntimeError, match="can't start"):
        parts.worker().run(threading.Event())
    assert parts.poll_state.has_ended


def test_a_worker_joins_its_group_once_jobs_may_begin() -> None:
    """And shuts down at its end."""
    parts, begin = Parts(), threading.Event()
    begin.set()
    parts.worker().run(begin)
    assert parts.calls == ["join", "shut down"]
