"""A simulated cluster with schedules: workers that fire, die, freeze, and all believe to be the owner."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from confluent_kafka import KafkaError, Message

from stoker.consumers.schedules.fired_queue import ScheduleFigures
from stoker.consumers.schedules.jobs_of_instants import CannotFire
from stoker.consumers.schedules.queue_schedules import FiringParts, QueueSchedules
from stoker.consumers.schedules.schedule_thread import ScheduleThread, ScheduleThreadParts
from stoker.producers.schedules.templates import job_of
from stoker.producers.transaction_writer import TransactionFailed, TransactionRecord
from stoker.schemas.own_records.control_records import RecordPlace
from stoker.schemas.own_records.schedule_records import ScheduleRecord, encode_schedule
from stoker.topology import Pipeline
from stoker.topology.wire import headers as wire
from stoker.topology.wire.schedules import ScheduleKey

QUEUE = "q"
PIPELINE = Pipeline("sim")
DECLARED = PIPELINE.queue(QUEUE, partitions=4)
TOPIC = PIPELINE.schedules_topic


class Killed(BaseException):
    """A worker's process is gone."""


@dataclass
class SimulatedJob:
    """A job that was enqueued."""

    job_id: str
    instant: datetime
    early_s: float


@dataclass
class SimulatedTopics:
    """What is committed: the topic of schedules, and the jobs."""

    records: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    jobs: list[SimulatedJob] = field(default_factory=list)
    epoch: int = 0
    are_away: bool = False

    def put(self, schedule: ScheduleRecord | str) -> None:
        """Write a schedule, or remove the one of this name."""
        name = schedule if isinstance(schedule, str) else schedule.name
        value = None if isinstance(schedule, str) else encode_schedule(schedule)
        self.records.append((ScheduleKey.SCHEDULE.of(name), value))

    def commit(self, records: list[TransactionRecord], now: datetime) -> list[RecordPlace]:
        """Make records visible."""
        return [self._place(record, now) for record in records]

    def _place(self, record: TransactionRecord, now: datetime) -> RecordPlace:
        if record.topic == TOPIC:
            self.records.append((record.key or b"", record.value))
            return RecordPlace(topic=TOPIC, partition=0, offset=len(self.records) - 1)
        headers = dict(record.headers)
        instant = wire.parse_instant(headers[wire.SCHEDULED_FOR])
        self.jobs.append(SimulatedJob(headers[wire.JOB_ID].decode(), instant, (instant - now).total_seconds()))
        return RecordPlace(topic=record.topic, partition=record.partition, offset=len(self.jobs) - 1)


class SimulatedWriter:
    """A transactional writer: the brokers take nothing of one that was shut out; it dies where `dies` says so."""

    def __init__(self, topics: SimulatedTopics, dies: Callable[[str], bool], now: Callable[[], datetime]) -> None:
        self._topics, self._dies, self._now = topics, dies, now
        self._epoch: int | None = None

    def connect(self) -> None:
        """Shut out all earlier ones."""
        self._die("before it connects")
        self._ask()
        if self._epoch is None:
            self._topics.epoch += 1
            self._epoch = self._topics.epoch
        self._die("after it has connected")

    def partitions(self, _topic: str) -> int:
        """As declared."""
        return DECLARED.partitions

    def write(
        self,
        records: list[TransactionRecord],
        then: Callable[[list[RecordPlace]], list[TransactionRecord]] = lambda _places: [],
    ) -> list[RecordPlace]:
        """Write all, or nothing."""
        self._die("before it writes")
        self._ask()
        if self._epoch != self._topics.epoch:
            self.close()
            raise TransactionFailed([KafkaError(KafkaError._FENCED)], "fenced", is_perhaps_committed=False)
        before = len(self._topics.jobs)
        guessed = [
            RecordPlace(topic=record.topic, partition=record.partition, offset=before + number)
            for number, record in enumerate(records)
        ]
        notes = then(guessed)
        self._die("before it commits")
        places = self._topics.commit([*records, *notes], self._now())
        self._die("after it has committed")
        if self._dies("the answer is lost"):
            self.close()
            raise TransactionFailed([], "no answer", is_perhaps_committed=True)
        return places

    def close(self) -> None:
        """Disconnect."""
        self._epoch = None

    def _ask(self) -> None:
        if self._topics.are_away:
            raise TransactionFailed([KafkaError(KafkaError._TRANSPORT)], "no broker", is_perhaps_committed=False)

    def _die(self, where: str) -> None:
        if self._dies(where):
            raise Killed(where)


class SimulatedReader:
    """Reads the topic of schedules, some records at a time."""

    def __init__(self, topics: SimulatedTopics, chance: random.Random) -> None:
        self._topics, self._chance = topics, chance
        self.position, self.is_at_end = 0, False

    def ask_end(self, _timeout_s: float) -> tuple[int, int]:
        """Where the log begins and ends: behind the marker of the last transaction."""
        return 0, len(self._topics.records) + 1

    def start(self, offset: int) -> None:
        """Read from there."""
        self.position = offset

    def read(self, _timeout_s: float) -> list[Message]:
        """A few records; perhaps none, though there are some."""
        count = self._chance.choice([0, 1, 3, 1_000])
        found = self._topics.records[self.position : self.position + count]
        first, self.position = self.position, self.position + len(found)
        self.is_at_end = self.position == len(self._topics.records)
        return [
            Message(topic=TOPIC, partition=0, offset=first + number, key=key, value=value)
            for number, (key, value) in enumerate(found)
        ]

    def close(self) -> None:
        """Nothing is open."""


class SimulatedWorker:
    """One worker process, which believes for all its life that the first partition is its own.

    Attributes:
        skew: how far its clock is off.
        owns_first: whether it believes so; true from the start.
        broken: names of the schedules whose jobs cannot be made.
    """

    def __init__(self, world: ScheduleWorld, name: str, skew: timedelta) -> None:
        self.world, self.name, self.skew = world, name, skew
        self.owns_first, self.broken = True, set[str]()
        writer = SimulatedWriter(world.topics, world.dies, self.now)
        parts = FiringParts(
            queue=QUEUE,
            topic=DECLARED.topic,
            schedules_topic=TOPIC,
            transactional_id="sim.q.schedules",
            worker_id=name,
            writer=writer,
            make_jobs=self._make_jobs,
            has_ended=lambda _job_id, _place: world.chance.random() < 0.5,
        )
        self._thread = ScheduleThread(
            ScheduleThreadParts(
                schedules={QUEUE: QueueSchedules(parts)},
                owns_first=lambda _queue: self.owns_first,
                make_reader=lambda: SimulatedReader(world.topics, world.chance),
                clock=lambda: self.now().timestamp(),
                monotonic=world.monotonic,
            ),
            on_crash=world.note_crash,
        )

    def now(self) -> datetime:
        """What its clock shows."""
        return self.world.now + self.skew

    def turn(self) -> None:
        """Let its thread turn once."""
        self._thread.turn()

    def figures(self) -> ScheduleFigures:
        """What its metrics show."""
        (found,) = self._thread.figures()
        return found

    def _make_jobs(self, schedule: ScheduleRecord, at: datetime, count: int, now: datetime) -> list[TransactionRecord]:
        if schedule.name in self.broken:
            raise CannotFire("no data")
        if self.world.makes_none:
            return []
        return [job_of(schedule, at, DECLARED, count, now)]


class ScheduleWorld:
    """Workers and topics, and the one true time. Where `makes_none`, no instant has a job."""

    def __init__(self, seed: int, start: datetime) -> None:
        self.chance = random.Random(seed)
        self.now = start.astimezone(UTC)
        self.topics = SimulatedTopics()
        self.workers: list[SimulatedWorker] = []
        self.deaths: set[str] = set()
        self.is_calm = self.makes_none = False
        self._count = 0

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self.now.timestamp()

    def dies(self, where: str) -> bool:
        """Whether the worker dies there, or the brokers' answer gets lost."""
        share = 0.03 if where != "the answer is lost" else 0.05
        return not self.is_calm and self.chance.random() < share

    def note_crash(self, error: BaseException) -> None:
        """No part fails by itself."""
        raise error

    def start_worker(self, skew_s: float = 0.0) -> SimulatedWorker:
        """Start a process."""
        self._count += 1
        worker = SimulatedWorker(self, f"w{self._count}", timedelta(seconds=skew_s))
        self.workers.append(worker)
        return worker

    def turn(self, worker: SimulatedWorker) -> None:
        """Let a worker turn; it may die, and is gone then."""
        try:
            worker.turn()
        except Killed as killed:
            self.deaths.add(str(killed))
            self.workers.remove(worker)

    def settle(self) -> None:
        """End in peace: one worker alone catches up, with the right time."""
        self.is_calm = True
        self.workers.clear()
        worker = self.start_worker()
        for turn in range(320):
            self.turn(worker)
            self.now += timedelta(milliseconds=50) * (turn < 300)
