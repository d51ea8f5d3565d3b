"""Orders to cancel and to block, without Kafka: what they leave in the process, and which are removed in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError

from stoker.consumers.control import cancel_orders
from stoker.consumers.control.block_orders import BlockOrders
from stoker.consumers.control.cancel_orders import CancelOrders
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.pauses import Pauses
from stoker.consumers.partitions.ledger import Ledger
from stoker.consumers.records.outcomes import DONE, INTERRUPTED, SKIPPED, Cancelled, Dead, Outcome, Retried
from stoker.consumers.settling.ended_cancels import EndedCancels
from stoker.consumers.standing_orders.cancels import Cancels
from stoker.producers.transaction_writer import TransactionFailed, TransactionWriter
from stoker.schemas.own_records.control_records import ControlOrder
from stoker.topology import ClusterSettings
from stoker.topology.declaration.queue import LedgerWindow
from stoker.topology.wire import headers as wire
from stoker.topology.wire.orders import FILTER_ORDER, OVER, Verb, cancelled_by, lifting_order, order_key
from support.scenes.deliveries import declare

NOW = datetime(2013, 1, 31, 12, tzinfo=UTC)


def order(**fields: Any) -> ControlOrder:
    """An order by ann, now."""
    named: dict[str, Any] = {"order_id": "1", "verb": Verb.CANCEL, "operator": "ann", "host": "web-1", "at": NOW}
    return ControlOrder(**(named | fields))


def key_of(one: ControlOrder) -> bytes:
    """On the topic."""
    return order_key(one).encode()


@dataclass
class Noted:
    """In place of the worker's `OrderRemover`: notes what it is to remove."""

    removed: dict[bytes, str] = field(default_factory=dict)

    def remove_soon(self, key: bytes, order_id: str, reason: str) -> None:
        """Note it."""
        self.removed[key] = reason

    def note_taken(self, key: bytes, order: ControlOrder) -> None:
        """There is another one."""
        self.removed.pop(key, None)

    def note_lifted(self, key: bytes) -> None:
        """It is gone."""
        self.removed.pop(key, None)

    def turn(self) -> None:
        """There is nothing to write."""


@dataclass
class Scene:
    """A process with its cancels; `swept` notes each time that its jobs were looked at."""

    cancels: Cancels = field(default_factory=Cancels)
    swept: list[bool] = field(default_factory=list)
    noted: Noted = field(default_factory=Noted)
    now: datetime = NOW

    def __post_init__(self) -> None:
        """Begin."""
        self.taker = CancelOrders(
            self.cancels, self.sweep, self.sweep_aside, cast(OrderRemover, self.noted), lambda: self.now
        )

    def sweep(self) -> int:
        """Look at the jobs in memory."""
        self.swept.append(False)
        return 0

    def sweep_aside(self) -> int:
        """Look at those aside as well."""
        self.swept.append(True)
        return 0

    def take(self, *orders: ControlOrder) -> None:
        """Take orders that were read together."""
        for one in orders:
            self.taker.take(key_of(one), one, is_new=True)
        self.taker.let_go_of_old()
        self.taker.carry_out()


def test_orders_that_come_together_are_carried_out_once() -> None:
    """Jobs that wait aside are read again for a filter only."""
    scene = Scene()
    scene.take(*(order(job_id=f"job/{number}") for number in range(1_000)))
    assert (scene.swept, len(scene.cancels)) == ([False], 1_000)
    scene.take()
    assert scene.swept == [False]
    scene.take(order(job_type="mail", before=NOW), order(job_id="x"))
    assert scene.swept == [False, True]


def test_an_order_is_removed_when_its_job_has_ended() -> None:
    """And let go of when that comes back from the topic."""
    scene, one = Scene(), order(job_id="a/b c")
    scene.take(one)
    scene.cancels.note_ended(declare().record(headers={wire.JOB_ID: b"a/b c"}))
    scene.take()
    assert scene.noted.removed == {key_of(one): "the job has ended"}
    scene.taker.lift(key_of(one))
    assert (scene.noted.removed, scene.cancels.stands) == ({}, False)


def test_a_cancel_is_over_at_its_time() -> None:
    """It holds for nothing then; a worker that starts later removes it from the topic, unless another one has."""
    scene, until = Scene(), NOW + timedelta(minutes=5)
    one, other = order(job_id="j", until=until), order(order_id="2", job_type="mail", until=until)
    scene.take(one, other)
    scene.now = until + timedelta(minutes=2)
    scene.taker._next_forgetting_at_s = 0.0
    scene.take()
    assert not scene.cancels.stands
    later = Scene(now=scene.now)
    later.take(one, other)
    later.taker.lift(key_of(other))
    later.taker._remove_over_at_s = 0.0
    later.take()
    assert later.noted.removed == {key_of(one): "its time is over"}


def test_a_job_that_is_cancelled_anew_stays_cancelled_while_the_former_order_is_still_to_be_removed() -> None:
    """Its job had ended, or its time was over; the removal would take the new order, which has the same key."""
    scene, until = Scene(), NOW - timedelta(minutes=5)
    ended, over = order(job_id="ended"), order(job_id="over", until=until)
    scene.take(ended, over)
    scene.cancels.note_ended(declare().record(headers={wire.JOB_ID: b"ended"}))
    scene.take()
    assert list(scene.noted.removed) == [key_of(ended)]
    scene.take(replace(ended, order_id="2"), replace(over, order_id="3", until=None))
    scene.taker._remove_over_at_s = 0.0
    scene.take()
    assert (scene.noted.removed, len(scene.cancels)) == ({}, 2)


def test_what_was_lifted_unseen_is_let_go_of_when_all_is_read_again() -> None:
    """Jobs and filters; what still stands is not interrupted."""
    scene = Scene()
    kept, gone = order(job_id="kept"), order(job_id="gone")
    kept_filter, gone_filter = order(order_id="k", tenant="t"), order(order_id="g", tenant="t")
    scene.take(kept, gone, kept_filter, gone_filter)
    scene.taker.begin_rereading()
    scene.take(kept, kept_filter)
    scene.taker.end_rereading()
    assert (len(scene.cancels), scene.cancels.filter_ids) == (2, {"k"})


def pauses() -> Mapping[str, Pauses]:
    """Of one queue."""
    return {"mails": Pauses(GateRow())}


def test_a_block_that_discards_takes_the_place_of_one_that_holds_back() -> None:
    """And the reverse."""
    cancels, gates = Cancels(), pauses()
    taker = BlockOrders(gates, cancels, lambda: 0)
    held = order(verb=Verb.BLOCK, job_type="mail", reason="x")
    discarded = replace(held, order_id="2", discard=True)
    for one, is_resting, stands in ((held, False, False), (discarded, True, True), (held, False, False)):
        taker.take(key_of(one), one, is_new=True)
        assert (gates["mails"].is_resting, cancels.stands) == (is_resting, stands)
    taker.lift(key_of(held))
    assert (gates["mails"].is_resting, cancels.stands) == (True, False)


def test_a_block_that_discards_holds_when_all_is_read_again() -> None:
    """However often, and beside the taker of cancels, which has the same `Cancels`; a lifted one does not hold."""
    scene = Scene()
    blocks = BlockOrders(pauses(), scene.cancels, lambda: 0)
    block = order(verb=Verb.BLOCK, job_type="mail", reason="x", discard=True)
    blocks.take(key_of(block), block, is_new=True)
    for _ in range(2):
        reread(scene.taker, blocks, block)
        assert (scene.cancels.stands, scene.cancels.filter_ids) == (True, {block.order_id})
    reread(scene.taker, blocks)
    assert not scene.cancels.stands


def reread(cancels: CancelOrders, blocks: BlockOrders, *standing: ControlOrder) -> None:
    """The topic is read again; these blocks stand on it, and no cancels."""
    for taker in (blocks, cancels):
        taker.begin_rereading()
    for one in standing:
        blocks.take(key_of(one), one, is_new=False)
    for taker in (blocks, cancels):
        taker.end_rereading()


CANCELLED = Cancelled(reason="cancelled", detail="")
FAILURE: Any = None


@pytest.mark.parametrize(
    ("outcome", "has_ended"),
    [
        (DONE, True),
        (CANCELLED, True),
        (Dead(reason="permanent", failure=FAILURE), True),
        (Retried(due=NOW, tier=timedelta(0), next_attempt=2, failure=FAILURE), False),
        (INTERRUPTED, False),
        (SKIPPED, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_the_end_of_a_job_is_the_end_of_its_cancel(outcome: Outcome, has_ended: bool) -> None:
    """A record that is skipped may be a twin of an attempt that has failed: the job goes on elsewhere."""
    cancels = Cancels()
    ledger = Ledger(LedgerWindow())
    record = declare().record(headers={wire.JOB_ID: b"j"})
    ended = EndedCancels(cancels, {record.assignment.partition: ledger})
    assert not ended
    cancels.begin_job("j", cancel_orders.cancellation_of(order()))
    assert ended
    ended.note([(record, outcome)])
    assert cancels.take_ended() == [("j", "1")] * has_ended


def test_a_job_that_is_skipped_since_it_has_ended_ends_its_cancel() -> None:
    """So the order is removed where the worker that ended the job was killed before."""
    cancels, ledger = Cancels(), Ledger(LedgerWindow())
    record = declare().record(headers={wire.JOB_ID: b"j"})
    ledger.add_job("j")
    cancels.begin_job("j", cancel_orders.cancellation_of(order()))
    EndedCancels(cancels, {record.assignment.partition: ledger}).note([(record, SKIPPED)])
    assert cancels.take_ended() == [("j", "1")]


def test_the_order_that_lifts_a_cancel_is_derived_from_its_key() -> None:
    """Of a job and of a filter."""
    who: Any = {"removed": "1", "order_id": "9", "operator": "w1", "host": "web-1", "at": NOW, "reason": "over"}
    one = lifting_order(key_of(order(job_id="a/b")), **who)
    assert (one.job_id, order_key(one)) == ("a/b", "cancel/job/a%2Fb")
    other = lifting_order(key_of(order(order_id="7")), **who)
    assert (dict(other.detail), order_key(other)) == ({OVER: "1", FILTER_ORDER: "7"}, "cancel/filter/7")
    assert cancelled_by(b"pause/queue/job") == (None, None)


class Refusing:
    """In place of a remover's writer: the brokers refuse all for this reason."""

    is_connected = True

    def __init__(self, error: KafkaError) -> None:
        self.error = error

    def write(self, *_records: Any) -> None:
        """Refuse them."""
        raise TransactionFailed([self.error], self.error.str(), is_perhaps_committed=False)

    def close(self) -> None:
        """Nothing is connected."""


def refused(code: int) -> OrderRemover:
    """One that is to remove two orders, which the brokers have refused once."""
    remover = OrderRemover(ClusterSettings(bootstrap_servers="localhost:1"), "shop.control", "w1")
    remover._writer = cast(TransactionWriter, Refusing(KafkaError(code)))
    for key in (b"cancel/job/a", b"cancel/job/b"):
        remover.remove_soon(key, "1", "its job has ended")
    remover.turn(cast(Any, None))
    return remover


def test_what_could_not_be_removed_is_tried_again_later(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, with what is missing."""
    remover = refused(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    remover._next_at_s = 0.0
    remover.turn(cast(Any, None))
    assert list(remover._pending) == [b"cancel/job/a", b"cancel/job/b"]
    assert caplog.text.count("grant Write on topic shop.control and on transactional-id shop.control.*") == 1
    remover.note_lifted(b"cancel/job/a")
    assert list(remover._pending) == [b"cancel/job/b"]
    remover.close()


def test_no_right_is_asked_for_where_an_order_could_not_be_removed_for_another_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A topic without a leader is no matter of rights."""
    refused(KafkaError._MSG_TIMED_OUT)
    assert "the worker cannot remove orders" in caplog.text
    assert "grant" not in caplog.text
