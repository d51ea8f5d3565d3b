"""`InstrumentRow`: calls all instruments of one queue, and switches off those that raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Final

from ..job.run import Run
from ..records.outcomes import Outcome
from ..records.record import Record
from .instrument import Instrument

_LOGGER = logging.getLogger("stoker.instruments")


class InstrumentRow(Instrument):
    """Falsy without instruments: a seam makes nothing for them then, and calls nothing. Safe to call from all threads.

    Source: Trio's instruments, which are free where there are none, and switched off where they raise.
    """

    def __init__(self, instruments: Iterable[Instrument] = ()) -> None:
        self._instruments = tuple(instruments)
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._instruments)

    def taken(self, records: Sequence[Record]) -> None:
        """Call all of them."""
        self._call_each(lambda instrument: instrument.taken(records))

    def begun(self, run: Run) -> None:
        """Call all of them."""
        self._call_each(lambda instrument: instrument.begun(run))

    def decided(self, record: Record, outcome: Outcome) -> None:
        """Call all of them."""
        self._call_each(lambda instrument: instrument.decided(record, outcome))

    def settled(self, ended: Sequence[tuple[Record, Outcome]]) -> None:
        """Call all of them."""
        self._call_each(lambda instrument: instrument.settled(ended))

    def committed(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Call all of them."""
        self._call_each(lambda instrument: instrument.committed(offsets))

    def _call_each(self, call: Callable[[Instrument], None]) -> None:
        for instrument in self._instruments:
            try:
                call(instrument)
            except Exception as error:  # noqa: BLE001  # an instrument may raise anything, and no job is at fault
                self._switch_off(instrument, error)

    def _switch_off(self, faulty: Instrument, error: Exception) -> None:
        """Call it no more; of several threads in which it raises at once, the first logs it."""
        with self._lock:
            kept = tuple(instrument for instrument in self._instruments if instrument is not faulty)
            is_first = len(kept) < len(self._instruments)
            self._instruments = kept
        if is_first:
            _LOGGER.error(
                "the instrument %s raised %s and is switched off; jobs go on without it: "
                "fix it where the stack shows, and restart the worker",
                type(faulty).__qualname__, type(error).__qualname__, exc_info=error,
            )  # fmt: skip


NO_INSTRUMENTS: Final = InstrumentRow()
