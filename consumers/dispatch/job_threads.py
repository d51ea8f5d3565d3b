"""`JobThreads`: starts and stops the threads by which jobs run, and knows why they cannot go on."""

from __future__ import annotations

import time
from typing import Final

from ..errors import LoopLost, TooManyStuck
from ..gates.gate_row import GateRow
from ..guarded_thread import first_crash
from ..job.run import Run
from ..runners.kinds import RunnerRow
from ..runners.watchdog import Watchdog
from ..steps.pipe import Pipe
from .dispatch import Dispatch
from .pipe_failure import PipeFailure
from .schema_deferral import SchemaDeferral

INTERRUPT_WITHIN_S: Final = 1.0
"""How long a shutdown waits for the ends of the jobs that it interrupts, and for what they return or raise then."""
BY_JOBS: Final = (TooManyStuck, LoopLost)


class JobThreads:
    """Started and stopped by the poll thread: the runners, and those of gates, of schemas and of the watchdog."""

    def __init__(
        self,
        dispatch: Dispatch,
        gates: GateRow,
        deferral: SchemaDeferral,
        *,
        runners: RunnerRow,
        watchdog: Watchdog,
        pipe: Pipe,
        failure: PipeFailure,
    ) -> None:
        self._dispatch = dispatch
        self._gates = gates
        self._deferral = deferral
        self._runners = runners
        self._watchdog = watchdog
        self._pipe = pipe
        self._failure = failure

    def start(self) -> None:
        """Start them; the settler takes outcomes by now."""
        self._gates.start(self._dispatch.make_ready)
        self._deferral.start()
        self._watchdog.start()
        self._runners.start()

    @property
    def crashed(self) -> BaseException | None:
        """Why jobs cannot go on; None while they can."""
        parts = self._watchdog, self._runners, self._deferral, self._gates
        return self._failure.error or first_crash(parts)

    @property
    def is_down_by_jobs(self) -> bool:
        """Whether the worker ends because of jobs: they hold its runners or event loop, or it failed at one of them."""
        held_by = self._watchdog.crashed, self._runners.crashed
        return self._failure.error is not None or any(isinstance(cause, BY_JOBS) for cause in held_by)

    @property
    def runs(self) -> list[Run]:
        """The jobs that run, the stuck ones included."""
        return self._watchdog.runs

    def stop(self, within_s: float) -> None:
        """Cut short what still runs, and wait a moment for its ends, within this time at the most.

        The gates stop last: until then they count the jobs that end, and return their shares of limits.
        """
        give_up_at_s = time.monotonic() + min(INTERRUPT_WITHIN_S, within_s)
        self._pipe.stop()
        self._deferral.stop()
        self._gates.wait_set.stop()
        self._watchdog.stop()
        self._watchdog.interrupt_all("shutdown")
        self._runners.interrupt()
        self._runners.wait_ended(give_up_at_s)
        self._gates.stop()
