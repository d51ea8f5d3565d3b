"""Orders without Kafka: which stand, who takes them, and what becomes of those that a worker does not understand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message

from stoker.consumers.assembly.control import make_control
from stoker.consumers.control import status_writer
from stoker.consumers.control.order_feed import OrderFeed
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.order_takers import StandingOrders
from stoker.consumers.control.orders import MOST_LOGGED, Orders
from stoker.consumers.control.own_orders import OwnOrders
from stoker.consumers.control.pause_orders import PauseOrders, pause_of
from stoker.consumers.control.status_writer import StatusWriter
from stoker.consumers.control.worker_orders import OnceOrders, QuietOrders
from stoker.consumers.control.worker_process import WorkerProcess
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Pauses
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.consumers.standing_orders.reschedules import Reschedules
from stoker.schemas.own_records.control_records import MOST_IDS, ControlOrder, decode_status, encode_order
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.wire.orders import Verb, order_key

NOW = datetime(2013, 1, 31, 12, tzinfo=UTC)


def order(verb: str = Verb.PAUSE, **fields: Any) -> ControlOrder:
    """An order by ann, an hour ago."""
    named: dict[str, Any] = {
        "order_id": "1",
        "operator": "ann",
        "host": "web-1",
        "at": NOW - timedelta(hours=1),
    } | fields
    return ControlOrder(verb=verb, **named)


@dataclass
class FakeMessage:
    """A record of the control topic."""

    key_: bytes
    value_: bytes | None
    offset_: int = 0

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

    def topic(self) -> str:
        """As of a message."""
        return "shop.control"


def message(key: bytes, value: bytes | None, offset: int = 0) -> Message:
    """A record of the control topic."""
    return cast(Message, FakeMessage(key, value, offset))


def given(one: ControlOrder) -> Message:
    """The record of an order."""
    return message(order_key(one).encode(), encode_order(one))


def lifted(one: ControlOrder) -> Message:
    """The record that lifts it."""
    return message(order_key(one).encode(), None)


@dataclass
class Clock:
    """A clock that stands still."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """The time."""
        return self.now


class Taker(StandingOrders):
    """Notes what it holds to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.said: list[str] = []

    @property
    def verbs(self) -> tuple[str, ...]:
        """Those of pauses."""
        return (Verb.PAUSE,)

    def begin(self, order: ControlOrder) -> None:
        """Note it."""
        if order.reason == "broken":
            raise ValueError(order.reason)
        self.said.append(f"begin {order.order_id}")

    def end(self, order: ControlOrder) -> None:
        """Note it."""
        self.said.append(f"end {order.order_id}")


@dataclass
class Scene:
    """Orders with one taker."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        """Begin without any."""
        self.taker = Taker(self.clock)
        self.orders = Orders([self.taker])

    def take(self, *messages: Message) -> list[str]:
        """Take records; what the taker did."""
        before = len(self.taker.said)
        for one in messages:
            self.orders.take(one)
        return self.taker.said[before:]


FIRST, SECOND = order(queue="mails"), order(queue="mails", order_id="2")


def test_an_order_stands_until_it_is_lifted() -> None:
    """Given again, it begins once; lifted again, it ends once."""
    scene = Scene()
    assert scene.take(given(FIRST), given(FIRST)) == ["begin 1"]
    assert scene.take(lifted(FIRST), lifted(FIRST)) == ["end 1"]
    assert scene.taker.standing == []


def test_an_order_that_replaces_another_begins_before_that_one_ends() -> None:
    """So that no job slips between the two."""
    scene = Scene()
    assert scene.take(given(FIRST), given(SECOND)) == ["begin 1", "begin 2", "end 1"]


def test_an_order_is_over_at_its_time() -> None:
    """One that is over when it comes never begins, and ends what stood under its key."""
    scene = Scene()
    ending = replace(FIRST, until=NOW + timedelta(seconds=1))
    scene.take(given(ending))
    scene.orders.carry_out()
    assert scene.taker.said == ["begin 1"]
    scene.clock.now += timedelta(seconds=1)
    scene.orders.carry_out()
    assert scene.taker.said == ["begin 1", "end 1"]
    assert scene.take(given(SECOND), given(ending)) == ["begin 2", "end 2"]


def test_an_order_without_an_end_in_place_of_one_with_it_stands_on() -> None:
    """The end was the former one's."""
    scene = Scene()
    scene.take(given(replace(FIRST, until=NOW + timedelta(seconds=1))), given(SECOND))
    scene.clock.now += timedelta(hours=1)
    scene.orders.carry_out()
    assert scene.taker.standing == [SECOND]


def test_reading_again_lets_go_of_what_was_lifted_unseen() -> None:
    """The log has forgotten both the order and that it was lifted."""
    scene = Scene()
    other = order(queue="calls", order_id="3")
    scene.take(given(FIRST), given(other), message(b"dance/all", encode_order(order("dance"))))
    scene.orders.begin_rereading()
    assert scene.take(given(other)) == []
    scene.orders.end_rereading()
    assert scene.taker.said[-1] == "end 1"
    assert scene.taker.standing == [other]
    assert not scene.orders.not_understood


NEWER = b"\xc3\x01" + b"\x01" * 8 + b"what a newer schema has"


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        pytest.param(encode_order(order("dance", order_id="7")), ("7",), id="unknown verb"),
        pytest.param(NEWER, ("@0",), id="newer schema"),
        pytest.param(b"garbage", ("@0",), id="no order at all"),
    ],
)
def test_an_order_that_is_not_understood_is_counted_and_passed_over(value: bytes, ids: tuple[str, ...]) -> None:
    """The next ones are taken; once it is lifted, it is not counted any more."""
    scene = Scene()
    assert scene.take(message(b"dance/all", value), given(FIRST)) == ["begin 1"]
    assert len(scene.orders.not_understood) == 1
    assert scene.orders.latest_not_understood == ids
    scene.take(message(b"dance/all", None))
    assert not scene.orders.not_understood


def test_a_great_many_orders_that_are_not_understood_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """As where a newer Stoker has cancelled a hundred thousand jobs: they are counted, and the latest are named."""
    scene = Scene()
    scene.take(*(message(b"cancel/job/%d" % number, NEWER, number) for number in range(1_000)), given(FIRST))
    assert len(scene.orders.not_understood) == 1_000
    assert scene.orders.latest_not_understood[-1] == "@999"
    assert len(scene.orders.latest_not_understood) == MOST_IDS
    assert len(caplog.records) == MOST_LOGGED + 1
    assert "does not understand 21 orders; further ones are counted" in caplog.text
    assert scene.taker.standing == [FIRST]


@pytest.mark.expected_errors("could not carry out the order")
def test_an_order_that_fails_does_not_end_the_worker() -> None:
    """It is durable: every worker that reads it would end."""
    scene = Scene()
    broken = replace(FIRST, reason="broken", order_id="9")
    assert scene.take(given(broken), given(order(queue="calls", order_id="3"))) == ["begin 3"]
    assert scene.orders.latest_not_understood == ("9",)


# ---- pauses


def pauses_of(*queues: str) -> dict[str, Pauses]:
    """The gates of some queues."""
    return {name: Pauses(GateRow()) for name in queues}


@pytest.mark.parametrize(
    ("one", "held"),
    [
        pytest.param(order(queue="mails"), ["mails"], id="queue"),
        pytest.param(order(queue="others"), [], id="another worker's queue"),
        pytest.param(order(job_type="send"), ["mails", "calls"], id="type"),
        pytest.param(order(tenant="acme"), ["mails", "calls"], id="tenant"),
        pytest.param(order(queue="calls", key=b"k"), ["calls"], id="key"),
        pytest.param(order(queue="calls", partition=1), ["calls"], id="partition"),
        pytest.param(order(Verb.BLOCK, tenant="acme"), ["mails", "calls"], id="block"),
    ],
)
def test_an_order_closes_the_gates_of_the_queues_that_it_is_about(one: ControlOrder, held: list[str]) -> None:
    """And lets them pass when it is lifted."""
    gates = pauses_of("mails", "calls")
    taker = PauseOrders(gates, Clock())
    key = order_key(one).encode()
    taker.take(key, one, is_new=True)
    assert {name: list(found.standing) for name, found in gates.items() if found.standing} == {
        name: [pause_of(one, name)] for name in held
    }
    taker.lift(key)
    assert all(found.is_resting for found in gates.values())


def test_people_see_who_ordered_what_and_how_it_is_lifted() -> None:
    """A key with a blank is quoted, so that the command can be copied."""
    until = datetime(2013, 2, 1, tzinfo=UTC)
    one = order(queue="mails", key=b"ada lovelace", until=until, reason="her wish")
    command = "stoker control resume --queue mails --key 'ada lovelace'"
    assert pause_of(one, "mails").detail == {"ends_by": f"2013-02-01T00:00:00Z, or `{command}` (by ann: her wish)"}
    assert pause_of(order(Verb.BLOCK, job_type="send"), "mails").state == "blocked"


# ---- orders to workers


@dataclass
class Process:
    """A process that notes what is asked of it."""

    stopped: int = 0
    pauses: dict[str, Pauses] = field(default_factory=lambda: pauses_of("mails"))

    def stop(self) -> None:
        """Note it."""
        self.stopped += 1

    @property
    def view(self) -> WorkerProcess:
        """As control sees it."""
        return WorkerProcess(
            worker_id="w1",
            host="web-1",
            pauses=self.pauses,
            reschedules=Reschedules(),
            cancels=Cancels(),
            end_cancelled=lambda: 0,
            end_cancelled_aside=lambda: 0,
            runners={"mails": 1},
            snapshot=list,
            inspect=list,
            stop=self.stop,
            is_stopping=lambda: False,
            has_ended=lambda: False,
        )


MEANT = [
    pytest.param({}, True, id="all"),
    pytest.param({"worker": "w1"}, True, id="by id"),
    pytest.param({"worker_host": "web-1"}, True, id="by host"),
    pytest.param({"worker": "w2"}, False, id="another worker"),
    pytest.param({"worker_host": "web-2"}, False, id="another host"),
]


@pytest.mark.parametrize(("target", "is_meant"), MEANT)
def test_a_worker_is_quiet_if_it_is_meant(target: dict[str, str], is_meant: bool) -> None:
    """And starts jobs again when the order is lifted."""
    process = Process()
    taker = QuietOrders(process.view, Clock())
    one = order(Verb.QUIET, **target)
    taker.take(b"quiet", one, is_new=False)
    assert (taker.is_quiet, process.pauses["mails"].is_resting) == (is_meant, not is_meant)
    taker.lift(b"quiet")
    assert (taker.is_quiet, process.pauses["mails"].is_resting) == (False, True)


@pytest.mark.parametrize(("target", "is_meant"), MEANT)
def test_a_worker_stops_if_it_is_meant(target: dict[str, str], is_meant: bool) -> None:
    """Once."""
    process = Process()
    OnceOrders(process.view, Clock()).take(b"stop", order(Verb.STOP, **target), is_new=True)
    assert process.stopped == is_meant


def test_a_worker_that_starts_ignores_orders_to_stop_the_ones_before_it() -> None:
    """Else none could be started any more; so too one that comes very late."""
    process = Process()
    taker = OnceOrders(process.view, Clock())
    taker.take(b"stop", order(Verb.STOP), is_new=False)
    taker.take(b"stop", order(Verb.STOP, until=NOW), is_new=True)
    assert process.stopped == 0


def test_a_worker_answers_what_it_is_doing() -> None:
    """As JSON, in its next status."""
    taker = OnceOrders(Process().view, Clock())
    taker.take(b"inspect", order(Verb.INSPECT), is_new=True)
    assert taker.inspection == "[]"


@pytest.mark.parametrize(
    ("code", "is_sent_again"),
    [(None, False), (KafkaError._MSG_TIMED_OUT, True), (KafkaError.MSG_SIZE_TOO_LARGE, False)],
)
def test_an_inspection_is_in_each_status_until_the_brokers_confirm_one(
    code: int | None, is_sent_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked for it waits for it; one that is too large is not tried again, since no status would arrive."""
    client, inspections = StatusClient(), list[str]()
    monkeypatch.setattr(status_writer, "connect", lambda _config, _outage: client)
    control = make_control(
        Pipeline("shop"), ClusterSettings(bootstrap_servers="nowhere:1"), Process().view, on_crash=lambda _error: None
    )
    control._once.take(b"inspect", order(Verb.INSPECT, at=datetime.now(UTC)), is_new=True)
    feed = cast(OrderFeed, EmptyFeed())
    for error in (None if code is None else KafkaError(code), None, None):
        control._write_status(feed)
        inspections.append(decode_status(client.values.pop()).inspection)
        client.report(error)
    assert inspections == ["[]", "[]" if is_sent_again else "", ""]


class StatusClient:
    """Keeps what it is to write, and reports on it when it is told to."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self._reports: list[Callable[..., None]] = []

    def produce(self, _topic: str, value: bytes, *_more: Any, on_delivery: Callable[..., None]) -> None:
        """Take a record."""
        self.values.append(value)
        self._reports.append(on_delivery)

    def poll(self, _timeout_s: float) -> None:
        """Report on nothing."""

    def report(self, error: KafkaError | None) -> None:
        """Report on the record that came first."""
        self._reports.pop(0)(error, None)


@dataclass
class EmptyFeed:
    """A feed that has read nothing."""

    taken_below: int = 0
    age_s: float = 0.0

    def close(self) -> None:
        """There is nothing to close."""


def test_the_clients_that_takers_write_through_are_closed_after_all_takers(monkeypatch: pytest.MonkeyPatch) -> None:
    """So each taker may write until its end, wherever it stands in the list."""
    closed: list[str] = []
    close_takers = Orders.close

    def close_all(orders: Orders, within_s: float) -> None:
        close_takers(orders, within_s)
        closed.append("takers")

    monkeypatch.setattr(Orders, "close", close_all)
    monkeypatch.setattr(OwnOrders, "close", lambda _client, _within_s: closed.append("own orders"))
    monkeypatch.setattr(OrderRemover, "close", lambda _client: closed.append("remover"))
    monkeypatch.setattr(StatusWriter, "write", lambda _writer, _status: closed.append("status"))
    process = replace(Process().view, has_ended=lambda: True)
    control = make_control(
        Pipeline("shop"), ClusterSettings(bootstrap_servers="nowhere:1"), process, on_crash=lambda _error: None
    )
    control._leave(cast(OrderFeed, EmptyFeed()))
    assert closed == ["takers", "own orders", "status", "remover"]
