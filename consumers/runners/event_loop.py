"""`RunnerLoop`: one event loop in a thread of its own, on which a fixed number of tasks run async jobs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Final

from .. import log_keys
from ..guarded_thread import GuardedThread
from ..records.record import Record
from .async_slots import AsyncSlot, LoopState
from .kinds import Ready
from .loop_turns import make_loop, turn_until
from .loop_watch import LoopWatch
from .slots import SettleDone

_LOGGER = logging.getLogger("stoker.timeouts")

JOBS_A_TURN: Final = 10
"""A task lets the others go on after so many, since jobs that never suspend would else hold the loop together."""

RunOneAsync = Callable[[Record, AsyncSlot], Awaitable[None]]


class RunnerLoop:
    """At most `size` async jobs at once; `run_one` must not raise anything but `CancelledError`.

    Args:
        queue: whose jobs they are.

    Attributes:
        name: its thread's.
        watch: knows whether it turns.
        is_stopping: whether it takes nothing more, and ends with the last job that runs.
    """

    def __init__(
        self, size: int, ready: Ready, run_one: RunOneAsync, name: str, settle_done: SettleDone, *, queue: str
    ) -> None:
        self.name = name
        self._queue = queue
        self._size = size
        self._ready = ready
        self._run_one = run_one
        self._settle_done = settle_done
        self._hands_over_soon = False
        self._numbers = count()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._is_woken = False
        self._state = LoopState()
        self._loop = make_loop()
        self._runners: dict[asyncio.Task[None], AsyncSlot] = {}
        self._ended = self._loop.create_future()
        self._thread = GuardedThread(name, self._serve, at_end=self._close)
        self.watch = LoopWatch(name, self._state)
        self.is_stopping = False
        self._task_failure: BaseException | None = None

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def wake(self) -> None:
        """Let idle tasks take what was made ready; called from any thread, after that.

        A task that is not idle needs no wake: it looks again when its job has ended, and once more when it is idle.
        """
        if not self._idle:
            return
        if threading.get_ident() == self._state.thread_id:
            self._wake()
        elif not self._is_woken:
            self._is_woken = True
            self._call_on_loop(self._wake)

    def stop(self) -> None:
        """Take no further record; jobs that run go on."""
        self.is_stopping = True
        self._call_on_loop(self._wake_all)

    def interrupt(self) -> None:
        """Interrupt the jobs that still run, since the worker stops, and end all tasks."""
        self.is_stopping = True
        self._call_on_loop(self._interrupt_all)

    def settle_done(self) -> None:
        """Hand over the records whose jobs are done; called by other threads where the loop does not turn."""
        self._settle_done(self._state.done)

    def join(self, within_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(within_s)

    @property
    def is_alive(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive

    @property
    def crashed(self) -> BaseException | None:
        """Why it has ended, or a task of it, without being asked to: its queue would stand still."""
        return self._task_failure or self._thread.crashed

    @property
    def slots(self) -> list[AsyncSlot]:
        """All slots, also those of stuck jobs; called from any thread."""
        return list(self._runners.values())

    def replace(self, slot: AsyncSlot) -> bool:
        """Start another task in place of one whose job is stuck; False where as many as may be were."""
        if sum(found.is_replaced for found in self.slots) >= self._size:
            return False
        slot.is_replaced = True
        self._call_on_loop(self._add_replacement)
        return True

    def check(self, now_s: float) -> None:
        """Ask the loop to answer, or see for how long it has not; called by the watchdog."""
        if self.watch.is_asked:
            self.watch.look(now_s, self.slots)
            if self.watch.blocked_s:
                self.settle_done()
        elif self._ready or self._state.done or any(slot.has_record for slot in self.slots):
            self.watch.note_asked(now_s)
            self._call_on_loop(self._answer)

    # ---- on the loop

    def _call_on_loop(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nothing is left to wake
            self._loop.call_soon_threadsafe(what)

    def _answer(self) -> None:
        self.watch.note_answer()
        self._wake()  # a record that came while this loop was being started or replaced may have woken no task

    def _serve(self) -> None:
        self._state.thread_id = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        self._fill()
        turn_until(self._loop, self._ended)

    def _close(self) -> None:
        self.settle_done()
        self._loop.close()

    def _add_replacement(self) -> None:
        self._fill()
        self._wake_all()  # the stuck job may just have ended: its task is idle, and would take the wake of a record

    def _fill(self) -> None:
        """Have as many tasks as there shall be, beside those whose jobs are stuck."""
        for _ in range(self._size - sum(not slot.is_replaced for slot in self._runners.values())):
            self._add_runner()

    def _add_runner(self) -> None:
        slot = AsyncSlot(f"{self.name}-{next(self._numbers)}", self._state, self._call_on_loop)
        slot.task = asyncio.Task(self._run(slot), loop=self._loop)  # not by a factory that a job may have set
        self._runners[slot.task] = slot
        slot.task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        slot = self._runners.pop(task)
        if task.cancelled():
            if not self.is_stopping:
                _LOGGER.warning(
                    "%s was cancelled with no job in it, by a job that has ended or by a task that it left behind; "
                    "another one takes its place", slot.name, extra={log_keys.QUEUE: self._queue},
                )  # fmt: skip
        elif (error := task.exception()) is not None:
            self._task_failure = error
        if not self.is_stopping and self.crashed is None:
            self._fill()
        if not self._runners and not self._ended.done():
            self._ended.set_result(None)

    def _interrupt_all(self) -> None:
        for task, slot in list(self._runners.items()):
            if slot.run is None:
                task.cancel()
            else:
                slot.interrupt(slot.run, "shutdown")

    def _wake(self) -> None:
        self._is_woken = False  # first, so that a wake that comes from now on is not taken for this one
        for _ in range(min(len(self._idle), len(self._ready))):
            wake_one(self._idle)

    def _wake_all(self) -> None:
        while self._idle:
            wake_one(self._idle)

    async def _run(self, slot: AsyncSlot) -> None:
        since_turn = 0
        while not self.is_stopping and not slot.is_replaced:
            try:
                record = self._ready.popleft()
            except IndexError:
                await self._wait_ready()
                continue
            slot.has_record = True
            await self._run_one(record, slot)
            slot.has_record = False
            if self._state.done and not self._hands_over_soon:
                self._hands_over_soon = True
                self._loop.call_soon(self._settle_turn)
            if slot.is_self_cancelled:
                return
            since_turn += 1
            if since_turn == JOBS_A_TURN:
                since_turn = 0
                await asyncio.sleep(0)

    def _settle_turn(self) -> None:
        """Hand over what all tasks have done in this turn of the loop."""
        self._hands_over_soon = False  # first, so that what is done from now on is handed over by another turn
        self.settle_done()

    async def _wait_ready(self) -> None:
        turn = self._loop.create_future()
        self._idle.append(turn)
        if self._ready:  # made ready after this task found nothing, by a thread that saw no idle task to wake
            self._wake()
        await turn


def wake_one(idle: deque[asyncio.Future[None]]) -> None:
    """Let the task go on that has been idle for the longest."""
    while idle:
        turn = idle.popleft()
        if not turn.done():  # else its task was cancelled, and would leave the record to wait
            turn.set_result(None)
            return
