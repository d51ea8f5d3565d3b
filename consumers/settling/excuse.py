"""`Excuse`: after a terminal's Ctrl+C, failed runs cost no attempt: it also reaches what the jobs have started."""

from __future__ import annotations

import time
from typing import Final, TypeGuard

from ...topology import Queue
from ..records.outcomes import INTERRUPTED, Dead, Outcome, Retried
from ..records.record import Record
from .setbacks import log_excused

SIGNAL_WITHIN_S: Final = 0.3
SIGNAL_POLL_S: Final = 0.005
CALM_S: Final = 10.0
"""How long no failure waits for a signal after one has waited in vain: it may hold an event loop meanwhile."""
ENDED_BY_SIGINT: Final = "died with <Signals.SIGINT"
"""In the text of `subprocess.CalledProcessError`, be it as the cause of another error."""


class Excuse:
    """Turns the failed runs of one queue into interrupted ones, once it is given.

    Attributes:
        is_given: whether `give` was called; each record asks that, so it is an attribute.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._calm_until_at_s = 0.0
        self.is_given = False

    def give(self) -> None:
        """Excuse all failures from now on; called by the main thread's signal handler, amid any line."""
        self.is_given = True

    def applied(self, record: Record, outcome: Outcome) -> Outcome:
        """The outcome that counts: interrupted in place of a failure that the terminal has caused."""
        if not _is_failed_run(outcome) or not (self.is_given or self.is_about_to_come(outcome)):
            return outcome
        log_excused(record, outcome, self._queue)
        return INTERRUPTED

    def is_about_to_come(self, outcome: Retried | Dead) -> bool:
        """Wait for it, where SIGINT has ended a job's program: that may be noticed before the worker's own signal."""
        now_s = time.monotonic()
        if ENDED_BY_SIGINT not in outcome.failure.stack or now_s < self._calm_until_at_s:
            return self.is_given
        while not self.is_given and time.monotonic() < now_s + SIGNAL_WITHIN_S:
            time.sleep(SIGNAL_POLL_S)
        if not self.is_given:
            self._calm_until_at_s = time.monotonic() + CALM_S
        return self.is_given


def _is_failed_run(outcome: Outcome) -> TypeGuard[Retried | Dead]:
    return isinstance(outcome, Retried) or (
        isinstance(outcome, Dead) and outcome.reason in ("attempts-spent", "permanent")
    )
