"""`SimIsolatedRunners`: simulated children; what their deaths lead to is the worker's own code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any, cast

from simulation.virtual_time import CLOCK
from stoker.consumers.gates.gate import Wait
from stoker.consumers.isolation.crashes import ChildDied
from stoker.consumers.isolation.isolated_runners import IsolatedRunners
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record, take_out
from stoker.consumers.runners.kinds import Runners
from stoker.consumers.runners.slots import Slot
from stoker.consumers.runners.thread_runners import ThreadRunners
from stoker.consumers.steps.results import Ran, Result
from stoker.consumers.steps.steps import DecodedJob, StepContext

CHILD_DIED = ChildDied(signal=11, exit_code=None, resident_bytes=0, ran_s=0.0, pid=0)


class ReadyRecords(Runners[Slot]):
    """In place of the runners: keeps what is ready until the simulation starts it."""

    slots = tuple(Slot() for _ in range(30))
    """Idle ones, more than jobs ever stand still: a stuck job's runner is replaced."""
    kind = "simulated"
    size = len(slots)

    def __init__(self) -> None:
        self.records: deque[Record] = deque()

    @property
    def ready(self) -> int:
        """How many records are ready."""
        return len(self.records)

    def start(self) -> None:
        """There are no threads."""

    def interrupt(self) -> None:
        """Nor anything to cut short."""

    def wait_ended(self, give_up_at_s: float) -> None:
        """Nor to wait for."""

    def make_ready(self, records: list[Record]) -> None:
        """Take ready records."""
        self.records.extend(records)

    def waiting_records(self) -> list[Record]:
        """All that were made ready."""
        return list(self.records)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out those of some assignments."""
        return take_out(self.records, assignments)


class SimIsolatedRunners(IsolatedRunners):
    """The runners of one queue whose jobs run in children."""

    _ending: Ran | ChildDied

    def __init__(self, *parts: Any, send_back: Callable[[Record, Wait], bool]) -> None:
        super().__init__(*parts, send_back=send_back, clock=CLOCK.time)
        self.ready_records = ReadyRecords()
        self._threads = cast(ThreadRunners, self.ready_records)

    def _start(self) -> None:
        """There are no threads and no processes."""

    def end(self, job: DecodedJob, ending: Result | ChildDied, step_context: StepContext) -> Ran:
        """A run in a child has ended, or the child has died."""
        self._ending = ending
        return self.run(job, Slot(), step_context)

    def _run(self, *_: Any) -> Ran | ChildDied:
        return self._ending
