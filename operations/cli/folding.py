"""The log of failing jobs on a terminal: those that are alike within a second are one line and a number."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from ...consumers import log_keys
from .logs import StderrHandler

WINDOW_S: Final = 1.0
_MOST_KINDS: Final = 1_000
_ALIKE: Final = (log_keys.JOB_TYPE, log_keys.QUEUE, log_keys.OUTCOME, log_keys.REASON, log_keys.ERROR_TYPE)

Kind = tuple[object, ...]


@dataclass(slots=True)
class _Fold:
    """The first failure of its kind in this second, and how many came after it. Not frozen, because it counts."""

    first: logging.LogRecord
    more: int = 0


class FoldingHandler(StderrHandler):
    """Prints the first failure of a kind at once, and after a second how many more there were."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        super().__init__()
        self._window_s = window_s
        self._folds: dict[Kind, _Fold] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, or count it; the handler's lock is held."""
        kind = _kind_of(record)
        if kind in self._folds:
            self._folds[kind].more += 1
            return
        if kind is not None and len(self._folds) < _MOST_KINDS:
            self._folds[kind] = _Fold(record)
            self._start_timer()
        super().emit(record)

    def close(self) -> None:
        """Print what was counted since."""
        self.print_folds()
        super().close()

    def print_folds(self) -> None:
        """Print how many more there were of each kind, and begin a new second."""
        self.acquire()
        try:
            folds, self._folds, timer, self._timer = self._folds, {}, self._timer, None
            if timer is not None:
                timer.cancel()
            for fold in folds.values():
                if fold.more:
                    super().emit(_summary(fold))
        finally:
            self.release()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._window_s, self.print_folds)
            self._timer.daemon = True
            self._timer.start()


def _kind_of(record: logging.LogRecord) -> Kind | None:
    """The key by which equal failures are folded; None for all other records."""
    if not hasattr(record, log_keys.OUTCOME):
        return None
    return (record.name, record.levelno, record.msg, *(getattr(record, name, None) for name in _ALIKE))


def _summary(fold: _Fold) -> logging.LogRecord:
    first = fold.first
    queue = getattr(first, log_keys.QUEUE, "")
    words = f"{fold.more:,} more like this within a second: {first.getMessage()} · in {queue}"
    return logging.LogRecord(first.name, first.levelno, first.pathname, first.lineno, words, None, None)
