"""`ChildSlot`: the slot of a job that runs in a child; the thread that waits for the child kills it."""

from __future__ import annotations

from typing import Final

from ..job.endings import InterruptReason
from ..job.run import Run
from ..runners.slots import Slot
from .child_process import ChildProcess

LOOK_S: Final = 0.2


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

        A timeout is left to that thread, which first takes in the heartbeats that the child has sent.
        """
        if reason != "timeout" and self.run is run:
            run.interrupt(reason)

    def child_frames(self) -> tuple[str, ...]:
        """Where the job is, as `file:line function`, the innermost last, or a line about the silence of its child."""
        child = self.child
        if child is None:
            return ()
        return child.frames(LOOK_S) or (f"process {child.pid} does not answer: C code holds its interpreter",)
