"""`ChildSlot`: the slot of a job that runs in a child; the thread that waits for the child kills it."""

from __future__ import annotations

import time
from typing import Final

from ..job.endings import InterruptReason
from ..job.run import Run
from ..runners.slots import Slot
from .child_process import KILL_WAIT_S, STACK_WAIT_S, ChildProcess

LOOK_S: Final = 0.2
ENDS_WITHIN_S: Final = STACK_WAIT_S + KILL_WAIT_S
"""The thread that waits for a child ends a run so soon after its deadline, unless it still sends the job, or hangs."""


class ChildSlot(Slot):
    """One runner's slot.

    Attributes:
        child: where the job runs; None between two.
    """

    __slots__ = ("child",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.child: ChildProcess | None = None

    def interrupt(self, run: Run, reason: InterruptReason) -> None:
        """Note the reason: the thread that waits for the child sees it and kills the child.

        A timeout is left to that thread, which first takes in the heartbeats that the child has sent. If it hangs
        itself, as in a handler of the application's logging, the child is killed here. So is one that is still being
        sent the job, unless for a timeout: the job's time has not begun, and the sending has a limit of its own.
        """
        is_taking = self.child is not None and self.child.is_taking
        hangs = not is_taking and time.monotonic() > run.deadline_at_s + ENDS_WITHIN_S
        if (hangs or reason != "timeout") and self.run is run and run.interrupt(reason) and (hangs or is_taking):
            self.kill_child_of(run)

    def kill_child_of(self, run: Run) -> None:
        """Kill the child of a run, unless that has ended, and the child serves another one; called from any thread."""
        with self._lock:
            if self.run is run and self.child is not None:
                self.child.kill()

    def end(self) -> None:
        """Note that the job has ended: its child may be lent to another one."""
        with self._lock:
            self.run = self.child = None
        super().end()

    def child_frames(self) -> tuple[str, ...]:
        """Where the job is, as `file:line function`, the innermost last, or a line about the silence of its child."""
        child = self.child
        if child is None:
            return ()
        return child.frames(LOOK_S) or (f"process {child.pid} does not answer: C code holds its interpreter",)
