"""The feed of the control topic, over a log that a test writes: how far it is, how old, and when it begins anew."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.control.cancel_orders import CancelOrders
from stoker.consumers.control.order_feed import ASK_INTERVAL_S, OrderFeed
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.orders import Orders
from stoker.consumers.control.pause_orders import PauseOrders
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Pauses
from stoker.consumers.standing_orders.cancels import Cancels, name_of_job
from stoker.producers.control.log_reader import LogReader
from stoker.schemas.own_records.control_records import ControlOrder, encode_order
from stoker.topology import ClusterSettings
from stoker.topology.wire.orders import Verb, order_key

ANN: Any = {"operator": "ann", "host": "web-1", "at": datetime(2013, 1, 31, tzinfo=UTC)}


@dataclass
class Record:
    """A record of the log."""

    key_: bytes
    value_: bytes | None
    offset_: int

    def key(self) -> bytes:
        """As of a message."""
        return self.key_

    def value(self) -> bytes | None:
        """As of a message."""
        return self.value_

    def headers(self) -> None:
        """As of a message."""

    def offset(self) -> int:
        """As of a message."""
        return self.offset_


@dataclass
class Log:
    """The topic, and a reader of it that sees what a test lets it see."""

    records: list[Record] = field(default_factory=list)
    end: int = 0
    is_away: bool = False
    open_from: int | None = None
    """Where a transaction begins that is still open."""
    next_at: int = 0
    position: int = 0
    is_at_end: bool = False
    trouble: KafkaError | None = None

    def give(self, queue: str, *, lifts: bool = False) -> None:
        """Append an order, and the marker of its transaction."""
        self.append(ControlOrder(order_id=queue, verb=Verb.PAUSE, queue=queue, **ANN), lifts=lifts)

    def append(self, one: ControlOrder, *, lifts: bool = False) -> None:
        """Append an order, or what lifts it."""
        value = None if lifts else encode_order(one)
        self.records.append(Record(order_key(one).encode(), value, self.end))
        self.end += 2

    def compact(self) -> None:
        """Keep the last record of each key, what lifts one included, and all of the segment that is written."""
        *closed, written = self.records or [Record(b"", b"", -1)]
        last = {record.key_: record for record in closed}
        self.records = [record for record in closed if last[record.key_] is record]
        self.records += [written] if written.offset_ >= 0 else []

    def start(self, offset: int) -> None:
        """As of a reader."""
        self.next_at, self.position, self.is_at_end = offset, offset, False

    def ask_end(self, _timeout_s: float) -> tuple[int, int]:
        """As of a reader."""
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return 0, self.shown_end

    def ask_whole_end(self, _timeout_s: float) -> tuple[int, int]:
        """As of a reader."""
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return 0, self.end

    @property
    def shown_end(self) -> int:
        """Where what is committed ends."""
        return self.end if self.open_from is None else self.open_from

    def read(self, _timeout_s: float) -> list[Message]:
        """As of a reader: one after the other."""
        self.is_at_end = False
        if self.is_away:
            return []
        shown = [record for record in self.records if record.offset_ < self.shown_end]
        found = next((record for record in shown if record.offset_ >= self.next_at), None)
        if found is None:
            self.next_at, self.position, self.is_at_end = self.shown_end, self.shown_end, True
            return []
        self.next_at = self.position = found.offset_ + 1
        return [cast(Message, found)]


@dataclass
class Scene:
    """A feed that takes pauses of two queues."""

    log: Log = field(default_factory=Log)
    now_s: float = 1_000.0

    def __post_init__(self) -> None:
        """Begin; nothing is read yet."""
        self.pauses = {name: Pauses(GateRow()) for name in ("mails", "calls")}
        orders = Orders([PauseOrders(self.pauses)])
        self.feed = OrderFeed(cast(LogReader, self.log), orders, clock=lambda: self.now_s)

    @property
    def paused(self) -> list[str]:
        """The queues that are."""
        return [name for name, pauses in self.pauses.items() if not pauses.is_resting]

    def read(self, times: int = 5) -> None:
        """Take what there is."""
        for _ in range(times):
            self.feed.read(0.0)


def test_an_order_behind_an_open_transaction_is_awaited() -> None:
    """Else a worker would start jobs that it holds; the brokers undo the transaction of a dead worker soon."""
    scene = Scene()
    scene.log.give("mails")
    scene.log.open_from = scene.log.end
    scene.log.end += 2
    scene.log.give("calls")
    scene.read()
    assert (scene.feed.is_caught_up, scene.paused) == (False, ["mails"])
    scene.log.open_from = None
    scene.read()
    assert (scene.feed.is_caught_up, scene.paused) == (True, ["mails", "calls"])


def test_a_log_that_is_truncated_while_its_end_is_awaited_is_known() -> None:
    """Else the worker would start no job for ever."""
    scene = Scene()
    scene.log.give("mails")
    scene.log.open_from = scene.log.end
    scene.log.give("calls")
    scene.read()
    del scene.log.records[-1]
    scene.log.end, scene.log.open_from = scene.log.open_from, None
    scene.read()
    assert not scene.feed.is_caught_up
    scene.now_s += ASK_INTERVAL_S
    scene.read()
    assert (scene.feed.is_caught_up, scene.paused) == (True, ["mails"])


def test_an_empty_topic_is_known_at_once() -> None:
    """A worker of a pipeline without orders starts without a wait."""
    scene = Scene()
    scene.read(1)
    assert scene.feed.is_caught_up


def test_it_is_caught_up_when_all_orders_are_taken_that_were_there() -> None:
    """Not before."""
    scene = Scene()
    scene.log.give("mails")
    scene.log.give("calls")
    scene.read(1)
    assert (scene.paused, scene.feed.is_caught_up, scene.feed.taken_below) == (["mails"], False, 0)
    scene.read()
    assert (scene.paused, scene.feed.is_caught_up, scene.feed.taken_below) == (["mails", "calls"], True, 4)
    scene.log.give("mails", lifts=True)
    scene.read(1)
    assert (scene.paused, scene.feed.taken_below) == (["calls"], 5)


def test_without_brokers_it_keeps_what_it_has_and_grows_old() -> None:
    """It is young again when it has asked for the end, and is there."""
    scene = Scene()
    scene.log.give("mails")
    scene.read()
    scene.log.is_away = True
    scene.now_s += 100
    scene.read()
    scene.feed.ask()
    assert (scene.paused, scene.feed.age_s) == (["mails"], 100)
    assert scene.feed.trouble is not None
    scene.log.is_away = False
    scene.now_s += 100
    scene.feed.ask()
    assert scene.feed.age_s == 0


def test_a_worker_that_starts_without_brokers_is_not_caught_up() -> None:
    """It starts no job."""
    scene = Scene()
    scene.log.is_away = True
    scene.read()
    assert not scene.feed.is_caught_up
    assert scene.feed.trouble is not None


@pytest.mark.parametrize("orders", [0, 1, 3], ids=["empty", "shorter", "longer"])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning(orders: int) -> None:
    """What it does not hold any more stands no longer."""
    scene = Scene()
    for _ in range(2):
        scene.log.give("mails")
    scene.read()
    scene.log.records, scene.log.end = [], 0
    for _ in range(orders):
        scene.log.give("calls")
    if orders != 1:
        scene.log.next_at = 0  # the client begins anew where its offset is out of range
        scene.read(1)
    scene.feed.ask()
    scene.read()
    assert (scene.paused, scene.feed.is_caught_up) == (["calls"] if orders else [], True)


def test_after_a_day_without_the_topic_all_orders_are_read_again() -> None:
    """The log may have forgotten that one was lifted."""
    scene = Scene()
    scene.log.give("mails")
    scene.log.give("calls")
    scene.read()
    del scene.log.records[0]  # compacted away, with what has lifted it
    scene.now_s += 2 * 24 * 3_600
    scene.feed.ask()
    scene.read()
    assert scene.paused == ["calls"]


def test_a_worker_that_is_behind_says_for_how_long() -> None:
    """It takes one order after the other, and does not know what else there is."""
    scene = Scene()
    scene.read(1)
    for _ in range(3):
        scene.log.give("mails")
    scene.now_s += 30
    scene.read(3)
    assert scene.feed.age_s == 30
    scene.read(1)
    assert scene.feed.age_s == 0


STEPS = st.one_of(
    st.tuples(st.sampled_from(["cancel", "lift"]), st.sampled_from("abcd")),
    st.tuples(st.sampled_from(["compact", "read", "back", "start"]), st.just("")),
)


@given(st.lists(STEPS, max_size=60))
def test_a_log_that_is_compacted_leaves_a_worker_with_what_stands(steps: list[tuple[str, str]]) -> None:
    """Whenever it is away or behind, and whenever it starts; a worker that never missed a record knows the same."""
    log, standing = Log(), set[str]()
    cancels = {"steady": Cancels(), "other": Cancels()}
    feeds = {name: feed_of(log, found) for name, found in cancels.items()}
    for step, job_id in [*steps, ("back", "")]:
        one = ControlOrder(order_id="1", verb=Verb.CANCEL, job_id=job_id, **ANN)
        match step:
            case "cancel" | "lift":
                log.append(one, lifts=step == "lift")
                (standing.add if step == "cancel" else standing.discard)(job_id)
                read_on(log, feeds["steady"])
            case "compact":
                log.compact()
            case "start":
                cancels["other"] = Cancels()
                feeds["other"] = feed_of(log, cancels["other"])
            case "read" | "back":
                read_on(log, feeds["other"], 2 if step == "read" else 200)
    names = {name_of_job(job_id.encode()) for job_id in standing}
    assert [found.job_names for found in cancels.values()] == [names, names]


def feed_of(log: Log, cancels: Cancels) -> OrderFeed:
    """A worker's, which reads the log by itself."""
    remover = OrderRemover(ClusterSettings(bootstrap_servers="localhost:1"), "shop.control", "w1")
    orders = Orders([CancelOrders(cancels, lambda: 0, lambda: 0, remover)])
    return OrderFeed(cast(LogReader, replace(log, records=[], next_at=0, position=0)), orders)


def read_on(log: Log, feed: OrderFeed, times: int = 200) -> None:
    """Let a worker read what the log has by now."""
    reader = cast(Log, feed._reader)
    reader.records, reader.end = log.records, log.end
    for _ in range(times):
        feed.read(0.0)
