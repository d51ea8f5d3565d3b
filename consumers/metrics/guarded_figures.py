"""`GuardedFigures`: counts what is settled, so that a fault of the counting costs no more than the count."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from .. import log_keys
from ..records.ended_columns import Durations, Handful
from ..settling.settlement import SettlementBatch
from .job_figures import JobFigures

_LOGGER = logging.getLogger("stoker.metrics")

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


class GuardedFigures:
    """Counts until a fault of its own: that must not end the thread which counts, and with it the worker."""

    def __init__(self, queue: str, figures: JobFigures) -> None:
        self._queue, self._figures = queue, figures
        self._has_failed = False

    def fold(self, batch: SettlementBatch) -> None:
        """Count a batch that is settled."""
        self._guarded(self._figures.fold, batch)

    def fold_others(self, batch: SettlementBatch) -> None:
        """Count all of a batch but jobs that are done."""
        self._guarded(self._figures.fold_others, batch)

    def durations(self, handful: Handful) -> Sequence[Durations]:
        """Read what is counted of jobs that are done; nothing once this has failed."""
        return self._guarded(self._figures.durations, handful) or ()

    def fold_published(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done, whose events are made."""
        self._guarded(self._figures.fold_published, durations)

    def fold_given_up(self, durations: Sequence[Durations]) -> None:
        """Count jobs that are done, whose events are given up."""
        self._guarded(self._figures.fold_given_up, durations)

    def _guarded(self, count: Callable[_Args, _Result], *args: _Args.args, **named: _Args.kwargs) -> _Result | None:
        if self._has_failed:
            return None
        try:
            return count(*args, **named)
        except Exception:
            self._has_failed = True
            _LOGGER.exception(
                "the metrics of queue %r failed and count no more jobs; jobs go on", self._queue,
                extra={log_keys.QUEUE: self._queue},
            )  # fmt: skip
            return None
