"""A queue that is full on real Kafka: what single jobs, bulks, loops and workers meet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from stoker.operations.cluster_view import ClusterView
from stoker.operations.commands.queues import queue_data, queue_lines
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import inspect_queues
from stoker.producers import AsyncProducer, Producer, ProducerSettings
from stoker.producers.admission import admission as module
from stoker.producers.errors import BulkFailed, QueueFull
from stoker.topology import ClusterSettings, JobType, Pipeline, Queue, ensure_topology
from support.scenes.worker import running_worker
from support.waiting import wait_until

BOUND = 10


@dataclass(frozen=True)
class Office:
    """A queue for ten letters, whose handler waits for `may_end`."""

    pipeline: Pipeline
    queue: Queue
    send: JobType[[int], None]
    may_end: threading.Event
    cluster: ClusterSettings


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that comes late because the machine is busy counts as one that comes."""
    monkeypatch.setattr(module, "UNREAD_S", 30.0)


@pytest.fixture
def declare(cluster: ClusterSettings, namespace: str) -> Callable[[str], Office]:
    """Makes the office and its topics."""

    def make(when_full: str) -> Office:
        pipeline, may_end = Pipeline(namespace), threading.Event()
        queue = pipeline.queue("letters", partitions=2, max_waiting=BOUND, when_full=when_full)  # type: ignore[arg-type]  # as text

        @pipeline.job(queue)
        def send(number: int) -> None:
            may_end.wait(60)

        ensure_topology(pipeline, cluster)
        return Office(pipeline, queue, send, may_end, cluster)

    return make


def test_a_full_queue_takes_no_job_and_has_room_when_some_have_run(declare: Callable[[str], Office]) -> None:
    """Ten are taken and no more, and none that was refused is on the topic; when a worker runs, others are taken."""
    office = declare("refuse")
    with Producer(office.pipeline, office.cluster) as producer:
        for number in range(BOUND):
            producer.enqueue(office.send, number)
        with pytest.raises(QueueFull) as refused:
            producer.enqueue(office.send, BOUND)
        with pytest.raises(QueueFull):
            producer.enqueue_future(office.send, BOUND)
        assert (refused.value.depth, refused.value.max_waiting) == (BOUND, BOUND)
        assert refused.value.age is not None
        assert timedelta(0) < refused.value.age < timedelta(minutes=5)
        _check_shown(office)
        office.may_end.set()
        with running_worker(office.pipeline, office.cluster) as running:
            wait_until(lambda: running.outcomes().get("Done") == BOUND, 30)
            wait_until(lambda: _is_taken(producer, office), 30)
            wait_until(lambda: running.outcomes().get("Done") == BOUND + 1, 30)


def _check_shown(office: Office) -> None:
    view = ClusterView(office.cluster)
    reading = read_offsets(view, [office.queue])
    statuses = inspect_queues(view, [office.queue], reading, None)
    assert "  full: 10 jobs wait, and max_waiting is 10; producers are refused" in queue_lines(statuses)
    data = queue_data(statuses[0])
    assert (data["max_waiting"], data["when_full"], data["counted"], data["is_full"]) == (BOUND, "refuse", BOUND, True)


def _is_taken(producer: Producer, office: Office) -> bool:
    try:
        producer.enqueue(office.send, 0)
    except QueueFull:
        return False
    return True


def test_a_bulk_stops_where_the_queue_is_full(declare: Callable[[str], Office]) -> None:
    """Ten of fifty are confirmed; the error says at which it stopped, and the rest was not read."""
    office = declare("refuse")
    calls = (office.send.call(number) for number in range(50))
    with Producer(office.pipeline, office.cluster) as producer:
        with pytest.raises(BulkFailed) as failed:
            producer.enqueue_many(calls)
        assert (failed.value.confirmed, failed.value.read) == (BOUND, BOUND + 1)
        assert isinstance(failed.value.failures[0].error, QueueFull)
        assert failed.value.is_temporary
        assert next(calls).args == (BOUND + 1,)


def test_a_bulk_waits_for_room(declare: Callable[[str], Office]) -> None:
    """Forty jobs go through a queue for ten; at no moment do more than ten wait."""
    office = declare("wait")
    office.may_end.set()
    settings = ProducerSettings(full_wait=timedelta(seconds=60))
    with (
        running_worker(office.pipeline, office.cluster) as running,
        Producer(office.pipeline, office.cluster, settings=settings) as producer,
    ):
        assert producer.enqueue_many(office.send.call(number) for number in range(40)).confirmed == 40
        wait_until(lambda: running.outcomes().get("Done") == 40, 30)


def test_a_loop_is_not_blocked_while_a_call_waits_for_room(declare: Callable[[str], Office]) -> None:
    """Other tasks go on; the wait ends with `QueueFull` after its time, of single calls and of bulks."""
    office = declare("wait")
    settings = ProducerSettings(full_wait=timedelta(seconds=0.3))

    async def run() -> int:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        async with AsyncProducer(office.pipeline, office.cluster, settings=settings) as producer:
            for number in range(BOUND):
                await producer.enqueue(office.send, number)
            turning = asyncio.create_task(turn())
            with pytest.raises(QueueFull, match="is still full after"):
                await producer.enqueue(office.send, BOUND)
            with pytest.raises(BulkFailed) as failed:
                await producer.enqueue_many([office.send.call(BOUND)])
            assert isinstance(failed.value.failures[0].error, QueueFull)
            turning.cancel()
        return turns

    assert asyncio.run(run()) > 5
