"""`ChildPool`: the children of one queue in a worker. It starts them, lends them out, and replaces those that go.

One thread, the pool's, starts all children and sees to their end. It lives as long as the pool: on Linux a child is
ended by the kernel with the *thread* that has started it. A spare child is kept warm beside those that may be
in use at once, so that one that is recycled, killed or has died is replaced without a wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .. import log_keys
from ..guarded_thread import GuardedThread
from ..machine import describe_exit
from .child_process import ChildProcess, ChildState
from .messages import Setup, Started, StartFailed

_LOGGER = logging.getLogger("stoker.isolation")

STARTS_AT_ONCE: Final = 4
START_LIMIT_S: Final = 60.0
"""An application that takes longer to import has most likely hung."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
BUSY_TURN_S: Final = 0.02
QUIET_TURN_S: Final = 0.25
LEAVE_S: Final = 5.0
LEAVE_AT_STOP_S: Final = 1.0
WAIT_TURN_S: Final = 0.1
START_AND_REAP_S: Final = 2.0
"""How long a pool that stops waits for its thread, which may be starting or reaping a child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recycling:
    """When a child has served enough; None is never."""

    after_jobs: int | None = None
    above_bytes: int | None = None

    def is_due(self, child: ChildProcess) -> bool:
        """Whether this child shall be replaced."""
        if self.after_jobs is not None and child.jobs >= self.after_jobs:
            return True
        return self.above_bytes is not None and child.resident > self.above_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCounts:
    """The children of a pool at a moment.

    Attributes:
        busy, idle, starting: how many there are of each.
        ended: so many have ended since the worker's start, for whatever reason.
        trouble: why none can be started; None while they can.
    """

    busy: int = 0
    idle: int = 0
    starting: int = 0
    ended: int = 0
    trouble: str | None = None

    @property
    def trouble_in_words(self) -> str:
        """The trouble and its effect on jobs; empty where there is none."""
        if self.trouble is None:
            return ""
        if self.busy or self.idle:
            return f"no further child process can be started: {self.trouble}"
        return f"isolated jobs wait, since no child process can be started: {self.trouble}"


class ChildPool:
    """Up to `size` children at work at once, and `spares` more.

    Attributes:
        thread: what starts them; the worker stops where it crashes, since the pool would stand still, and look alive.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        size: int,
        spares: int = 1,
        recycling: Recycling = Recycling(),
    ) -> None:
        self._setup = setup
        self._size = size
        self._spares = spares
        self._recycling = recycling
        self._changed = threading.Condition()
        self._children: list[ChildProcess] = []
        self._fresh_wanted = 0
        self._ended = 0
        self._trouble: str | None = None
        self._start_pause_s = 0.0
        self._next_start_at_s = 0.0
        self._is_stopping = False
        self.thread = GuardedThread(f"stoker-children-{setup.queue}", self._keep)

    def start(self) -> None:
        """Begin to start children."""
        self.thread.start()

    def stop(self) -> None:
        """Kill those that are at work, and let the others leave; wait for their ends, some seconds at the most."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self.thread.join(LEAVE_AT_STOP_S + START_AND_REAP_S)

    @property
    def is_stopping(self) -> bool:
        """Whether the pool ends."""
        return self._is_stopping

    def counts(self) -> ChildCounts:
        """How many children do what."""
        with self._changed:
            return ChildCounts(
                busy=self._count(ChildState.BUSY),
                idle=self._count(ChildState.IDLE),
                starting=self._count(ChildState.STARTING),
                ended=self._ended,
                trouble=self._trouble,
            )

    def process_ids(self) -> list[int]:
        """The process ids of all children that are not gone."""
        with self._changed:
            return [child.pid for child in self._children]

    # ---- lending

    def acquire(self, is_wanted: Callable[[], bool], *, fresh: bool = False) -> ChildProcess | None:
        """Wait for a child; None once the caller wants it no more, or the pool stops.

        Args:
            fresh: only one that has never run a job, so that nothing of another job can have a part in what happens.
        """
        with self._changed:
            self._fresh_wanted += fresh
            try:
                return self._wait_for_child(is_wanted, fresh)
            finally:
                self._fresh_wanted -= fresh

    def _wait_for_child(self, is_wanted: Callable[[], bool], fresh: bool) -> ChildProcess | None:
        """Wait with the lock held."""
        while not self._is_stopping and is_wanted():
            child = self._pick(fresh)
            if child is not None:
                child.lend()
                return child
            self._changed.notify_all()  # the pool's thread among others: a runner waits
            self._changed.wait(WAIT_TURN_S)
        return None

    def _pick(self, fresh: bool) -> ChildProcess | None:
        """Used ones first, so that the fresh ones stay so."""
        idle = [child for child in self._children if child.state is ChildState.IDLE and not (fresh and child.jobs)]
        return max(idle, key=lambda child: (not child.is_due_to_recycle, child.jobs), default=None)

    def give_back(self, child: ChildProcess) -> None:
        """Take back a child, or what is left of it."""
        has_ended = child.is_doomed or child.ended()
        if not has_ended:
            child.sample()
        with self._changed:
            if self._is_stopping:
                child.close()
                return
            if has_ended:
                child.note_gone()
            else:
                child.free()
            child.is_due_to_recycle = child.is_due_to_recycle or self._recycling.is_due(child)
            if has_ended or child.is_due_to_recycle or self._fresh_wanted:
                self._changed.notify_all()
            else:
                self._changed.notify()

    # ---- keeping

    def _keep(self) -> None:
        while not self._is_stopping:
            missing = self._look_after()
            while missing and self._start_one():
                missing -= 1
            self._rest()
        self._end_all()

    def _rest(self) -> None:
        with self._changed:
            is_busy = any(child.state not in (ChildState.IDLE, ChildState.BUSY) for child in self._children)
            if not self._is_stopping:
                self._changed.wait(BUSY_TURN_S if is_busy else QUIET_TURN_S)

    def _start_one(self) -> bool:
        try:
            child = ChildProcess(self._setup)
        except OSError as error:  # no memory, processes, files or disk are left: a lack that may pass
            with self._changed:
                self._postpone("another child process", str(error))
            return False
        with self._changed:
            self._children.append(child)
        return True

    def _look_after(self) -> int:
        """Check each child; returns how many the pool's thread must start."""
        with self._changed:
            for child in list(self._children):
                self._look_at(child)
            self._send_away()
            return self._missing()

    def _look_at(self, child: ChildProcess) -> None:
        match child.state:
            case ChildState.STARTING:
                self._look_at_starting(child)
            case ChildState.IDLE:
                child.read_answer()
                if child.ended():
                    _LOGGER.warning(
                        "child process %d ended without a job (%s); another one is started",
                        child.pid, describe_exit(child.exit_code), extra=self._extra(),
                    )  # fmt: skip
                    self._remove(child)
            case ChildState.LEAVING:
                if time.monotonic() > child.leave_at_s:
                    child.kill()
                if child.ended():
                    self._remove(child)
            case ChildState.GONE:
                if child.ended():
                    self._remove(child)

    def _look_at_starting(self, child: ChildProcess) -> None:
        answer = child.read_answer()
        if isinstance(answer, Started):
            child.free()
            self._trouble, self._start_pause_s = None, 0.0
            self._changed.notify_all()
        elif isinstance(answer, StartFailed):
            self._give_up_start(child, answer.report)
        elif child.ended():
            self._give_up_start(child, describe_exit(child.exit_code))
        elif time.monotonic() - child.started_at_s > START_LIMIT_S:
            self._give_up_start(child, f"it was not ready after {START_LIMIT_S:g} s\n{child.stack()}")

    def _give_up_start(self, child: ChildProcess, why: str) -> None:
        child.kill()
        child.note_gone()
        self._postpone(f"child process {child.pid}", why)

    def _postpone(self, what: str, why: str) -> None:
        """Start no child for a while, a longer one each time."""
        self._start_pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._start_pause_s * 2))
        self._next_start_at_s = time.monotonic() + self._start_pause_s
        self._trouble = why.strip().rpartition("\n")[2]
        has_others = self._count(ChildState.IDLE) + self._count(ChildState.BUSY) > 0
        meanwhile = "isolated jobs go on in the others" if has_others else "isolated jobs wait, none is lost"
        _LOGGER.error(
            "%s cannot start; %s; trying again in %g s: %s", what, meanwhile, self._start_pause_s, why,
            extra=self._extra(),
        )  # fmt: skip

    def _send_away(self) -> None:
        """Let children due to be recycled go as soon as the others suffice, and those that are more than needed."""
        sound = [child for child in self._children if child.state in (ChildState.IDLE, ChildState.BUSY) and child.stays]
        idle = [child for child in self._children if child.state is ChildState.IDLE]
        if len(sound) >= self._size:
            for child in idle:
                if child.is_due_to_recycle:
                    child.leave(LEAVE_S)
        surplus = len(sound) - self._target()
        used = [child for child in idle if child.jobs and not child.is_due_to_recycle]
        for child in sorted(used, key=lambda child: child.jobs, reverse=True)[: max(0, surplus)]:
            child.leave(LEAVE_S)

    def _target(self) -> int:
        return self._size + self._spares + self._fresh_wanted

    def _missing(self) -> int:
        if time.monotonic() < self._next_start_at_s:
            return 0
        starting = self._count(ChildState.STARTING)
        coming = [
            c for c in self._children if c.state in (ChildState.STARTING, ChildState.IDLE, ChildState.BUSY) and c.stays
        ]
        fresh = sum(not child.jobs and child.state is not ChildState.BUSY for child in coming)
        # Used ones may be as many as there shall be, and none of them serves a job that waits for a fresh one.
        missing = max(self._target() - len(coming), self._fresh_wanted - fresh)
        return max(0, min(missing, (1 if self._trouble else STARTS_AT_ONCE) - starting))

    def _remove(self, child: ChildProcess) -> None:
        self._children.remove(child)
        self._ended += 1
        child.close()

    def _count(self, state: ChildState) -> int:
        return sum(child.state is state for child in self._children)

    def _extra(self) -> dict[str, object]:
        return {log_keys.QUEUE: self._setup.queue}

    def _end_all(self) -> None:
        """End all children: idle ones may leave first; the threads that watch busy ones close those."""
        with self._changed:
            idle = [child for child in self._children if child.state is ChildState.IDLE]
        for child in idle:
            child.leave(LEAVE_AT_STOP_S)
        self._wait_ended(idle)
        for child in self._children:
            child.kill()
        others = [child for child in self._children if child.state is not ChildState.BUSY]
        self._wait_ended(others)
        for child in others:
            child.close()

    def _wait_ended(self, children: list[ChildProcess]) -> None:
        give_up_at_s = time.monotonic() + LEAVE_AT_STOP_S
        while time.monotonic() < give_up_at_s and not all(child.ended() for child in children):
            time.sleep(BUSY_TURN_S)
