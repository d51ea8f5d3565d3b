"""`Excuse`: after a terminal's Ctrl+C, failed runs cost no attempt: it also reaches what the jobs have started."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final, TypeGuard

from ...topology import Queue
from ..records.outcomes import INTERRUPTED, Dead, Outcome, Retried
from ..records.record import Record
from .setbacks import log_excused

SIGNAL_WITHIN_S: Final = 0.3
SIGNAL_POLL_S: Final = 0.005
CALM_S: Final = 10.0
"""How long no failure waits for a signal after one has waited in vain: its runner takes no other job meanwhile."""
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
        if not self.is_given or not _is_failed_run(outcome):
            return outcome
        log_excused(record, outcome, self._queue)
        return INTERRUPTED

    def may_follow(self, outcome: Outcome | None) -> bool:
        """Whether SIGINT has ended a job's program: that may be noticed before the worker's own signal comes."""
        return (
            not self.is_given
            and _is_failed_run(outcome)
            and ENDED_BY_SIGINT in outcome.failure.stack
            and time.monotonic() >= self._calm_until_at_s
        )

    def wait_for_signal(self) -> None:
        """Wait in this thread until the excuse is given, but not for long."""
        until_at_s = time.monotonic() + SIGNAL_WITHIN_S
        while self._is_awaited(until_at_s):
            time.sleep(SIGNAL_POLL_S)

    async def wait_for_signal_async(self) -> None:
        """Wait in this task, as `wait_for_signal` does; the other tasks of the event loop go on.

        A cancellation ends the wait alone: the job has ended, and its outcome is to be settled.
        """
        until_at_s = time.monotonic() + SIGNAL_WITHIN_S
        with suppress(asyncio.CancelledError):
            while self._is_awaited(until_at_s):
                await asyncio.sleep(SIGNAL_POLL_S)

    def _is_awaited(self, until_at_s: float) -> bool:
        if self.is_given:
            return False
        if time.monotonic() < until_at_s:
            return True
        self._calm_until_at_s = until_at_s + CALM_S
        return False


def _is_failed_run(outcome: Outcome | None) -> TypeGuard[Retried | Dead]:
    return isinstance(outcome, Retried) or (
        isinstance(outcome, Dead) and outcome.reason in ("attempts-spent", "permanent")
    )
