"""Workers that share a limit over a log, without a broker: all in one thread, at a clock of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stoker.consumers.gates.gate_row import Beginning, GateRow
from stoker.consumers.limits.limits import Limits
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from stoker.consumers.shares.ports import SharesParts
from stoker.consumers.shares.shares import Shares
from stoker.producers.control.log_reader import LogReader
from stoker.topology import ClusterSettings, Pipeline
from stoker.topology.declaration.limits import Limit
from support.scenes.deliveries import record_of

STEP_S = 0.01
BROKERS_AHEAD_S = 1_000_000.0
"""The brokers' clock is another one."""
FATAL = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
NOTICE_S = 2.0
"""A frozen owner that goes on takes so long to notice that another one has its partition."""


@dataclass
class Log:
    """A topic of one partition; records arrive and are seen a little later, in one order."""

    chance: random.Random
    now_s: float = 0.0
    records: list[Message] = field(default_factory=list)
    seen_at_s: list[float] = field(default_factory=list)
    is_lossy: bool = False
    first: int = 0

    def append(self, value: bytes) -> Message | None:
        """Take a record; None where it is lost."""
        if self.is_lossy and self.chance.random() < 0.2:
            return None
        message = Message(
            topic="shares",
            partition=0,
            offset=len(self.records),
            value=value,
            timestamp=(2, round((self.now_s + BROKERS_AHEAD_S) * 1_000)),
        )
        self.records.append(message)
        last_s = self.seen_at_s[-1] if self.seen_at_s else 0.0
        self.seen_at_s.append(max(last_s, self.now_s + self.chance.uniform(0.001, 0.02)))
        return message

    def seen_to(self, position: int) -> int:
        """How far a reader that has got there can see by now."""
        while position < len(self.records) and self.seen_at_s[position] <= self.now_s:
            position += 1
        return position


@dataclass
class Client:
    """The client of a reader, as the one of librdkafka.

    Attributes:
        failure: what it has failed of for good; it is returned once, and nothing is read any more.
    """

    log: Log
    is_stuck: bool = False
    failure: KafkaError | None = None
    at: int = 0

    def get_watermark_offsets(self, _at: TopicPartition, timeout: float) -> tuple[int, int]:
        """The whole log."""
        return 0, len(self.log.records)

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The first record from that time of the brokers on."""
        stamps = [record.timestamp()[1] for record in self.log.records]
        found = next((n for n, stamp in enumerate(stamps) if stamp >= asked[0].offset), len(stamps))
        return [TopicPartition("shares", 0, found)]

    def assign(self, places: list[TopicPartition]) -> None:
        """Read from there on."""
        self.at = places[0].offset

    def poll(self, _timeout_s: float) -> Message | None:
        """The first record that is to be seen by now."""
        return next(iter(self.consume(1)), None)

    def consume(self, most: int, _timeout_s: float = 0.0) -> list[Message]:
        """What is to be seen by now."""
        if self.failure is not None and not self.is_stuck:
            self.is_stuck = True
            return [Message(error=self.failure)]
        if self.is_stuck:
            return []
        begin, self.at = self.at, min(self.log.seen_to(self.at), self.at + most)
        return self.log.records[begin : self.at]

    def close(self) -> None:
        """Nothing is connected."""


class Reader(LogReader):
    """One worker's: a real one, whose clients read the log of the scene."""

    def __init__(self, log: Log, *, is_stuck: bool = False) -> None:
        self.log, self.is_stuck = log, is_stuck
        self.clients: list[Client] = []
        super().__init__(ClusterSettings(bootstrap_servers="127.0.0.1:1"), "shares", client_id="unit-shares")

    def _connect(self) -> Any:
        self.clients.append(Client(self.log, self.is_stuck))
        return self.clients[-1]

    def fail(self) -> None:
        """Let its client fail for good; the next one is not stuck."""
        self.is_stuck = self.clients[-1].is_stuck = False
        self.clients[-1].failure = FATAL


@dataclass
class Writer:
    """One worker's; what it writes is on its way until the next poll."""

    log: Log
    on_its_way: list[tuple[bytes, Any]] = field(default_factory=list)
    refusal: KafkaException | KafkaError | None = None
    """The next record is refused, by raising or by an answer in the call."""

    def write(self, value: bytes, on_written: Any) -> None:
        """Send it."""
        refusal, self.refusal = self.refusal, None
        if isinstance(refusal, KafkaException):
            raise refusal
        if refusal is not None and on_written is not None:
            on_written(refusal, None)
        if refusal is not None:
            return
        self.on_its_way.append((value, on_written))

    def poll(self) -> None:
        """It arrives, and is answered."""
        on_its_way, self.on_its_way = self.on_its_way, []
        for value, on_written in on_its_way:
            message = self.log.append(value)
            if on_written is not None:
                on_written(KafkaError(KafkaError._MSG_TIMED_OUT) if message is None else None, message)

    def close(self) -> None:
        """The last ones arrive."""
        self.poll()


@dataclass(eq=False)
class SharingWorker:
    """One process with a long backlog; `slots` jobs of it run at once, each for `run_s`."""

    world: SharingWorld
    number: int
    slots: int = 200
    frozen_until_at_s: float = 0.0
    notices_at_s: float | None = None
    is_alive: bool = True
    ready: list[Record] = field(default_factory=list)
    running: dict[Record, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put it together, and let a backlog wait."""
        log, queue = self.world.log, self.world.queue
        self.readers: list[Reader] = []
        self.writer = Writer(log)
        self.row = GateRow(clock=self.world.clock)
        self.limits = Limits(
            self.row, queue, self.world.pipeline.job_types, clock=self.world.clock, epoch=self.world.clock
        )
        self.row.add([self.limits])
        self.row.start(self.make_ready)
        parts = SharesParts(
            queue=queue.name,
            worker_id=f"w{self.number}",
            given={"q.limit": self.world.limit, **self.world.beside},
            owns_first=self.owns_first,
            make_reader=self.make_reader,
            make_writer=lambda: self.writer,
            clock=self.world.clock,
        )
        self.shares = Shares(self.limits.sharing, parts)
        self.assignment = Assignment(1, queue.topic, self.number)
        self.enqueue(self.world.backlog)

    def make_reader(self) -> Reader:
        """The first one follows the log; the others read back what distant limits need."""
        self.readers.append(Reader(self.world.log, is_stuck=bool(self.readers) and self.world.is_stuck))
        return self.readers[-1]

    def owns_first(self) -> bool:
        """By its own knowledge, which may be old."""
        return self.world.owner is self or self.notices_at_s is not None

    def enqueue(self, count: int) -> None:
        """Jobs come."""
        for _ in range(count):
            record = record_of([("ce_type", b"work")])
            record.assignment = self.assignment
            self.make_ready([record])

    def make_ready(self, records: list[Record]) -> None:
        """As the dispatch does."""
        self.ready += self.row.admit(records) if self.row else records

    def turn(self) -> None:
        """Let it do all that it can at this moment."""
        now_s = self.world.log.now_s
        if now_s < self.frozen_until_at_s:
            return
        self._end_jobs(now_s)
        if not self.is_alive:
            return
        if self.notices_at_s is not None and now_s >= self.notices_at_s:
            self.notices_at_s = None
        with suppress(KafkaException):  # as a `TurnThread` does
            self.shares.turn()
        self.row.ask_again()
        while self.ready and len(self.running) < self.slots:
            record = self.ready.pop(0)
            if self.row.begin(record) is Beginning.BEGINS:
                self.running[record] = now_s + self.world.run_s
                self.world.begun.append(now_s)
                self.world.begun_beside.append((now_s, self.world.running))

    def _end_jobs(self, now_s: float) -> None:
        for record in [record for record, end_s in self.running.items() if end_s <= now_s]:
            del self.running[record]
            self.row.note_ended(record, DONE)

    def stop(self, runs_on_s: float) -> None:
        """Stop it in order; its jobs go on for so long."""
        self.is_alive = False
        self.running = dict.fromkeys(self.running, self.world.log.now_s + runs_on_s)
        self._end_jobs(self.world.log.now_s)
        self.row.stop()
        self.shares.close()


@dataclass
class SharingWorld:
    """Some workers, one of them the coordinator.

    Attributes:
        beside: {name: limit} of a type without jobs, which are given as well.
        is_stuck: whether what distant limits need cannot be read back.
    """

    limit: Limit
    seed: int
    workers_count: int = 3
    backlog: int = 2_000
    run_s: float = 0.05
    beside: Mapping[str, Limit] = field(default_factory=dict)
    is_stuck: bool = False
    begun: list[float] = field(default_factory=list)
    begun_beside: list[tuple[float, int]] = field(default_factory=list)
    """When each job began, and how many ran then, with it."""

    def __post_init__(self) -> None:
        """Begin."""
        self.chance = random.Random(self.seed)
        self.log = Log(self.chance)
        self.pipeline = Pipeline("unit")
        self.queue = self.pipeline.queue("q", limits=[self.limit])
        self.pipeline.job(self.queue, name="work")(lambda: None)
        self.pipeline.job(self.queue, name="rare", limits=list(self.beside.values()))(lambda: None)
        self.owner: SharingWorker | None = None
        self.workers = [SharingWorker(self, number) for number in range(self.workers_count)]
        self.owner = self.workers[0]

    def clock(self) -> float:
        """As `time.monotonic`."""
        return self.log.now_s

    def pass_s(self, seconds: float, look: Callable[[], None] = lambda: None) -> None:
        """Let time pass; the workers turn in any order."""
        end_s = self.log.now_s + seconds
        while self.log.now_s < end_s:
            self.log.now_s += STEP_S
            for worker in self.chance.sample(self.workers, len(self.workers)):
                worker.turn()
            look()

    def kill(self, worker: SharingWorker) -> None:
        """Its jobs are over; another one gets its partitions."""
        worker.is_alive = False
        worker.running.clear()
        self.move_owner(worker)

    def stop(self, worker: SharingWorker, runs_on_s: float) -> None:
        """Stop it in order; its jobs go on for so long, and another one gets its partitions."""
        worker.stop(runs_on_s)
        self.move_owner(worker)

    def freeze(self, worker: SharingWorker, seconds: float) -> None:
        """It stands still; another one gets its partitions, of which it learns some time after it goes on."""
        worker.frozen_until_at_s = self.log.now_s + seconds
        if self.owner is worker:
            worker.notices_at_s = worker.frozen_until_at_s + NOTICE_S
            self.move_owner(worker)

    def move_owner(self, former: SharingWorker) -> None:
        """Give the first partition to another one."""
        if self.owner is former:
            others = [worker for worker in self.workers if worker.is_alive and worker is not former]
            self.owner = self.chance.choice(others) if others else None

    @property
    def running(self) -> int:
        """The jobs that run in all processes."""
        return sum(len(worker.running) for worker in self.workers)

    def most_in(self, length_s: float) -> int:
        """The most jobs that began in any window of this length."""
        first, most = 0, 0
        for last, at_s in enumerate(self.begun):
            while at_s - self.begun[first] >= length_s:
                first += 1
            most = max(most, last - first + 1)
        return most
