"""One run of one job in a child: watched from the worker's side until it ends, by itself or by its limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from ..job.dependencies import DependencyDown, UnknownDependency
from ..job.endings import INTERRUPTS, MemoryLimitExceeded, TimeLimitExceeded
from ..job.run import Run
from ..steps.call import time_limit_exceeded
from ..steps.results import RETURNED_NOTHING, Answered, Raised, Returned
from .child_process import STACK_WAIT_S, ChildProcess
from .crashes import ChildDied
from .messages import (
    Begun,
    DependencyAnswer,
    Ended,
    EnterDependency,
    Heartbeat,
    LeftDependency,
    Progressed,
    RunJob,
)

LIMITED_TICK_S: Final = 0.05
"""How often the memory of a job with a limit is looked at: what it may grow by in that time is not seen."""
TICK_S: Final = 0.2
CANCEL_GRACE_S: Final = 5.0
"""How long a cancelled job may clean up."""
SHORT_STACK_WAIT_S: Final = 0.1
"""How long to wait for the stack of a job that takes more and more memory meanwhile."""


@dataclass(frozen=True, slots=True)
class NotBegun:
    """The child died, or was killed as it hung, before the job had begun: another one shall run it.

    Attributes:
        died: the evidence.
        was_given: whether the child was given the job; where it was not, nothing of the job can have ended it.
    """

    died: ChildDied
    was_given: bool = True


Ending = Returned | Answered | Raised | NotBegun | ChildDied
"""`Raised` where the child was killed, for an interrupt or a limit of the job's, with a note of where the job was."""


def run_in_child(
    child: ChildProcess,
    job: RunJob,
    run: Run,
    memory_limit_bytes: int | None,
) -> Ending:
    """Run one job, and watch over it until it has ended in one way or another.

    Args:
        run: it has begun; its deadline is kept, and its heartbeats are repeated on it.
    """
    watch = _Watch(child, run, memory_limit_bytes)
    if child.ended():
        return watch.died(was_given=False)
    if not watch.give(job):
        return watch.died()
    try:
        return watch.until_ended()
    finally:
        run.dependencies.end()


@dataclass(slots=True)
class _Watch:
    """One run of one job in a child."""

    child: ChildProcess
    run: Run
    memory_limit_bytes: int | None
    began_at_s: float = field(default_factory=time.monotonic)
    has_begun: bool = False
    was_asked: bool = False
    was_cancelled: bool = False

    def give(self, job: RunJob) -> bool:
        """Give the child the job, at no cost of the run's time; False if it has died."""
        self.child.is_taking = True
        try:
            return self.child.begin(job)
        finally:
            self._restart_time()
            self.child.is_taking = False

    def _restart_time(self) -> None:
        now_s = time.monotonic()
        self.run.give_back(now_s - self.began_at_s)
        self.began_at_s = now_s

    def until_ended(self) -> Ending:
        return self._until_begun() or self._until_over()

    def _until_begun(self) -> Ending | None:
        """Wait until the child has begun with the job, whose time counts from there; give up on a silent one.

        A child whose messages were not all read is not silent: the worker's logging may take its lines slowly, and the
        job run already, with its begin behind them.
        """
        given_at_s = time.monotonic()
        while not self.has_begun:
            ending = self._read(TICK_S)
            self._restart_time()
            if ending is None and not self.has_begun:
                is_late = self.began_at_s >= given_at_s + self.child.take_within_s
                is_silent = is_late and not self.child.has_more
                ending = self._cut_short() or (self._give_up() if is_silent else None)
            if ending is not None:
                return ending
        return None

    def _until_over(self) -> Ending:
        tick_s = TICK_S if self.memory_limit_bytes is None else LIMITED_TICK_S
        next_look_at_s = self.began_at_s + tick_s
        while True:
            left_s = self.run.deadline_at_s - time.monotonic()
            ending = self._read(max(0.0, min(tick_s, left_s)))
            now_s = time.monotonic()
            if ending is None and now_s >= self.run.deadline_at_s:
                self.run.interrupt("timeout")
                ending = self._kill(time_limit_exceeded(self.run), STACK_WAIT_S)
            if ending is None and now_s >= next_look_at_s:
                next_look_at_s = now_s + tick_s
                ending = self._look()
            if ending is not None:
                return ending

    def _read(self, wait_s: float) -> Ending | None:
        message = self.child.next_message(wait_s)
        match message:
            case Ended(answer=answer):
                return RETURNED_NOTHING if answer is None else Answered(answer)
            case Begun():
                self.has_begun = True
            case Heartbeat() | Progressed() | EnterDependency() | LeftDependency():
                self._note(message)
        if message is None and self.child.has_ended and not self.child.has_more:
            return self.died()
        return None

    def _note(self, message: Heartbeat | Progressed | EnterDependency | LeftDependency) -> None:
        match message:
            case Heartbeat():
                self.run.take_heartbeats().heartbeat()
            case Progressed(latest=latest):
                self.run.take_heartbeats().progress(latest)
            case EnterDependency(name=name):
                self.child.answer(self._entered(name))
            case LeftDependency(name=name, failed=failed, why=why):
                self.run.dependencies.count(name, failed=failed, why=why)

    def _entered(self, name: str) -> DependencyAnswer:
        try:
            self.run.dependencies.enter(name)
        except DependencyDown as down:
            return DependencyAnswer(down=down)
        except UnknownDependency as unknown:
            return DependencyAnswer(known=tuple(unknown.known))
        return DependencyAnswer()

    def _look(self) -> Ending | None:
        """End a run that is interrupted, or whose child is gone or too large; ask its job to stop where it should."""
        ending = self._cut_short()
        if ending is not None:
            return ending
        if self.run.take_heartbeats().should_stop and not self.was_asked:
            self.was_asked = True
            self.child.ask_to_stop()
        limit_bytes, held_bytes = self.memory_limit_bytes, self.child.sample()
        if limit_bytes is not None and held_bytes > limit_bytes:
            return self._kill(MemoryLimitExceeded(held_bytes, limit_bytes), SHORT_STACK_WAIT_S)
        return None

    def _cut_short(self) -> Ending | None:
        interrupted = self._interrupted()
        if interrupted is not None and not self._may_clean_up():
            self.child.kill_and_wait()
            return interrupted
        if self.child.ended():  # its pipe is still open, since a process that the job has forked holds it too
            return self._last_word()
        return None

    def _may_clean_up(self) -> bool:
        """Whether a cancelled job is left alone until its grace is over; its deadline is the end of that."""
        if self.run.interrupt_reason != "cancel" or not self.has_begun:
            return False
        if not self.was_cancelled:
            self.was_cancelled = self.was_asked = True
            self.run.bring_deadline(CANCEL_GRACE_S)
            self.child.send_cancel(str(self.run.record))
        return True

    def _give_up(self) -> Ending:
        self.child.kill_silent()
        self.child.kill_and_wait()
        ending = self._last_word()  # it may have begun just now, and was killed all the same
        return NotBegun(ending) if isinstance(ending, ChildDied) else ending

    def _last_word(self) -> Ending:
        """Read what a child that has ended sent before, and only then its death. Its job may have ended well."""
        while self.child.has_more:
            ending = self._read(0)
            if ending is not None:
                return ending
        return self.died()

    def _kill(self, error: TimeLimitExceeded | MemoryLimitExceeded, stack_wait_s: float) -> Raised:
        stack = self.child.stack(stack_wait_s)
        self.child.kill_and_wait()
        error.add_note(f"its process {self.child.pid} was killed here:\n{stack}")
        return Raised(error)

    def _interrupted(self) -> Raised | None:
        reason = self.run.interrupt_reason
        return None if reason is None else Raised(INTERRUPTS[reason]())

    def died(self, *, was_given: bool = True) -> Ending:
        """The ending of a run whose child has ended without a word on it; one that is interrupted ends by that."""
        interrupted = self._interrupted()
        if interrupted is not None:
            return interrupted
        if not self.has_begun:
            return NotBegun(self.child.death(None), was_given)
        return self.child.death(time.monotonic() - self.began_at_s)
