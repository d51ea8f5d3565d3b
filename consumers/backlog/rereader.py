"""`Rereader`: reads records again by their offsets, in one ascending sweep over each partition.

A consumer reads from an offset on, and hands out fetched records in the order of arrival. So a sweep reads over the
records between wanted ones. It seeks only where a gap is so large that reading takes longer. After its last wanted
record it unassigns the partition, since later records would fill the consumer's queue.

Sweeps over delayed records are long: the calendar wants some of every stretch of a log. They take turns, a few at a
time. Else the client would fetch some partitions over and over, and others not for a minute.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from ...topology.cluster.settings import Option
from ..progress.assignment import Assignment

READS_A_TURN: Final = 1_000
SEEK_ABOVE: Final = 1_000
"""Records: so many are passed in about a millisecond, and a seek takes one to four."""
DELAYED_AT_ONCE: Final = 2
"""Sweeps over delayed records: one is read while the next one is fetched."""
SWEEP_OPTIONS: Final[dict[str, Option]] = {
    "fetch.queue.backoff.ms": 1,
    "fetch.wait.max.ms": 10,
    "queued.min.messages": 2_000,
    "queued.max.messages.kbytes": 4_096,
    "max.partition.fetch.bytes": 256 * 1024,
    "enable.partition.eof": True,
}
"""With the client's defaults a single record takes half a second now and then: a fetch waits at another log's end. And
one fetch of a few partitions fills the queue: while these are swept, others come to nothing for a minute.
"""


@dataclass(slots=True)
class Reread:
    """The records that one turn of the `Rereader` has found, and the places of those that are gone.

    Attributes:
        found: the records that were asked for, with the assignment that they were asked for.
        gone: what will never come: compaction or retention has taken it.
    """

    found: list[tuple[Assignment, Message]] = field(default_factory=list)
    gone: list[tuple[Assignment, int]] = field(default_factory=list)


class _Sweep:
    """The way through one partition."""

    __slots__ = ("assignment", "later", "missed", "position", "wanted")

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.wanted: list[int] = []
        self.later: set[int] = set()
        self.missed: set[int] = set()
        self.position: float = math.inf
        """The next offset to come, while it runs. Whatever is wanted before it has begun lies behind it."""

    def add(self, offsets: Iterable[int]) -> None:
        """Take offsets into this sweep where it has not passed them, else into the next one."""
        for offset in offsets:
            if offset >= self.position:
                heapq.heappush(self.wanted, offset)
            else:
                self.later.add(offset)

    def begin(self) -> int:
        """Go on at the next wanted record, or begin anew with the later ones; return the offset to read from.

        Wanted records behind the position wait until none is ahead: to go back at each gap would read the same again.
        """
        if not self.wanted:
            self.wanted = sorted(self.later)
            self.later.clear()
        self.position = self.wanted[0]
        return self.wanted[0]

    def rest(self) -> None:
        """Wait for its next turn; what is wanted meanwhile comes with it."""
        self.position = math.inf

    def pass_to(self, offset: int) -> list[int]:
        """Take out wanted offsets below one that has come; return the ones missed a second time, which are gone.

        A second sweep makes sure: were a record taken for gone that is not, its job would be lost.
        """
        passed = set()
        while self.wanted and self.wanted[0] < offset:
            passed.add(heapq.heappop(self.wanted))
        gone = passed & self.missed
        self.missed ^= passed
        self.later |= passed - gone
        return sorted(gone)

    def leaves_out(self, message: Message, offset: int) -> bool:
        """Whether no requester wants this record, and the next wanted one is near: so it is with most."""
        wanted = self.wanted
        return bool(wanted) and offset < wanted[0] <= offset + SEEK_ABOVE and message.error() is None

    def find(self, offset: int) -> bool:
        """Whether a record that has come was wanted; it counts once, however often it was wanted."""
        is_wanted = False
        while self.wanted and self.wanted[0] == offset:
            heapq.heappop(self.wanted)
            is_wanted = True
        if is_wanted:
            self.missed.discard(offset)
            self.later.discard(offset)
        self.position = offset + 1
        return is_wanted


class Rereader:
    """The consumer that reads again; owned by the poll thread. It is assigned nothing while nothing is wanted."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._sweeps: dict[tuple[str, int], _Sweep] = {}
        self._waiting: deque[_Sweep] = deque()
        self._delayed_running = 0

    @property
    def is_busy(self) -> bool:
        """Whether something is to come."""
        return bool(self._sweeps)

    def want(self, assignment: Assignment, offsets: Iterable[int]) -> None:
        """Ask for these offsets; `turn` returns each once, found or gone, however often it was asked for meanwhile."""
        partition = assignment.topic, assignment.partition
        sweep = self._sweeps.get(partition)
        if sweep is not None and sweep.assignment is assignment:
            sweep.add(offsets)
            return
        if sweep is not None:
            self._end(partition, sweep)
        sweep = self._sweeps[partition] = _Sweep(assignment)
        sweep.later.update(offsets)
        self._wait_for_turn(sweep)

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Read no more of these."""
        for partition, sweep in list(self._sweeps.items()):
            if sweep.assignment in assignments:
                self._end(partition, sweep)

    def turn(self, limit: int = READS_A_TURN) -> Reread:
        """Read on for a moment, at most so many records; never waits."""
        reread = Reread()
        moved: set[tuple[str, int]] = set()
        sweeps = self._sweeps
        for message in self._consumer.consume(limit, 0) if sweeps else ():
            partition: tuple[str, int] = message.topic(), message.partition()  # type: ignore[assignment]  # it has both
            sweep, offset = sweeps.get(partition), message.offset()
            if sweep is None or offset is None or offset < sweep.position or partition in moved:
                continue  # fetched ahead, before the sweep ended or went elsewhere
            if sweep.leaves_out(message, offset):
                sweep.position = offset + 1
            elif self._take(sweep, message, offset, reread) and self._has_moved_on(partition, sweep):
                moved.add(partition)
        return reread

    def _take(self, sweep: _Sweep, message: Message, offset: int, reread: Reread) -> bool:
        """Take a record, or the end of a partition; False for what is neither."""
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            return False
        self._pass_to(sweep, offset, reread)
        if error is None and sweep.find(offset):
            reread.found.append((sweep.assignment, message))
        return True

    def _pass_to(self, sweep: _Sweep, offset: int, reread: Reread) -> None:
        if sweep.wanted and sweep.wanted[0] < offset:
            reread.gone += ((sweep.assignment, gone) for gone in sweep.pass_to(offset))
        sweep.position = offset

    def _has_moved_on(self, partition: tuple[str, int], sweep: _Sweep) -> bool:
        """Seek to the next wanted record, or end the sweep; False if that record is just ahead."""
        if sweep.wanted and sweep.wanted[0] - sweep.position <= SEEK_ABOVE:
            return False
        if sweep.wanted:
            self._unassign(sweep)
            self._assign(sweep)
        elif sweep.later:
            self._stop(sweep)
            self._wait_for_turn(sweep)
        else:
            self._end(partition, sweep)
        return True

    # ---- turns

    def _wait_for_turn(self, sweep: _Sweep) -> None:
        """Begin a sweep, one over delayed records when others have had their turn."""
        if sweep.assignment.source.is_delayed:
            self._waiting.append(sweep)
            self._begin_waiting()
        else:
            self._assign(sweep)

    def _begin_waiting(self) -> None:
        while self._waiting and self._delayed_running < DELAYED_AT_ONCE:
            self._delayed_running += 1
            self._assign(self._waiting.popleft())

    def _stop(self, sweep: _Sweep) -> None:
        """End a turn; the next one of the others begins."""
        if sweep in self._waiting:
            self._waiting.remove(sweep)
            return
        self._unassign(sweep)
        sweep.rest()
        if sweep.assignment.source.is_delayed:
            self._delayed_running -= 1
            self._begin_waiting()

    def _end(self, partition: tuple[str, int], sweep: _Sweep) -> None:
        self._stop(sweep)
        del self._sweeps[partition]

    def _assign(self, sweep: _Sweep) -> None:
        at = TopicPartition(sweep.assignment.topic, sweep.assignment.partition, sweep.begin())
        self._consumer.incremental_assign([at])

    def _unassign(self, sweep: _Sweep) -> None:
        self._consumer.incremental_unassign([TopicPartition(sweep.assignment.topic, sweep.assignment.partition)])

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close()
