"""`Dispatch`: gives ready records to the gates, and those that these let pass to the runners."""

from __future__ import annotations

from collections.abc import Iterable

from ..gates.gate_row import GateRow
from ..records.record import Record
from ..runners.kinds import RunnerRow


class Dispatch:
    """The way to the runners, for lanes, gates and the pipe; safe to call from all threads.

    Runners take records through the pipe, whose last step frees a lane, which makes records ready for the runners. So
    one of them comes last: the runners, by `serve`, before the first record.
    """

    def __init__(self, gates: GateRow) -> None:
        self._gates = gates
        self._runners: RunnerRow = RunnerRow(())

    def serve(self, runners: RunnerRow) -> None:
        """Give ready records to these from now on."""
        self._runners = runners

    def make_ready(self, records: list[Record]) -> None:
        """Ask the gates, and give those that may start to the runners."""
        if self._gates:
            records = self._gates.admit(records)
        if records:
            self._runners.make_ready(records)

    def note_left(self, records: Iterable[Record]) -> None:
        """Count records that have left their runner, where tenants share these."""
        self._runners.note_left(records)

    def note_one_left(self, record: Record) -> None:
        """Count one that a gate has held back after all."""
        self.note_left((record,))
