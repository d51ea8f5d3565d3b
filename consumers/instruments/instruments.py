"""`Instruments`: the instruments of one worker, all called at each of its seams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ...producers.instrument_row import InstrumentRow
from ..job.context import JobContext
from ..job.run import Run
from ..records.outcomes import Outcome
from ..records.record import Record
from .instrument import Instrument


class Instruments(InstrumentRow[Instrument]):
    """Falsy without instruments. One that raises at any seam of any queue is called no more."""

    process = "worker"

    def taken(self, records: Sequence[Record]) -> None:
        """Call all of them."""
        self.call_each(lambda instrument: instrument.taken(records))

    def begun(self, run: Run) -> None:
        """Call all of them with a view of the run."""
        job = JobContext(run)
        self.call_each(lambda instrument: instrument.begun(run.record, job))

    def decided(self, record: Record, outcome: Outcome) -> None:
        """Call all of them."""
        self.call_each(lambda instrument: instrument.decided(record, outcome))

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """Call all of them."""
        self.call_each(lambda instrument: instrument.settled(ended))

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Call all of them."""
        self.call_each(lambda instrument: instrument.committed(offsets))


NO_INSTRUMENTS: Final = Instruments()
