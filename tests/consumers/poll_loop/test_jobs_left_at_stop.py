"""A worker that leaves jobs behind logs which or how many, and why: they run, or their outcomes are not written."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from stoker.consumers.poll_loop.shutdown import Shutdown
from stoker.consumers.poll_thread_state import PollThreadState


class Partitions:
    """Leaves so many jobs behind."""

    queue_name = "mails"
    in_flight = 0

    def __init__(self, left: int, threads: Threads) -> None:
        self._left, self._threads = left, threads

    def begin_to_leave(self) -> None:
        """Do nothing."""

    def leave(self) -> int:
        """Give how many jobs are left; those that run end meanwhile, too late to be settled."""
        self._threads.running = 0
        return self._left


class Threads:
    """So many of the jobs run."""

    stranded = 0

    def __init__(self, running: int, crashed: BaseException | None) -> None:
        self.running, self.crashed = running, crashed

    def stop_preparing(self) -> None:
        """Do nothing."""

    def stop_restoring(self) -> None:
        """Do nothing."""

    def stop_jobs(self, settle_within: timedelta) -> list[Any]:
        """Give those that go on."""
        return [SimpleNamespace(shown_id=f"{number}%s", job_type="send_mail") for number in range(self.running)]


def warnings_of(
    caplog: pytest.LogCaptureFixture,
    *,
    left: int,
    running: int,
    is_at_once: bool = False,
    crashed: BaseException | None = None,
) -> list[str]:
    """What a shutdown logs."""
    threads = Threads(running, crashed)
    parts: dict[str, Any] = {"partitions": Partitions(left, threads), "fetching": None, "threads": threads}
    shutdown = Shutdown(
        PollThreadState(), timedelta(0), **parts, wake=lambda: None, close_events=lambda _within_s: None
    )
    if is_at_once:
        shutdown.ask_now()
    shutdown.run()
    return [record.getMessage() for record in caplog.records]


def test_jobs_that_run_past_the_grace_are_logged_with_the_option_that_gives_them_longer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They resisted their interrupt as well."""
    assert warnings_of(caplog, left=5, running=5) == [
        "queue 'mails': jobs 0%s (send_mail), 1%s (send_mail), 2%s (send_mail) and 2 more still run: the grace is "
        "over, and an interrupt had no effect. Raise --grace if jobs need longer; what runs is "
        "delivered again, at no attempt's cost"
    ]


def test_jobs_that_ended_and_whose_outcomes_are_not_written_are_no_matter_of_the_grace(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The brokers take none, or refuse them."""
    assert warnings_of(caplog, left=3, running=0) == [
        "queue 'mails': no outcome is written of 3 jobs: an earlier message has the cause; jobs without one are "
        "delivered again"
    ]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"is_at_once": True}, "the worker stops at once"),
        ({"crashed": ValueError("of a thread")}, "the worker has failed"),
    ],
)
def test_a_worker_that_did_not_wait_for_its_jobs_does_not_name_the_grace(
    how: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No grace was waited for, so a longer one would change nothing."""
    assert warnings_of(caplog, left=2, running=1, **how) == [
        f"queue 'mails': job 0%s (send_mail) still runs: {why}; what runs is delivered again, at no attempt's cost",
        f"queue 'mails': no outcome is written of 1 job: {why}; jobs without one are delivered again",
    ]


def test_a_worker_that_leaves_no_job_behind_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Runs of partitions that it has lost are left to their owners."""
    assert warnings_of(caplog, left=0, running=1) == []
