"""`RereadRecords`: has records read again that are known by their offsets, and gives each to those who want it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from ...topology.counts import counted
from .. import log_keys
from ..backlog.requester import Requester, RereadBatch
from ..backlog.rereader import READS_A_TURN, Rereader
from ..progress.assignment import Place
from ..rebalance.rebalance import Rebalance
from .handover import Handover

_LOGGER = logging.getLogger("stoker.worker")

READS_BEHIND: Final = 8 * READS_A_TURN
"""In a turn, where records are to be due soon that are still being read: each turn waits for the interpreter."""
Move = Callable[[], None]
"""Moves lanes out of memory, or wants the next records of others."""
NoteLost = Callable[[Collection[Place]], None]
"""Takes the places of waiting records that were deleted from their topics, before they count as complete."""


class RereadRecords:
    """The records of one queue that are read again; owned by the poll thread."""

    def __init__(
        self,
        queue: str,
        rereader: Rereader,
        handover: Handover,
        rebalance: Rebalance,
        *,
        requesters: Sequence[Requester],
        moves: Sequence[Move],
        lost: Sequence[NoteLost],
    ) -> None:
        """Begin without records.

        Args:
            requesters: each takes of what was read what those before it have left. What the last one wants is asked
                for first: lanes need theirs sooner than those who look ahead.
            moves: called in their order in each turn, before anything is read.
            lost: called in their order.
        """
        self._queue = queue
        self._rereader = rereader
        self._handover = handover
        self._rebalance = rebalance
        self._requesters = tuple(requesters)
        self._moves = tuple(moves)
        self._lost = tuple(lost)

    @property
    def is_busy(self) -> bool:
        """Whether records that a requester wants are still to come."""
        return self._rereader.is_busy or any(requester.has_wanted for requester in self._requesters)

    def turn(self) -> None:
        """Bring back the records that are wanted, as they were read again."""
        for move in self._moves:
            move()
        for requester in reversed(self._requesters):
            for assignment, offsets in requester.take_wanted().items():
                self._rereader.want(assignment, offsets)
        if self._rereader.is_busy:
            self._read()

    def _read(self) -> None:
        is_behind = any(requester.is_behind for requester in self._requesters)
        reread = self._rereader.turn(READS_BEHIND if is_behind else READS_A_TURN)
        found = RereadBatch(reread.found)
        for requester in self._requesters:
            self._handover.start(requester.take_reread(found))
        for requester in self._requesters:
            requester.end_reread()
        if reread.gone:
            self._note_gone(reread.gone)

    def _note_gone(self, gone: Collection[Place]) -> None:
        """Take the records for complete that waited and were deleted: nothing else ends them."""
        lost = {place for requester in self._requesters for place in requester.note_gone(gone)}
        for note_lost in self._lost:
            note_lost(lost)
        for assignment, offset in lost:
            assignment.progress.complete(offset)
            self._rebalance.note_gone(assignment)
        by_topic = Counter(assignment.topic for assignment, _ in lost)
        for topic, number in by_topic.items():
            _LOGGER.error(
                "records of %s that waited are not in %s any more: its retention, or a person, has deleted them before "
                "they could run. Raise the topic's retention", counted(number, "job"), topic,
                extra={log_keys.QUEUE: self._queue, log_keys.COUNT: number},
            )  # fmt: skip
