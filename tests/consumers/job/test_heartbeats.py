"""Heartbeats: a job learns when to stop, tells how far it is, and is ended when it is silent for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from stoker.consumers.job.context import JobContext, current_job
from stoker.consumers.job.endings import TimeLimitExceeded
from stoker.consumers.job.heartbeats import REPORT_INTERVAL_S, JobProgress, RunHeartbeats
from stoker.consumers.job.run import CurrentRun, Run
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runners import ThreadRunners
from stoker.consumers.runners.watchdog import Watchdog
from stoker.consumers.steps.results import Raised, Returned
from stoker.consumers.steps.run_step import run_sync
from stoker.consumers.steps.steps import DecodedJob
from stoker.topology.declaration.job_type import InvalidDeclaration
from support.scenes.deliveries import STEP_CONTEXT, declare
from support.waiting import wait_until


def job_of(handler: Callable[[int], object], *, timeout_s: float, heartbeat_s: float | None = None) -> DecodedJob:
    """A job whose handler has that much time, and may be silent for so long."""
    job = declare().job()
    heartbeat = None if heartbeat_s is None else timedelta(seconds=heartbeat_s)
    job.job_type = replace(job.job_type, handler=handler, own_timeout=timedelta(seconds=timeout_s), heartbeat=heartbeat)
    return job


def run_watched(job: DecodedJob) -> object:
    """Run a job under a watchdog."""
    pool = ThreadRunners(1, lambda _record, _slot: None, "test")  # never started: its slot is all that is needed
    watchdog = Watchdog([pool], "q")
    watchdog.start()
    try:
        return run_sync(job, pool.slots[0], STEP_CONTEXT)
    finally:
        watchdog.stop()


def begun(timeout_s: float = 60.0) -> tuple[JobContext, Run, RunHeartbeats]:
    """A run that has just begun, as its job and as the worker sees it, with its heartbeats."""
    job = job_of(lambda number: None, timeout_s=timeout_s)
    Slot().begin(job.run, job.job_type.run_limits)
    heartbeats = job.run.take_heartbeats()
    assert isinstance(heartbeats, RunHeartbeats)
    return JobContext(job.run), job.run, heartbeats


def test_a_silent_job_is_ended_after_its_heartbeat_not_its_timeout() -> None:
    """And its failure says that it was silent."""

    def be_silent(number: int) -> None:
        while True:
            pass

    began_at_s = time.monotonic()
    result = run_watched(job_of(be_silent, timeout_s=60, heartbeat_s=0.1))
    assert isinstance(result, Raised)
    assert isinstance(result.error, TimeLimitExceeded)
    assert "no heartbeat for 0.1 s" in str(result.error)
    assert time.monotonic() - began_at_s < 40


@pytest.mark.parametrize("sign", [JobContext.heartbeat, lambda job: job.progress(1)])
def test_a_job_that_sends_heartbeats_goes_on(sign: Callable[[JobContext], None]) -> None:
    """For many times its heartbeat, up to its end."""

    def live_on(number: int) -> int:
        until_at_s = time.monotonic() + 3.0
        while time.monotonic() < until_at_s:
            sign(current_job())
        return 5

    assert run_watched(job_of(live_on, timeout_s=60, heartbeat_s=1.0)) == Returned(5)


def test_heartbeats_do_not_outlast_the_timeout() -> None:
    """A job that beats for ever ends at its timeout all the same, and its failure says so."""

    def beat_for_ever(number: int) -> None:
        while True:
            current_job().heartbeat()

    result = run_watched(job_of(beat_for_ever, timeout_s=1.5, heartbeat_s=1.0))
    assert isinstance(result, Raised)
    assert "timeout of 1.5 s" in str(result.error)


def test_a_job_is_to_stop_once_its_partition_is_given_away() -> None:
    """As it is at a shutdown, which closes all partitions."""
    context, run, _ = begun()
    assert not context.should_stop
    run.record.assignment.leave()
    assert context.should_stop


def test_a_job_is_to_stop_past_its_timeout() -> None:
    """Also one that no exception reaches."""
    context, _, _ = begun(timeout_s=0.05)
    wait_until(lambda: context.should_stop, what="the timeout to pass")


def test_progress_is_kept_and_becomes_news_at_a_bounded_rate() -> None:
    """The first at once; later ones together when the interval is over, the latest of them."""
    context, run, heartbeats = begun()
    assert heartbeats.take_news(100.0) is None
    context.progress(1, 10)
    assert heartbeats.take_news(100.0) == JobProgress(done=1, total=10)
    for done in (2, 3, 4):
        context.progress(done, 10)
        assert heartbeats.take_news(100.0 + REPORT_INTERVAL_S / 2) is None
    assert run.latest_progress == JobProgress(done=4, total=10)
    assert heartbeats.take_news(100.0 + REPORT_INTERVAL_S) == JobProgress(done=4, total=10)
    assert heartbeats.take_news(100.0 + 2 * REPORT_INTERVAL_S) is None


def test_a_long_note_is_cut() -> None:
    """It goes into events and onto screens: 200 characters of it, as `JobContext.progress` promises."""
    context, run, _ = begun()
    context.progress(1, note="x" * 10_000)
    assert run.latest_progress == JobProgress(done=1, note="x" * 200)


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (JobProgress(done=3, total=10, note="sending"), "3 of 10 (30 %), sending"),
        (JobProgress(done=1500), "1,500"),
        (JobProgress(done=0, total=0), "0"),
    ],
)
def test_progress_reads_well(progress: JobProgress, words: str) -> None:
    """In one line."""
    assert str(progress) == words


def test_heartbeats_may_go_elsewhere() -> None:
    """As in a child process, whose parent takes them."""

    class Elsewhere:
        def __init__(self) -> None:
            self.taken: list[object] = []

        should_stop = True

        def heartbeat(self) -> None:
            self.taken.append("beat")

        def progress(self, latest: JobProgress) -> None:
            self.taken.append(latest)

    class RunElsewhere(CurrentRun):
        def take_heartbeats(self) -> Elsewhere:
            return elsewhere

    elsewhere = Elsewhere()
    context = JobContext(RunElsewhere("job-1", "work", "q", 1, 1, declare().record()))
    context.heartbeat()
    context.progress(1, 2, "half")
    assert context.should_stop
    assert elsewhere.taken == ["beat", JobProgress(done=1, total=2, note="half")]


def test_heartbeats_may_be_sent_from_any_thread() -> None:
    """A job with threads of its own hands them its context."""
    context, _, heartbeats = begun()
    giver = threading.Thread(target=context.progress, args=(7,))
    giver.start()
    giver.join(60)
    assert heartbeats.latest == JobProgress(done=7)


@pytest.mark.parametrize("heartbeat", [timedelta(0), timedelta(seconds=-1), timedelta(seconds=300), timedelta(days=1)])
def test_a_heartbeat_that_means_nothing_is_refused(heartbeat: timedelta) -> None:
    """It is above zero and below the timeout (300 s)."""
    delivery = declare()
    with pytest.raises(InvalidDeclaration, match="heartbeat must be above zero and below the timeout"):
        delivery.pipeline.job(delivery.queue, name="other", heartbeat=heartbeat)(lambda: None)


@pytest.mark.parametrize(("done", "total"), [("half", None), (None, 2), (1, "two")])
def test_progress_that_is_no_number_is_the_jobs_own_failure(done: Any, total: Any) -> None:
    """It is refused in the job: whoever makes an event of it, or shows it, must not fail over it."""
    context, _, heartbeats = begun()
    with pytest.raises((TypeError, ValueError)):
        context.progress(done, total)
    assert heartbeats.latest is None
    context.progress(cast(Any, Decimal("1.5")), True, cast(Any, 7))
    assert str(heartbeats.latest) == "1.5 of 1 (150 %), 7"


@pytest.mark.parametrize("name", ["attempt", "deadline_at_s", "job_id", "record", "anything"])
def test_a_job_cannot_change_its_run(name: str) -> None:
    """The worker reads its limits and identity there; a handler has a view that is frozen."""
    context, _, _ = begun()
    with pytest.raises(AttributeError):
        setattr(context, name, 5)
