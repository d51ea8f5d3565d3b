"""A sync job that ignores its timeout starves nobody: another thread takes its place until it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import pytest

from stoker.consumers.errors import TooManyStuck
from stoker.consumers.runners.watchdog import Watchdog
from support.blocking_log import BlockingHandler
from support.scenes.watched_runners import Order, hurry, resist, threads
from support.waiting import wait_until


def resists(until: threading.Event) -> Callable[[int], int]:
    """A handler that goes on past its timeout until it is let go."""

    def handler(number: int) -> int:
        resist(until)
        return number

    return handler


@pytest.mark.expected_errors("is stuck")
def test_another_thread_takes_the_place_of_a_stuck_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread in all, what was ready behind the stuck job runs while it still is."""
    hurry(monkeypatch)
    let_go = threading.Event()
    with threads(1) as shift:
        shift.hand_in(Order(handler=resists(let_go), timeout_s=0.1), *[Order(handler=lambda number: number)] * 20)
        shift.wait_ended(*range(1, 21))
        assert (shift.dog.running, shift.dog.stuck) == (1, 1)
        let_go.set()
        shift.wait_ended(0)
        wait_until(lambda: len(shift.runners.slots) == 1, what="the stuck job's thread to end")
        assert shift.dog.stuck == 0
        shift.hand_in(Order(handler=lambda number: number))
        shift.wait_ended(21)
    assert all(shift.has_returned(number) for number in range(22))  # and each ended once, the late one too


@pytest.mark.expected_errors("is stuck")
def test_as_many_threads_as_there_were_may_be_replaced_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One stuck job more, and the worker says that it must end, instead of starting threads for ever."""
    hurry(monkeypatch)
    let_go = threading.Event()
    stuck = Order(handler=resists(let_go), timeout_s=0.1)
    with threads(2) as shift:
        shift.hand_in(stuck, stuck)
        wait_until(lambda: shift.dog.stuck == 2, what="two stuck jobs")
        shift.hand_in(Order(handler=lambda number: number))
        shift.wait_ended(2)
        assert shift.dog.crashed is None
        shift.hand_in(stuck)
        wait_until(lambda: shift.dog.crashed, what="the worker to give up")
        let_go.set()
    assert isinstance(shift.dog.crashed, TooManyStuck)
    assert "3 jobs are stuck" in str(shift.dog.crashed)
    *replaced, last = [record.getMessage() for record in caplog.records if "is stuck" in record.getMessage()]
    assert ["another runner takes its place" in report for report in replaced] == [True, True]
    assert "; the worker stops, since it starts no more runners" in last
    assert "another runner" not in last
    assert all("isolation='process'" in report for report in (*replaced, last))


@pytest.mark.expected_errors("is stuck")
def test_a_stuck_job_is_reported_also_where_no_other_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process may have no thread left: the worker stops, and the log has which job has brought it to that."""
    hurry(monkeypatch)
    failed, let_go = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _args: failed.set())
    with threads(1) as shift:
        monkeypatch.setattr(shift.runners, "replace", lambda _slot: 1 / 0)
        shift.hand_in(Order(handler=resists(let_go), timeout_s=0.1))
        assert failed.wait(60)
        let_go.set()
        shift.wait_ended(0)
    assert isinstance(shift.dog.crashed, ZeroDivisionError)
    (report,) = [record.getMessage() for record in caplog.records if "is stuck" in record.getMessage()]
    assert "; the worker stops" in report


@pytest.mark.expected_errors("is stuck")
def test_stuck_jobs_that_end_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts those that are stuck now, not all there ever were."""
    hurry(monkeypatch)
    with threads(1) as shift:
        for turn in range(3):
            let_go = threading.Event()
            shift.hand_in(Order(handler=resists(let_go), timeout_s=0.05))
            wait_until(lambda: shift.dog.stuck == 1, what="the job to be stuck")
            let_go.set()
            shift.wait_ended(turn)
            wait_until(lambda: len(shift.runners.slots) == 1, what="its thread to end")
        assert shift.dog.crashed is None


@pytest.mark.expected_errors("broken watchdog")
def test_a_watchdog_that_fails_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it no job would have a timeout any more, and nobody would know."""
    failed = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _args: failed.set())
    with threads(1) as shift:
        monkeypatch.setattr(shift.runners, "check", lambda _now_s: 1 / 0)
        assert failed.wait(60)
        assert isinstance(shift.dog.crashed, ZeroDivisionError)


def is_stuck(dog: Watchdog, count: int) -> bool:
    """Whether so many jobs are."""
    return dog.stuck == count


@pytest.mark.expected_errors("is stuck", "this blocks")
def test_jobs_that_hang_in_a_log_handler_are_stuck_as_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler blocks the watchdog's own report, and neither the watchdog nor its end."""
    hurry(monkeypatch)
    logger, handler = logging.getLogger("stoker.timeouts"), BlockingHandler()
    logger.addHandler(handler)
    holding = threading.Thread(target=logger.error, args=("this blocks",))
    holding.start()
    try:
        assert handler.blocks.wait(60)
        with threads(1) as shift:
            for stuck in (1, 2):
                shift.hand_in(Order(handler=resists(handler.let_go), timeout_s=0.1))
                wait_until(partial(is_stuck, shift.dog, stuck), 30, "the next stuck job")
            wait_until(lambda: shift.dog.crashed, 30, "the worker to give up")
            shift.dog.stop()
            handler.let_go.set()
    finally:
        handler.let_go.set()
        holding.join(60)
        wait_until(lambda: not any(found.name == "stoker-log" for found in threading.enumerate()), 60, "what is logged")
        logger.removeHandler(handler)
    assert isinstance(shift.dog.crashed, TooManyStuck)
