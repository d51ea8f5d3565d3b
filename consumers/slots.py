"""`Slot`: one place in which a job runs, with its deadline; `Watchdog`: ends runs of sync jobs that passed theirs.

A thread cannot be killed. The watchdog raises `TimeLimitExceeded` inside it, which takes effect at the next Python
instruction: a job inside a long C call or a blocking read ends when that call does. A job that goes on all the same
is reported as stuck, once, with its stack; its slot counts as taken until it ends.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Final

from ..topology.job_type import RunLimits
from . import log_keys
from .context import JobContext
from .signals import TimeLimitExceeded

_LOGGER = logging.getLogger("stoker.timeouts")
_set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
_set_async_exc.argtypes = (ctypes.c_ulong, ctypes.py_object)

_NOTHING: Final = ctypes.py_object()  # a null pointer, which takes back; `None` would be raised as an exception

TICK_S: Final = 0.05
STUCK_AFTER_S: Final = 5.0
"""How long past its timeout a job may go on before it is reported as stuck."""


class Slot:
    """One runner's place; the runner begins and ends jobs in it, the watchdog strikes them."""

    __slots__ = ("_is_aimed_at", "_lock", "context", "reported", "struck", "thread_id")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_aimed_at = False
        self.context: JobContext | None = None
        self.thread_id = 0
        self.struck = False
        self.reported = False

    def begin(self, context: JobContext, limits: RunLimits) -> None:
        """Note that the job runs in the calling thread from now on."""
        self.thread_id = threading.get_ident()
        context.limits = limits
        context.deadline_s = time.monotonic() + limits.first_s
        self.struck = self.reported = False
        self.context = context

    def end(self) -> None:
        """Note that the job has ended; a strike that has not taken effect yet is called off."""
        self.context = None
        if self._is_aimed_at:  # else the watchdog, should it aim from now on, finds nobody here
            with self._lock:
                if self.struck:
                    _set_async_exc(self.thread_id, _NOTHING)
                self._is_aimed_at = False

    def strike(self, context: JobContext) -> None:
        """Raise `TimeLimitExceeded` in the job's thread, unless the job has ended meanwhile."""
        with self._lock:
            self._is_aimed_at = True
            if self.context is context and not self.struck:
                self.struck = True
                _set_async_exc(self.thread_id, TimeLimitExceeded)


class Watchdog:
    """Looks at the slots twenty times a second."""

    def __init__(self, slots: Sequence[Slot], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._slots = slots
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stoker-watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End; jobs that still run have no timeout any more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            now_s = self._monotonic()
            for slot in self._slots:
                context = slot.context
                if context is not None and now_s > context.deadline_s:
                    self._act(slot, context, now_s)

    def _act(self, slot: Slot, context: JobContext, now_s: float) -> None:
        if not slot.struck:
            slot.strike(context)
        elif not slot.reported and now_s > context.deadline_s + STUCK_AFTER_S:
            slot.reported = True
            report_stuck(context, slot.thread_id, now_s - context.deadline_s)


def report_stuck(context: JobContext, thread_id: int, overdue_s: float) -> None:
    """Say which job ignores its timeout, and where it is."""
    frame = sys._current_frames().get(thread_id)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else "(its thread has ended)"
    _LOGGER.error(
        "job %s (%s) is stuck: %.1f s past its timeout and not to be interrupted; its slot stays taken\n%s",
        context.job_id, context.job_type, overdue_s, stack,
        extra={log_keys.JOB_ID: context.job_id, log_keys.JOB_TYPE: context.job_type, log_keys.QUEUE: context.queue},
    )  # fmt: skip
