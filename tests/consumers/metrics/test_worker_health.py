"""A worker says that it lives and is ready only while that is true, whatever hangs."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.metrics.systemd import notifying
from stoker.consumers.metrics.worker_health import WorkerHealth
from stoker.consumers.poll_loop.poll_thread_watch import STUCK_AFTER_S
from stoker.producers.metrics.health import HealthReport
from stoker.topology import ClusterSettings, Pipeline
from support.scenes.worker import RunningWorker, create
from support.sight.scraping import health
from support.waiting import wait_until

GRACE = timedelta(seconds=5)


def test_health_follows_the_life_of_a_worker(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ready before it joins, while its ledger is read, and at its end; not live while its thread hangs."""
    pipeline = Pipeline(namespace)
    queue = pipeline.queue("work", partitions=1)

    @pipeline.job(queue)
    def act() -> None:
        pass

    create(pipeline, cluster)
    worker = Worker(pipeline, cluster, WorkerSettings(grace=GRACE, revoke_grace=GRACE))
    parts = worker._parts[0]
    may_restore, may_turn, hangs = threading.Event(), threading.Event(), threading.Event()
    assignments, completion = parts.partitions.assignments, parts.poll_thread.completion
    take_restored, note_settled = assignments.take_restored, completion.note_settled
    monkeypatch.setattr(assignments, "take_restored", lambda: take_restored() if may_restore.is_set() else [])
    with worker.serve_metrics(0) as server:
        port = server.port
        status, body = health(port, "/ready")
        assert (status, body["ready"], body["queues"]) == (503, False, {"work": "joining"})
        assert "has not shared its partitions out yet" in body["why"][0]
        running = RunningWorker(worker)
        running.wait_partitions(1)
        wait_until(lambda: "progress are read" in str(health(port, "/ready")[1]["why"]), 30, "restoring")
        may_restore.set()
        wait_until(lambda: health(port, "/ready")[0] == 200, 30, "ready")
        assert health(port, "/live")[0] == 200

        def hang() -> None:
            hangs.set()
            may_turn.wait(60)
            note_settled()

        worker.health.stuck_after_s = 0.5
        monkeypatch.setattr(completion, "note_settled", hang)
        assert hangs.wait(30)
        status, body = wait_until(lambda: _unwell(health(port, "/live")), 30, "not live")
        assert (status, body["live"]) == (503, False)
        assert "the poll thread of queue 'work' has not turned" in body["why"][0]
        may_turn.set()
        wait_until(lambda: health(port, "/live")[0] == 200, 30, "live again")
        worker.stop()
        assert health(port, "/ready")[1]["why"] == ["the worker shuts down"]
        assert health(port, "/live")[0] == 200
        running.stop()


def test_a_poll_thread_that_hangs_in_a_shutdown_is_not_live() -> None:
    """It has not turned for a minute, though a shutdown turns while jobs run, and is over soon after that."""
    view: Any = SimpleNamespace(queue="work", turn_age_s=STUCK_AFTER_S - 1)
    worker_health = WorkerHealth("w1", [view], is_stopping=lambda: True, ended_by=lambda: None)
    assert worker_health.live().is_well
    view.turn_age_s = STUCK_AFTER_S
    assert worker_health.live().why == ("the poll thread of queue 'work' has not turned for 60 s",)


def _unwell(answer: tuple[int, Mapping[str, Any]]) -> tuple[int, Mapping[str, Any]] | None:
    return answer if answer[0] == 503 else None


class Wakening:
    """The health of a process that is not ready at the first question, and hangs after `hang`."""

    def __init__(self) -> None:
        self.asked = 0
        self.hangs = False

    def live(self) -> HealthReport:
        return HealthReport(why=("it hangs",) if self.hangs else ())

    def ready(self) -> HealthReport:
        self.asked += 1
        return HealthReport(why=("not yet",) if self.asked == 1 else ())


def test_systemd_is_told_what_the_health_says(tmp_path: Path) -> None:
    """READY=1 once it is ready, WATCHDOG=1 as long as it lives, STOPPING=1 at the end; nothing without a socket."""
    with notifying(Wakening(), {}):
        pass
    health_of = Wakening()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        with notifying(health_of, {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}):
            assert [systemd.recv(100) for _ in range(3)] == [b"WATCHDOG=1", b"READY=1", b"WATCHDOG=1"]
            health_of.hangs = True
            wait_until(lambda: systemd.recv(100) == b"STATUS=it hangs", 20, "no watchdog notification")
        while (told := systemd.recv(100)) == b"STATUS=it hangs":
            pass
        assert told == b"STOPPING=1"
