"""`Carrier`: writes waiting records again before they are too old, and lets the copies wait in their place.

    look      the carrier asks the brokers which records are old, and puts aside old ones in memory
    read      the rereader reads incomplete old records, in the order of the log, some thousands at a time
    copy      the carrier writes each record aside to the carried topic, with its key, headers, bytes and place
    replace   the delivered copy takes the place of its record, and the record is complete

Some records cannot wait aside: they have no lane, or await their schema. The carrier copies them as well. Their copies
wait in memory.

The brokers deliver a copy only after they have confirmed it, so no record is complete before its copy is durable. If
the record has gone on meanwhile, the copy is complete at once. A copy has its record's position in the lane, so a key
keeps its order.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from ...producers.delivery import why_unconfirmed
from ...topology import Queue
from ...topology.cluster.kafka_errors import as_error
from ...topology.log_pace import LogPace
from ...topology.wire import headers as wire
from .. import log_keys
from ..backlog.rereader import Rereader
from ..gates.gate_row import GateRow
from ..kafka.lazy_producer import LazyProducer
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..partitions.carried import copied_from
from ..progress.assignment import Assignment, Place
from ..records.record import Record
from ..settling.outgoing import OutgoingRecord, produce
from ..unique.arrival import arrival_of, identity_of, time_headers
from .copies_aside import CopiesAside
from .old_offsets import AgeSource, Offsets

_LOGGER = logging.getLogger("stoker.worker")

CARRY_RATIO: Final = 0.75
"""A record that has waited for so much of its topic's retention is written again, before the brokers delete it."""
LOOKS: Final = 40
"""In the time of the retention: the brokers are asked so often how old records are."""
MOST_RECORDS: Final = 2_000
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bounds on what is being read and written at a time."""
USUAL_BYTES: Final = 4_096
"""The assumed size of a record before the carrier has seen one."""
MOST_NOTED: Final = 10_000
"""Records of which another copy may come: its write has failed, or a former owner was cut off while it copied."""
_PLACES: Final = frozenset({wire.ORIGIN, wire.CARRIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CarryingClients:
    """The source of records' ages, and the factory of the client that writes copies, called when it is first needed."""

    ages: AgeSource
    make_producer: Callable[[], Producer]


class Carrier:
    """Carries the waiting records of one queue; owned by the poll thread."""

    def __init__(
        self,
        queue: Queue,
        assignments: Assignments,
        lanes: Lanes,
        gates: GateRow,
        rereader: Rereader,
        *,
        clients: CarryingClients,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._queue = queue
        self._assignments = assignments
        self._lanes = lanes
        self._gates = gates
        self._rereader = rereader
        self._aside = CopiesAside(lanes.backlog, lanes.lines)
        self._ages = clients.ages
        self._clock = clock
        self._retention_s = queue.retention.total_seconds()
        self._producer = LazyProducer(clients.make_producer, self._doubt_written)
        self._looked_at_s = -math.inf
        self._is_asking = False
        self._old: dict[Assignment, int] = {}
        self._next: dict[Assignment, int] = {}
        self._reading: set[Place] = set()
        self._written: set[Place] = set()
        self._unanswered: set[Place] = set()
        self._doubtful: dict[Place, None] = {}
        self._replaced: dict[Place, None] = {}
        self._gone: set[Place] = set()
        self._usual_bytes = float(USUAL_BYTES)
        self._log_pace = LogPace()

    def turn(self) -> list[Record]:
        """Do the next part of the work without waiting; return the records that have left the memory."""
        if self._unanswered:
            self._producer.poll()
        if self._old:
            self._read_on()
        elif self._is_asking:
            return self._begin(self._ages.pop())
        elif abs(self._clock() - self._looked_at_s) >= self._retention_s / LOOKS:  # also where it was set back
            self._look()
        return []

    # ---- look

    def _look(self) -> None:
        now_s = self._looked_at_s = self._clock()
        if self._lanes.waiting or self._gates.view.count:
            waiting = [a for a in self._assignments.all() if a.is_running and a.progress.incomplete]
            self._is_asking = bool(waiting)
            if waiting:
                self._ages.ask(waiting, max(0, int((now_s - CARRY_RATIO * self._retention_s) * 1_000)))

    def _begin(self, answer: Offsets | None) -> list[Record]:
        """Begin to carry the old records, once the brokers have named them, and put aside those in memory."""
        if answer is None:
            return []
        self._is_asking = False
        self._old = {
            a: end for a, end in answer.items() if self._may_carry(a) and (a.progress.committable() or 0) < end
        }
        self._next = dict.fromkeys(self._old, 0)
        if not self._old:
            return []
        self._gates.aside.note_leaving(self._is_old)
        return self._lanes.set_parked_aside(self._is_old)

    def _may_carry(self, assignment: Assignment) -> bool:
        """Whether copies of its records would be delivered here."""
        return assignment.is_running and self._carried_of(assignment) is not None

    def _carried_of(self, assignment: Assignment) -> Assignment | None:
        return self._assignments.find_running(self._queue.carried_topic, assignment.partition)

    def _is_old(self, record: Record) -> bool:
        return record.offset < self._old.get(record.assignment, 0)

    # ---- read

    def _read_on(self) -> None:
        """Ask the rereader for the next old records, as soon as half of the room is free."""
        most = max(1, min(MOST_RECORDS, int(MOST_BYTES / self._usual_bytes)))
        room = most - len(self._reading) - len(self._written)
        if room < most / 2:
            return
        for assignment, end in list(self._old.items()):
            found = assignment.progress.incomplete_between(self._next[assignment], end, room)
            self._want(assignment, found)
            if len(found) < room:
                del self._old[assignment], self._next[assignment]
            else:
                self._next[assignment] = found[-1] + 1
                return
            room -= len(found)

    def _want(self, assignment: Assignment, offsets: Iterable[int]) -> None:
        known = self._reading | self._written | self._gone
        places = [(assignment, offset) for offset in offsets if (assignment, offset) not in known]
        if places:
            self._reading.update(places)
            self._rereader.want(assignment, [offset for _, offset in places])

    def take_reread(self, found: Iterable[tuple[Assignment, Message]]) -> None:
        """Copy the records among those read again that the carrier has asked for; other parts ask for records too."""
        if not self._reading:
            return
        for assignment, message in found:
            place = assignment, message.offset() or 0
            if place in self._reading:
                self._reading.remove(place)
                self._copy(Record(message, assignment))

    def note_gone(self, gone: Iterable[Place]) -> None:
        """Give up records that were to be copied and are gone from the log; their lanes learn of it by themselves."""
        own = self._reading.intersection(gone)
        self._reading -= own
        self._gone |= own

    # ---- copy

    def _copy(self, record: Record) -> None:
        """Write a copy of a record that waits aside or stays at a gate; one that is ready or runs needs no copy."""
        place = record.assignment, record.offset
        if record.fault is not None or not self._may_carry(record.assignment):
            return
        if self._gates.aside.keeps(place) or self._aside.has(record):
            self._usual_bytes += (record.size_bytes - self._usual_bytes) / 16
            self._written.add(place)
            self._unanswered.add(place)
            try:
                produce(self._producer.client(), copy_of(record, self._queue), partial(self._note_answer, place))
            except (BufferError, KafkaException) as failure:
                self._note_refused(place, as_error(failure))

    def _note_answer(self, place: Place, error: KafkaError | None, message: Message) -> None:
        self._unanswered.discard(place)
        fault = why_unconfirmed(error, message)
        if fault is not None:
            self._note_refused(place, fault)

    def _note_refused(self, place: Place, error: KafkaError) -> None:
        self._written.discard(place)
        self._unanswered.discard(place)
        _note(self._doubtful, place)
        self._producer.drop_if_fatal(error)
        if self._log_pace.try_acquire(self._clock()):
            shown = f"{place[0].topic}/{place[0].partition}/{place[1]}"
            _LOGGER.error(
                "a waiting record, %s, cannot be carried forward to %s: %s. It is tried again; brokers delete it when "
                "it has waited for %s in all", shown, self._queue.carried_topic, error.str(), self._queue.retention,
                extra={log_keys.QUEUE: self._queue.name, log_keys.RECORD: shown},
            )  # fmt: skip

    def _doubt_written(self, _error: KafkaError) -> None:
        """Treat all unanswered copies as doubtful, since their client has failed for good."""
        for place in self._written:
            _note(self._doubtful, place)
        self._written.clear()
        self._unanswered.clear()

    # ---- replace

    def take(self, copy: Record) -> list[Record] | None:
        """Take a record of the carried topic as it is delivered; None where it is to run as any other.

        The copy runs as any other record where its record is complete and this process has not written the copy: it
        may be the only copy of its job.

        Returns:
            The record whose place in memory the copy has taken, if any.
        """
        found = self._original_of(copy)
        if found is None:
            return None
        original, offset = found
        is_twin = found in self._written or found in self._doubtful or found in self._replaced
        self._written.discard(found)
        if not original.progress.is_incomplete(offset):
            if is_twin:
                copy.assignment.progress.complete(copy.offset)
            return [] if is_twin else None
        left = self._replace(copy, found)
        if left is None:
            copy.assignment.progress.complete(copy.offset)  # its record runs, or is about to
            return []
        original.progress.complete(offset)
        _note(self._replaced, found)
        return left

    def _replace(self, copy: Record, place: Place) -> list[Record] | None:
        """Let a copy wait in its record's place; return the record that left the memory, None if it waits no more."""
        if self._aside.stand_in(copy, place):
            return []
        left = self._gates.aside.exchange(place, copy, lambda record: self._lanes.exchange(record, copy))
        return None if left is None else [left]

    def _original_of(self, copy: Record) -> Place | None:
        """The place of the record that a copy was made of; None where that partition is not running here."""
        place = copied_from(copy)
        if place is None:
            return None
        topic, partition, offset = place
        original = self._assignments.find_running(topic, partition)
        return None if original is None else (original, offset)

    def is_copying(self, assignment: Assignment) -> bool:
        """Whether copies of its records are on their way, or may be."""
        return any(place[0] is assignment for place in (*self._written, *self._doubtful))

    def awaits_answers(self, partition: int) -> bool:
        """Whether copies of a partition number are on their way, those of former assignments included."""
        return any(assignment.partition == partition for assignment, _ in self._unanswered)

    # ---- the end

    def drop(self, assignments: Collection[Assignment]) -> None:
        """Stop carrying the records of these assignments; the next owner takes the copies that are written."""
        gone = set(assignments)
        carried = {a.partition for a in gone if a.topic == self._queue.carried_topic}
        for assignment in gone:
            self._old.pop(assignment, None)
            self._next.pop(assignment, None)
        self._reading = {place for place in self._reading if place[0] not in gone}
        self._gone = {place for place in self._gone if place[0] not in gone}
        self._doubtful = {place: None for place in self._doubtful if place[0] not in gone}
        self._replaced = {place: None for place in self._replaced if place[0] not in gone}
        self._written = {p for p in self._written if p[0] not in gone and p[0].partition not in carried}


def _note(places: dict[Place, None], place: Place) -> None:
    """Keep a place, and of all no more than the last ones."""
    places[place] = None
    if len(places) > MOST_NOTED:
        del places[next(iter(places))]


def copy_of(record: Record, queue: Queue) -> OutgoingRecord:
    """The copy of a record for the carried topic, with its job's origin and the record's own place in headers."""
    place = [(wire.ORIGIN, record.origin), (wire.CARRIED, str(record).encode())]
    if record.assignment.source.is_entry and identity_of(record) is not None:
        place += time_headers(arrival_of(record))
    return OutgoingRecord(
        topic=queue.carried_topic,
        partition=record.assignment.partition,
        key=record.key,
        value=record.value,
        headers=wire.replace_headers(record.pairs, drop=_PLACES, add=place),
    )
