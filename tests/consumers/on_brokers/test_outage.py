"""On a broker of its own: a worker outlives the broker's stop and start under load, by itself, and loses nothing."""

from __future__ import annotations

import threading

import pytest

from stoker.operations.broker.embedded import EmbeddedBroker
from stoker.producers import Producer
from stoker.topology import ClusterSettings, Queue
from stoker.topology.planning.apply import ensure_topology
from stoker.topology.wire.ledger_names import MOVED
from support.scenes.worker import (
    Journal,
    dead_letters,
    declare_queue,
    headers_of,
    remembered,
    running_worker,
    wait_all_committed,
)
from support.waiting import wait_until


@pytest.mark.expected_errors("have not confirmed", "cannot be written", "cannot be read", "did not confirm")
def test_a_broker_stopped_and_killed_and_started_under_load_costs_no_job(
    broker: EmbeddedBroker, namespace: str
) -> None:
    """3,000 jobs with failures, and the broker goes away twice in the middle: each job is done or dead, none both."""
    cluster = ClusterSettings(bootstrap_servers=broker.start())
    pipeline, queue = declare_queue(namespace, partitions=4)
    journal, pace = Journal(), threading.Event()

    @pipeline.job(queue)
    def act(number: int) -> None:
        pace.wait(0.001)
        run = journal.note(number)
        if number % 100 == 99 or (number % 10 == 0 and run.attempt == 1):
            raise ValueError(number)

    ensure_topology(pipeline, cluster)  # with ordinary sessions, which outlast a restart
    with Producer(pipeline, cluster) as producer:
        producer.enqueue_many(act.with_options(job_id=f"{n}").call(n) for n in range(3_000))
    with running_worker(pipeline, cluster, concurrency=4):
        for end_broker, begun in ((broker.stop, 400), (broker.kill, 1_200)):
            journal.wait(begun)
            end_broker()
            broker.start()
        wait_until(lambda: set(journal.noted) == set(range(3_000)), 60, "every job to have run")
        wait_until(lambda: len(dead_ids(cluster, queue)) == 30, 60, "the dead letters")
        wait_all_committed(cluster, queue)
        wait_until(lambda: len(done_ids(cluster, queue)) == 2_970, 60, "the ledger's entries")
    assert dead_ids(cluster, queue) == {str(number) for number in range(99, 3_000, 100)}
    assert not dead_ids(cluster, queue) & done_ids(cluster, queue)
    assert len(journal.runs) - len({(run.what, run.attempt) for run in journal.runs}) < 500, "in flight at an outage"


def dead_ids(cluster: ClusterSettings, queue: Queue) -> set[str]:
    """Jobs in the dead letters."""
    return {headers_of(letter)["ce_id"].decode() for letter in dead_letters(cluster, queue)}


def done_ids(cluster: ClusterSettings, queue: Queue) -> set[str]:
    """Jobs that the ledger has as completed."""
    return {name for name in remembered(cluster, queue) if not name.startswith(MOVED)}
