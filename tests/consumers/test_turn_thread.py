"""Threads that let one object take turns."""

from __future__ import annotations

import logging
import threading

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers import log_keys, turn_thread
from stoker.consumers.turn_thread import TurnThread

DEADLINE_S = 10.0


class Scripted:
    """Does as it is told, turn by turn."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends = list(ends)
        self.turned, self.closed = threading.Semaphore(0), threading.Event()

    def turn(self) -> None:
        """End as told; then like any other."""
        self.turned.release()
        end = self.ends.pop(0) if self.ends else None
        if end is not None:
            raise end

    def close(self) -> None:
        """Note it."""
        self.closed.set()


def test_a_failure_of_kafka_is_rested_and_others_end_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error of Kafka the thread goes on; any other one is told to the worker, and the object is closed."""
    monkeypatch.setattr(turn_thread, "AGAIN_S", 0.001)
    fault, told = ZeroDivisionError("a fault of ours"), list[BaseException]()
    driven = Scripted(None, KafkaException(KafkaError(KafkaError._TRANSPORT)), None, fault)
    thread = TurnThread(driven, "unit", "q", told.append)
    thread.start()
    assert driven.closed.wait(DEADLINE_S)
    assert not driven.ends
    assert told == [fault]
    thread.stop()


def test_a_thread_that_is_stopped_closes_what_it_drives() -> None:
    """When `stop` has returned, the object has been closed, and no turn follows."""
    told = list[BaseException]()
    driven = Scripted()
    thread = TurnThread(driven, "unit", "q", told.append)
    thread.start()
    assert driven.turned.acquire(timeout=DEADLINE_S)
    thread.stop()
    assert driven.closed.is_set()
    assert not told


def test_each_outage_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Of four failures in a row the first one is a warning, though one is that of a client that failed for good."""
    monkeypatch.setattr(turn_thread, "AGAIN_S", 0.001)
    away, fatal = KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    driven = Scripted(*map(KafkaException, (away, fatal, away)), None, KafkaException(away), ZeroDivisionError())
    with caplog.at_level(logging.WARNING, "stoker.worker"):
        thread = TurnThread(driven, "stoker-unit", "q", lambda _error: None)
        thread.start()
        assert driven.closed.wait(DEADLINE_S)
        thread.stop()
    (logged,) = caplog.records
    assert "stoker-unit" in logged.getMessage()
    assert vars(logged)[log_keys.QUEUE] == "q"


def test_the_next_outage_is_logged_as_well(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One is over when no turn has failed for a while."""
    monkeypatch.setattr(turn_thread, "AGAIN_S", 0.001)
    monkeypatch.setattr(turn_thread, "CALM_S", 0.0)
    away = KafkaException(KafkaError(KafkaError._TRANSPORT))
    driven = Scripted(away, None, away, ZeroDivisionError())
    with caplog.at_level(logging.WARNING, "stoker.worker"):
        thread = TurnThread(driven, "stoker-unit", "q", lambda _error: None)
        thread.start()
        assert driven.closed.wait(DEADLINE_S)
        thread.stop()
    assert len(caplog.records) == 2
