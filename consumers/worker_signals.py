"""`WorkerSignals`: notes the signals to the process of a worker, and acts on them in the turns of its main thread."""

from __future__ import annotations

import logging
import signal
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Final

from ..topology import format_duration
from ..topology.bounded_log import log_within
from .runners.forks import PROCESS

_LOGGER = logging.getLogger("stoker.worker")

INSPECT_SIGNAL: Final = signal.SIGUSR1


class WorkerSignals:
    """SIGTERM and SIGINT stop the worker, gracefully first and at once then; SIGUSR1 prints an inspection.

    Args:
        grace: how long running jobs may go on, for the log.
        stop, stop_now: begin the two kinds of shutdown.
        hand_out_inspection: called on SIGUSR1.
        excuse_failures: called on SIGINT, amid any line: a terminal's Ctrl+C goes to all processes in its foreground,
            also to the programs that jobs have started.
    """

    def __init__(
        self,
        grace: timedelta,
        *,
        stop: Callable[[], None],
        stop_now: Callable[[], None],
        hand_out_inspection: Callable[[], None],
        excuse_failures: Callable[[], None],
    ) -> None:
        self._grace = grace
        self._stop, self._stop_now = stop, stop_now
        self._hand_out_inspection = hand_out_inspection
        self._excuse_failures = excuse_failures
        self._noted: deque[str] = deque()
        self._is_asked_to_end = False

    def install(self) -> None:
        """Take the signals from now on; called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            PROCESS.handle_signal(number, self.note)
        signal.signal(INSPECT_SIGNAL, self.note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [INSPECT_SIGNAL])  # a fleet starts its processes with it blocked

    def note(self, number: int, _frame: FrameType | None = None) -> None:
        """Only note it: a handler runs amid any line of the main thread, where locks may be held."""
        self._noted.append(signal.Signals(number).name)
        if number == signal.SIGINT:
            self._excuse_failures()

    def handle(self) -> None:
        """Act on the signals that have come since the last look. The log may block, so it comes last."""
        while self._noted:
            name = self._noted.popleft()
            if name == INSPECT_SIGNAL.name:
                self._hand_out_inspection()
            elif self._is_asked_to_end:
                self._stop_now()
                self._log_stop_now(name)
            else:  # also where it stops by now, for another reason
                self._is_asked_to_end = True
                self._stop()
                self._log_stop(name)

    def _log_stop(self, name: str) -> None:
        grace = format_duration(self._grace)
        log_within(partial(_LOGGER.info, "%s: letting running jobs end, for up to %s", name, grace))

    def _log_stop_now(self, name: str) -> None:
        warn = partial(
            _LOGGER.warning,
            "a second signal, %s: the worker stops without waiting for running jobs; Kafka delivers them again, at no "
            "attempt's cost", name,
        )  # fmt: skip
        log_within(warn)
