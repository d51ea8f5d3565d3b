"""A worker without partitions says why: it is one too many, or its join is not answered."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stoker.consumers.group.membership import JOINING, GroupView, Membership, judge, view_group
from stoker.consumers.inspection.snapshot import QueueSnapshot
from stoker.consumers.kafka.group_protocol import BrokerWatch
from stoker.operations.views.live_view import WorkerView
from stoker.topology import ClusterSettings, Queue
from support.scenes.worker import RunningWorker, create, declare_queue, running_worker
from support.waiting import wait_until

_, QUEUE = declare_queue("shop", partitions=2)
OURS = GroupView(partitions=2, members=1, lists_us=True, state="stable")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is not patient, though on a busy machine a join takes more than a second."""
    monkeypatch.setattr("stoker.consumers.group.membership.LATE_AFTER_S", 4.0)
    monkeypatch.setattr("stoker.consumers.group.membership.ASK_EVERY_S", 2.0)


@pytest.mark.usefixtures("soon")
def test_a_worker_too_many_is_spare_and_ready(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two workers for one partition one logs, as information, that it has none, and takes over from the other."""
    caplog.set_level(logging.INFO, "stoker")
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def act(number: int) -> None:
        """Do nothing with it."""

    create(pipeline, cluster)
    with (
        running_worker(pipeline, cluster, worker_id="a") as one,
        running_worker(pipeline, cluster, worker_id="b") as two,
    ):
        wait_until(lambda: is_shared_out(cluster, queue, workers=2), 60, "the group to be settled")
        working, spare = wait_until(lambda: roles_of(one, two), 60, "one of them to be spare")
        assert snapshot_of(spare).is_ready
        assert "2 workers share 1 partition," in snapshot_of(spare).waits_for
        assert "2 workers share 1 partition," in spare.worker.inspect()[0].hints[0]
        working.stop()
        wait_until(lambda: snapshot_of(spare).member_state == "working", 60, "the spare one to work")
        assert snapshot_of(spare).waits_for == ""
    told = [found for found in caplog.records if "2 workers share 1 partition," in found.getMessage()]
    assert {found.levelno for found in told} == {logging.INFO}
    assert len(told) <= 2, "one for each worker that was spare"


def test_what_is_held_is_logged_and_inspected(
    cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A change of partitions is logged with those that are held then, no change is not; an inspection shows all."""
    caplog.set_level(logging.INFO, "stoker")
    pipeline, queue = declare_queue(namespace, partitions=2)

    @pipeline.job(queue)
    def act(number: int) -> None:
        """Do nothing with it."""

    create(pipeline, cluster)
    with running_worker(pipeline, cluster) as one:
        one.wait_partitions(2)
        with running_worker(pipeline, cluster) as two:
            two.wait_partitions(1)
        one.wait_partitions(2)
        everything = {(topic, number) for topic in queue.job_topics for number in (0, 1)}
        wait_until(lambda: held_by(one) == everything, what="the partitions of all topics")
    said = [found.getMessage() for found in caplog.records if found.getMessage().startswith("partitions ")]
    assert "partitions assigned: [0, 1]; this worker holds [0, 1]" in said
    assert any(line.startswith("partitions revoked: [") and "holds none" not in line for line in said)
    assert said[-1] == "partitions revoked: [0, 1]; this worker holds none"
    assert not any("assigned: []" in line or "revoked: []" in line for line in said)


@pytest.mark.expected_errors("has had no partitions")
@pytest.mark.usefixtures("soon")
def test_a_join_that_is_never_answered_is_logged_once_and_not_ready(
    old_cluster: ClusterSettings, namespace: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot join names queue, group and what to do; it is not ready, and its screen shows it."""
    monkeypatch.setattr(BrokerWatch, "note", lambda _self, _line: None)  # so it does not learn what the brokers lack
    asked = threading.Event()

    def ask(*given: Any) -> GroupView:
        asked.set()
        return view_group(*given)

    monkeypatch.setattr("stoker.consumers.assembly.group.view_group", ask)
    pipeline, queue = declare_queue(namespace, partitions=1)

    @pipeline.job(queue)
    def act(number: int) -> None:
        """Do nothing with it."""

    create(pipeline, old_cluster)
    with running_worker(pipeline, old_cluster) as running:
        assert snapshot_of(running).member_state == "joining"
        assert not snapshot_of(running).is_ready
        wait_until(lambda: snapshot_of(running).member_state == "outside", 60, "the worker to know why")
        assert not snapshot_of(running).is_ready
        asked.clear()
        assert asked.wait(60), "other looks follow"
        screen = WorkerView(running.worker.snapshot, "worker").table()
        assert "has not answered its join" in str(next(iter(screen.columns[-1].cells)))
    (told,) = [found.getMessage() for found in caplog.records if "has had no partitions" in found.getMessage()]
    for part in ("queue 'work'", queue.group, "Read on the group", "--option group.protocol=classic"):
        assert part in told


@pytest.mark.parametrize(
    ("view", "member_state", "parts"),
    [
        (replace(OURS, members=3), "spare", ["3 workers share 2 partitions"]),
        (replace(OURS, members=2), "outside", ["does not give its own back", "(stable)"]),
        (
            replace(OURS, lists_us=False, members=0),
            "outside",
            ["has 0 other members and", "group.protocol=classic", "said it"],
        ),
        (replace(OURS, partitions=0), "outside", ["shop.work does not exist", "topology apply"]),
    ],
)
def test_the_reason_is_read_from_the_group(view: GroupView, member_state: str, parts: list[str]) -> None:
    """What the brokers know of the group tells a spare worker from one that is shut out, and why."""
    judged = judge(QUEUE, lambda: view, "said it")
    assert judged.member_state == member_state
    assert judged.level == (logging.INFO if member_state == "spare" else logging.ERROR)
    for part in parts:
        assert part in judged.why


def test_a_spare_worker_that_is_about_to_take_over_is_no_alarm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked in the moment after another worker has left, the group lists fewer members than partitions."""
    monkeypatch.setattr("threading.Thread.start", lambda thread: thread.run())
    seen = [replace(OURS, members=3), OURS, replace(OURS, members=3), OURS]
    membership = Membership(QUEUE, lambda: seen.pop(0))
    for now_s in (0.0, 30.0, 60.0, 90.0, 120.0):
        membership.check(now_s, has_partitions=False)
        assert membership.judgement.member_state == ("spare" if now_s else "joining")
    assert not [found for found in caplog.records if found.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("code", "level", "part"),
    [
        (KafkaError._TRANSPORT, None, "the brokers do not answer"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, logging.ERROR, "grant this client Read on the group"),
    ],
)
def test_brokers_that_do_not_say_are_distinguished(code: int, level: int | None, part: str) -> None:
    """An outage is logged elsewhere; a refusal names the right that is missing."""

    def ask() -> GroupView:
        raise KafkaException(KafkaError(code))

    judged = judge(QUEUE, ask, "")
    assert (judged.member_state, judged.level) == ("outside", level)
    assert part in judged.why


def test_nobody_is_asked_before_it_is_late() -> None:
    """A join that takes its time is no reason to ask; partitions that come begin the time anew."""
    asked = threading.Event()

    def ask() -> GroupView:
        asked.set()
        return replace(OURS, members=3)

    membership = Membership(QUEUE, ask)
    membership.check(0.0, has_partitions=False)
    membership.check(29.9, has_partitions=False)
    assert membership.judgement is JOINING
    membership.check(30.0, has_partitions=True)
    membership.check(40.0, has_partitions=False)
    membership.check(69.9, has_partitions=False)
    assert not asked.is_set()
    membership.check(70.0, has_partitions=False)
    assert asked.wait(60)


def test_the_time_for_a_share_begins_when_the_brokers_are_back() -> None:
    """An outage is no fault of the group: it is asked 30 s after the end, and the worker is not ready meanwhile."""
    asked = threading.Event()

    def ask() -> GroupView:
        asked.set()
        return replace(OURS, members=3)

    membership = Membership(QUEUE, ask)
    membership.check(0.0, has_partitions=False)
    membership.check(70.0, has_partitions=False, has_brokers=False)
    assert membership.judgement.member_state == "outside"
    assert membership.judgement.why == "the brokers do not answer"
    membership.check(99.0, has_partitions=False)
    assert not asked.is_set()
    membership.check(100.0, has_partitions=False)
    assert asked.wait(60)


def held_by(running: RunningWorker) -> set[tuple[str, int]]:
    """The partitions, (topic, number), that an inspection of its first queue shows."""
    return {(found.topic, found.partition) for found in running.worker.inspect()[0].partitions}


def snapshot_of(running: RunningWorker) -> QueueSnapshot:
    """The figures of its first queue."""
    return running.worker.snapshot()[0]


def is_shared_out(cluster: ClusterSettings, queue: Queue, *, workers: int) -> bool:
    """Whether so many workers are in the group, and no partition is on its way from one to another."""
    try:
        found = view_group(cluster, queue, "a")
    except KafkaException:  # nobody has joined yet, so there is no group
        return False
    return (found.members, found.state) == (workers, "stable")


def roles_of(*workers: RunningWorker) -> tuple[RunningWorker, RunningWorker] | None:
    """The worker that holds the partition and the one that is spare, once both know it."""
    views = [(snapshot_of(found), found) for found in workers]
    working = [found for view, found in views if view.member_state == "working" and view.partitions]
    spare = [found for view, found in views if view.member_state == "spare" and not view.partitions]
    return (working[0], spare[0]) if working and spare else None
