"""`RestoredJobs`: carried jobs that an assignment begins with go to their lanes in step with the main topic.

A carried record comes into its lane when all that was enqueued before it is there: what the main topic still holds of
such jobs was running, or about to run, when the others of its key were carried. Both come in the order in which they
were enqueued, so the order of a key is what it was. Where earlier jobs of its tenant are aside in a line, unread, one
of its key may be among them: then the carried record goes to the end of that line.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from itertools import groupby

from confluent_kafka import Message

from ..backlog.tenant_lines import line_of
from ..gates.aside_at_gates import AsideAtGates
from ..partitions.carried import CarriedJobs, lane_hash_of, place_of
from ..records.assignment import Assignment
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
        """Take what a partition of the carried topic holds."""
        for topic, part in ((self._main_topic, jobs), *jobs.beside.items()):
            if part.offsets:
                self._waiting[topic, carried.partition] = carried, part, 0

    def put_in(self, copy: Record) -> bool:
        """Put a copy that takes no record's place behind those that wait, or else in the line of its tenant.

        A worker that was cut off has written it when the others were known. It may be the second copy of one of them.

        Returns:
            False where none of them was enqueued before it and its tenant has no line: it is to go to its lane.
        """
        topic, partition, enqueued_at = place_of(copy.origin) or ("", -1, -1)
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
        """Whether some were enqueued before one of these, so that they are to be taken one by one."""
        return any(map(self._is_behind, messages))

    def _is_behind(self, message: Message) -> bool:
        """Whether a record of a topic to which jobs are published, or its end, lies behind the next one that waits."""
        _, jobs, start = self._waiting.get((message.topic() or "", message.partition() or 0), (None, None, 0))
        if jobs is None:
            return False
        return message.error() is not None or (message.offset() or 0) > jobs.enqueued_at[start]

    def put_up_to(self, message: Message) -> None:
        """Put what was enqueued before this record on its topic into its lanes, before that record is taken."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset()
        if (topic, partition) in self._waiting and offset is not None:
            self.put_before(partition, None if message.error() is not None else offset, topic)

    def put_all(self, partition: int) -> None:
        """Put all of a partition into their lanes."""
        for topic, number in list(self._waiting):
            if number == partition:
                self.put_before(partition, None, topic)

    def put_before(self, partition: int, offset: int | None, topic: str | None = None) -> None:
        """Put those into their lanes that were enqueued before an offset of a topic, the main one; None for all."""
        place = topic or self._main_topic, partition
        carried, jobs, start = self._waiting.get(place, (None, None, 0))
        if carried is None or jobs is None:
            return
        end = len(jobs.offsets) if offset is None else bisect_left(jobs.enqueued_at, offset, start)
        if end > start:
            lanes, offsets, lines = (part[start:end] for part in (jobs.lanes, jobs.offsets, jobs.lines))
            to_wake = self._aside.put(carried, lanes, offsets, lines)
            self._at_gates.take_back([lane for lane, _ in groupby(to_wake)])
        if end < len(jobs.offsets):
            self._waiting[place] = carried, jobs, end
        else:
            del self._waiting[place]

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Forget those of partitions that are no longer ours."""
        self._waiting = {at: waiting for at, waiting in self._waiting.items() if waiting[0] not in assignments}
