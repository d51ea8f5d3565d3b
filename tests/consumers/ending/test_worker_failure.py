"""A worker that fails stops, and keeps why, also where its log blocks or fails itself."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest

from stoker.consumers.ending.worker_failure import WorkerFailure
from stoker.consumers.errors import PollThreadHangs
from stoker.consumers.poll_loop.poll_thread_watch import GIVE_UP_AFTER_S, PollThreadWatch
from stoker.consumers.poll_thread_state import PollThreadState
from stoker.consumers.worker_signals import WorkerSignals
from stoker.topology.planning.contracts import ContractsRefused
from support.blocking_log import BlockingHandler
from support.waiting import wait_until

LOGGER = logging.getLogger("stoker.worker")
HANG = PollThreadHangs("work", "stoker-poll-work", how="was asked to stop", stack="")


class BrokenFilter(logging.Filter):
    """Fails with each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Fail."""
        raise OSError(record.getMessage())


@contextmanager
def failing_log() -> Iterator[None]:
    broken = BrokenFilter()
    LOGGER.addFilter(broken)
    try:
        yield
    finally:
        LOGGER.removeFilter(broken)


@contextmanager
def blocked_log() -> Iterator[None]:
    handler = BlockingHandler()
    LOGGER.addHandler(handler)
    thread = threading.Thread(target=LOGGER.error, args=("this blocks",))
    thread.start()
    try:
        assert handler.blocks.wait(60)
        yield
    finally:
        handler.let_go.set()
        thread.join(60)
        wait_until(lambda: not any(found.name == "stoker-log" for found in threading.enumerate()), 60, "what is logged")
        LOGGER.removeHandler(handler)


def in_time(act: Callable[[], object]) -> None:
    """Do it in another thread, which has to end soon without an error."""
    ended = threading.Event()

    def run() -> None:
        act()
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    wait_until(ended.is_set, 20, "its end")


NOTES: dict[str, Callable[[WorkerFailure], None]] = {
    "hang": lambda failure: failure.note_hang(HANG),
    "queue": lambda failure: failure.note_queue_end("work", HANG),
    "thread": lambda failure: failure.note_thread_end("takes orders", HANG),
    "refused": lambda failure: failure.note_refused(ContractsRefused("shop", [])),
}


@pytest.mark.expected_errors("this blocks", "the worker of queue", "the worker stops", "hangs")
@pytest.mark.parametrize("log", [failing_log, blocked_log])
@pytest.mark.parametrize("what", NOTES)
def test_a_failure_stops_the_worker_whatever_its_log_does(
    what: str, log: Callable[[], AbstractContextManager[None]]
) -> None:
    """It keeps the error as well."""
    stopped = threading.Event()
    failure = WorkerFailure(stopped.set)
    with log():
        in_time(lambda: NOTES[what](failure))
    assert failure.error is not None
    assert stopped.is_set()


@pytest.mark.expected_errors("this blocks", "has not turned")
@pytest.mark.parametrize("log", [failing_log, blocked_log])
def test_a_thread_that_hangs_in_the_log_is_found(log: Callable[[], AbstractContextManager[None]]) -> None:
    """Its reports wait behind it, and what watches it does not."""
    state = PollThreadState()
    state.ident = threading.get_ident()
    watch, now_s = PollThreadWatch("work", state, timedelta()), state.last_turn_at_s
    found = list[str | None]()

    def look() -> None:
        found.append(watch.find_hang(now_s + 100.0))
        found.append(watch.find_hang(now_s + 101.0 + GIVE_UP_AFTER_S))

    with log():
        in_time(look)
    assert found == [None, "has not turned for 701 s"]


@pytest.mark.expected_errors("this blocks")
@pytest.mark.parametrize("log", [failing_log, blocked_log])
def test_a_signal_stops_the_worker_whatever_its_log_does(log: Callable[[], AbstractContextManager[None]]) -> None:
    """The main thread comes back as well, since it ends the process."""
    stops = list[str]()
    signals = WorkerSignals(
        timedelta(),
        stop=lambda: stops.append("gracefully"),
        stop_now=lambda: stops.append("at once"),
        hand_out_inspection=lambda: None,
        excuse_failures=lambda: None,
    )
    signals.note(signal.SIGTERM)
    signals.note(signal.SIGTERM)
    with log():
        in_time(signals.handle)
    assert stops == ["gracefully", "at once"]
