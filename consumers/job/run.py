"""One run of one job: `CurrentRun` as its handler sees it, in any process, and `Run` as the worker keeps it."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from opentelemetry.context import Context

from ...schemas import wire_text
from ...topology.declaration.job_type import NO_LIMITS, RunLimits
from ..records.cancellation import Cancellation
from ..records.job_record import JobRecord
from ..records.record import Record
from .dependencies import NO_DEPENDENCIES, Dependencies
from .endings import InterruptReason
from .heartbeats import Heartbeats, JobProgress, RunHeartbeats

_INTERRUPTING: Final = threading.Lock()
"""Guards the reasons of all runs: each job would pay for a lock of its own, and few are ever interrupted."""


@dataclass(slots=True)
class CurrentRun:
    """The part of a run that `JobContext` shows. Not frozen: each job makes one, and freezing triples the cost.

    Attributes:
        job_id, job_type, queue, attempt, attempts, record: as `JobContext` has them.
        deadline_at_s: `time.monotonic()` at which the run is interrupted for its limits; moved on by its heartbeats.
        limits: how long it may take. The slot of the run sets both when the run begins, as fields: a method here would
            cost each job a call.
        interrupt_reason: why the worker ends the run, the first reason where there are several; None while it goes on.
        trace_context: holds the span of the run; None where no tracer records it.
    """

    job_id: str
    job_type: str
    queue: str
    attempt: int
    attempts: int
    record: JobRecord
    deadline_at_s: float = math.inf
    limits: RunLimits = NO_LIMITS
    interrupt_reason: InterruptReason | None = None
    trace_context: Context | None = None
    _inbox_blocks: dict[str, bool] = field(init=False, repr=False, compare=False)
    """Not set before the first block, because each job would pay for it."""
    _cancellation: Cancellation = field(init=False, repr=False, compare=False)
    """Not set before the job is cancelled, because each job would pay for it."""
    _dependencies: Dependencies = field(init=False, repr=False, compare=False)
    """Not set where the pipeline declares none, because each job would pay for it."""

    @property
    def shown_id(self) -> str:
        """The job's id for logs and views, where one of a megabyte is cut."""
        return wire_text(self.job_id)

    def take_heartbeats(self) -> Heartbeats:
        """The object that takes the run's heartbeats, in the process that runs the job."""
        raise NotImplementedError

    @property
    def dependencies(self) -> Dependencies:
        """The dependencies that its blocks may name."""
        try:
            return self._dependencies
        except AttributeError:
            return NO_DEPENDENCIES

    def use_dependencies(self, dependencies: Dependencies) -> None:
        """Let its blocks name these dependencies."""
        self._dependencies = dependencies

    def inbox_blocks(self) -> dict[str, bool]:
        """The inbox blocks that this run has left: {effect: whether its commit was final}."""
        try:
            return self._inbox_blocks
        except AttributeError:
            self._inbox_blocks = {}
            return self._inbox_blocks

    @property
    def began_at_s(self) -> float:
        """`time.monotonic()` at which the run began."""
        return self.deadline_at_s - self.limits.first_s

    @property
    def is_silent(self) -> bool:
        """Whether its deadline is that of the next heartbeat, not that of the timeout."""
        limits = self.limits
        return limits.heartbeat_s < limits.timeout_s and self.deadline_at_s < self.began_at_s + limits.timeout_s


@dataclass(slots=True)
class Run(CurrentRun):
    """The worker's own view of a run, wherever its handler is called.

    Attributes:
        record: the record as the worker takes it through the steps.
        heartbeats: takes the run's heartbeats; None until the first.
    """

    record: Record
    heartbeats: RunHeartbeats | None = None

    def take_heartbeats(self) -> RunHeartbeats:
        """The object that takes the run's heartbeats, made at the first one; it repeats those of a child."""
        if self.heartbeats is None:
            self.heartbeats = RunHeartbeats(self)
        return self.heartbeats

    @property
    def began_at_s(self) -> float:
        """`time.monotonic()` at which the run began."""
        return self.deadline_at_s - self.limits.first_s if self.heartbeats is None else self.heartbeats.began_at_s

    def give_back(self, lost_s: float) -> None:
        """Give the run the time back that it lost through no fault of its own."""
        self.deadline_at_s += lost_s
        if self.heartbeats is not None:
            self.heartbeats.give_back(lost_s)

    def interrupt(self, reason: InterruptReason) -> bool:
        """Note why the worker ends the run; False where it has a reason already, since the first one counts.

        Called by any thread. It ends nothing by itself: a slot does, or who else keeps the run.
        """
        with _INTERRUPTING:
            if self.interrupt_reason is not None:
                return False
            self.interrupt_reason = reason
            return True

    @property
    def cancellation(self) -> Cancellation | None:
        """Who has cancelled it, and why, where that is known."""
        try:
            return self._cancellation
        except AttributeError:
            return None

    def note_cancelled(self, cancellation: Cancellation) -> None:
        """Note who has cancelled it, before it is interrupted."""
        self._cancellation = cancellation

    def bring_deadline(self, within_s: float) -> None:
        """Let the run, which is interrupted, be past its deadline in so many seconds, if it is not before."""
        self.take_heartbeats()  # they keep when it began, which else follows from the deadline
        self.deadline_at_s = min(self.deadline_at_s, time.monotonic() + within_s)

    @property
    def latest_progress(self) -> JobProgress | None:
        """The last progress that the run has reported."""
        return None if self.heartbeats is None else self.heartbeats.latest
