"""Runs async jobs: on one event loop, and on a replacement loop beside it while something holds that one.

A job that computes, or calls what blocks, holds the loop and all jobs on it. What has begun there cannot go on
elsewhere; what is ready can, on a replacement loop, which ends when the first one turns again.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Collection
from itertools import count
from typing import Final

from ...topology.wire.headers import JOB_TYPE
from .. import log_keys
from ..errors import LoopLost, TooManyStuck
from ..guarded_thread import first_crash
from ..progress.assignment import Assignment
from ..records.record import Record
from .async_slots import AsyncSlot
from .event_loop import RunnerLoop, RunOneAsync
from .kinds import Ready, Runners, drop_ready, in_ready
from .slots import SettleDone

_LOGGER = logging.getLogger("stoker.timeouts")

REPLACE_AFTER_S: Final = 5.0
"""Not sooner: what jobs keep beyond one run, such as a client's connections, may belong to the loop they began on."""
MOST_REPLACEMENTS: Final = 3
LOST_AFTER_S: Final = 30.0
"""How long past its timeout a job may hold a loop on which others are suspended, before the worker stops."""
UNKNOWN_LOST_AFTER_S: Final = 60.0
"""How long a task without a timeout, such as one that a job has started, may hold such a loop."""


class AsyncRunners(Runners[AsyncSlot]):
    """At most `size` async jobs at once, and as many on each replacement loop; `run_one` as `RunnerLoop` asks.

    They take the jobs of the types in `job_types`, named as on the wire; all, where it is empty.
    """

    kind = "async"

    def __init__(
        self,
        size: int,
        run_one: RunOneAsync,
        queue: str,
        job_types: Collection[bytes] = (),
        *,
        settle_done: SettleDone = deque[Record].clear,
        ready: Ready | None = None,
    ) -> None:
        self._settle_done = settle_done
        self._job_types = job_types
        self._size = self.size = size
        self._run_one = run_one
        self._queue = queue
        self._ready: Ready = deque() if ready is None else ready
        self._numbers = count()
        self._is_stopping = False
        self._loops = [self._make_loop()]
        self._failure: BaseException | None = None

    def _make_loop(self) -> RunnerLoop:
        number = next(self._numbers)
        name = f"stoker-loop-{self._queue}" + (f"-replacement-{number}" if number else "")
        return RunnerLoop(self._size, self._ready, self._run_one, name, self._settle_done, queue=self._queue)

    def start(self) -> None:
        """Start the loop's thread."""
        self._loops[0].start()

    def own(self, records: list[Record]) -> list[Record]:
        """Jobs of async types."""
        names = self._job_types
        return [record for record in records if record.header(JOB_TYPE) in names] if names else records

    @property
    def crashed(self) -> BaseException | None:
        """Why async jobs cannot go on; None while they can."""
        return self._failure or first_crash(self._loops)

    @property
    def slots(self) -> list[AsyncSlot]:
        """All slots, also those of stuck jobs; called from any thread."""
        return [slot for loop in self._loops for slot in loop.slots]

    @property
    def loops(self) -> list[RunnerLoop]:
        """The event loop, and its replacements."""
        return self._loops

    @property
    def ready(self) -> int:
        """Records that could run at once, were a task free."""
        return len(self._ready)

    def waiting_records(self) -> list[Record]:
        """These records, as far as none of them has begun meanwhile; called from any thread."""
        return in_ready(self._ready)

    def make_ready(self, records: list[Record]) -> None:
        """Offer records of different lanes to the runners; called from any thread."""
        self._ready.extend(records)
        self._wake()

    def drop(self, assignments: Collection[Assignment]) -> list[Record]:
        """Take out the records of partitions that are being given away, as far as they have not begun."""
        dropped = drop_ready(self._ready, assignments)
        self._wake()  # a runner may have found it empty meanwhile, and gone to rest
        return dropped

    def _wake(self) -> None:
        for loop in self._loops:
            loop.wake()

    def stop(self) -> None:
        """Start no further record; jobs that run go on."""
        self._is_stopping = True
        self._ready.clear()
        for loop in self._loops:
            loop.stop()

    def interrupt(self) -> None:
        """Cancel the jobs that still run, and have the loops end."""
        self.stop()
        for loop in self._loops:
            loop.interrupt()

    def wait_ended(self, give_up_at_s: float) -> None:
        """Wait for the end of the loops; those whose jobs resist are left behind."""
        for loop in self._loops:
            loop.join(max(0.0, give_up_at_s - time.monotonic()))
            loop.settle_done()  # of one that is left behind, what was done before

    # ---- called by the watchdog

    def replace(self, slot: AsyncSlot) -> bool:
        """Start another task in place of one whose job is stuck; False where as many as may be were."""
        return self._is_stopping or all(loop.replace(slot) for loop in self._loops if slot in loop.slots)

    def check(self, now_s: float) -> None:
        """Check whether the loops turn; start a replacement where none does, and stop one that is surplus."""
        for loop in self._loops:
            loop.check(now_s)
            if loop.watch.blocked_s and self._failure is None:
                self._failure = self._why_lost(loop, now_s)
        if not self._is_stopping:
            self._balance()

    def _balance(self) -> None:
        alive = [loop for loop in self._loops if loop.is_alive or not loop.is_stopping]
        turning = [loop for loop in alive if not loop.is_stopping and loop.watch.blocked_s < REPLACE_AFTER_S]
        for surplus in turning[1:]:
            surplus.stop()
        if not turning:
            alive += self._start_replacement(alive)
        self._loops = alive

    def _start_replacement(self, alive: list[RunnerLoop]) -> list[RunnerLoop]:
        blocked_s = [loop.watch.blocked_s for loop in alive if loop.watch.blocked_s >= REPLACE_AFTER_S]
        if len(blocked_s) > MOST_REPLACEMENTS:  # the others turn, until their last job has ended
            stuck = sum(slot.run is not None for loop in alive for slot in loop.slots)
            self._failure = self._failure or TooManyStuck(self._queue, stuck)
            return []
        _LOGGER.error(
            "the event loop has not turned for %.1f s; another one takes the async jobs that have not begun",
            max(blocked_s, default=0.0), extra={log_keys.QUEUE: self._queue},
        )  # fmt: skip
        replacement = self._make_loop()
        replacement.start()
        return [replacement]

    def _why_lost(self, loop: RunnerLoop, now_s: float) -> LoopLost | None:
        """Why the jobs that are suspended on a blocked loop would wait for ever, if they would."""
        blocking_slot, blocked_s = loop.watch.blocking_slot, loop.watch.blocked_s
        run = blocking_slot.run if blocking_slot is not None else None
        is_lost = blocked_s > UNKNOWN_LOST_AFTER_S if run is None else now_s > run.deadline_at_s + LOST_AFTER_S
        suspended = sum(slot.has_record and slot is not blocking_slot for slot in loop.slots) if is_lost else 0
        return LoopLost(self._queue, run.shown_id if run else None, suspended) if suspended else None
