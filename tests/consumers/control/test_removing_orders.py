"""Workers remove orders that have nothing left to do, while operators give new ones under the same keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.control.cancel_orders import CancelOrders
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.orders import Orders
from stoker.consumers.control.reschedule_orders import PriorityOrders, RescheduleOrders
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.producers.transaction_writer import TransactionRecord, TransactionWriter, Withdrawn
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace, encode_order
from stoker.topology import ClusterSettings
from stoker.topology.wire import headers as wire
from stoker.topology.wire.orders import PRIORITY, Verb, cancel_key, prioritize_key, reschedule_key
from support.scenes.deliveries import declare

KEY: Final = cancel_key("j")
NOW: Final = datetime(2013, 1, 31, 12, tzinfo=UTC)
CLUSTER: Final = ClusterSettings(bootstrap_servers="localhost:1")
MOMENTS: Final = ("before", "written", "read", "checked", "after")
"""Of a removal: its transaction begins, it is on the topic, what was before it is read, nothing speaks against it, and
it is committed."""
STEPS: Final = ("cancel", "cancel", "uncancel", "end", "end", "turn", "turn", "turn")


class Killed(BaseException):
    """The worker's process is no more."""


@dataclass
class Topic:
    """The control topic, with the orders about one job.

    Attributes:
        given: how many orders were given.
        wanted: the id of the order that operators want to stand; None once its job has ended, too.
        left: that of the order whose job has ended.
    """

    records: list[Message | None] = field(default_factory=list)
    open_from: int | None = None
    given: int = 0
    wanted: str | None = None
    left: str | None = None

    def append(self, value: bytes | None, headers: Any = None) -> int:
        """Add a record, and return its offset."""
        offset = len(self.records)
        self.records.append(Message("shop.control", 0, offset, key=KEY, value=value, headers=headers))
        return offset

    @property
    def stable_end(self) -> int:
        """Up to where readers see: not beyond the first record of a transaction that is open."""
        return len(self.records) if self.open_from is None else self.open_from

    def undo(self) -> None:
        """End the open transaction, as the brokers do where its writer is killed."""
        if self.open_from is not None:
            self.records[self.open_from] = None
            self.open_from = None

    def cancel(self) -> None:
        """An operator gives a new order."""
        self.given += 1
        self.wanted, self.left = f"o{self.given}", None
        order = ControlOrder(order_id=self.wanted, verb=Verb.CANCEL, operator="ann", host="web-1", at=NOW, job_id="j")
        self.append(encode_order(order))

    def uncancel(self) -> None:
        """An operator lifts the order."""
        self.wanted = self.left = None
        self.append(None)

    def compacted(self) -> Topic:
        """The topic as a worker finds it that starts after its compaction."""
        return Topic(records=[*[record for record in self.records if record is not None][-1:]])


class Worker:
    """A worker that reads the topic; it is the reader and the writer of its remover.

    Attributes:
        amid: {moment of the next removal: what happens then}.
        is_slow: whether it reads nothing amid a removal.
    """

    def __init__(self, topic: Topic) -> None:
        self.topic, self.position = topic, 0
        self.amid: dict[str, Callable[[], None]] = {}
        self.is_connected, self.is_slow = True, False
        self.cancels = Cancels()
        self.remover = OrderRemover(CLUSTER, "shop.control", "w1")
        self.remover._writer = cast(TransactionWriter, self)
        self.orders = Orders([CancelOrders(self.cancels, lambda: 0, lambda: 0, self.remover)])

    @property
    def standing(self) -> str | None:
        """The id of the order that it holds to."""
        found = self.cancels.of(declare().record(headers={wire.JOB_ID: b"j"}), "q")
        return None if found is None else found.order_id

    def write(
        self, records: Sequence[TransactionRecord], then: Callable[[list[RecordPlace]], Sequence[TransactionRecord]]
    ) -> None:
        """Write a removal, which is committed unless `then` withdraws it."""
        (record,) = records
        self._pass("before")
        offset = self.topic.open_from = self.topic.append(record.value, record.headers)
        self._pass("written")
        try:
            then([RecordPlace(topic=record.topic, partition=0, offset=offset)])
        except Withdrawn:
            self.topic.undo()
            raise
        self._pass("checked")
        self.topic.open_from = None
        self._pass("after")

    def read_to(self, offset: int, _within_s: float) -> bool:
        """Read what is to be seen."""
        if not self.is_slow:
            self.read()
        self._pass("read")
        return self.position >= offset

    def _pass(self, moment: str) -> None:
        self.amid.pop(moment, lambda: None)()

    def read(self) -> None:
        """Take all records that are to be seen."""
        while self.position < self.topic.stable_end:
            message = self.topic.records[self.position]
            self.position += 1
            if message is not None:
                self.orders.take(message)

    def turn(self) -> None:
        """Take what is there, and do what follows."""
        self.read()
        self.remover._next_at_s = 0.0
        self.remover.turn(self)
        self.orders.carry_out()

    def end_job(self) -> None:
        """The job ends here: the order that stands has nothing left to do."""
        if self.standing is not None and self.standing == self.topic.wanted:
            self.topic.wanted, self.topic.left = None, self.topic.wanted
        self.cancels.note_ended(declare().record(headers={wire.JOB_ID: b"j"}))


def ended_at(topic: Topic) -> Worker:
    """A worker that is about to remove the first order."""
    worker = Worker(topic)
    topic.cancel()
    worker.turn()
    worker.end_job()
    worker.orders.carry_out()
    return worker


def started_at(topic: Topic) -> Worker:
    """A worker that has read all."""
    worker = Worker(topic)
    worker.read()
    return worker


def kill() -> None:
    """End the process here."""
    raise Killed


def test_an_order_that_has_nothing_left_to_do_is_removed() -> None:
    """By the worker in which its job has ended."""
    topic = Topic()
    worker = ended_at(topic)
    worker.turn()
    assert [started_at(one).standing for one in (topic, topic.compacted())] == [None, None]
    assert not worker.remover._pending


@pytest.mark.parametrize("dies", [*MOMENTS, "never"])
@pytest.mark.parametrize("comes", MOMENTS)
def test_a_removal_takes_no_new_order_along(comes: str, dies: str) -> None:
    """Whenever that comes and whenever the worker is killed: also a worker that starts after compaction holds to it."""
    topic = Topic()
    worker = ended_at(topic)

    def cancel_and_kill() -> None:
        topic.cancel()
        kill()

    worker.amid[comes] = topic.cancel
    with suppress(Killed):
        if dies in MOMENTS[MOMENTS.index(comes) :]:
            worker.amid[dies] = kill if dies != comes else cancel_and_kill
        worker.turn()
        worker.turn()
    topic.undo()
    assert topic.wanted == "o2"
    assert [started_at(one).standing for one in (topic, topic.compacted())] == ["o2", "o2"]


def test_records_of_others_amid_the_removals_may_be_newer_orders() -> None:
    """Readers see none of them before the transaction ends, so it is undone; smaller ones are tried then."""
    reader = started_at(Topic())
    remover = OrderRemover(CLUSTER, "shop.control", "w1")

    def write(records: Sequence[TransactionRecord], then: Callable[[list[RecordPlace]], Any]) -> None:
        sizes.append(len(records))
        then([RecordPlace(topic="t", partition=0, offset=2 * number) for number in range(len(records))])

    sizes: list[int] = []
    remover._writer = cast(TransactionWriter, SimpleNamespace(is_connected=True, write=write))
    reader.position = 100
    for number in range(8):
        remover.remove_soon(cancel_key(f"j{number}"), "o1", "its job has ended")
    while remover._pending:
        remover._next_at_s = 0.0
        remover.turn(reader)
    assert sizes[:8] == [8, 4, 2, 1, 2, 1, 2, 1]


def test_nothing_is_removed_before_all_is_read_that_was_there_before() -> None:
    """Such as where the records of another transaction keep readers back."""
    topic = Topic()
    worker = ended_at(topic)

    worker.is_slow, worker.amid["before"] = True, topic.cancel
    worker.turn()
    assert started_at(topic.compacted()).standing == "o2"


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.sampled_from(MOMENTS)), max_size=30))
def test_what_operators_want_stands_in_the_end(steps: list[tuple[str, int, str]]) -> None:
    """In all workers and on the compacted topic, with whatever comes amid whatever removals."""
    topic = Topic()
    workers = [Worker(topic), Worker(topic)]
    for step, number, moment in steps:
        match step:
            case "cancel" | "uncancel" if moment == "before":
                getattr(topic, step)()
            case "cancel" | "uncancel":
                workers[number].amid[moment] = getattr(topic, step)
            case "end":
                workers[number].end_job()
            case _:
                workers[number].turn()
    for worker in 3 * workers:
        worker.turn()
    standing = {started_at(topic.compacted()).standing, *(worker.standing for worker in workers)}
    assert standing == {topic.wanted} or (topic.wanted is None and standing <= {None, topic.left})


def test_a_new_time_and_a_new_priority_outlast_the_removal_of_the_former_ones() -> None:
    """Of one job; the removal of the order itself ends each."""
    reschedules, until = Reschedules(), NOW + timedelta(days=1)
    remover = OrderRemover(CLUSTER, "shop.control", "w1")
    takers = [
        RescheduleOrders(reschedules, remover, lambda: NOW),
        PriorityOrders(reschedules, remover, lambda: NOW),
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
