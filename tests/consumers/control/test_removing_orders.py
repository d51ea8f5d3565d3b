"""Workers remove orders that have nothing left to do, while operators give new ones under the same keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.control.cancel_orders import CancelOrders
from stoker.consumers.control.order_forgetter import Forgetter
from stoker.consumers.control.orders import Orders
from stoker.consumers.control.reschedule_orders import PriorityOrders, RescheduleOrders
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace, decode_order, encode_order
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from stoker.topology.wire.orders import PRIORITY, Verb, cancel_key, prioritize_key, reschedule_key
from support.scenes.deliveries import declare

KEY: Final = cancel_key("j")
NOW: Final = datetime(2013, 1, 31, 12, tzinfo=UTC)
STEPS: Final = ("cancel", "cancel", "uncancel", "end", "end", "read", "turn", "turn", "turn", "deliver", "fail")
Answer = Callable[[KafkaError | None, Message], None]


@dataclass
class Topic:
    """The control topic, with the orders about one job."""

    records: list[Message] = field(default_factory=list)
    given: int = 0
    wanted: str | None = None
    """The order that operators want to stand; None once its job has ended, too."""

    def append(self, value: bytes | None, headers: Any = None) -> Message:
        """Add a record."""
        message = Message("shop.control", 0, len(self.records), key=KEY, value=value, headers=headers)
        self.records.append(message)
        return message

    def cancel(self) -> None:
        """An operator gives a new order."""
        self.given += 1
        self.wanted = f"o{self.given}"
        order = ControlOrder(order_id=self.wanted, verb=Verb.CANCEL, operator="ann", host="web-1", at=NOW, job_id="j")
        self.append(encode_order(order))

    def uncancel(self) -> None:
        """An operator lifts the order."""
        self.wanted = None
        self.append(None)


class Worker:
    """A worker that reads the topic; its producer is `self`, whose records arrive when the test wants it."""

    def __init__(self, topic: Topic, begin: int = 0) -> None:
        self.topic, self.position = topic, begin
        self.in_flight: list[tuple[bytes | None, Any, Answer]] = []
        self.cancels = Cancels()
        self.forgetter = Forgetter(ClusterSettings(bootstrap_servers="localhost:1"), "shop.control", "w1")
        self.forgetter._producer._make = lambda: cast(Producer, self)
        self.orders = Orders([CancelOrders(self.cancels, lambda: 0, lambda: 0, self.forgetter)])

    @property
    def standing(self) -> str | None:
        """The id of the order that it holds to."""
        found = self.cancels.of(declare().record(headers={wire.JOB_ID: b"j"}), "q")
        return None if found is None else found.order_id

    def produce(
        self, _topic: str, value: bytes | None, _key: bytes, _partition: int, *, headers: Any, on_delivery: Answer
    ) -> None:
        """Take a record."""
        self.in_flight.append((value, headers, on_delivery))

    def poll(self, _timeout_s: float) -> int:
        """Answer nothing by itself."""
        return 0

    def deliver(self) -> None:
        """The oldest record in flight arrives at the topic."""
        if self.in_flight:
            value, headers, answer = self.in_flight.pop(0)
            answer(None, self.topic.append(value, headers))

    def fail(self) -> None:
        """The oldest record in flight is given up."""
        if self.in_flight:
            _, _, answer = self.in_flight.pop(0)
            answer(KafkaError(KafkaError._MSG_TIMED_OUT), Message("shop.control", 0, key=KEY))
            self.forgetter._next_at_s = 0.0

    def read(self, most: int = 1) -> None:
        """Take the next records; the test carries out what follows."""
        for message in self.topic.records[self.position :][:most]:
            self.orders.take(message)
            self.position += 1

    def turn(self, most: int = 1) -> None:
        """Take the next records, and do what follows."""
        self.read(most)
        self.orders.carry_out()

    def end_job(self) -> None:
        """The job ends here: the order that stands has nothing left to do."""
        if self.standing is not None and self.standing == self.topic.wanted:
            self.topic.wanted = None
        self.cancels.note_ended(declare().record(headers={wire.JOB_ID: b"j"}))

    def settle(self) -> None:
        """Write and read until nothing is left."""
        while self.in_flight or self.position < len(self.topic.records):
            self.deliver()
            self.turn()


def ended_at(topic: Topic) -> Worker:
    """A worker whose removal of the first order is on its way."""
    worker = Worker(topic)
    topic.cancel()
    worker.turn()
    worker.end_job()
    worker.turn()
    assert len(worker.in_flight) == 1
    return worker


def last_order(topic: Topic) -> str | None:
    """The id of the order that compaction keeps."""
    value = topic.records[-1].value()
    return None if value is None else decode_order(value).order_id


def test_a_removal_on_its_way_does_not_take_a_new_order_along() -> None:
    """Readers let it stand at each moment; the worker writes it again, since compaction would keep the removal."""
    topic = Topic()
    worker, other = ended_at(topic), Worker(topic)
    topic.cancel()
    worker.deliver()
    other.turn(3)
    assert other.standing == "o2"
    while worker.in_flight or worker.position < len(topic.records):
        worker.turn()
        worker.deliver()
        assert worker.standing == "o2"
    assert last_order(topic) == "o2"
    late = Worker(topic, begin=len(topic.records) - 1)
    late.turn()
    assert late.standing == "o2"


def test_a_new_order_that_comes_as_the_job_of_the_former_one_ends_stays() -> None:
    """The control thread takes it before it looks at what has ended."""
    topic = Topic()
    worker = Worker(topic)
    topic.cancel()
    worker.turn()
    worker.end_job()
    topic.cancel()
    worker.turn()
    worker.settle()
    assert (worker.standing, last_order(topic)) == ("o2", "o2")


def test_an_order_that_is_lifted_while_it_is_written_again_stays_lifted() -> None:
    """Else it would hold for 30 days."""
    topic = Topic()
    worker = ended_at(topic)
    topic.cancel()
    worker.deliver()
    worker.turn()
    topic.uncancel()
    worker.settle()
    assert (worker.standing, last_order(topic)) == (None, None)


@pytest.mark.expected_errors
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1)), min_size=15, max_size=40))
def test_what_operators_want_stands_in_the_end(steps: list[tuple[str, int]]) -> None:
    """In all workers and on the compacted topic, with whatever removals are on their way."""
    topic = Topic()
    workers = [Worker(topic), Worker(topic)]
    for step, number in steps:
        match step:
            case "cancel":
                topic.cancel()
            case "uncancel":
                topic.uncancel()
            case "end":
                workers[number].end_job()
            case _:
                getattr(workers[number], step)()
    for worker in workers:
        worker.turn()
    while any(worker.in_flight or worker.position < len(topic.records) for worker in workers):
        for worker in workers:
            worker.settle()
    if topic.records:
        assert {last_order(topic), *(worker.standing for worker in workers)} == {topic.wanted}


def test_a_new_time_and_a_new_priority_outlast_the_removal_of_the_former_ones() -> None:
    """Of one job; the removal of the order itself ends each."""
    reschedules, until = Reschedules(), NOW + timedelta(days=1)
    forgetter = Forgetter(ClusterSettings(bootstrap_servers="localhost:1"), "shop.control", "w1")
    takers = [
        RescheduleOrders(reschedules, forgetter, lambda: NOW),
        PriorityOrders(reschedules, forgetter, lambda: NOW),
    ]
    place = RecordPlace(topic="t", partition=0, offset=7)
    order = ControlOrder(
        order_id="new", verb=Verb.RESCHEDULE, operator="ann", host="web-1", at=NOW, job_id="j", due_at=NOW,
        until=until, place=place, detail={PRIORITY: "high"},
    )  # fmt: skip
    for taker, key in zip(takers, (reschedule_key("j"), prioritize_key("j")), strict=True):
        taker.take(key, order, is_new=True)
        taker.remove(key, "former")
        assert reschedules.stands
        taker.remove(key, "new")
        assert not reschedules.stands
