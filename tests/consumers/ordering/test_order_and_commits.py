"""On a real broker: order per key, slow jobs that delay only their own key, commits never past an incomplete job."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict

import pytest

from stoker.producers import Producer
from stoker.topology import ClusterSettings
from support.scenes.worker import (
    Gate,
    Journal,
    committed,
    create,
    declare_queue,
    remembered,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until


def test_jobs_of_a_key_run_in_order_and_one_at_a_time(cluster: ClusterSettings, namespace: str) -> None:
    """400 jobs of 20 keys on 8 threads: each key's in the order of enqueue, and never two of a key at once."""
    pipeline, queue = declare_queue(namespace, partitions=4)
    journal, running, overlaps = Journal(), defaultdict[str, int](int), list[str]()

    @pipeline.job(queue, key=lambda owner, number: owner)
    def act(owner: str, number: int) -> None:
        running[owner] += 1
        if running[owner] > 1:
            overlaps.append(owner)
        journal.note((owner, number))
        running[owner] -= 1

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(f"k{number % 20}", number) for number in range(400))
    with running_worker(pipeline, cluster, concurrency=8):
        journal.wait(400)
        wait_all_committed(cluster, queue)
    by_key = defaultdict[str, list[int]](list)
    for owner, number in journal.noted:
        by_key[owner].append(number)
    assert not overlaps
    assert all(numbers == list(range(int(owner[1:]), 400, 20)) for owner, numbers in by_key.items())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_slow_job_delays_only_its_own_key(cluster: ClusterSettings, namespace: str, kind: str) -> None:
    """While one job stands, all others of its partition run, but for those of its key."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate = Journal(), Gate()

    if kind == "sync":

        @pipeline.job(queue, name="act", key=lambda owner, number: owner)
        def act(owner: str, number: int) -> None:
            if (owner, number) == ("slow", 0):
                gate.wait()
            journal.note((owner, number))

    else:

        @pipeline.job(queue, name="act", key=lambda owner, number: owner)
        async def act(owner: str, number: int) -> None:
            if (owner, number) == ("slow", 0):
                await asyncio.to_thread(gate.wait)
            journal.note((owner, number))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(owner, number) for number in range(30) for owner in ("slow", "a", "b"))
    with running_worker(pipeline, cluster, concurrency=2, async_concurrency=2):
        journal.wait(60)
        assert "slow" not in {owner for owner, _ in journal.noted}
        gate.open()
        journal.wait(90)
    assert [number for owner, number in journal.noted if owner == "slow"] == list(range(30))


def test_keys_run_beside_each_other(cluster: ClusterSettings, namespace: str) -> None:
    """Four jobs of four keys in one partition are all inside at once, for they wait for each other."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    meeting, journal = threading.Barrier(4), Journal()

    @pipeline.job(queue, key=lambda number: f"k{number}")
    def meet(number: int) -> None:
        meeting.wait(60)
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(meet.call(number) for number in range(4))
    with running_worker(pipeline, cluster, concurrency=4):
        journal.wait(4)


def test_no_commit_passes_an_incomplete_job(cluster: ClusterSettings, namespace: str) -> None:
    """With the sixth of 50 standing, the commit stays at its offset whatever ends behind it, then goes to the end."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue)
    def act(number: int) -> None:
        if number == 5:
            gate.wait()
        journal.note(number)

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.call(number) for number in range(50))
    with running_worker(pipeline, cluster) as running:
        running.wait_outcomes(Done=49)
        wait_until(lambda: committed(cluster, queue) == {0: 5}, what="the commit below the standing job")
        with Producer(pipeline, cluster) as producer:
            producer.enqueue(act, 50)
        running.wait_outcomes(Done=50)
        assert committed(cluster, queue) == {0: 5}
        gate.open()
        wait_all_committed(cluster, queue)
    assert committed(cluster, queue) == {0: 51}


def test_a_job_is_committed_only_after_its_entry_in_the_ledger(cluster: ClusterSettings, namespace: str) -> None:
    """Whenever an offset is committed, the ledger holds at least as many names."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note(number)

    create(pipeline, cluster)
    with running_worker(pipeline, cluster), Producer(pipeline, cluster) as producer:
        for start in range(0, 1_000, 250):
            producer.enqueue_many(act.call(number) for number in range(start, start + 250))
            offset = committed(cluster, queue).get(0, 0)
            assert len(remembered(cluster, queue)) >= offset
        wait_all_committed(cluster, queue)
    assert len(journal.runs) == 1_000
