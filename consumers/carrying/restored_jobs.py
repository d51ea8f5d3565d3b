"""`RestoredJobs`: puts a new assignment's carried jobs into their lanes, in step with the main topic.

A carried record enters its lane after all jobs that were enqueued before it. Some of these are on the main topic still:
they ran, or were about to run, when others of their key were carried. Both kinds enter in the order of enqueueing, so
a key keeps its order. Earlier jobs of its tenant may be aside in a line, unread, and may have its key. Then the carried
record goes to the end of that line.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from itertools import groupby

from confluent_kafka import Message

from ..backlog.tenant_lines import line_of
from ..gates.aside_at_gates import AsideAtGates
from ..partitions.carried import CarriedJobs, lane_hash_of, read_place
from ..progress.assignment import Assignment
from ..records.record import Record
from .copies_aside import CopiesAside


class RestoredJobs:
    """The restored carried jobs of one queue that are in no lane yet; owned by the poll thread.

    Falsy where there are none.
    """

    def __init__(self, main_topic: str, aside: CopiesAside, at_gates: AsideAtGates) -> None:
        self._main_topic = main_topic
        self._aside = aside
        self._at_gates = at_gates
        self._waiting: dict[tuple[str, int], tuple[Assignment, CarriedJobs, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def begin(self, carried: Assignment, jobs: CarriedJobs) -> None:
        """Take the carried jobs of a partition."""
        for topic, part in ((self._main_topic, jobs), *jobs.beside.items()):
            if part.offsets:
                self._waiting[topic, carried.partition] = carried, part, 0

    def put_in(self, copy: Record) -> bool:
        """Put a copy that takes no record's place among the waiting jobs, or else in the line of its tenant.

        A worker that was cut off wrote it after this worker had read the carried jobs. A waiting job may be a copy of
        the same record.

        Returns:
            False if no waiting job was enqueued before it and its tenant has no line: the caller puts it in its lane.
        """
        topic, partition, enqueued_at = read_place(copy.origin) or ("", -1, -1)
        _, jobs, start = self._waiting.get((topic, partition), (None, None, 0))
        if jobs is None or partition != copy.partition or enqueued_at < jobs.enqueued_at[start]:
            return self._aside.put_in_line(copy)
        at = bisect_right(jobs.enqueued_at, enqueued_at, start)
        jobs.enqueued_at.insert(at, enqueued_at)
        jobs.lanes.insert(at, lane_hash_of(copy))
        jobs.offsets.insert(at, copy.offset)
        if jobs.lines:
            jobs.lines.insert(at, line_of(copy.tenant))
        return True

    def are_due(self, messages: Iterable[Message]) -> bool:
        """Whether a waiting job was enqueued before one of these messages: then they are taken one by one."""
        return any(map(self._is_behind, messages))

    def _is_behind(self, message: Message) -> bool:
        """Whether this message, or the end of its topic, comes after the next waiting job of the partition."""
        _, jobs, start = self._waiting.get((message.topic() or "", message.partition() or 0), (None, None, 0))
        if jobs is None:
            return False
        return message.error() is not None or (message.offset() or 0) > jobs.enqueued_at[start]

    def put_up_to(self, message: Message) -> None:
        """Put the jobs into their lanes that were enqueued before this record; called before the record is taken."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset()
        if (topic, partition) in self._waiting and offset is not None:
            self.put_before(partition, None if message.error() is not None else offset, topic)

    def put_all(self, partition: int) -> None:
        """Put all of a partition into their lanes."""
        for topic, number in list(self._waiting):
            if number == partition:
                self.put_before(partition, None, topic)

    def put_before(self, partition: int, offset: int | None, topic: str | None = None) -> None:
        """Put the jobs into their lanes that were enqueued before an offset; None for all. The topic is the main one
        unless it is given.
        """
        place = topic or self._main_topic, partition
        carried, jobs, start = self._waiting.get(place, (None, None, 0))
        if carried is None or jobs is None:
            return
        end = len(jobs.offsets) if offset is None else bisect_left(jobs.enqueued_at, offset, start)
        if end > start:
            lanes, offsets, lines = (part[start:end] for part in (jobs.lanes, jobs.offsets, jobs.lines))
            to_wake = self._aside.put(carried, lanes, offsets, lines)
            self._at_gates.release_lanes([lane for lane, _ in groupby(to_wake)])
        if end < len(jobs.offsets):
            self._waiting[place] = carried, jobs, end
        else:
            del self._waiting[place]

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget those of partitions that are no longer ours."""
        self._waiting = {at: waiting for at, waiting in self._waiting.items() if waiting[0] not in assignments}
