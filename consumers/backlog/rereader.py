"""`Rereader`: reads records again that are known by their offsets, in one ascending sweep over each partition.

A consumer reads from an offset on and hands out what it has fetched ahead in the order of arrival. So a sweep passes
what lies between wanted records, and seeks only over gaps so large that passing them takes longer; and a partition is
unassigned with its last wanted record, lest what follows fill the consumer's queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from ...topology.cluster.settings import Option
from ..records.assignment import Assignment

READS_A_TURN: Final = 1_000
SEEK_ABOVE: Final = 1_000
"""Records: so many are passed in about a millisecond, and a seek takes one to four."""
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
        self.position = 0

    def add(self, offsets: Iterable[int]) -> None:
        """Take offsets into this sweep where it has not passed them, else into the next one."""
        for offset in offsets:
            if offset >= self.position:
                heapq.heappush(self.wanted, offset)
            else:
                self.later.add(offset)

    def begin(self) -> int:
        """Begin with all that is wanted, what lies behind included; gives the offset to read from."""
        self.wanted += self.later
        self.later.clear()
        heapq.heapify(self.wanted)
        self.position = self.wanted[0]
        return self.position

    def pass_to(self, offset: int) -> list[int]:
        """Take out what is wanted below an offset that has come, and give what was missed a second time: it is gone.

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
        """Whether nobody wants this record, and the next wanted one is near: so it is with most."""
        wanted = self.wanted
        return bool(wanted) and offset < wanted[0] <= offset + SEEK_ABOVE and message.error() is None

    def find(self, offset: int) -> bool:
        """Whether a record that has come was wanted; it comes once, however often it was."""
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

    @property
    def is_busy(self) -> bool:
        """Whether something is to come."""
        return bool(self._sweeps)

    def want(self, assignment: Assignment, offsets: Iterable[int]) -> None:
        """Have these read; `turn` brings each once, found or gone, also where several ask for it before it comes."""
        partition = assignment.topic, assignment.partition
        sweep = self._sweeps.get(partition)
        if sweep is not None and sweep.assignment is assignment:
            sweep.add(offsets)
            return
        if sweep is not None:
            self._unassign(sweep)
        sweep = self._sweeps[partition] = _Sweep(assignment)
        sweep.later.update(offsets)
        self._assign(sweep)

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
        """Read from where the next wanted record lies, or no more; False where that is just ahead."""
        if sweep.wanted and sweep.wanted[0] - sweep.position <= SEEK_ABOVE:
            return False
        if not sweep.wanted and not sweep.later:
            self._end(partition, sweep)
        else:
            self._unassign(sweep)
            self._assign(sweep)
        return True

    def _assign(self, sweep: _Sweep) -> None:
        at = TopicPartition(sweep.assignment.topic, sweep.assignment.partition, sweep.begin())
        self._consumer.incremental_assign([at])

    def _unassign(self, sweep: _Sweep) -> None:
        self._consumer.incremental_unassign([TopicPartition(sweep.assignment.topic, sweep.assignment.partition)])

    def _end(self, partition: tuple[str, int], sweep: _Sweep) -> None:
        self._unassign(sweep)
        del self._sweeps[partition]

    def close(self) -> None:
        """Let the connections go."""
        self._consumer.close()
