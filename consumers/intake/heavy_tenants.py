"""`HeavyTenants`: records of tenants with more than their portion are left out, looked at and brought back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from confluent_kafka import Message

from ..backlog.requester import Requester, RereadBatch
from ..backlog.rereader import Rereader
from ..fairness.fair_runners import FairRunners
from ..fairness.read_ahead import ReadAhead
from ..ordering.lanes import Lanes
from ..partitions.assignments import Assignments
from ..progress.assignment import Assignment
from ..records.record import Record
from .handover import Handover
from .intake import ALWAYS, Diverter, Filter

ROOM_PART: Final = 2
"""Where tenants share the runners, jobs that are due leave half of the room for all others."""


class HeavyTenants(Filter, Diverter, Requester):
    """The heavy tenants of one queue at its intake, where tenants share its runners; owned by the poll thread."""

    asked_while = ALWAYS

    def __init__(
        self,
        ahead: ReadAhead,
        fair: FairRunners,
        assignments: Assignments,
        lanes: Lanes,
        rereader: Rereader,
        handover: Handover,
    ) -> None:
        self._ahead = ahead
        self._fair = fair
        self._assignments = assignments
        self._lanes = lanes
        self._rereader = rereader
        self._handover = handover

    def look_ahead(self, ends: Mapping[Assignment, int], unfinished: int) -> None:
        """Decide whether heavy tenants are passed, and whether they are held back meanwhile; called now and then.

        Args:
            ends: {assignment of the main topic: the end of its partition}, as far as they are known.
            unfinished: how many records have no outcome, as far as these are known.
        """
        ahead, fair = self._ahead, self._fair
        unread = sum(max(0, end - assignment.progress.position) for assignment, end in ends.items())
        ahead.note_unfinished(unfinished, unread)
        for assignment, offsets in ahead.places_to_look_at(ends).items():
            self._rereader.want(assignment, offsets)
        if ahead.is_holding and not fair.is_held:
            fair.hold()
        elif fair.is_held and not ahead.is_holding:
            fair.let_go()

    def turn(self) -> None:
        """Bring records back that others gave way to, and want the next ones of tenants that have few in memory."""
        self._take_from_lines()
        self._ahead.want()
        if self._fair.is_held:
            self._fair.turn()

    # ---- as records arrive

    @property
    def is_on(self) -> bool:
        """Whether any tenant has records aside."""
        return self._ahead.is_skipping_ahead

    def let_pass(self, messages: Iterable[Message]) -> Iterator[Message]:
        """Take the records of tenants that have others aside, and yield the rest."""
        return self._ahead.past_heavy_tenants(messages, self._assignments.find_running)

    def divert(self, message: Message, assignment: Assignment) -> bool:
        """Put a record aside if its tenant has more in memory than its portion."""
        return self._ahead.leave_out(message, assignment)

    def end_batch(self) -> None:
        """Put the left-out records aside."""
        self._ahead.end()

    def forget_replaced(self) -> None:
        """Forget the left-out records whose assignments have ended meanwhile."""
        self._ahead.forget_replaced()

    # ---- read again

    @property
    def is_behind(self) -> bool:
        """Whether heavy tenants are passed: those behind them wait."""
        return self._ahead.is_skipping_ahead

    def take_reread(self, found: RereadBatch) -> Sequence[Record]:
        """Look at those that were wanted for that, and take none."""
        look_at = self._ahead.look_at
        found.looked_at.update((a, message.offset() or 0) for a, message in found.left if look_at(message, a))
        return ()

    def end_reread(self) -> None:
        """Bring records to their lanes that were aside for their tenant."""
        self._take_from_lines()

    def _take_from_lines(self) -> None:
        self._handover.start_counted(self._lanes.lines.take_back())
