"""A hang of one queue's thread ends the worker, and cuts no other queue short."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from stoker.consumers.ending.worker_failure import WorkerFailure
from stoker.consumers.ending.worker_watch import WorkerWatch
from stoker.consumers.errors import PollThreadHangs
from support.waiting import wait_until


class Threads:
    """Two poll threads: one hangs, and the other one works until it is let go."""

    def __init__(self) -> None:
        self.is_asked, self.let_go = threading.Event(), threading.Event()
        self.looks = 0

    @property
    def are_alive(self) -> bool:
        """One hangs."""
        return True

    @property
    def are_awaited(self) -> bool:
        """The other one."""
        return not self.let_go.is_set()

    def join(self, timeout_s: float) -> None:
        """Wait for the other one."""
        self.let_go.wait(timeout_s)

    def find_hang(self) -> PollThreadHangs | None:
        """Find the hang once."""
        self.looks += 1
        return PollThreadHangs("work", "stoker-poll-work", how="hangs", stack="") if self.looks == 1 else None


@pytest.mark.expected_errors("hangs")
def test_a_queue_that_is_well_has_its_time_for_the_stop() -> None:
    """Its jobs run until the grace ends, and are settled and committed, before the process is ended."""
    threads, ended = Threads(), threading.Event()
    stop: Callable[[], None] = threads.is_asked.set
    failure = WorkerFailure(stop)
    watch = WorkerWatch(threads, failure, ended.set)
    watch.start(daemon=True)
    wait_until(lambda: threads.looks > 3, 30, "that it looks on")
    assert threads.is_asked.is_set()
    assert not ended.is_set()
    threads.let_go.set()
    assert ended.wait(30)
    assert isinstance(failure.error, PollThreadHangs)
