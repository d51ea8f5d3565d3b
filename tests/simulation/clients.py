"""Consumers and producers of the simulated cluster, as far as the worker uses librdkafka's."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from simulation.brokers import Place, SimBrokers
from simulation.virtual_time import CLOCK
from stoker.consumers.carrying.old_offsets import ALL, AgeSource, Offsets
from stoker.consumers.partitions.start_positions import EARLIEST
from stoker.consumers.progress.assignment import Assignment
from stoker.topology.wire.headers import HeaderList

MOST_UNANSWERED = 4
PATIENCE = 3
Fate = Literal["done", "refused", "unanswered", "killed"]
"""Of a write or a commit: done and answered; refused; done, with an answer that says it failed; or the process dies."""


class ProcessKilled(BaseException):
    """The process dies at this place: no code of it runs any more."""


class Owner(Protocol):
    """What a client asks of the process that it is in."""

    def note_commit(self, places: list[TopicPartition]) -> None:
        """A commit was sent, to be answered later."""
        ...

    def commit_now(self, places: list[TopicPartition]) -> KafkaError | None:
        """A commit was sent and its answer is waited for."""
        ...


class SimConsumer:
    """A consumer: the group's, the tiers', or one that restores."""

    def __init__(self, brokers: SimBrokers, owner: Owner, while_reading: Callable[[], None] = lambda: None) -> None:
        self._brokers = brokers
        self._while_reading = while_reading
        self._owner = owner
        self._positions: dict[Place, int] = {}
        self._ends_given: dict[Place, int] = {}
        self._paused: set[Place] = set()

    def incremental_assign(self, given: list[TopicPartition]) -> None:
        """Begin at the offsets given, or else where the group is; a pause outlives an assignment, as in librdkafka."""
        for at in given:
            place = at.topic, at.partition
            committed = self._brokers.committed.get(place, (0, ""))[0]
            self._positions[place] = at.offset if at.offset >= 0 else committed
            self._ends_given.pop(place, None)

    def incremental_unassign(self, taken: list[TopicPartition]) -> None:
        """Read these no more."""
        for at in taken:
            self._positions.pop((at.topic, at.partition), None)

    def assign(self, given: list[TopicPartition]) -> None:
        """Read these and no others."""
        self._positions.clear()
        for at in given:
            self._brokers.read_from[at.topic, at.partition].append(at.offset)
        self.incremental_assign(given)

    def pause(self, paused: Collection[TopicPartition]) -> None:
        """Let partitions rest."""
        self._paused |= {(at.topic, at.partition) for at in paused}

    def resume(self, resumed: Collection[TopicPartition]) -> None:
        """End the rest."""
        self._paused -= {(at.topic, at.partition) for at in resumed}

    def seek(self, at: TopicPartition) -> None:
        """Read on from there."""
        assert (at.topic, at.partition) in self._positions, "nothing is sought in what is not assigned"
        self._positions[at.topic, at.partition] = at.offset
        self._ends_given.pop((at.topic, at.partition), None)

    def begin_again(self, place: Place, choice: int) -> None:
        """Deliver a partition once more, from somewhere on, as where the position lies behind an end that was cut off.

        The client has it from the brokers, so it lies before what was delivered, perhaps in the middle.
        """
        low, position = self._brokers.logs[place].low, self._positions[place]
        self._positions[place] = low + choice % max(1, position - low)

    def consume(self, limit: int, timeout: float = 0.0) -> list[Message]:
        """Some of what is there, and of each partition once that it has ended."""
        found: list[Message] = []
        for place in [place for place in self._positions if place not in self._paused]:
            found += self._read(place, limit - len(found))
        return found

    def poll(self, _timeout_s: float) -> None:
        """Nothing comes while one waits for it."""

    def _read(self, place: Place, limit: int) -> list[Message]:
        log = self._brokers.logs[place]
        if self._positions[place] > log.high:
            self._positions[place] = log.low  # auto.offset.reset
        found, self._positions[place] = log.read(self._positions[place], limit)
        if self._positions[place] >= log.end and self._ends_given.get(place) != log.end and len(found) < limit:
            self._ends_given[place] = log.end
            found.append(end_of(place, log.end))
        return found

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Send a commit."""
        if asynchronous:
            self._owner.note_commit(offsets)
        elif (error := self._owner.commit_now(offsets)) is not None:
            raise KafkaException(error)

    # ---- what restoring asks

    def get_watermark_offsets(self, at: TopicPartition, timeout: float = 0.0, cached: bool = False) -> tuple[int, int]:
        """Where a partition begins and ends."""
        self._while_reading()
        log = self._brokers.logs[at.topic, at.partition]
        return log.low, log.end

    def offsets_for_times(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Where partitions begin or end."""
        self._while_reading()
        return [TopicPartition(at.topic, at.partition, self._edge(at)) for at in asked]

    def _edge(self, at: TopicPartition) -> int:
        log = self._brokers.logs[at.topic, at.partition]
        return log.low if at.offset == EARLIEST else log.end

    def committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """The group's offsets."""
        self._while_reading()
        return [self._committed(at.topic, at.partition) for at in asked]

    def _committed(self, topic: str, partition: int) -> TopicPartition:
        found = self._brokers.committed.get((topic, partition))
        return TopicPartition(topic, partition, -1_001) if found is None else TopicPartition(topic, partition, *found)


class SimSweepConsumer(SimConsumer):
    """The consumer that reads again: few records at a time, of one partition after another.

    At every third begin of a partition it passes the first record by, as the real one does after a seek, with what it
    had fetched ahead. So what a lane wants comes in many turns, and not in its order.
    """

    def __init__(self, brokers: SimBrokers, owner: Owner, is_prompt: Callable[[], bool]) -> None:
        super().__init__(brokers, owner)
        self._is_prompt = is_prompt
        self._begins: Counter[Place] = Counter()
        self._turns = 0

    def incremental_assign(self, given: list[TopicPartition]) -> None:
        """Begin there, or a record further on."""
        super().incremental_assign(given)
        for at in given:
            place = at.topic, at.partition
            self._begins[place] += 1
            self._positions[place] += self._begins[place] % 3 == 0

    def consume(self, limit: int, timeout: float = 0.0) -> list[Message]:
        """The next of one partition; all there is once the faults have ended."""
        if self._is_prompt():
            return super().consume(limit, timeout)
        self._turns += 1
        places = list(self._positions)
        for place in places[self._turns % max(1, len(places)) :][:1]:
            return self._read(place, min(limit, 2))
        return []


def end_of(place: Place, offset: int) -> Message:
    """The message that a partition has no more for now."""
    return Message(
        topic=place[0], partition=place[1], offset=offset, error=KafkaError(KafkaError._PARTITION_EOF), timestamp=(0, 0)
    )


@dataclass(eq=False)
class _Pending:
    topic: str
    partition: int
    key: bytes | str | None
    value: bytes | None
    headers: HeaderList
    on_delivery: Callable[[KafkaError | None, Message], None] | None

    @property
    def size_bytes(self) -> int:
        """What it weighs in a batch, about."""
        return len(self.value or b"") + sum(len(part) for _, part in self.headers)


class SimProducer:
    """A producer; `fates` says what becomes of its next writes, "done" where it says nothing.

    What is written to a partition between two flushes is one batch, which a topic takes or refuses as a whole; of a
    lone producer, each record is. `while_waiting` lets others move while this one waits for its answers. A topic
    without partitions of ours, such as that of the events, stays silent for good: its records are never answered, and
    soon fill what the client holds.
    """

    def __init__(
        self,
        brokers: SimBrokers,
        fates: deque[Fate],
        while_waiting: Callable[[], None],
        *,
        is_lone: bool = False,
    ) -> None:
        self._brokers = brokers
        self._fates = fates
        self._while_waiting = while_waiting
        self._is_lone = is_lone
        self._pending: list[_Pending] = []
        self._confirmed: dict[int, HeaderList] = {}
        self._unanswered = 0
        self._waited_in_vain = 0

    def produce(
        self,
        topic: str,
        *,
        value: bytes | None = None,
        key: bytes | str | None = None,
        partition: int = -1,
        headers: Any = None,
        on_delivery: Any = None,
    ) -> None:
        """Queue a record."""
        if partition < 0:
            if self._unanswered == MOST_UNANSWERED:
                raise BufferError
            self._unanswered += 1
        else:
            self._pending.append(_Pending(topic, partition, key, value, headers or [], on_delivery))

    def poll(self, _timeout_s: float) -> int:
        """Take answers."""
        return self.flush(0)

    def flush(self, timeout_s: float) -> int:
        """Have everything answered that will be; how much is not when the time is over."""
        too_large = self._find_too_large()
        while self._pending:
            pending = self._pending.pop(0)
            self._write(pending, is_too_large=pending in too_large)
        self._while_waiting()
        if self._unanswered and timeout_s > 0:
            CLOCK.advance(timeout_s)
            self._waited_in_vain += 1
            assert self._waited_in_vain < PATIENCE, "work that may go on waits for a topic that stays silent for good"
        return self._unanswered

    def _find_too_large(self) -> set[_Pending]:
        batches: defaultdict[object, list[_Pending]] = defaultdict(list)
        for pending in self._pending:
            batches[pending if self._is_lone else (pending.topic, pending.partition)].append(pending)
        found: set[_Pending] = set()
        for batch in batches.values():
            if not self._brokers.takes(batch[0].topic, sum(pending.size_bytes for pending in batch)):
                found.update(batch)
        return found

    def _write(self, pending: _Pending, *, is_too_large: bool) -> None:
        fate = self._fates.popleft() if self._fates else "done"
        if pending.headers:
            assert id(pending.headers) not in self._confirmed, f"{pending} is confirmed and written again"
            if fate == "done" and not is_too_large:
                self._confirmed[id(pending.headers)] = pending.headers
        if fate == "killed":
            raise ProcessKilled
        written = Message(topic=pending.topic, partition=pending.partition, offset=-1)
        if fate != "refused" and not is_too_large:
            written = self._brokers.append(
                pending.topic, pending.partition, pending.key, pending.value, pending.headers
            )
        error = None if fate == "done" else KafkaError(KafkaError._MSG_TIMED_OUT)
        if is_too_large:
            error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
        if pending.on_delivery is not None:
            pending.on_delivery(error, written)


@dataclass
class SimAges(AgeSource):
    """Answers at once, and gives the answer when it is taken."""

    brokers: SimBrokers
    answer: Offsets | None = None

    def ask(self, assignments: Collection[Assignment], before_ms: int) -> None:
        """Find out."""
        self.answer = {a: self._first_since(a, before_ms) for a in assignments}

    def _first_since(self, assignment: Assignment, before_ms: int) -> int:
        records = self.brokers.logs[assignment.topic, assignment.partition].records
        return min((o for o, record in records.items() if record.timestamp()[1] >= before_ms), default=ALL)

    def pop(self) -> Offsets | None:
        """The answer."""
        answer, self.answer = self.answer, None
        return answer
