"""A partition whose commit stands still is reported, with its offset: a worker reports why, or none does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, TopicPartition

from stoker.consumers.inspection import blockers
from stoker.operations.cluster_view import ClusterView
from stoker.operations.doctor import facts
from stoker.operations.doctor.facts import gather
from stoker.operations.doctor.findings import Finding, Verdict
from stoker.operations.doctor.queue_checks import check_queue
from stoker.operations.queue_status import standstill
from stoker.operations.queue_status.offset_reading import read_offsets
from stoker.operations.queue_status.queues import inspect_queues
from stoker.operations.queue_status.standstill import Standstill, standstills, unexplained
from stoker.topology import ClusterSettings, Pipeline, Queue
from support.kafka.configs import change_configs
from support.scenes.worker import Raw, create, declare_queue, publish_raw, running_worker
from support.waiting import wait_until

NOW = datetime(2013, 1, 1, 12, tzinfo=UTC)
PART = ("shop.mails", 0)


@pytest.mark.parametrize(
    ("before", "after", "end", "since", "is_found"),
    [
        (17, 17, 30, NOW - timedelta(minutes=5), True),
        (17, 17, 18, NOW - timedelta(minutes=5), True),
        (17, 17, 30, None, True),
        (17, 18, 30, NOW - timedelta(minutes=5), False),
        (17, 17, 30, NOW - timedelta(seconds=59), False),
        (17, 17, 17, NOW - timedelta(minutes=5), False),
        (None, 17, 30, NOW - timedelta(minutes=5), False),
    ],
)
def test_what_stands_still(before: int | None, after: int, end: int, since: datetime | None, *, is_found: bool) -> None:
    """Unmoved between two readings, something there, and not only since a moment; or what is there cannot be read."""
    earlier = {} if before is None else {PART: before}
    found = standstills(earlier, {PART: after}, {PART: end}, {PART: since}, NOW)
    assert found == ([Standstill(partition=PART, offset=17, behind=end - 18, since=since)] if is_found else [])


def test_what_is_shown_of_it() -> None:
    """Topic, partition, offset, for how long, how many wait; and what a worker reports on is not said twice."""
    still = Standstill(partition=PART, offset=17, behind=1_204, since=NOW - timedelta(minutes=5))
    assert still.sentence(NOW) == "shop.mails/0 stands still at offset 17, ready for 5m, with 1,204 more behind it"
    assert "which could not be read" in replace(still, since=None).sentence(NOW)
    assert "shop.mails/0/17" in still.fix
    assert unexplained([still], ["shop.mails"], []) == [still]
    assert unexplained([still], ["shop.mails"], [PART]) == unexplained([still], ["shop.other"], []) == []


def broken(view: ClusterView, pipeline: Pipeline) -> list[Finding]:
    """What the doctor finds broken in the one queue."""
    queue, found = pipeline.find_queue("work"), gather(view, pipeline)
    return [one for one in check_queue(found, queue, pipeline) if one.verdict is Verdict.BROKEN]


@contextmanager
def silent_member(cluster: ClusterSettings, queue: Queue) -> Iterator[Consumer]:
    """A member of the queue's group that reports nothing."""
    options = {"group.id": queue.group, "enable.auto.commit": False, "group.protocol": "consumer"}
    consumer = Consumer(cluster.client_config() | options)
    consumer.subscribe([queue.topic])
    wait_until(lambda: consumer.poll(0.05) or consumer.assignment(), what="an assignment")
    try:
        yield consumer
    finally:
        consumer.close()


def commit(consumer: Consumer, topic: str, offset: int) -> None:
    """Commit an offset of partition 0."""
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)


@pytest.fixture
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become parts of them."""
    monkeypatch.setattr(standstill, "OLD_AFTER", timedelta(seconds=0.5))
    monkeypatch.setattr(facts, "LOOK_AGAIN_S", (0.3, 0.3))
    monkeypatch.setattr(blockers, "OLD_AFTER_S", 0.5)
    monkeypatch.setattr(blockers, "REPEAT_S", 0.5)


@pytest.mark.usefixtures("_in_a_hurry")
def test_a_silent_standstill_is_broken(cluster: ClusterSettings, namespace: str) -> None:
    """A member that commits nothing, whatever it is: the doctor and `queues` name partition and offset."""
    pipeline, queue = declare_queue(namespace, partitions=1)
    create(pipeline, cluster)
    publish_raw(cluster, queue.topic, [Raw(value=b"x", headers=[])] * 5)
    view = ClusterView(cluster, timeout_s=60.0)
    with silent_member(cluster, queue) as silent:
        commit(silent, queue.topic, 2)
        observed = f"{queue.topic}/0 stands still at offset 2"
        wait_until(
            lambda: any(observed in finding.observed for finding in broken(view, pipeline)), 60, "the doctor's finding"
        )
        before = read_offsets(view, [queue])
        [status] = inspect_queues(view, [queue], read_offsets(view, [queue]), before)
        assert any(f"{observed}, ready for" in one and "2 more behind it" in one for one in status.obstacles)
        commit(silent, queue.topic, 5)
        assert not any("stands still" in finding.observed for finding in broken(view, pipeline))


@pytest.mark.expected_errors("cannot be written")
@pytest.mark.usefixtures("_in_a_hurry")
def test_an_outcome_that_cannot_be_written_is_broken(cluster: ClusterSettings, namespace: str) -> None:
    """A compacted topic takes no dead letter without a key: the worker reports the job, the doctor the place."""
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def act(number: int) -> None:
        """Never run."""

    create(pipeline, cluster)
    view = ClusterView(cluster, timeout_s=60.0)
    with running_worker(pipeline, cluster):
        change_configs(cluster, {queue.dead_topic: {"cleanup.policy": "compact"}})
        publish_raw(cluster, queue.topic, [Raw(value=b"junk", headers=[("ce_id", b"b"), ("ce_type", b"act")])])
        observed = "the outcome of the job at"
        found = wait_until(
            lambda: [one for one in broken(view, pipeline) if observed in one.observed], 60, "the finding"
        )
    assert f"{queue.topic}/0/0" in found[0].observed
