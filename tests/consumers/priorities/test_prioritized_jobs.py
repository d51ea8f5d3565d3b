"""A job that waits gets another priority: its copy runs, and its first record is passed over, however late it comes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Message, TopicPartition

from consumers.priorities.test_priorities import record_at
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.reschedule_orders import PriorityOrders
from stoker.consumers.records.outcomes import DONE, SKIPPED
from stoker.consumers.standing_orders.reschedules import COMMITTED_AFTER_S, Reschedules
from stoker.producers import Producer
from stoker.producers.control import Control, OrderRefused
from stoker.producers.control.place_search import is_complete_by
from stoker.producers.control.prioritizing import prioritized, queues_with
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace
from stoker.topology import ClusterSettings, Pipeline, Queue
from stoker.topology.wire import headers as wire
from stoker.topology.wire.commit_metadata import CommitMetadata
from stoker.topology.wire.orders import lifting_order, order_key, prioritize_key
from support.scenes.worker import Gate, Journal, create, declare_queue, running_worker, wait_all_committed
from support.waiting import wait_until

WEIGHTS = {"high": 8, "normal": 3, "low": 1}
ORIGIN = (wire.ORIGIN, b"t.normal/0/7")
HIGH = (wire.PRIORITY, b"high")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = ControlOrder(order_id="1", verb="prioritize", operator="ann", host="web-1", at=NOW)


class Removed(OrderRemover):
    """Keeps what is to be removed, and writes nothing."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def remove_soon(self, key: bytes, order_id: str, reason: str) -> None:
        """Note it."""
        self.keys.append(key)

    def note_taken(self, key: bytes, order_id: str) -> None:
        """Nothing is pending."""

    def note_lifted(self, key: bytes) -> None:
        """Nothing is pending."""

    def turn(self, _orders: object) -> None:
        """Nothing is written."""


def test_the_first_record_is_passed_over_and_the_copy_is_not() -> None:
    """Nor is a retry of the first one: it had begun when the order came, and the ledger stops the copy."""
    reschedules = Reschedules()
    reschedules.prioritize("job-1", "t.normal/0/7", "high", 1e12)
    assert reschedules.has_prioritized_copy(record_at(7, "normal"))
    assert not reschedules.has_prioritized_copy(record_at(8, "normal"))
    assert not reschedules.has_prioritized_copy(record_at(3, "high", headers=[HIGH, ORIGIN]))
    assert reschedules.has_prioritized_copy(record_at(4, "low", headers=[ORIGIN]))
    assert not reschedules.has_prioritized_copy(record_at(4, "normal", headers=[ORIGIN, (wire.ATTEMPT, b"2")]))
    reschedules.end_prioritized({"job-1"})
    assert not reschedules.stands


def test_the_order_is_removed_a_while_after_its_record_was_passed_over() -> None:
    """Once, and not when the copy has run: the record may come a day later."""
    reschedules, removed = Reschedules(), Removed()
    orders = PriorityOrders(reschedules, removed, clock=lambda: NOW)
    place = RecordPlace(topic="t.normal", partition=0, offset=7)
    until = NOW + timedelta(days=30)
    order = ControlOrder(
        order_id="1", verb="prioritize", operator="ann", host="web-1", at=NOW, job_id="job-1", place=place,
        until=until, detail={"priority": "high"},
    )  # fmt: skip
    key = order_key(order).encode()
    assert key == prioritize_key("job-1")
    orders.take(key, order, is_new=True)
    reschedules.note_settled([(record_at(3, "high", headers=[HIGH, ORIGIN]), DONE)])
    assert reschedules.take_passed(time.monotonic() + COMMITTED_AFTER_S) == []
    reschedules.note_settled([(record_at(7, "normal"), SKIPPED)])
    orders.carry_out()
    assert removed.keys == []
    assert reschedules.take_passed(time.monotonic() + COMMITTED_AFTER_S) == [("job-1", "1")]
    assert reschedules.take_passed(time.monotonic() + COMMITTED_AFTER_S) == []
    lifted = lifting_order(key, removed="1", order_id="2", operator="worker w", host="h", at=NOW, reason="")
    assert (lifted.verb, lifted.job_id) == ("prioritize", "job-1")
    orders.lift(key)
    assert not reschedules.stands
    orders.begin_rereading()
    orders.end_rereading()
    orders.take(key, order, is_new=False)
    orders.begin_rereading()
    orders.end_rereading()
    assert not reschedules.stands


def found(queue: Queue, *headers: tuple[str, bytes], topic: str | None = None) -> tuple[Queue, Message]:
    """A record that was looked up."""
    pairs: list[tuple[str, str | bytes | None]] = [(wire.JOB_ID, b"job-1"), *headers]
    return queue, Message(topic=topic or queue.topic, partition=2, offset=7, key=b"k", value=b"v", headers=pairs)


def test_the_copy_is_the_job_with_its_origin_and_another_priority() -> None:
    """On the same partition; the order names the origin, also of a copy that is copied once more."""
    queue = Pipeline("shop").queue("mails", priorities={"urgent": 20, **WEIGHTS})
    pipeline = Pipeline("other")
    order, copy = prioritized(ORDER, pipeline, "job-1", None, found(queue))
    assert (copy.topic, copy.partition, copy.key, copy.value) == ("shop.mails.urgent", 2, b"k", b"v")
    assert dict(copy.headers) == {
        wire.JOB_ID: b"job-1", wire.PRIORITY: b"urgent", wire.ORIGIN: b"shop.mails/2/7",
    }  # fmt: skip
    assert order.place == RecordPlace(topic="shop.mails", partition=2, offset=7)
    again = found(queue, (wire.PRIORITY, b"low"), (wire.ORIGIN, b"shop.mails/2/3"), topic="shop.mails.low")
    order, copy = prioritized(ORDER, pipeline, "job-1", "normal", again)
    assert copy.topic == "shop.mails"
    assert dict(copy.headers) == {wire.JOB_ID: b"job-1", wire.ORIGIN: b"shop.mails/2/3"}
    assert order.place == RecordPlace(topic="shop.mails", partition=2, offset=3)
    assert order.detail == {"priority": "normal"}


def test_a_job_that_is_complete_beyond_a_slower_one_does_not_wait() -> None:
    """By the commit: offsets 3 and 5 to 7 are incomplete, and what lies behind the position has not begun."""
    state = CommitMetadata(committed_offset=3, position=9, incomplete=((3, 4), (5, 8)))
    place = TopicPartition("shop.mails", 0, 3, state.encode())
    assert [offset for offset in range(11) if is_complete_by(place, offset)] == [0, 1, 2, 4, 8]
    assert [offset for offset in range(5) if is_complete_by(TopicPartition("shop.mails", 0, 3), offset)] == [0, 1, 2]


def test_what_cannot_be_prioritized_is_refused_with_the_way_out() -> None:
    """No job, no such priority, a unique one, one that does not wait, or has the priority."""
    pipeline = Pipeline("shop")
    queue = pipeline.queue("mails", priorities=WEIGHTS)
    plain = Pipeline("plain")
    plain.queue("mails")
    with pytest.raises(OrderRefused, match="the job's id is empty"):
        queues_with(ORDER, pipeline, "", None)
    with pytest.raises(OrderRefused, match="declares priority 'urgent'"):
        queues_with(ORDER, pipeline, "job-1", "urgent")
    with pytest.raises(OrderRefused, match="declares priorities"):
        queues_with(ORDER, plain, "job-1", None)
    with pytest.raises(OrderRefused, match="`reschedule` changes"):
        prioritized(ORDER, pipeline, "job-1", None, None)
    with pytest.raises(OrderRefused, match="has the priority 'high' already"):
        prioritized(ORDER, pipeline, "job-1", None, found(queue, HIGH, topic="shop.mails.high"))
    with pytest.raises(OrderRefused, match="is unique"):
        prioritized(ORDER, pipeline, "job-1", None, found(queue, (wire.UNIQUE, b"x")))


def test_a_job_that_waits_behind_a_backlog_runs_soon_and_once(
    cluster: ClusterSettings, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first record is passed over, also by a worker whose ledger has forgotten the job."""
    pipeline, queue = declare_queue(namespace, partitions=1, priorities=WEIGHTS)
    journal, gate = Journal(), Gate()

    @pipeline.job(queue)
    def act(name: str) -> None:
        if name == "first":
            gate.wait()
        journal.note(name)

    create(pipeline, cluster)
    with (
        Producer(pipeline, cluster) as producer,
        Control(pipeline, cluster, operator="ann") as control,
        running_worker(pipeline, cluster, concurrency=1) as running,
    ):
        producer.enqueue(act, "first")
        wait_until(lambda: gate.waiting == 1, what="the first job to run")
        producer.enqueue_many(act.call(str(number)) for number in range(60))
        producer.enqueue(act.with_options(job_id="urgent", key="k"), "urgent")
        receipt = control.prioritize("urgent", reason="the customer calls")
        receipt.wait(timedelta(seconds=60))
        wait_until(lambda: running.worker.snapshot()[0].in_flight == 63, what="all records to be taken")
        for ledger in running.worker._parts[0].partitions.assignments.ledgers.present.values():
            monkeypatch.setattr(ledger, "remembers", lambda _record: False)  # it has forgotten all
        gate.open()
        said = journal.wait(62)
        running.wait_outcomes(Done=62, Skipped=1)
        wait_all_committed(cluster, queue)
    assert said.index("urgent") < 10
    assert journal.times()["urgent"] == 1
