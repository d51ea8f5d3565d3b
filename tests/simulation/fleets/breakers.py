"""A fleet of breakers without Kafka: each process writes to one log, and reads it when it is told to."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Final, cast

from confluent_kafka import KafkaError

from simulation.virtual_time import CLOCK
from stoker.consumers.breakers.breaker_gate import BreakerGate
from stoker.consumers.breakers.breaker_state import BreakerState
from stoker.consumers.breakers.breakers import BreakerOpen, Breakers
from stoker.consumers.breakers.opening import Target
from stoker.consumers.control.breaker_orders import BreakerOrders
from stoker.consumers.control.own_orders import OwnOrder, OwnOrders
from stoker.consumers.gates.gate_row import GateRow
from stoker.schemas.own_records.control_records import ControlOrder, decode_order, encode_order
from stoker.schemas.own_records.job_events import JobEvent
from stoker.topology import AnyJobType, Breaker
from stoker.topology.wire.orders import LIFTS, order_key

STRIPE = Target("dependency", "stripe")
START_S = 1_400_000_000.0
PLAYED: Final = Breaker(failures=2, open_for=timedelta(seconds=2), longest=timedelta(seconds=4))


@dataclass
class Clock:
    """The clock of all processes."""

    now_s: float = START_S

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Log:
    """The control topic: (key, value), a tombstone without value."""

    records: list[tuple[bytes, bytes | None]] = field(default_factory=list)

    def close(self, key: bytes) -> None:
        """An operator closes a breaker."""
        self.records.append((key, None))

    def compacted(self) -> list[tuple[bytes, bytes | None]]:
        """What a process reads that starts now: the last record of each key."""
        return list(dict(self.records).items())


@dataclass
class SimOrders:
    """Stands in for `OwnOrders`: what is written waits until it is sent, or fails."""

    log: Log
    waiting: list[OwnOrder] = field(default_factory=list)
    audited: list[ControlOrder] = field(default_factory=list)
    is_cut_off: bool = False

    def write(self, own: OwnOrder) -> None:
        """Take it."""
        self.waiting.append(own)

    def turn(self) -> None:
        """Nothing answers by itself."""

    def close(self, within_s: float) -> None:
        """Nothing is connected."""

    def send(self) -> None:
        """Send what waits, or let it fail."""
        sent, self.waiting = self.waiting, []
        for own in sent:
            if self.is_cut_off:
                own.on_answer(KafkaError(KafkaError._MSG_TIMED_OUT))
                continue
            value = None if own.order.verb in LIFTS else encode_order(own.order)
            self.log.records.append((order_key(own.order).encode(), value))
            own.on_answer(None)
            if own.is_audited:
                self.audited.append(own.order)


@dataclass
class SimHolder:
    """Holds jobs that wait for a breaker, as the gates do."""

    jobs: list[Hashable] = field(default_factory=list)
    released: list[Hashable] = field(default_factory=list)

    def held(self, why: BreakerOpen) -> int:
        """How many."""
        return len(self.jobs)

    def note_change(self, why: BreakerOpen) -> None:
        """All go on where it is closed."""
        if why.breaker.opening is None:
            self.released += self.jobs
            self.jobs.clear()

    def release_first(self, why: BreakerOpen) -> None:
        """The first one goes on."""
        if self.jobs:
            self.released.append(self.jobs.pop(0))


class SimControlThread:
    """The part of one process that reads and writes orders about breakers."""

    def __init__(self, breakers: Breakers, name: str, log: Log, clock: Callable[[], float]) -> None:
        """Read what stands, as a process does before its first job."""
        self._breakers, self._log = breakers, log
        self.own = SimOrders(log)
        self.events: list[JobEvent] = []
        own = cast(OwnOrders, self.own)
        self.orders = BreakerOrders(breakers, own, self.events.append, name, events_topic="shop.events", clock=clock)
        self.orders.begin_rereading()
        for key, value in self._log.compacted():
            self._take(key, value, is_new=False)
        self.orders.end_rereading()
        self._read = len(self._log.records)

    def read(self) -> None:
        """Take the records that have come."""
        while self._read < len(self._log.records):
            key, value = self._log.records[self._read]
            self._read += 1
            self._take(key, value, is_new=True)

    def _take(self, key: bytes, value: bytes | None, *, is_new: bool) -> None:
        if value is None:
            self.orders.lift(key)
        else:
            self.orders.take(key, decode_order(value), is_new=is_new)

    def turn(self) -> None:
        """Do what the control thread does, and have it all confirmed."""
        self.read()
        self.orders.carry_out()
        self.own.send()


class PlayedBreakers(SimControlThread):
    """The breaker of the job type of a play, in one process, with its gate."""

    def __init__(self, job_type: AnyJobType, name: str, log: Log, row: GateRow) -> None:
        breakers = Breakers([replace(job_type, breaker=PLAYED)], worker_id=name, clock=CLOCK.time)
        self._name, (self.state,) = name, breakers.states.values()
        row.add([BreakerGate(breakers, row)])
        super().__init__(breakers, name, log, CLOCK.time)

    def act(self, choice: int) -> None:
        """The control thread comes so far."""
        (self.read, self.orders.carry_out, self.own.send, self.turn)[choice % 4]()

    @property
    def probes(self) -> bool:
        """Whether a job of this process probes, by a lease that holds."""
        opening = self.state.opening
        if opening is None or self.state._probe is None:
            return False
        return opening.prober == self._name and not opening.is_over(CLOCK.time())


class SimWorker(SimControlThread):
    """One process of a fleet, with jobs that need `stripe`."""

    def __init__(self, name: str, log: Log, clock: Clock, rules: Breaker) -> None:
        self.name = name
        self.breakers = Breakers(dependencies={"stripe": rules}, worker_id=name, clock=clock)
        self.state: BreakerState = self.breakers.states[STRIPE]
        self.holder = SimHolder()
        self.breakers.add_holder(self.holder)
        self._numbers = count()
        self.running: dict[Hashable, int] = {}
        super().__init__(self.breakers, name, log, clock)

    def begin(self, job: Hashable | None = None) -> Hashable | None:
        """Let a job begin; it waits where it may not."""
        job = f"{self.name}-{next(self._numbers)}" if job is None else job
        began = self.state.acquire(job)
        if began is None:
            self.holder.jobs.append(job)
            return None
        self.running[job] = began
        return job

    def end(self, job: Hashable, *, failed: bool | None) -> None:
        """A running job ends."""
        self.state.note(job, self.running.pop(job), failed=failed, why="ConnectionError: refused")

    def fail(self, times: int) -> None:
        """Jobs run and fail, one after the other."""
        for _ in range(times):
            job = self.begin()
            if job is not None:
                self.end(job, failed=True)

    @property
    def phase(self) -> str:
        """The breaker's state here."""
        return self.state.phase

    @property
    def probe(self) -> Hashable | None:
        """The job that probes here."""
        return self.state._probe
