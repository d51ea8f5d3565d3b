"""On a real broker: urgent jobs pass a backlog, the least urgent ones get their share, and a job keeps its priority."""

from __future__ import annotations

from datetime import timedelta

from stoker.consumers import Pause, Snooze, current_job
from stoker.operations.replay.dead_letter_replay import DeadLetterManager, Replaying, Request
from stoker.operations.replay.pacing import ReplayPace
from stoker.operations.replay.payloads import PayloadCorrector
from stoker.operations.stored_jobs.originals import Originals
from stoker.operations.stored_jobs.selection import Selection
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Pipeline, Queue, RetryPolicy, Unique
from stoker.topology.planning.schema_store import schema_store
from stoker.topology.wire import headers as wire
from support.scenes.worker import (
    TIERS,
    Gate,
    Journal,
    create,
    declare_queue,
    headers_of,
    read_topic,
    running_worker,
    wait_all_committed,
    wait_dead,
)
from support.waiting import wait_until

WEIGHTS = {"high": 8, "normal": 3, "low": 1}


def test_an_urgent_job_passes_a_backlog_of_which_the_low_ones_get_their_share(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Also one whose key has normal jobs that wait; with one runner, since the order is that of the starts then."""
    pipeline, queue = declare_queue(namespace, partitions=1, priorities=WEIGHTS)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue)
    def act(name: str) -> None:
        if name == "first":
            gate.wait()
        journal.note((current_job().priority, name))

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster, concurrency=1) as worker:
        producer.enqueue(act.with_options(key="other"), "first")
        wait_until(lambda: gate.waiting == 1, what="the first job to run")
        producer.enqueue_many(act.with_options(key=f"k{number % 50}").call(str(number)) for number in range(100))
        producer.enqueue_many(act.with_options(priority="low").call(str(number)) for number in range(60))
        producer.enqueue(act.with_options(priority="high", key="k3"), "urgent")
        wait_until(lambda: worker.worker.snapshot()[0].in_flight == 162, what="all jobs to be taken")
        gate.open()
        said = journal.wait(162)
        wait_all_committed(cluster, queue)
    assert ("high", "urgent") in said[1:5]
    lows = [priority for priority, _ in said[1:61]].count("low")
    assert 10 <= lows <= 20, said[:61]
    assert [name for priority, name in said if priority == "normal" and name in ("3", "53")] == ["3", "53"]


def test_a_job_keeps_its_priority_through_retry_delay_dead_letter_and_replay(
    cluster: ClusterSettings, namespace: str
) -> None:
    """Each of its records has it, and the replay goes to the topic of the priority."""
    pipeline, queue = declare_queue(
        namespace, partitions=1, priorities=WEIGHTS, retry=RetryPolicy(attempts=2, permanent=(ZeroDivisionError,))
    )
    journal = Journal()

    @pipeline.job(queue)
    def act(number: int) -> None:
        journal.note((current_job().priority, current_job().attempt, bool(current_job().replay_id)))
        if current_job().replay_id:
            return
        if number == 1 and len(journal.noted) == 1:
            raise Snooze(timedelta(milliseconds=200))
        raise ValueError("it fails")

    create(pipeline, cluster)
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster):
        producer.enqueue(act.with_options(priority="high"), 1)
        (dead,) = wait_dead(cluster, queue, 1)
        assert headers_of(dead)[wire.PRIORITY] == b"high"
        _replay(pipeline, cluster, queue)
        said = journal.wait(4)
        wait_all_committed(cluster, queue)
    assert said == [("high", 1, False), ("high", 1, False), ("high", 2, False), ("high", 1, True)]
    for topic in (queue.priority_topics["high"], queue.retry_topics[TIERS[0]]):
        assert {headers_of(message)[wire.PRIORITY] for message in read_topic(cluster, topic, 1)} == {b"high"}
    assert len(read_topic(cluster, queue.priority_topics["high"], 1)) == 2
    assert read_topic(cluster, queue.topic, 1) == []


def _replay(pipeline: Pipeline, cluster: ClusterSettings, queue: Queue) -> None:
    store = schema_store(pipeline, cluster)
    with Originals(cluster, queue) as originals:
        replaying = Replaying(queue, PayloadCorrector(pipeline, store), originals)
        manager = DeadLetterManager(pipeline, cluster, queue, replaying)
        request = Request(selection=Selection())
        assert manager.carry_out(request, manager.forecast(request), ReplayPace()).units == 1
    store.close()


def test_unique_jobs_of_a_priority_are_unique(cluster: ClusterSettings, namespace: str) -> None:
    """Their type has the priority, so they come in one order; the second is a duplicate of the first."""
    pipeline, queue = declare_queue(namespace, partitions=1, priorities=WEIGHTS)
    journal = Journal()

    @pipeline.job(queue, unique=Unique(by="customer"), priority="low")
    def act(customer: int, number: int) -> None:
        journal.note((customer, number))

    create(pipeline, cluster)
    paused = Pause("work")
    with Producer(pipeline, cluster) as producer, running_worker(pipeline, cluster, paused=[paused]) as worker:
        producer.enqueue(act, 7, 1)
        producer.enqueue(act, 7, 2)
        wait_until(lambda: worker.worker.snapshot()[0].in_flight == 2, what="both jobs to be taken")
        worker.worker.resume("work")
        worker.wait_outcomes(Done=1, Cancelled=1)
    assert journal.noted == [(7, 1)]
