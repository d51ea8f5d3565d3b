"""A worker that stops, at once or not, has its other threads stop as well."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from stoker.consumers import Worker
from stoker.consumers import worker as module
from stoker.topology import ClusterSettings
from support.scenes.deliveries import EmptyStore, declare

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize("stop", [Worker.stop, Worker.stop_now])
def test_a_worker_that_stops_asks_nothing_more_of_the_schema_store(
    stop: Callable[[Worker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its contracts were not compared yet, and the store may be closed by the next question."""
    monkeypatch.setattr(module, "verify", lambda *_, **__: None)
    worker = Worker(declare().pipeline, ClusterSettings(bootstrap_servers=NOBODY), store=EmptyStore())
    stop(worker)
    assert worker._contracts._stopping.is_set()
    assert all(parts.worker.poll_state.is_stopping.is_set() for parts in worker._parts)
    for parts in worker._parts:
        parts.group.member.consumer.close()
        parts.group.readers.side_reader.close()


def test_the_first_signal_to_a_worker_that_stops_lets_running_jobs_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An order has stopped it, and its orchestrator sends SIGTERM then; only a second signal cuts jobs short."""
    monkeypatch.setattr(module, "verify", lambda *_, **__: None)
    stopped_at_once = list[bool]()
    monkeypatch.setattr(Worker, "stop_now", lambda _self: stopped_at_once.append(True))
    worker = Worker(declare().pipeline, ClusterSettings(bootstrap_servers=NOBODY), store=EmptyStore())
    worker.stop()
    worker._signals.note(signal.SIGTERM)
    worker._signals.handle()
    assert not stopped_at_once
    worker._signals.note(signal.SIGTERM)
    worker._signals.handle()
    assert stopped_at_once == [True]
    assert "a second signal, SIGTERM" in caplog.text
    for parts in worker._parts:
        parts.group.member.consumer.close()
        parts.group.readers.side_reader.close()
