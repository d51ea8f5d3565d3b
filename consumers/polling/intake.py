"""`Intake` and `Completion`: both ends of a record's way, taken and counted as complete; owned by the poll thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message

from ..instruments.instruments import NO_INSTRUMENTS, Instruments
from ..partitions.assignments import Assignments
from ..records.assignment import AssignmentState
from ..records.outcomes import INTERRUPTED
from ..records.partition_progress import OffsetsWentBack
from ..records.record import Record
from .backpressure import Backpressure
from .dispatch import Dispatch
from .rebalance import Rebalance
from .settled import SettledBatches

RUNNING: Final = AssignmentState.RUNNING
OnError = Callable[[KafkaError], None]


class Intake:
    """Between the consumers and the lanes: makes records of messages, and notes their offsets as incomplete."""

    def __init__(
        self,
        assignments: Assignments,
        backpressure: Backpressure,
        dispatch: Dispatch,
        rebalance: Rebalance,
        on_error: OnError,
        instruments: Instruments = NO_INSTRUMENTS,
    ) -> None:
        self._assignments = assignments
        self._backpressure = backpressure
        self._dispatch = dispatch
        self._rebalance = rebalance
        self._on_error = on_error
        self._instruments = instruments

    def take(self, fetched: list[Message], tiers: Consumer) -> None:
        """Take what was fetched, and empty the list; `tiers` is the tiers' consumer."""
        runnable, find = [], self._assignments.find
        messages = _each_let_go(fetched)
        if self._assignments.passing:
            messages = self._assignments.not_passed(messages)
        for message in messages:
            if message.error() is not None:
                self._note_event(message)
                continue
            assignment = find(message.topic(), message.partition())
            if assignment is None or assignment.state is not RUNNING:
                continue  # it was fetched before the partition went away, perhaps to come back: it comes again
            record = Record(message, assignment)
            try:
                assignment.progress.take(record.offset)
            except OffsetsWentBack as cause:
                assignment = self._rebalance.begin_anew(assignment, cause)
                record = Record(message, assignment)
                assignment.progress.take(record.offset)
            if not assignment.source.is_delayed or not self._backpressure.hold_if_early(tiers, record):
                runnable.append(record)
        self._start(runnable)

    def take_due(self, tiers: Consumer) -> None:
        """Take the delayed records whose time has come, and ask again for those that wait at the gates."""
        self._dispatch.gates.ask_again()
        self._start(self._backpressure.release_due(tiers))

    def _start(self, records: list[Record]) -> None:
        if records:
            self._backpressure.begin(records)
            if self._instruments:
                self._instruments.taken(records)
            self._dispatch.lanes.add(records)

    def _note_event(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if error.code() == KafkaError._PARTITION_EOF:
            assignment, offset = self._assignments.find(message.topic(), message.partition()), message.offset()
            if assignment is not None and assignment.is_running and offset is not None:
                assignment.progress.pass_gap(offset)  # of one that is given away, records may have been left out
        else:
            self._on_error(error)


class Completion:
    """Counts settled records as complete; without I/O.

    `outcomes` counts {outcome's class name: how many}, since the start.
    """

    def __init__(self, settled: SettledBatches, backpressure: Backpressure, dispatch: Dispatch) -> None:
        self._settled = settled
        self._backpressure = backpressure
        self._dispatch = dispatch
        self.outcomes: Counter[str] = Counter()

    def note_settled(self) -> None:
        """Take what was settled since the last call."""
        for batch in self._settled.take():
            self._backpressure.end(batch.records)
            for record in batch.done:
                if record.assignment.is_active:
                    record.assignment.progress.complete(record.offset)
            for item in batch.others:
                if item.record.assignment.is_active and item.outcome is not INTERRUPTED:
                    item.record.assignment.progress.complete(item.record.offset)
            self._dispatch.runners.note_settled()
            self._dispatch.lanes.note_settled(batch.others)
            self.outcomes.update(batch.outcomes)


def _each_let_go(messages: list[Message]) -> Iterator[Message]:
    """Yield messages in their order and keep none: each is freed with the next, while its memory is in the cache."""
    messages.reverse()
    while messages:
        yield messages.pop()
