"""What holds jobs back: a gate that holds back by chance (`SimGate`), and orders.

`SimControl` is the control topic, `SimOrders` what a process has taken of it, held against a ledger from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final, cast

from confluent_kafka import Message

from simulation.virtual_time import CLOCK
from stoker.consumers.control.block_orders import BlockOrders
from stoker.consumers.control.cancel_orders import CancelOrders
from stoker.consumers.control.limit_orders import LimitOrders
from stoker.consumers.control.order_remover import OrderRemover
from stoker.consumers.control.orders import Orders
from stoker.consumers.control.pause_orders import PauseOrders
from stoker.consumers.control.reschedule_orders import RescheduleOrders
from stoker.consumers.control.worker_orders import QuietOrders
from stoker.consumers.control.worker_process import EndCancelled, WorkerProcess
from stoker.consumers.gates.gate import START, Gate, PlainWhy, Start, Wait
from stoker.consumers.gates.pauses import Pauses
from stoker.consumers.limits.limits import Limits
from stoker.consumers.records.outcomes import Outcome
from stoker.consumers.records.record import Record
from stoker.consumers.settling.writes import utc
from stoker.consumers.standing_orders.reschedules import JobOrders
from stoker.schemas.own_records.control_records import ControlOrder, RecordPlace, encode_order
from stoker.topology import Queue
from stoker.topology.wire.headers import JOB_ID, JOB_TYPE, TIME, parse_instant
from stoker.topology.wire.orders import Verb, order_key, verb_of

TARGETS: Final[Sequence[tuple[Verb, dict[str, Any]]]] = (
    (Verb.PAUSE, {"queue": "q"}),
    (Verb.PAUSE, {"job_type": "work"}),
    (Verb.PAUSE, {"queue": "q", "key": b"a"}),
    (Verb.PAUSE, {"tenant": "t0"}),
    (Verb.PAUSE, {"queue": "q", "partition": 1}),
    (Verb.BLOCK, {"job_type": "work"}),
    (Verb.BLOCK, {"queue": "q", "key": b"c"}),
    (Verb.BLOCK, {"queue": "q", "key": b"c", "discard": True}),
    (Verb.QUIET, {}),
    (Verb.QUIET, {"worker": "w1"}),
    (Verb.CANCEL, {}),
    (Verb.CANCEL, {}),
    (Verb.CANCEL, {"tenant": "t1"}),
    (Verb.RESCHEDULE, {"in_s": 0.0}),
    (Verb.RESCHEDULE, {"in_s": 5.0}),
)
"""What is ordered; a cancel without more is of one job, and a reschedule."""
UNTIL: Final = timedelta(seconds=4)
PAUSE_S: Final = 3.0
KEYS: Final = (None, b"a", b"c")


@dataclass
class SimGate(Gate):
    """One process's; `shut` holds the keys that wait, with the time until which they do, or None.

    It counts runs: `taken` holds those whose handlers were to be called, and that have not ended.
    """

    shut: dict[bytes | None, float | None]
    taken: set[Record] = field(default_factory=set)

    @property
    def has_hooks(self) -> bool:
        """It counts runs."""
        return True

    @property
    def is_resting(self) -> bool:
        """Whether it is open for all keys."""
        return not self.shut

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Records of keys that are not shut may."""
        if record.key not in self.shut:
            return START
        until_at_s = self.shut[record.key]
        if until_at_s is not None and until_at_s <= now_s:
            return START
        return Wait(until_at_s=until_at_s, why=reason(record.key))

    def acquire(self, record: Record, now_s: float) -> Start | Wait:
        """Count it."""
        assert record not in self.taken, f"{record} is taken twice"
        answer = self.may_start(record, now_s)
        if isinstance(answer, Start):
            self.taken.add(record)
        return answer

    def give_back(self, record: Record) -> None:
        """A pause behind this gate holds it back."""
        self.taken.remove(record)

    def ended(self, record: Record, outcome: Outcome) -> None:
        """Exactly once for each one that was taken."""
        self.taken.remove(record)

    def change(self, choice: int) -> list[PlainWhy]:
        """Hold back one key, or let it pass again; returns what is let pass by that."""
        key = KEYS[choice % len(KEYS)]
        if key in self.shut:
            del self.shut[key]
            return [reason(key)]
        self.shut[key] = CLOCK.time() + PAUSE_S if choice % 2 else None
        return []

    def open_all(self) -> list[PlainWhy]:
        """Let all pass; returns what is let pass by that."""
        released = [reason(key) for key in self.shut]
        self.shut.clear()
        return released


def reason(key: bytes | None) -> PlainWhy:
    """Why records of this key wait."""
    return PlainWhy("shut", f"chance lets {key!r} pass")


@dataclass
class SimControl:
    """Orders in their order, each under its key; None lifts the one before."""

    targets: Sequence[tuple[Verb, dict[str, Any]]] = TARGETS
    log: list[tuple[bytes, ControlOrder | None]] = field(default_factory=list)
    begun: set[str] = field(default_factory=set)
    """The reschedules whose job has begun since."""
    _numbers: count[int] = field(default_factory=count)

    def standing(self) -> dict[bytes, ControlOrder]:
        """The orders that are there once the topic is compacted."""
        return folded(self.log)

    def order(self, choice: int, job_id: str, place: RecordPlace | None = None) -> None:
        """Give an order, or lift it where it stands; `place` is where the job waits, if that is to be known."""
        verb, target = self.targets[choice % len(self.targets)]
        if verb == Verb.RESCHEDULE:
            due_at = _now() + timedelta(seconds=target["in_s"])
            target = {"job_id": job_id, "due_at": due_at, "until": due_at + 3 * UNTIL, "place": place}
        order = ControlOrder(
            order_id=f"o{next(self._numbers)}", verb=verb, operator="ann", host="web-1", at=_now(), **target
        )
        if verb == Verb.CANCEL:
            order = replace(order, before=_now()) if target else replace(order, job_id=job_id)
        elif choice % 4 == 0 and verb != Verb.RESCHEDULE:
            order = replace(order, until=_now() + UNTIL)
        lifted = next((key for key, one in self.standing().items() if _is_same(one, order)), None)
        if lifted is not None:
            self.lift(lifted)
        else:
            self.log.append((order_key(order).encode(), order))

    def note_begun(self, job_id: str) -> None:
        """A job begins: a reschedule that was given before says nothing of its later starts."""
        orders = [order for _, order in self.log if order is not None and order.verb == Verb.RESCHEDULE]
        self.begun.update(order.order_id for order in orders if order.job_id == job_id)

    def may_be_early(self, job_id: str) -> bool:
        """Whether a job may begin before the time of its record, since an operator has said so."""
        return any(
            order is not None and order.job_id == job_id and order.due_at is not None and order.due_at <= _now()
            for _, order in self.log
        )

    def lift(self, key: bytes) -> None:
        """Lift an order, if it stands."""
        if key in self.standing():
            self.log.append((key, None))

    def lift_all(self) -> None:
        """Lift what holds jobs back; what is cancelled stays so."""
        for key in self.standing():
            if verb_of(key) not in (Verb.CANCEL, Verb.RESCHEDULE):
                self.lift(key)


class SimRemover:
    """In place of the worker's: the order is gone at once."""

    def __init__(self, control: SimControl) -> None:
        self._control = control

    def remove_soon(self, key: bytes, order_id: str, reason: str) -> None:
        """Remove it."""
        self._control.lift(key)

    def note_taken(self, key: bytes, order_id: str) -> None:
        """Nothing is pending."""

    def note_lifted(self, key: bytes) -> None:
        """It is gone already."""


class SimOrders:
    """One process: what it has taken, it has answered.

    `end_running` ends the running jobs that are cancelled, `end_aside` looks at those aside as well.
    """

    def __init__(
        self,
        control: SimControl,
        queue: Queue,
        worker_id: str,
        pauses: Pauses,
        job_orders: JobOrders,
        end_running: EndCancelled,
        end_aside: EndCancelled,
        *,
        limits: Limits,
    ) -> None:
        cancels = job_orders.cancels
        self._control, self._worker_id = control, worker_id
        process = WorkerProcess(
            worker_id=worker_id,
            pauses={queue.name: pauses},
            cancels=cancels,
            reschedules=job_orders.reschedules,
            end_cancelled=end_running,
            end_cancelled_aside=end_aside,
            runners={},
            snapshot=list,
            inspect=list,
            stop=lambda: None,
            is_stopping=lambda: False,
            has_ended=lambda: False,
        )
        remover = cast(OrderRemover, SimRemover(control))
        self._orders = Orders(
            [
                PauseOrders(process.pauses, _now),
                LimitOrders([limits], _now),
                BlockOrders(process.pauses, cancels, end_aside, _now),
                RescheduleOrders(job_orders.reschedules, remover, _now),
                CancelOrders(cancels, end_running, end_aside, remover, _now),
                QuietOrders(process, _now),
            ]
        )
        self._taken: list[tuple[bytes, ControlOrder | None]] = []
        self._orders.begin_rereading()
        self.take(len(control.log))
        self._orders.end_rereading()

    def take(self, most: int) -> None:
        """Take the next orders, and answer them."""
        begin = len(self._taken)
        for offset, (key, order) in enumerate(self._control.log[begin : begin + most], begin):
            value = None if order is None else encode_order(order)
            self._orders.take(Message(topic="unit.control", partition=0, offset=offset, key=key, value=value))
            self._taken.append((key, order))
        self._orders.carry_out()
        assert not self._orders.not_understood

    def take_amid_begin(self, most: int, record: Record) -> None:
        """Take orders while a record is between the gates and its slot: to reschedule its job is too late there."""
        known, job_id = len(self._taken), record.headers[JOB_ID].decode()
        self.take(most)
        late = [order for _, order in self._taken[known:] if order is not None and order.due_at is not None]
        self._control.begun.update(order.order_id for order in late if order.job_id == job_id)

    def take_all(self) -> None:
        """Take what there is, also what is ordered by that."""
        while len(self._taken) < len(self._control.log):
            self.take(len(self._control.log))

    def check_may_begin(self, record: Record) -> None:
        """No job begins that an order holds back which its process has answered."""
        for order in folded(self._taken).values():
            is_meant = order.verb != Verb.LIMIT and (
                order.verb != Verb.QUIET or order.worker in (None, self._worker_id)
            )
            if order.due_at is not None:
                is_meant = order.due_at > _now() and order.order_id not in self._control.begun
            assert not (is_meant and _holds(order, record)), f"{record} begins, though {order} was answered"
        self._control.note_begun(record.headers[JOB_ID].decode())


def folded(log: Sequence[tuple[bytes, ControlOrder | None]]) -> dict[bytes, ControlOrder]:
    """What stands at the end of a log."""
    return {key: order for key, order in dict(log).items() if order is not None}


def _is_same(one: ControlOrder, other: ControlOrder) -> bool:
    """Whether two orders have one verb and one target."""
    named = ("verb", "queue", "job_type", "key", "tenant", "partition", "job_id", "worker")
    return all(getattr(one, name) == getattr(other, name) for name in named)


def _holds(order: ControlOrder, record: Record) -> bool:
    headers = record.headers
    if order.is_over(_now()):
        return False
    named = [
        (order.job_type, headers[JOB_TYPE].decode()),
        (order.key, record.key),
        (order.tenant, None if record.tenant is None else record.tenant.decode()),
        (order.partition, record.partition),
        (order.job_id, headers[JOB_ID].decode()),
    ]
    is_named = all(wanted in (None, found) for wanted, found in named)
    return is_named and (order.before is None or parse_instant(headers[TIME]) < order.before)


def _now() -> datetime:
    return utc(CLOCK.time())
