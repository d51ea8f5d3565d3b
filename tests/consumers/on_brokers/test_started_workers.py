"""A worker that another program has started watches over itself, and that program can learn why it has ended."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.errors import PollThreadHangs, WorkerCrashed
from stoker.consumers.poll_loop import poll_thread_watch
from stoker.consumers.poll_loop.fetching import Fetching
from stoker.consumers.poll_loop.housekeeping import Housekeeping
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.program import TESTS
from support.scenes.worker import DEADLINE_S, Gate, Journal, create, declare_queue
from support.waiting import wait_until

WITHIN = timedelta(seconds=DEADLINE_S)
PROGRAM = """
import sys, threading
from datetime import timedelta
from stoker.consumers import Worker, WorkerSettings
from stoker.consumers.poll_loop import poll_thread_watch
from stoker.consumers.poll_loop.housekeeping import Housekeeping
from stoker.topology import ClusterSettings
from support.scenes.worker import declare_queue

hangs = threading.Event()

def hang(_self):
    hangs.set()
    threading.Event().wait(600)

poll_thread_watch.POLL_THREAD_AFTER_GRACE_S = 0.5
Housekeeping.turn = hang
servers, namespace = sys.argv[1:]
pipeline, _queue = declare_queue(namespace)
worker = Worker(pipeline, ClusterSettings(bootstrap_servers=servers), WorkerSettings(grace=timedelta()))
worker.start()
assert hangs.wait(60)
print("hangs", flush=True)
worker.stop()
print("ends", flush=True)
"""
"""A program that starts a worker, stops it as its poll thread hangs, and ends without waiting for it."""


class Fault(Exception):
    """What no part of a worker raises by itself."""


def test_a_started_worker_works_until_it_is_stopped(cluster: ClusterSettings, namespace: str) -> None:
    """`wait` tells whether it has ended; a stop is no failure, and the program lives on."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act() -> None:
        journal.note("ran")

    create(pipeline, cluster)
    worker = Worker(pipeline, cluster, WorkerSettings())
    worker.start()
    with Producer(pipeline, cluster) as producer:
        producer.enqueue(act)
    journal.wait(1)
    assert not worker.wait(timedelta(seconds=0.05))
    worker.stop()
    assert worker.wait(WITHIN)
    assert worker.failure is None
    assert not worker._threads.are_alive
    worker.health.stuck_after_s = 0.0
    wait_until(lambda: worker.health.live().detail["polled_s"] == {"work": 0.0}, 10, "no turn that is missed")


@pytest.mark.expected_errors("the worker of queue 'work' failed")
def test_a_started_worker_that_fails_keeps_why(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is live no more, so that whoever asks restarts the program; `wait` raises what `run` would."""

    def fail(_self: Fetching) -> None:
        raise Fault

    monkeypatch.setattr(Fetching, "turn", fail)
    pipeline, _queue = declare_queue(namespace)
    create(pipeline, cluster)
    worker = Worker(pipeline, cluster, WorkerSettings())
    worker.start()
    with pytest.raises(WorkerCrashed) as crash:
        worker.wait(WITHIN)
    assert isinstance(crash.value.__cause__, Fault)
    assert worker.failure is crash.value
    assert worker.health.live().why == (f"the worker has ended: {crash.value}",)
    assert worker.health.ready().why == worker.health.live().why


@pytest.mark.expected_errors("has not turned")
def test_a_started_worker_whose_poll_thread_hangs_for_good_ends(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has to call it for that: it watches its threads by itself."""
    monkeypatch.setattr(poll_thread_watch, "STUCK_AFTER_S", 0.2)
    monkeypatch.setattr(poll_thread_watch, "GIVE_UP_AFTER_S", 0.5)
    gate = Gate()
    monkeypatch.setattr(Housekeeping, "turn", lambda _self: gate.wait())
    pipeline, _queue = declare_queue(namespace)
    create(pipeline, cluster)
    worker = Worker(pipeline, cluster, WorkerSettings())
    worker.start()
    wait_until(lambda: worker.failure, 60, "the worker to give up")
    assert isinstance(worker.failure, PollThreadHangs)
    wait_until(lambda: not worker.health.live().is_well, 10, "an answer that it is not live")
    with pytest.raises(PollThreadHangs):
        worker.wait(WITHIN)
    gate.open()
    wait_until(lambda: not worker._threads.are_alive, DEADLINE_S, "the end of its thread")


def test_a_program_ends_though_the_poll_thread_of_its_worker_hangs(cluster: ClusterSettings, namespace: str) -> None:
    """Python waits at its end for the worker, whose stop is bounded; the log has why."""
    pipeline, _queue = declare_queue(namespace)
    create(pipeline, cluster)
    command = [sys.executable, "-c", PROGRAM, str(cluster.bootstrap_servers), namespace]
    ended = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=100, check=False)
    assert (ended.returncode, ended.stdout) == (0, "hangs\nends\n")
    assert "the thread stoker-poll-work of queue 'work' hangs" in ended.stderr
