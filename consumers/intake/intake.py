"""`Intake`: makes records of what the poll thread has fetched, and gives each to its lane, or to a diverter.

    filter     features look at the messages first, and may keep some
    note       the offset of each message is incomplete from now on
    divert     a record of the main topic is taken unread by a diverter, or goes to its lane; one of another topic goes
               the way of its source
    hand over  the lanes take all that is left, at the end of the batch

`declared/intake_features.py` has the filters, diverters and ways of a queue.

It is the first of the five files on the way of a job (docs/architecture.md); `steps/pipe.py` is the next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import repeat
from typing import Final

from confluent_kafka import KafkaError, Message

from ..partitions.assignments import Assignments
from ..partitions.enqueue_times import EnqueueTimes
from ..progress.assignment import Assignment
from ..progress.partition_progress import OffsetsWentBack
from ..rebalance.rebalance import Rebalance
from ..records.record import Record
from ..sources.source import MAIN
from .handover import Handover

OnError = Callable[[KafkaError], None]
ALWAYS: Final = (True,)
Way = Callable[[Message, Assignment], Record | None]
"""Takes a record of one source; returns it, if it goes to its lane now."""
InStep = Callable[[list[Message]], Iterable[list[Message]]]
"""Splits what was fetched where something is to happen between its records; empties the list."""


class Filter(ABC):
    """Looks at messages as they arrive, before their offsets are noted; errors and ends of logs are among them."""

    @property
    def is_on(self) -> bool:
        """Whether there is anything to look at; asked once for each batch."""
        return True

    @abstractmethod
    def let_pass(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Yield the messages that go on, in their order; each one when the earlier ones are taken."""


class Diverter(ABC):
    """May take records of the main topic before they go to their lanes, unread: nothing is made of them.

    Attributes:
        asked_while: it is asked only while this is not empty, which costs no call.
    """

    asked_while: Sized

    @abstractmethod
    def divert(self, message: Message, assignment: Assignment) -> bool:
        """Take a record whose offset is noted already; return False to let it go on to the next diverter."""

    def end_batch(self) -> None:
        """Note that a batch has been looked at: all else of it goes to the lanes next."""
        return

    def forget_replaced(self) -> None:
        """Forget the diverted records of this batch whose assignments have ended meanwhile."""
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """All that looks at the records of one queue as they arrive.

    Attributes:
        in_step: splits what was fetched before anybody looks at it.
        filters: each lets pass what it gets of the one before.
        diverters: asked in their order, until one takes the record; at least one.
        ways: {topic: the way of its records}, for all topics but the main one.
    """

    in_step: InStep
    filters: Sequence[Filter]
    diverters: Sequence[Diverter]
    ways: Mapping[str, Way]


class Intake:
    """Between the consumers and the lanes: makes records of messages, and notes their offsets as incomplete.

    Attributes:
        fetched: how many records came since the start, those of delay topics included.
        times: about when they were written.
    """

    def __init__(
        self, assignments: Assignments, rebalance: Rebalance, handover: Handover, on_error: OnError, arrivals: Arrivals
    ) -> None:
        self._assignments = assignments
        self._rebalance = rebalance
        self._handover = handover
        self._on_error = on_error
        self._in_step = arrivals.in_step
        self._filters = tuple(arrivals.filters)
        self._diverters = tuple(arrivals.diverters)
        self._ways = arrivals.ways
        self._asked_while, self._divert = self._diverting()
        self.fetched, self.times = 0, EnqueueTimes()

    def _diverting(self) -> tuple[Sized, Callable[[Message, Assignment], bool]]:
        """When diverters are asked, and by what: a single one is asked without a step between."""
        if len(self._diverters) == 1:
            return self._diverters[0].asked_while, self._diverters[0].divert
        return ALWAYS, self._divert_by_first

    def _divert_by_first(self, message: Message, assignment: Assignment) -> bool:
        """Let the first diverter that takes the record have it; False where none does."""
        for diverter in self._diverters:  # noqa: SIM110  # `any` would make a generator for each record
            if diverter.asked_while and diverter.divert(message, assignment):
                return True
        return False

    def take(self, fetched: list[Message]) -> None:
        """Take what was fetched, and empty the list."""
        if fetched:
            self.fetched += len(fetched)
            self.times.note(fetched)
        for batch in self._in_step(fetched):
            self._take(batch)

    def _take(self, batch: list[Message]) -> None:
        runnable: list[Record] = []
        find_running, ways = self._assignments.find_running, self._ways
        asked_while, divert = self._asked_while, self._divert
        for message in self._filtered(batch):
            if message.error() is not None:
                self._note_event(message)
                continue
            assignment = find_running(message.topic(), message.partition())
            if assignment is None:
                continue  # it was fetched before the partition went away, perhaps to come back: it comes again
            try:
                assignment.progress.note_delivered(message.offset())  # type: ignore[arg-type]  # a consumed one has it
            except OffsetsWentBack as cause:
                runnable = self._begin_anew(assignment, cause, runnable)
                continue  # it comes again
            if assignment.source is not MAIN:
                record = ways[assignment.topic](message, assignment)
                if record is not None:
                    runnable.append(record)
            elif not asked_while or not divert(message, assignment):
                runnable.append(Record(message, assignment))
        self._hand_over(runnable)

    def _filtered(self, batch: list[Message]) -> Iterator[Message]:
        """Yield the messages to look at, each one when the earlier ones are taken; empties the list."""
        messages = each_let_go(batch)
        for each in self._filters:
            if each.is_on:
                messages = each.let_pass(messages)
        return messages

    def _begin_anew(self, former: Assignment, cause: OffsetsWentBack, taken: list[Record]) -> list[Record]:
        """Replace an assignment whose offsets went back; returns what was taken of others: the rest comes again."""
        self._rebalance.begin_anew(former, cause)
        for diverter in self._diverters:
            diverter.forget_replaced()
        return [record for record in taken if record.assignment.is_current]

    def _hand_over(self, records: list[Record]) -> None:
        for diverter in self._diverters:
            diverter.end_batch()
        self._handover.start(records)

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


def each_let_go(messages: list[Message]) -> Iterator[Message]:
    """Yield messages in their order and keep none: each is freed with the next, while its memory is in the cache."""
    messages.reverse()
    return map(list[Message].pop, repeat(messages, len(messages)))
