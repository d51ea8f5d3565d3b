"""On a real broker: however long the backlog, a worker holds no more in memory than it was told (P11)."""

from __future__ import annotations

import itertools
import random
import threading
from base64 import b64encode
from datetime import timedelta
from functools import partial

import pytest

from stoker.consumers.assembly import poll_thread
from stoker.consumers.delays.calendar import Calendar
from stoker.consumers.delays.records_in_memory import USUAL_BYTES
from stoker.consumers.in_flight import ready_supply
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.producers import Producer
from stoker.topology import ClusterSettings
from stoker.topology.declaration.retries import RetryPolicy
from support.scenes.worker import Gate, Journal, RunningWorker, create, declare_queue, running_worker
from support.waiting import wait_until


class Watch:
    """Looks at a worker's figures all the while, and keeps the largest."""

    def __init__(self, running: RunningWorker, calendar: Calendar | None = None) -> None:
        self.in_flight = self.held = self.in_memory = 0
        self._running = running
        self._calendar = calendar
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stopped.wait(0.0005):
            snapshot = self._running.worker.snapshot()[0]
            self.in_flight = max(self.in_flight, snapshot.in_flight)
            self.held = max(self.held, snapshot.delayed)
            if self._calendar is not None:
                self.in_memory = max(self.in_memory, self._calendar.in_memory)

    def stop(self) -> None:
        """End the watch."""
        self._stopped.set()
        self._thread.join()


def test_jobs_in_flight_stay_below_their_bound_and_the_backlog_is_worked_off(
    cluster: ClusterSettings, namespace: str
) -> None:
    """2,000 waiting jobs, at most 40 that may run and some parked; it pauses and resumes when jobs stand for long."""
    pipeline, queue = declare_queue(namespace)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue)
    def act(number: int) -> None:
        if number == 100:
            gate.wait()
        journal.note(number)

    @pipeline.job(queue, key=lambda number: "one")
    def stand(number: int) -> None:
        gate.wait()
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(2_000))
        producer.enqueue_many(stand.call(number) for number in range(200))
    with running_worker(pipeline, cluster, max_in_flight=40, concurrency=4) as running:
        watch = Watch(running)
        journal.wait(1_999)
        wait_until(lambda: running.worker.inspect()[0].parked == 199, what="all of one key to wait behind its first")
        gate.open()
        journal.wait(2_200)
        running.wait_outcomes(Done=2_200)
        watch.stop()
    assert watch.in_flight <= 40 + 40 + 40  # as many park in memory beside, and the last fetch had room
    assert len(journal.runs) == 2_200


def test_the_bytes_in_flight_are_bounded_too(cluster: ClusterSettings, namespace: str) -> None:
    """Jobs of 100 kB each against a bound of 1 MB: some batch may overshoot it, the whole backlog is not in memory."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate, draw = Journal(), Gate(), random.Random(5)  # noise, since what compresses well is fetched at once

    @pipeline.job(queue, key=lambda text: "one")
    def act(text: str) -> None:
        gate.wait()
        journal.note(len(text))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(b64encode(draw.randbytes(75_000)).decode()) for _ in range(600))
    with running_worker(pipeline, cluster, max_in_flight_bytes=1_000_000) as running:
        watch = Watch(running)
        wait_until(lambda: running.worker.inspect()[0].parked >= 599, what="all to be known to wait")
        assert watch.in_flight < 100
        gate.open()
        journal.wait(600)
        watch.stop()
    assert watch.in_flight * 100_000 < 30_000_000


def test_one_job_in_flight_is_one(cluster: ClusterSettings, namespace: str) -> None:
    """The smallest bound there is."""
    pipeline, queue = declare_queue(namespace)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(50))
    with running_worker(pipeline, cluster, max_in_flight=1) as running:
        watch = Watch(running)
        running.wait_outcomes(Done=50)
        watch.stop()
    assert watch.in_flight <= 1


def test_delayed_jobs_in_memory_stay_below_their_bound_and_all_are_run(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 retries in a tier, of which some 100 are in memory: the rest is read again, and none runs early."""
    pipeline, queue = declare_queue(namespace, tiers=(timedelta(seconds=3),), retry=RetryPolicy(jitter=0), partitions=1)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        if journal.note(number).attempt == 1:
            raise ConnectionError

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(3_000))
    calendars: list[Calendar] = []

    def make_calendar(longest_s: float, *, reschedules: Reschedules) -> Calendar:
        calendars.append(Calendar(longest_s, 100 * USUAL_BYTES, reschedules=reschedules))
        return calendars[0]

    monkeypatch.setattr(poll_thread, "Calendar", make_calendar)
    with running_worker(pipeline, cluster) as running:
        watch = Watch(running, calendars[0])
        running.wait_outcomes(Done=3_000, within_s=60)
        watch.stop()
    assert 1_000 < watch.held <= 3_000
    assert watch.in_memory <= 250
    assert set(journal.times().values()) == {2}
    begun = {run.what: run.at_s for run in journal.runs if run.attempt == 1}
    assert all(run.at_s - begun[run.what] >= 3 for run in journal.runs if run.attempt == 2)


def test_unfinished_records_are_counted_also_while_a_partition_is_paused(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Whoever looks at a queue that stands still must see what comes in meanwhile, not the figure of the last fetch."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue)
    def stand(number: int) -> None:
        gate.wait()
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(stand.call(number) for number in range(200))
        with running_worker(pipeline, cluster, max_in_flight=40, concurrency=4) as running:
            wait_until(lambda: running.worker.snapshot()[0].is_paused, what="a pause")
            wait_until(partial(are_unfinished, running, 200), what="what waits to be counted")
            for more in (300, 400, 500):
                producer.enqueue_many(stand.call(number) for number in range(more - 100, more))
                wait_until(partial(are_unfinished, running, more), what="what came meanwhile to be counted")
            gate.open()
            journal.wait(500)


def are_unfinished(running: RunningWorker, expected: int) -> bool:
    """Whether the worker counts so many records that are not complete."""
    return running.worker.snapshot()[0].unfinished == expected


def test_a_backlog_is_not_read_on_while_the_runners_have_work(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nearly all of it is put aside and read twice: 12,000 jobs of 600 keys behind jobs that take long."""
    monkeypatch.setattr(ready_supply, "FETCH_EVERY_S", 600.0)
    looks, spares = itertools.count(), ready_supply.ReadySupply.spares_fetching
    spared = threading.Event()

    def noted(supply: ready_supply.ReadySupply) -> bool:
        is_spared = spares(supply)
        if is_spared and next(looks) == 10:
            spared.set()
        return is_spared

    monkeypatch.setattr(ready_supply.ReadySupply, "spares_fetching", noted)
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue, key=lambda number: str(number % 600))
    def stand(number: int) -> None:
        gate.wait()
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(stand.call(number) for number in range(12_000))
    with running_worker(pipeline, cluster, concurrency=4) as running:
        assert spared.wait(60)
        assert running.worker.inspect()[0].parked < 8_000, "as many as park in memory: none is aside"
        gate.open()
        running.wait_outcomes(Done=12_000)
    assert len({run.what for run in journal.runs}) == 12_000
