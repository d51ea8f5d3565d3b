"""`DueRecords`: gives delayed records to their lanes whose time has come, or that wait no more for another reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..gates.gate_row import GateRow
from ..records.record import Record
from .handover import Handover

BringForward = Callable[[], None]
"""Has the calendar read records again that are to be looked at before their time."""
TakeDue = Callable[[], Sequence[Record]]
"""Returns records that wait no more, as many as there is room for."""


class DueRecords:
    """The delayed records of one queue that are to run; owned by the poll thread."""

    def __init__(
        self, gates: GateRow, handover: Handover, forward: Sequence[BringForward], due: Sequence[TakeDue]
    ) -> None:
        """Begin without records.

        Args:
            forward: called in their order in each turn, before the due ones are taken.
            due: asked in their order; what each gives is in its lane before the next one is asked.
        """
        self._gates = gates
        self._handover = handover
        self._forward = tuple(forward)
        self._due = tuple(due)

    def start_due(self) -> None:
        """Take the delayed records whose time has come, or that are cancelled; ask again for those at the gates."""
        self._gates.ask_again()
        for bring_forward in self._forward:
            bring_forward()
        for take_due in self._due:
            self._handover.start(take_due())
