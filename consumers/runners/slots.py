"""`Slot`: one thread's place in which a sync job runs, with its deadline.

A thread cannot be killed. An interrupt raises an exception inside it, which takes effect at the next Python
instruction: a job inside a long C call or a blocking read ends when that call does. A job that goes on all the same
is stuck: the watchdog reports it with its stack, and a replacement runner takes its place until it ends.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable
from types import FrameType

from ...topology.declaration.job_type import RunLimits
from ..gates.gate_row import Beginning
from ..job.endings import INTERRUPTS, InterruptReason
from ..job.run import Run
from ..records.record import Record
from .forks import PROCESS
from .stacks import thread_frames

_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)

SettleDone = Callable[[deque[Record]], None]
"""Settles the records in the deque, whose jobs are done, and empties it; called by any thread."""


class RunInSlot:
    """A slot of any kind: a run, and the lock under which it is interrupted or withdrawn.

    Attributes:
        name: for people.
        run: the job that runs; None between two.
        reported: the job that was reported as stuck; it may have ended since.
        is_replaced: whether another runner works in its place, so that its own ends when the job does.
    """

    __slots__ = ("_lock", "is_replaced", "name", "reported", "run")

    def __init__(self, name: str) -> None:
        self._lock = threading.Lock()
        self.name = name
        self.run: Run | None = None
        self.reported: Run | None = None
        self.is_replaced = False

    def ask_or_withdraw(self, run: Run, ask: Callable[[Record], Beginning]) -> Beginning | InterruptReason:
        """Ask whether a run may enter its job, and end it where it may not; no interrupt comes in between.

        Returns:
            the answer; or why the run was interrupted before: it is not asked for then, and ends by that.
        """
        with self._lock:
            if run.interrupt_reason is not None:
                return run.interrupt_reason
            answer = ask(run.record)
            if answer is not Beginning.BEGINS:
                self.run = None
            return answer


class Slot(RunInSlot):
    """One runner's slot: the runner begins and ends jobs in it, other threads interrupt them.

    Attributes: as those of `RunInSlot`, and
        generation: that of the process in which it was made.
        done: records whose jobs ended well here, and that were not handed over yet.
    """

    __slots__ = ("_is_targeted", "done", "generation", "thread_id")

    def __init__(self, name: str = "thread") -> None:
        super().__init__(name)
        self._is_targeted = False
        self.generation = PROCESS.generation
        self.done: deque[Record] = deque()
        self.thread_id = 0

    def begin(self, run: Run, limits: RunLimits) -> None:
        """Note that the job runs in the calling thread from now on."""
        self.thread_id = threading.get_ident()
        run.limits = limits
        run.deadline_at_s = time.monotonic() + limits.first_s
        self.run = run

    def end(self) -> None:
        """Note that the job has ended; an interrupt that has not taken effect yet is called off."""
        self.run = None
        if self._is_targeted:  # else an interrupt from now on finds no job here
            with self._lock:
                take_back_interrupt()
                self._is_targeted = False

    def interrupt(self, run: Run, reason: InterruptReason) -> None:
        """Raise the reason's exception in the job's thread, unless the job was interrupted or has ended."""
        with self._lock:
            self._is_targeted = True
            if self.run is run and run.interrupt(reason):
                if reason == "cancel":
                    run.bring_deadline(0.0)
                set_pending_interrupt(self.thread_id, INTERRUPTS[reason])

    def frames(self) -> list[FrameType]:
        """Where the job is, the innermost last; empty where its thread has ended."""
        return thread_frames(self.thread_id)


def set_pending_interrupt(thread_id: int, error: type[BaseException]) -> None:
    """Have an error raised in a thread at its next Python instruction."""
    _set_async_exc(thread_id, error)


class _TakenBack(BaseException):
    """Takes the place of an interrupt that is not to be raised any more."""


def take_back_interrupt() -> None:
    """Take back an interrupt of the calling thread that was not raised yet.

    Another error takes its place, and is raised and caught here. CPython up to 3.12 would keep a flag set where an
    interrupt is only deleted, and a thread that is traced, as by a debugger, would look at that flag for ever.
    """
    try:
        _set_async_exc(threading.get_ident(), _TakenBack)
        while True:  # it is raised at the next step
            pass
    except _TakenBack:
        pass
