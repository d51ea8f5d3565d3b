"""`InstrumentRow`: calls all instruments of a producer or a worker, and switches off those that raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final, Generic, TypeVar

from ..topology.declaration.job_type import JobCall
from .delivery import Receipt
from .instrument import ProducerInstrument

_LOGGER = logging.getLogger("stoker.instruments")
InstrumentT = TypeVar("InstrumentT")


class InstrumentRow(Generic[InstrumentT]):
    """Falsy without instruments: a seam makes nothing for them then, and calls nothing. Safe to call from all threads.

    Source: Trio's instruments, which are free where there are none, and switched off where they raise.
    """

    process = "program"
    """The kind of process that a person restarts once the instrument is repaired."""

    def __init__(self, instruments: Iterable[InstrumentT] = ()) -> None:
        self._instruments = tuple(instruments)
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._instruments)

    def call_each(self, call: Callable[[InstrumentT], None]) -> None:
        """Call all of them."""
        for instrument in self._instruments:
            try:
                call(instrument)
            except Exception as error:  # noqa: BLE001  # an instrument may raise anything, and no job is at fault
                self._switch_off(instrument, error)

    def _switch_off(self, faulty: InstrumentT, error: Exception) -> None:
        """Call it no more; of several threads in which it raises at once, the first logs it."""
        with self._lock:
            kept = tuple(instrument for instrument in self._instruments if instrument is not faulty)
            is_first = len(kept) < len(self._instruments)
            self._instruments = kept
        if is_first:
            _LOGGER.error(
                "the instrument %s raised %s and is switched off; jobs go on without it: "
                "fix it where the stack shows, and restart the %s",
                type(faulty).__qualname__, type(error).__qualname__, self.process, exc_info=error,
            )  # fmt: skip


class ProducerInstruments(InstrumentRow[ProducerInstrument]):
    """The instruments of one producer."""

    def enqueued(self, call: JobCall, receipt: Receipt) -> None:
        """Call all of them."""
        self.call_each(lambda instrument: instrument.enqueued(call, receipt))


NO_INSTRUMENTS: Final = ProducerInstruments()
