"""Runs async jobs on one event loop in a thread of its own, by a fixed number of tasks rather than a task a job."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from .record import Assignment, Record, take_out

RunOneAsync = Callable[[Record], Awaitable[None]]


class LoopRunners:
    """At most `size` async jobs at once; `run_one` must not raise anything but `CancelledError`."""

    def __init__(self, size: int, run_one: RunOneAsync, name: str) -> None:
        self._run_one = run_one
        self._size = size
        self._ready: deque[Record] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._is_stopping = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"stoker-loop-{name}", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the loop's thread."""
        self._thread.start()

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners; called from any thread."""
        self._ready.extend(records)
        self._tell(self._wake)

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        dropped = take_out(self._ready, assignments)
        self._tell(self._wake)  # a runner may have found it empty meanwhile, and gone to rest
        return dropped

    def stop(self) -> None:
        """Start no further record; jobs that run go on."""
        self._is_stopping = True
        self._ready.clear()

    def interrupt(self, within_s: float) -> None:
        """Cancel the jobs that still run, and end the loop; those that resist are left behind."""
        self.stop()
        self._tell(self._cancel_all)
        self._thread.join(within_s)

    def _tell(self, what: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended: there is nobody left to tell
            self._loop.call_soon_threadsafe(what)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._gather())
        finally:
            self._loop.close()

    async def _gather(self) -> None:
        self._tasks = [asyncio.create_task(self._run()) for _ in range(self._size)]
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _wake(self) -> None:
        for _ in range(min(len(self._idle), len(self._ready))):
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                record = self._ready.popleft()
            except IndexError:
                await self._wait_ready()
                continue
            await self._run_one(record)

    async def _wait_ready(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        await turn
