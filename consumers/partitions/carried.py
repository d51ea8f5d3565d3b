"""The incomplete records of a carried topic, all read before any other record of their partition.

A copy lies behind those of later jobs of its key. So the copies of a partition are put in the order in which their jobs
were first enqueued. A copy stands for the record that it was copied from: where a process died before that was
complete, the copy alone is run.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from confluent_kafka import Consumer, TopicPartition

from ...topology import Queue
from ...topology.wire.commit_metadata import OffsetRange
from ...topology.wire.headers import CARRIED
from ..backlog.lane_backlog import hash_of
from ..backlog.tenant_lines import line_of
from ..kafka.log_tail import ShouldStop, read_tail
from ..progress.assignment import Assignment
from ..progress.offset_set import OffsetSet
from ..records.record import Record

PlaceOnLog = tuple[str, int, int]
"""Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class CarriedJobs:
    """The incomplete records of one partition of a carried topic.

    Attributes:
        end: where the partition ended when it was read.
        enqueued_at: the offset of the main topic at which each job was enqueued, ascending; negative where that is
            unknown.
        lanes: the hash of each record's lane, in the same order.
        offsets: of the same records, in the same order.
        superseded: {topic: offsets in the same partition that records here were copied from}.
        beside: {topic of a priority: the jobs that were enqueued there, by its offsets}; all others are above.
        lines: the hash of the line of each record's tenant, in the same order; empty where tenants share no runners.
    """

    end: int
    enqueued_at: array[int]
    lanes: array[int]
    offsets: array[int]
    superseded: Mapping[str, array[int]] = field(default_factory=dict)
    beside: Mapping[str, CarriedJobs] = field(default_factory=dict)
    lines: array[int] = field(default_factory=lambda: array("q"))

    def without_records(self) -> CarriedJobs:
        """The carried jobs without their records, which are in their lanes by now."""
        return no_jobs(self.end, self.superseded)

    @property
    def incomplete(self) -> OffsetSet:
        """The offsets as a set."""
        found = OffsetSet()
        offsets = self.offsets
        if self.beside:
            offsets = array("q", sorted(offset for part in (self, *self.beside.values()) for offset in part.offsets))
        found.add(offsets if _is_ascending(offsets) else sorted(offsets))
        return found


def no_jobs(end: int, superseded: Mapping[str, array[int]]) -> CarriedJobs:
    """None of any record, of a partition that ended there."""
    return CarriedJobs(end, array("q"), array("q"), array("q"), superseded)


def read_place(text: bytes | None) -> PlaceOnLog | None:
    """Read `topic/partition/offset`; None where it is no such text.

    >>> read_place(b"shop.mails/3/17")
    ('shop.mails', 3, 17)
    """
    topic, *numbers = (text or b"").decode("utf-8", "replace").rsplit("/", 2)
    if len(numbers) != 2 or not all(number.isdecimal() and len(number) <= 20 for number in numbers):
        return None
    return topic, int(numbers[0]), int(numbers[1])


def copied_from(record: Record) -> PlaceOnLog | None:
    """Which record this one is a copy of; None where it is none."""
    return read_place(record.header(CARRIED))


def lane_hash_of(record: Record) -> int:
    """The hash of a record's lane; of one without, that of a lane of its own."""
    return hash_of(str(record) if record.lane is None else record.lane)


def read_carried(
    consumer: Consumer,
    carried: Assignment,
    queue: Queue,
    stretch: OffsetRange,
    is_complete: Callable[[int], bool],
    should_stop: ShouldStop,
) -> CarriedJobs:
    """Read a stretch of the partition of a queue's carried topic.

    Raises:
        Unrestorable, KafkaException: the brokers do not answer.
    """
    start, end = stretch
    place = TopicPartition(carried.topic, carried.partition, start)
    found = _Found(queue)
    for message in read_tail(consumer, place, end, should_stop):
        if not is_complete(message.offset() or 0):
            found.add(Record(message, carried))
    return found.jobs(carried, end)


class _Found:
    """Some numbers of each record: a million of them take 34 MB, and 42 where tenants share the runners."""

    def __init__(self, queue: Queue) -> None:
        self._entry_topics = queue.entry_topics
        self._is_fair = queue.fairness is not None
        self._entered_by = array("b")
        self._enqueued_at = array("q")
        self._lanes = array("q")
        self._lines = array("q")
        self._offsets = array("q")
        self._copied_from = array("q")
        self._copied_of = array("b")
        self._topics: list[str] = [""]

    def add(self, record: Record) -> None:
        """Take a record that is not complete."""
        origin, copied = read_place(record.origin), copied_from(record)
        # Of an origin that is none, the job counts as the oldest one: it has waited for long.
        is_known = origin is not None and origin[:2] in self._entries_of(record.assignment.partition)
        self._entered_by.append(self._entry_topics.index(origin[0]) if origin is not None and is_known else 0)
        self._enqueued_at.append(origin[2] if origin is not None and is_known else -1)
        self._add_lane(record)
        self._offsets.append(record.offset)
        topic, _, offset = ("", 0, -1) if copied is None or copied[1] != record.assignment.partition else copied
        if topic not in self._topics:
            self._topics.append(topic)
        self._copied_of.append(self._topics.index(topic))
        self._copied_from.append(offset)

    def _add_lane(self, record: Record) -> None:
        self._lanes.append(lane_hash_of(record))
        if self._is_fair:
            self._lines.append(line_of(record.tenant))

    def _entries_of(self, partition: int) -> Collection[tuple[str, int]]:
        return [(topic, partition) for topic in self._entry_topics]

    def jobs(self, carried: Assignment, end: int) -> CarriedJobs:
        """All of them, in the order in which they were enqueued; of copies of copies the last ones."""
        superseded = self._superseded()
        first = self._offsets[0] if self._offsets else end
        copied_here = {offset for offset in superseded.pop(carried.topic, ()) if offset >= first}
        parts = [no_jobs(end, superseded if number == 0 else {}) for number, _ in enumerate(self._entry_topics)]
        for at in self._without_twins(self._in_order()):
            if self._offsets[at] not in copied_here:
                jobs = parts[self._entered_by[at]]
                jobs.enqueued_at.append(self._enqueued_at[at])
                jobs.lanes.append(self._lanes[at])
                jobs.offsets.append(self._offsets[at])
                if self._is_fair:
                    jobs.lines.append(self._lines[at])
        beside = {topic: part for topic, part in zip(self._entry_topics[1:], parts[1:], strict=True) if part.offsets}
        return replace(parts[0], beside=beside)

    def _in_order(self) -> Iterable[int]:
        """Which records come after one another; they mostly stand so, and a sorted list of a million takes 40 MB."""
        places = range(len(self._enqueued_at))
        return places if _is_ascending(self._enqueued_at) else sorted(places, key=self._enqueued_at.__getitem__)

    def _superseded(self) -> dict[str, array[int]]:
        found: defaultdict[str, array[int]] = defaultdict(lambda: array("q"))
        for which, offset in zip(self._copied_of, self._copied_from, strict=True):
            if which:
                found[self._topics[which]].append(offset)
        return dict(found)

    def _without_twins(self, in_order: Iterable[int]) -> Iterator[int]:
        """Leave out all but the first copy of each record; those of one record have one origin, so they are neighbours.

        A write that was not answered may have left the others.
        """
        origin, seen = None, set[tuple[int, int]]()
        for at in in_order:
            if self._enqueued_at[at] != origin:
                origin, seen = self._enqueued_at[at], set()
            copied = self._copied_of[at], self._copied_from[at]
            if copied not in seen:
                yield at
            if copied[0]:
                seen.add(copied)


def _is_ascending(numbers: array[int]) -> bool:
    return all(before <= after for before, after in pairwise(numbers))
