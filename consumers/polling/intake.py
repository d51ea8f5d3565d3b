"""`Intake`: makes records of what the poll thread has fetched, and gives them to lanes or calendar."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sized
from itertools import repeat
from typing import Final

from confluent_kafka import KafkaError, Message

from .. import log_keys
from ..backlog.lane_backlog import LAST_MARK, offsets_by_assignment
from ..backlog.rereader import READS_A_TURN
from ..backlog.tenant_lines import line_of
from ..carrying.carrier import Carrier
from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..partitions.enqueue_times import EnqueueTimes
from ..records.assignment import Assignment, Place
from ..records.partition_progress import OffsetsWentBack
from ..records.record import Record
from ..records.source import MAIN
from .backpressure import Backpressure
from .cancelled_delays import CancelledDelays
from .dispatch import Dispatch
from .rebalance import Rebalance
from .unique_arrivals import UniqueArrivals

_LOGGER = logging.getLogger("stoker.worker")

PRESSED_READS: Final = 8 * READS_A_TURN
"""In a turn, where records are to be due soon that are still being read: each turn waits for the interpreter."""
DUE_AT_ONCE: Final = 1_000
"""Jobs due at one moment that are taken at a time: the first ones run while the poll thread takes the others."""
OnError = Callable[[KafkaError], None]
PutAside = Callable[[Message, Assignment, Lanes], bool]
_ALWAYS: Final = (True,)


class Intake:
    """Between the consumers and the lanes: makes records of messages, and notes their offsets as incomplete.

    Attributes:
        fetched: how many records came since the start, those of delay topics included.
        times: about when they were written.
    """

    def __init__(
        self,
        assignments: Assignments,
        backpressure: Backpressure,
        dispatch: Dispatch,
        rebalance: Rebalance,
        on_error: OnError,
        *,
        carrier: Carrier,
        instruments: Instruments = NO_INSTRUMENTS,
    ) -> None:
        self._assignments = assignments
        self._backpressure = backpressure
        self._calendar = backpressure.calendar
        self._rereader = carrier.rereader
        self._carrier = carrier
        self._restored_jobs = carrier.restored
        self._dispatch = dispatch
        self._rebalance = rebalance
        self._on_error = on_error
        self._instruments = instruments
        self._cancelled = CancelledDelays(self._calendar, dispatch.cancels, dispatch.queue)
        self._read_ahead = dispatch.read_ahead
        self._unique = UniqueArrivals(assignments, self._calendar) if assignments.queue.unique else None
        self.fetched, self.times = 0, EnqueueTimes()

    def take(self, fetched: list[Message]) -> None:
        """Take what was fetched, and empty the list."""
        if fetched:
            self.fetched += len(fetched)
            self.times.note(fetched)
        if not (self._restored_jobs and self._restored_jobs.are_due(fetched)):
            self._take(fetched)
            return
        for message in _each_let_go(fetched):
            if self._assignments.find_running(message.topic(), message.partition()) is not None:
                self._restored_jobs.put_up_to(message)
            self._take([message])

    def _take(self, fetched: list[Message]) -> None:
        runnable: list[Record] = []
        find_running, lanes = self._assignments.find_running, self._dispatch.lanes
        slots, put_aside = self._ways_aside
        for message in self._each_to_take(fetched):
            if message.error() is not None:
                self._note_event(message)
                continue
            assignment = find_running(message.topic(), message.partition())
            if assignment is None:
                continue  # it was fetched before the partition went away, perhaps to come back: it comes again
            try:
                assignment.progress.take(message.offset())  # type: ignore[arg-type]  # a consumed one has it
            except OffsetsWentBack as cause:
                runnable = self._begin_anew(assignment, cause, runnable)
                continue  # it comes again
            if assignment.source is not MAIN:
                self._take_other(message, assignment, runnable)
            elif not slots or not put_aside(message, assignment, lanes):
                runnable.append(Record(message, assignment))
        self._start_taken(runnable)

    def _each_to_take(self, fetched: list[Message]) -> Iterator[Message]:
        """Yield what is to be looked at, each when those before it are taken; empties the list."""
        messages = _each_let_go(fetched)
        if self._assignments.passing:
            messages = self._assignments.not_passed(messages)
        if self._unique is not None:
            messages = self._unique.noted(messages)
        if self._read_ahead is not None and self._read_ahead.is_passing:
            messages = self._read_ahead.past_floods(messages, self._assignments.find_running)
        return messages

    def _begin_anew(self, former: Assignment, cause: OffsetsWentBack, taken: list[Record]) -> list[Record]:
        """Replace an assignment whose offsets went back; gives what was taken of others: the rest comes again."""
        self._rebalance.begin_anew(former, cause)
        if self._read_ahead is not None:
            self._read_ahead.forget_replaced()
        return [record for record in taken if record.assignment.is_current]

    @property
    def _ways_aside(self) -> tuple[Sized, PutAside]:
        """Where something is aside, nothing if empty; and the function that puts a record aside unread."""
        if self._read_ahead is None:
            return self._dispatch.lanes.backlog.slots, _put_aside
        return _ALWAYS, self._leave_out

    def _leave_out(self, message: Message, assignment: Assignment, lanes: Lanes) -> bool:
        """Put a record aside whose tenant is a flood, or whose key has others aside."""
        is_left_out = self._read_ahead is not None and self._read_ahead.leaves_out(message, assignment)
        return is_left_out or (bool(lanes.backlog.slots) and _put_aside(message, assignment, lanes))

    def _start_taken(self, records: list[Record]) -> None:
        if self._read_ahead is not None:
            self._read_ahead.end()
        self._start(records)

    def _take_other(self, message: Message, assignment: Assignment, runnable: list[Record]) -> None:
        """Take a record that is not of the main topic."""
        if assignment.source.is_delayed:
            is_replaced = self._unique is not None and self._unique.is_replaced(message, assignment)
            if is_replaced or self._cancelled.has(message, assignment):
                runnable.append(Record(message, assignment))
            else:
                self._calendar.add(message, assignment)
            return
        record = Record(message, assignment)
        if assignment.source.is_entry:
            runnable.append(record)
            return
        left = self._carrier.take(record)
        if left is None:
            if not (self._restored_jobs.put_in(record) or self._put_in_line(record)):
                runnable.append(record)
        elif left:
            self._backpressure.begin([record])
            self._backpressure.end(left)

    def _put_in_line(self, copy: Record) -> bool:
        """Put a copy that takes no record's place aside behind others of its tenant; False where none are in a line.

        It may be the second copy of its record. Where the first one is in the line, earlier jobs of its key may be too.
        """
        line, lines = line_of(copy.tenant), self._dispatch.lanes.lines
        has_others = line in lines
        if has_others:
            lines.put(line, copy.assignment, [copy.offset])
        return has_others

    def take_due(self) -> None:
        """Take the delayed records whose time has come, or that are cancelled; ask again for those at the gates."""
        self._dispatch.gates.ask_again()
        if self._calendar.moved:
            self._look_again()
        if self._unique is not None:
            self._unique.bring_forward()
        self._start(self._calendar.pop_due(time.time(), min(DUE_AT_ONCE, self._due_room)))
        if self._cancelled:
            self._start(self._cancelled.turn(self._backpressure.room))

    @property
    def _due_room(self) -> int:
        """How many delayed jobs there is room for; where tenants share the runners, they leave room for all others."""
        room = self._backpressure.due_room
        return room if self._read_ahead is None else room // 2

    def _look_again(self) -> None:
        """Have the delayed records read again whose jobs were rescheduled; those that come later have the new time."""
        while self._calendar.moved:
            job_id, at = self._calendar.moved.popleft()
            assignment = None if at is None else self._assignments.find_running(*at[:2])
            if at is None or assignment is None or not self._calendar.look_again(assignment, at[2]):
                self._calendar.look_for(job_id)  # the operator has not found it, or it has moved on meanwhile

    def _start(self, records: list[Record]) -> None:
        if records:
            self._count_in(records)
            aside = self._dispatch.lanes.add(records)
            if aside:
                self._backpressure.end(aside)

    def _count_in(self, records: list[Record]) -> None:
        """Note that these go to the lanes; at least one."""
        self._backpressure.begin(records)
        if self._instruments:
            self._instruments.taken(records)

    def reread(self) -> None:
        """Bring back the records that lanes and calendar want, as they were read again."""
        lanes = self._dispatch.lanes
        self._move_lanes()
        for assignment, offsets in offsets_by_assignment(lanes.take_wanted()).items():
            self._rereader.want(assignment, offsets)
        for assignment, offsets in self._calendar.take_wanted().items():
            self._rereader.want(assignment, offsets)
        for assignment, offsets in self._cancelled.take_wanted().items():
            self._rereader.want(assignment, offsets)
        if not self._rereader.is_busy:
            return
        is_pressed = self._calendar.is_pressed or (self._read_ahead is not None and self._read_ahead.is_passing)
        reread = self._rereader.turn(PRESSED_READS if is_pressed else READS_A_TURN)
        self._carrier.take_reread(reread.found)
        self._take_reread(reread.found)
        if reread.gone:
            self._note_gone(reread.gone)

    def _take_reread(self, found: list[tuple[Assignment, Message]]) -> None:
        """Give what was read again to those who wanted it: to the calendar, and all else to the lanes."""
        cancelled: list[Record] = []
        wanted: list[Record] = []
        looked_at: list[Record] = []
        for assignment, message in found:
            is_looked_at = self._cancelled.looks_at(assignment, message) or self._looks_ahead(assignment, message)
            if self._cancelled.takes(assignment, message):
                cancelled.append(Record(message, assignment))
            elif not self._is_delayed(assignment, message):
                (looked_at if is_looked_at else wanted).append(Record(message, assignment))
        self._start(cancelled)
        if wanted:
            self._count_in(wanted)
        if looked_at:
            self._backpressure.begin(looked_at)
            wanted += looked_at  # by now a lane may want one of them, too
        if wanted:
            self._backpressure.end(self._dispatch.lanes.readd(wanted))
        if self._read_ahead is not None:
            self._take_from_lines()

    def look_ahead(self, ends: Mapping[Assignment, int], lag: int) -> None:
        """Decide whether floods are passed, and whether they are held back meanwhile; called now and then.

        Args:
            ends: {assignment of the main topic: the end of its partition}, as far as they are known.
            lag: how many records have no outcome, as far as these are known.
        """
        fair, ahead = self._dispatch.fair, self._read_ahead
        if fair is None or ahead is None:
            return
        ahead.note_lag(lag, sum(max(0, end - assignment.progress.position) for assignment, end in ends.items()))
        for assignment, offsets in ahead.places_to_look_at(ends).items():
            self._rereader.want(assignment, offsets)
        if ahead.is_holding != fair.is_held:
            fair.hold(ahead.is_holding)

    def _looks_ahead(self, assignment: Assignment, message: Message) -> bool:
        return self._read_ahead is not None and self._read_ahead.looks_at(message, assignment)

    def _take_from_lines(self) -> None:
        """Bring records to their lanes that were aside for their tenant, and are counted by now."""
        lanes = self._dispatch.lanes
        records = lanes.lines.take_back()
        if records:
            self._backpressure.end(lanes.add(records))

    def _move_lanes(self) -> None:
        """Move lanes out of memory that gates hold back, or whose records are old, and take others back."""
        aside = self._carrier.turn()
        if aside:
            self._backpressure.end(aside)
        aside = self._dispatch.set_aside()
        if aside:
            self._backpressure.end(aside)
        if self._read_ahead is not None:
            self._take_from_lines()  # what others gave way to
            self._read_ahead.want()
        if self._dispatch.fair is not None and self._dispatch.fair.is_held:
            self._dispatch.fair.turn()
        if self._dispatch.gates.has_opened:
            self._dispatch.wake(self._backpressure.room)

    def _is_delayed(self, assignment: Assignment, message: Message) -> bool:
        """Whether a record that was read again waits on in the calendar; a due one that its lane wanted does not."""
        return assignment.source.is_delayed and self._calendar.take_reread(assignment, message)

    @property
    def is_rereading(self) -> bool:
        """Whether records that somebody wants are still to come."""
        dispatch = self._dispatch
        return self._rereader.is_busy or dispatch.lanes.backlog.has_wanted or dispatch.gates.has_opened

    def _note_gone(self, gone: list[Place]) -> None:
        self._carrier.note_gone(gone)
        self._cancelled.note_gone(gone)
        lost = {place for place in gone if self._calendar.note_gone(*place)}
        lost |= self._dispatch.lanes.note_gone(gone)
        if self._unique is not None:
            self._unique.note_gone(lost)
        for assignment, offset in lost:
            assignment.progress.complete(offset)
            self._rebalance.note_gone(assignment)
        by_topic = Counter(assignment.topic for assignment, _ in lost)
        for topic, number in by_topic.items():
            _LOGGER.error(
                "%d jobs that waited are not in %s any more: its retention, or a person, has deleted them before they "
                "could run. Raise the topic's retention", number, topic, extra={log_keys.COUNT: number},
            )  # fmt: skip

    def _note_event(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        self.fetched -= 1  # it is no record
        if error.code() == KafkaError._PARTITION_EOF:
            assignment, offset = self._assignments.find_running(message.topic(), message.partition()), message.offset()
            if assignment is not None and offset is not None:
                assignment.progress.pass_gap(offset)  # of one that is given away, records may have been left out
        else:
            self._on_error(error)


def _put_aside(message: Message, assignment: Assignment, lanes: Lanes) -> bool:
    """Put a record aside unread where others of its key are: a backlog behind one key is passed at little cost."""
    key = message.key()
    if key is None or not lanes.backlog.marks[hash(key) & LAST_MARK]:
        return False
    return assignment.keeps_order and lanes.add_unread(key, assignment, message.offset() or 0)


def _each_let_go(messages: list[Message]) -> Iterator[Message]:
    """Yield messages in their order and keep none: each is freed with the next, while its memory is in the cache."""
    messages.reverse()
    return map(list[Message].pop, repeat(messages, len(messages)))
