"""Owners of a partition that reserve on its log what they use of limits, without a broker, at a clock of their own."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message

from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.kafka.log_writer import OnWritten
from stoker.consumers.limits.limits import LimitPeers, Limits
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from stoker.consumers.reservations.ports import ReservationParts
from stoker.consumers.reservations.reservations import Reservations
from stoker.topology import Pipeline
from stoker.topology.declaration.limits import Limit
from support.scenes.sharing import NOTICE_S, Log

STEP_S = 0.01


@dataclass
class Reader:
    """One worker's."""

    log: Log
    position: int | None = None
    refusals: list[KafkaError | None] = field(default_factory=list)
    """How the next calls of `start` end."""
    fatal: KafkaError | None = None

    def ask_edges(self, partition: int, timeout_s: float) -> tuple[int, int]:
        """The whole log."""
        return self.log.first, len(self.log.records)

    def start(self, partition: int, offset: int) -> None:
        """Read from there on."""
        refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            raise KafkaException(refusal)
        self.position = max(offset, self.log.first)

    def end(self, partition: int) -> None:
        """Read no more."""
        self.position = None

    def read(self, timeout_s: float) -> list[Message]:
        """What is to be seen by now."""
        if self.fatal is not None:
            raise KafkaException(self.fatal)
        if self.position is None:
            return []
        begin, self.position = self.position, self.log.seen_to(self.position)
        return self.log.records[begin : self.position]

    def close(self) -> None:
        """Nothing is connected."""


@dataclass
class Writer:
    """One worker's; what it writes is on its way until the next poll."""

    log: Log
    on_its_way: list[tuple[bytes, OnWritten]] = field(default_factory=list)

    def write(self, value: bytes, on_written: OnWritten, partition: int) -> None:
        """Send it."""
        self.on_its_way.append((value, on_written))

    def poll(self) -> None:
        """It arrives, and is answered."""
        on_its_way, self.on_its_way = self.on_its_way, []
        for value, on_written in on_its_way:
            message = self.log.append(value)
            on_written(KafkaError(KafkaError._MSG_TIMED_OUT) if message is None else None, message)

    def close(self) -> None:
        """The last ones arrive."""
        self.poll()


@dataclass(eq=False)
class ReservingWorker:
    """One process. As the owner, it has all jobs that have not begun."""

    world: ReservingWorld
    number: int
    frozen_until_at_s: float = 0.0
    loses_at_s: float | None = None
    is_alive: bool = True
    is_idle: bool = False
    """Whether it has had a turn without the partition: a further one would change nothing, and take time."""
    assignment: Assignment | None = None
    ready: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put it together."""
        world = self.world
        self.row = GateRow(clock=world.clock)
        self.limits = Limits(
            self.row,
            world.queue,
            world.pipeline.job_types,
            peers=LimitPeers(is_reserving=True),
            clock=world.clock,
            epoch=world.clock,
        )
        self.row.add([self.limits])
        self.row.start(self.make_ready)
        self.writer, self.readers = Writer(world.log), list[Reader]()
        parts = ReservationParts(
            queue=world.queue.name,
            topic=world.queue.limits_topic,
            make_reader=self.make_reader,
            make_writer=lambda: self.writer,
            clock=world.clock,
            make_session=world.make_session,
        )
        self.reservations = Reservations(self.limits.reservations, parts)

    def make_reader(self) -> Reader:
        """Another one, when the one before is given up."""
        self.readers.append(Reader(self.world.log))
        return self.readers[-1]

    def own(self) -> None:
        """The group gives it the partition."""
        self.loses_at_s, self.is_idle = None, False
        self.assignment = Assignment(1, self.world.queue.topic, 0, keeps_order=False)
        self.row.begin_assignment(self.assignment)
        self.come([(tenant, name) for name, tenant in self.world.waiting.items()])

    def lose(self) -> None:
        """It gives the partition up, or learns that it is another one's."""
        if self.assignment is not None:
            self.assignment.leave()
            self.assignment.end()
            self.row.wait_set.drop([self.assignment])
            self.assignment, self.ready, self.loses_at_s = None, [], None

    def come(self, jobs: list[tuple[str, int]]) -> None:
        """Jobs are delivered."""
        if self.assignment is None:
            return
        for tenant, name in jobs:
            headers = [("ce_type", b"work"), ("ce_id", b"%d" % name), ("stoker-tenant", tenant.encode())]
            message = Message(topic="t", partition=0, offset=name, value=b"", headers=headers, timestamp=(1, 0))  # type: ignore[arg-type]  # the stub's list is invariant
            self.make_ready([Record(message, self.assignment)])

    def make_ready(self, records: list[Record]) -> None:
        """As the dispatch does."""
        self.ready += self.row.admit(records) if self.row else records

    def turn(self) -> None:
        """Let it do all that it can at this moment."""
        now_s = self.world.log.now_s
        if not self.is_alive or now_s < self.frozen_until_at_s:
            return
        if self.loses_at_s is not None and now_s >= self.loses_at_s:
            self.lose()
        reserves_first = self.world.chance.random() < 0.5  # its threads take turns as they like
        if self.is_idle:
            return
        self.is_idle = self.assignment is None
        if reserves_first:
            self.reserve()
            self.run()
        else:
            self.run()
            self.reserve()

    def reserve(self) -> None:
        """Take a turn, as a `TurnThread` does."""
        with suppress(KafkaException):
            self.reservations.turn()

    def run(self) -> None:
        """The poll thread looks, and runners begin what is ready; each run is over at once."""
        self.row.ask_again()
        while self.ready:
            record = self.ready.pop(0)
            if record.assignment.is_current and self.row.begin(record) is Beginning.BEGINS:
                self.world.note(record, self)
                self.row.note_ended(record, DONE)


@dataclass
class ReservingWorld:
    """Some workers, one of which owns the partition at a time, by the group's word."""

    limit: Limit
    seed: int = 0
    workers_count: int = 3
    begun: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[int, str] = field(default_factory=dict)
    """{job that has not begun: its tenant}"""

    def __post_init__(self) -> None:
        """Begin."""
        self.chance = random.Random(self.seed)
        self.log = Log(self.chance)
        self.pipeline = Pipeline("unit")
        self.queue = self.pipeline.queue("q", limits=[self.limit], route_by="tenant", ordering="none")
        self.pipeline.job(self.queue, name="work")(lambda: None)
        self._jobs = self._sessions = 0
        self.workers = [ReservingWorker(self, number) for number in range(self.workers_count)]
        self.owner: ReservingWorker | None = None
        self.give_to(self.workers[0])

    def clock(self) -> float:
        """As `time.monotonic`."""
        return self.log.now_s

    def make_session(self) -> str:
        """Another one each time."""
        self._sessions += 1
        return f"s{self._sessions}"

    def enqueue(self, count: int, tenant: str = "acme") -> None:
        """Jobs come."""
        new = {self._jobs + number: tenant for number in range(count)}
        self._jobs += count
        self.waiting |= new
        if self.owner is not None:
            self.owner.come([(tenant, name) for name in new])

    def note(self, record: Record, worker: ReservingWorker) -> None:
        """A job begins."""
        tenant = (record.tenant or b"").decode()
        self.begun[tenant].append(self.log.now_s)
        self.waiting.pop(record.offset, None)

    def pass_s(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """Let time pass; the workers turn in any order."""
        end_s = self.log.now_s + seconds
        while self.log.now_s < end_s:
            self.log.now_s += STEP_S
            for worker in self.chance.sample(self.workers, len(self.workers)):
                worker.turn()
            look()

    def give_to(self, worker: ReservingWorker) -> None:
        """The group gives the partition to this one."""
        self.owner = worker
        worker.own()

    def hand_over(self) -> None:
        """The owner gives the partition up in order, and another one gets it a moment later."""
        former = self.owner
        assert former is not None
        former.lose()
        self.owner = None
        self.pass_s(self.chance.choice([0.0, 0.05, 0.2]))
        self.give_to(self.another(former))

    def kill(self, timeout_s: float = 6.0) -> None:
        """Kill the owner; another one gets the partition when the group has noticed, and a new process is there."""
        killed = self.owner
        assert killed is not None
        killed.is_alive = False
        self.owner = None
        self.workers[self.workers.index(killed)] = ReservingWorker(self, killed.number)
        self.pass_s(timeout_s)
        self.give_to(self.another(killed))

    def freeze(self, seconds: float, timeout_s: float = 6.0) -> None:
        """The owner stands still; another one gets the partition, of which it learns some time after it goes on."""
        frozen = self.owner
        assert frozen is not None
        frozen.frozen_until_at_s = self.log.now_s + seconds
        if seconds < timeout_s:
            self.pass_s(seconds)
            return
        self.owner = None
        frozen.loses_at_s = frozen.frozen_until_at_s + NOTICE_S
        self.pass_s(timeout_s)
        self.give_to(self.another(frozen))

    def another(self, former: ReservingWorker) -> ReservingWorker:
        """One that can take the partition."""
        others = [w for w in self.workers if w is not former and w.is_alive and w.assignment is None]
        return self.chance.choice([w for w in others if w.frozen_until_at_s <= self.log.now_s] or others)

    def most_in(self, length_s: float, tenant: str = "acme") -> int:
        """The most jobs of a tenant that began in any window of this length."""
        first, most, begun = 0, 0, sorted(self.begun[tenant])
        for last, at_s in enumerate(begun):
            while at_s - begun[first] >= length_s:
                first += 1
            most = max(most, last - first + 1)
        return most
