"""A poll thread that hangs for good is found, also while its worker stops, and no other one."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest

from stoker.consumers.ending.stop_bound import POLL_THREAD_AFTER_GRACE_S, POLL_THREAD_AT_ONCE_S
from stoker.consumers.poll_loop.poll_thread_watch import GIVE_UP_AFTER_S, STUCK_AFTER_S, PollThreadWatch
from stoker.consumers.poll_thread_state import PollThreadState

GRACE = timedelta(minutes=20)
GRACE_S = GRACE.total_seconds()


class Watched:
    """A poll thread, and the clock of its watch, which looks twice a second."""

    def __init__(self, grace: timedelta = GRACE) -> None:
        self.state = PollThreadState()
        self.state.ident = threading.get_ident()
        self.watch = PollThreadWatch("work", self.state, grace)
        self.now_s = self.state.last_turn_at_s

    def watch_for(self, for_s: float, *, turning: bool) -> str | None:
        """Look for so long, or until it is found to hang."""
        end_s = self.now_s + for_s
        while self.now_s < end_s:
            self.now_s += 0.5
            if turning:
                self.state.last_turn_at_s = self.now_s
            how = self.watch.find_hang(self.now_s)
            if how is not None:
                return how
        return None


@pytest.mark.expected_errors("has not turned")
def test_a_thread_that_turns_no_more_is_given_up_late(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported from a minute on, once a minute, and may still go on."""
    watched = Watched()
    assert watched.watch_for(STUCK_AFTER_S + GIVE_UP_AFTER_S, turning=False) is None
    assert watched.watch_for(1.0, turning=False) == "has not turned for 660 s"
    reports = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(reports) == 11


@pytest.mark.expected_errors("has not turned")
def test_a_thread_that_hangs_as_its_worker_stops_has_the_time_of_the_stop() -> None:
    """The jobs of its queue may run, and be settled, until the grace is over."""
    watched = Watched(timedelta(seconds=60))
    watched.state.is_stopping.set()
    assert watched.watch_for(60.0 + POLL_THREAD_AFTER_GRACE_S, turning=False) is None
    assert "was asked to stop, and has not ended" in (watched.watch_for(2.0, turning=False) or "")


def test_a_thread_that_hangs_in_a_stop_at_once_is_found_soon() -> None:
    """It waits for no jobs."""
    watched = Watched()
    watched.state.is_stopping.set()
    assert watched.watch_for(20.0, turning=False) is None
    watched.state.is_stopping_now.set()
    assert watched.watch_for(POLL_THREAD_AT_ONCE_S - 0.5, turning=False) is None
    assert "was asked to stop at once" in (watched.watch_for(2.0, turning=False) or "")


def test_a_job_that_runs_until_the_grace_ends_is_no_hang() -> None:
    """The thread turns while it waits for the job, and needs some seconds more after that."""
    watched = Watched()
    watched.state.is_stopping.set()
    watched.state.begin_grace(GRACE_S)
    assert watched.watch_for(GRACE_S, turning=True) is None
    assert watched.watch_for(POLL_THREAD_AFTER_GRACE_S - 1.0, turning=False) is None
    assert "asked to stop" in (watched.watch_for(2.0, turning=False) or "")


def test_a_rebalance_at_the_time_of_the_stop_comes_on_top() -> None:
    """The thread waits for the jobs of partitions that move away before it sees that it is to stop."""
    watched = Watched()
    watched.state.is_stopping.set()
    assert watched.watch_for(150.0, turning=True) is None
    watched.state.begin_grace(GRACE_S)
    assert watched.watch_for(GRACE_S + POLL_THREAD_AFTER_GRACE_S - 1.0, turning=True) is None


def test_a_stall_before_the_grace_begins_takes_nothing_from_it() -> None:
    """Such as that of a last commit in a rebalance: a job may use all of the grace behind it."""
    watched = Watched()
    watched.state.is_stopping.set()
    assert watched.watch_for(20.0, turning=False) is None
    watched.state.begin_grace(GRACE_S)
    assert watched.watch_for(GRACE_S + POLL_THREAD_AFTER_GRACE_S - 1.0, turning=True) is None
    assert "asked to stop" in (watched.watch_for(2.0, turning=False) or "")


def test_a_thread_that_has_ended_does_not_hang() -> None:
    """However long its process goes on."""
    watched = Watched()
    watched.state.is_stopping.set()
    watched.state.end()
    assert watched.watch_for(2 * GIVE_UP_AFTER_S + GRACE_S, turning=False) is None
    assert watched.state.turn_age_s(watched.now_s) == 0.0
