"""`AsyncSlot`: one task's place in which an async job runs, and `resume_watched`, which notes who holds the event loop.

An interrupt cancels an async job. One that holds the loop, computing or in a blocking call, would never see that: it
has the reason's exception raised inside it, as a sync job has. This needs to be certain that the loop's thread is
inside that job and nowhere else, so each step of a job, from one suspension to the next, is entered and left under the
slot's eye.
"""

from __future__ import annotations

import asyncio
import time
import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import FrameType
from typing import TypeVar

from ...topology.declaration.job_type import RunLimits
from ..job.endings import INTERRUPTS, InterruptReason, JobInterrupted, cancelled_at_await
from ..job.run import Run
from ..records.record import Record
from .forks import PROCESS, end_copy
from .slots import RunInSlot, set_pending_interrupt, take_back_interrupt
from .stacks import awaiting_frames, thread_frames

T = TypeVar("T")


class LoopState:
    """The state that all slots of an event loop share.

    Attributes:
        inside: the slot whose job the loop's thread is inside of at this moment; None between two steps.
        is_blocked: whether the loop has not turned for a while, as the watchdog saw it last.
        done: records whose jobs ended well on the loop, and that were not handed over yet.
        generation: that of the process in which it was made.
    """

    __slots__ = ("done", "generation", "inside", "is_blocked", "thread_id")

    def __init__(self) -> None:
        self.generation = PROCESS.generation
        self.done: deque[Record] = deque()
        self.inside: AsyncSlot | None = None
        self.is_blocked = False
        self.thread_id = 0


class AsyncSlot(RunInSlot):
    """One task's slot: the task begins and ends jobs in it, other threads interrupt them.

    Attributes: as those of `RunInSlot`, and
        has_record: whether a record is on its way here: prepared, run or settled.
    """

    __slots__ = (
        "_call_on_loop",
        "_coroutine",
        "_has_pending_interrupt",
        "_is_cancelled",
        "_is_raised",
        "has_record",
        "is_targeted",
        "loop_state",
        "task",
    )

    def __init__(self, name: str, loop_state: LoopState, call_on_loop: Callable[[Callable[[], None]], object]) -> None:
        super().__init__(name)
        self.loop_state = loop_state
        self._call_on_loop = call_on_loop
        self._has_pending_interrupt = False
        self._is_cancelled = False
        self._is_raised = False
        self._coroutine: Coroutine[object, None, object] | None = None
        self.is_targeted = False
        self.task: asyncio.Task[None] | None = None
        self.has_record = False

    @property
    def is_self_cancelled(self) -> bool:
        """Whether a job has cancelled its own task, which the next job there would have to bear."""
        return self.task is not None and self.task.cancelling() > 0

    def begin(self, run: Run, limits: RunLimits, coroutine: Coroutine[object, None, object]) -> None:
        """Note that the job runs in this slot's task from now on."""
        run.limits = limits
        run.deadline_at_s = time.monotonic() + limits.first_s
        self._coroutine, self._is_raised = coroutine, False
        self.run = run

    def end(self) -> None:
        """Note that the job has ended; its cancellation is not for the next one."""
        self.run, self._coroutine = None, None
        if self._is_cancelled and self.task is not None:
            self._is_cancelled = False
            self.task.uncancel()

    def interrupt(self, run: Run, reason: InterruptReason) -> None:
        """Cancel the job, unless it was interrupted or has ended; if it is what holds the loop, raise inside of it too.

        Where something else holds the loop past the job's timeout, the job could not end, and is left alone until it
        can.
        """
        if reason == "timeout" and self.loop_state.is_blocked and self.loop_state.inside is not self:
            return
        with self._lock:
            if self.run is not run or not run.interrupt(reason):
                return
            if reason == "cancel":
                run.bring_deadline(0.0)
        self._call_on_loop(lambda: self._cancel(run))
        with self._lock:
            self.is_targeted = True
            if self.loop_state.inside is self and self.run is run:
                self._has_pending_interrupt = True
                set_pending_interrupt(self.loop_state.thread_id, noted(INTERRUPTS[reason], self._note_raised))

    def _note_raised(self) -> None:
        self._is_raised = True

    @property
    def is_run_cancelled(self) -> bool:
        """Whether the job that runs was cancelled."""
        run = self.run
        return run is not None and run.interrupt_reason == "cancel"

    def _cancel(self, run: Run) -> None:
        """On the loop, between two steps: so the job is suspended, and is where the cancellation arrives.

        Not where it was raised inside of the step before: it would end what the job awaits to clean up.
        """
        if self.run is run and self.task is not None and not self._is_raised:
            self._is_cancelled = self.task.cancel()

    def leave(self) -> None:
        """Note that the loop's thread is inside of the job no more."""
        self.loop_state.inside = None
        if self.is_targeted:  # else an interrupt from now on finds no job inside
            self.call_off()

    def call_off(self) -> None:
        """Take back a pending interrupt: the loop's thread leaves the job."""
        with self._lock:
            if self._has_pending_interrupt:
                take_back_interrupt()
                self._has_pending_interrupt = False
            self.is_targeted = False

    def frames(self) -> list[FrameType]:
        """Where the job is, the innermost last: where it holds the loop, else where it awaits."""
        if self.loop_state.inside is self:
            return thread_frames(self.loop_state.thread_id)
        return awaiting_frames(self._coroutine)


def noted(error: type[JobInterrupted], note: Callable[[], None]) -> type[JobInterrupted]:
    """Make a subclass that those who catch the error take for the same; `note` is called when one is raised."""

    def begin(self: JobInterrupted, *values: object) -> None:
        note()
        error.__init__(self, *values)

    names = {"__module__": error.__module__, "__qualname__": error.__qualname__, "__doc__": error.__doc__}
    return type(error.__name__, (error,), {"__init__": begin, **names})


@types.coroutine
def resume_watched(slot: AsyncSlot, coroutine: Coroutine[object, None, T]) -> Generator[object, None, T]:
    """Await a coroutine, noting for each of its steps that the loop's thread is inside of it.

    The steps have a context of their own, which begins empty: what a job sets there is not for the next one. A process
    that a step has forked ends with that step: what would come next there is the worker's.
    """
    loop_state, run = slot.loop_state, Context().run
    thrown: BaseException | None = None
    while True:
        if loop_state.generation != PROCESS.generation:  # a task that a job has started has forked
            end_copy()
        loop_state.inside = slot
        try:
            awaited = run(coroutine.send, None) if thrown is None else run(coroutine.throw, thrown)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            if loop_state.generation != PROCESS.generation:
                end_copy()
            loop_state.inside = None
            if slot.is_targeted:  # as in `leave`, without the call
                slot.call_off()
        thrown = None
        try:
            yield awaited
        except BaseException as error:  # noqa: BLE001  # it is the job's to handle, and raised there in the next step
            is_ours = type(error) is asyncio.CancelledError and slot.is_run_cancelled
            thrown = cancelled_at_await() if is_ours else error
