"""The block `with current_job().dependency("stripe"):`, whose end counts for the breaker of that dependency."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from ...topology import RetryPolicy, UnknownName
from ..breakers.breaker_state import BreakerState
from ..breakers.breakers import Breakers
from ..breakers.opening import Target
from ..inbox import AlreadyDone
from ..records.record import Record
from .endings import Discard, JobInterrupted, Snooze, TimeLimitExceeded
from .failure import reason_of
from .job_errors import is_kind_of, leaves, type_name

if TYPE_CHECKING:
    from .run import CurrentRun

LONGEST_WHY: Final = 300
HALF_OPEN_S: Final = 1.0
"""For so long a job waits that is turned away while another one probes."""
SPREAD: Final = 0.1
"""Jobs that are turned away come again over this part of their wait, and not all at once."""


class DependencyDown(Snooze):
    """Raised where a job enters the block of a dependency whose breaker is open: the job waits, at no attempt's cost.

    A job that can do without catches it.

    Attributes:
        dependency: its name.
        after: how long the job waits.
    """

    dependency: str = ""

    def __init__(self, dependency: str = "", after: timedelta = timedelta(seconds=HALF_OPEN_S), why: str = "") -> None:
        super().__init__(after)
        self.dependency, self.why = dependency, why

    def __str__(self) -> str:
        """Which one, and why."""
        return f"dependency {self.dependency!r} is down ({self.why or 'its breaker is open'}); the job waits"

    def __reduce__(self) -> tuple[type[DependencyDown], tuple[str, timedelta | None, str]]:
        """As another process gets it."""
        return type(self), (self.dependency, self.after, self.why)


class UnknownDependency(UnknownName):
    """A job named a dependency that its pipeline does not declare."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__("dependency", name, list(known))
        declared = f"; declare it with pipeline.dependency({name!r}), or needs=[{name!r}] of the job type"
        self.args = (f"{self.args[0]}{declared}",)


class Dependencies(Protocol):
    """The dependencies as one run sees them."""

    def enter(self, name: str) -> None:
        """Begin a block.

        Raises:
            DependencyDown: its breaker is open.
            UnknownDependency: there is none of that name.
        """
        ...

    def leave(self, name: str, run: CurrentRun, error: BaseException | None) -> None:
        """End a block, by this error where there is one."""
        ...

    def count(self, name: str, *, failed: bool | None, why: str) -> None:
        """Count how a block has ended, here or in a child."""
        return

    def end(self) -> None:
        """End the blocks that a child has left open when it was killed; they count for nothing."""
        return


class DependencyBlock(AbstractContextManager[None]):
    """One block of a job; `with` also in an `async def`."""

    def __init__(self, dependencies: Dependencies, name: str, run: CurrentRun) -> None:
        self._dependencies, self._name, self._run = dependencies, name, run

    def __enter__(self) -> None:
        """Raises as `Dependencies.enter`."""
        self._dependencies.enter(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dependencies.leave(self._name, self._run, error)


class NoDependencies(Dependencies):
    """The dependencies of a pipeline that declares none."""

    def enter(self, name: str) -> None:
        """There is none."""
        raise UnknownDependency(name, [])

    def leave(self, name: str, run: CurrentRun, error: BaseException | None) -> None:
        """No block has begun."""


class AllUp(Dependencies):
    """Where no breaker is, as in a test: each block begins."""

    def enter(self, name: str) -> None:
        """Begin it."""

    def leave(self, name: str, run: CurrentRun, error: BaseException | None) -> None:
        """Count nothing."""


NO_DEPENDENCIES: Final = NoDependencies()
ALL_UP: Final = AllUp()


class RunDependencies(Dependencies):
    """The dependencies of a run in this process, or of one in a child that the worker repeats here."""

    def __init__(self, breakers: Breakers, record: Record, policy: RetryPolicy) -> None:
        self._breakers, self._record, self._policy = breakers, record, policy
        self._began: dict[str, tuple[BreakerState, int]] = {}

    def enter(self, name: str) -> None:
        """Begin a block."""
        state = self._breakers.states.get(Target("dependency", name))
        if state is None:
            raise UnknownDependency(name, self._breakers.dependencies)
        began = state.acquire(self._record)
        if began is None:
            raise _down(name, state)
        self._began[name] = state, began
        self._breakers.mark_reported(self._record, name)

    def leave(self, name: str, run: CurrentRun, error: BaseException | None) -> None:
        """End it: how it ends is counted."""
        self.count(name, failed=has_failed(error, self._policy, run), why="" if error is None else why_of(error))

    def count(self, name: str, *, failed: bool | None, why: str) -> None:
        """Count the end of a block."""
        begun = self._began.pop(name, None)
        if begun is not None:
            state, began = begun
            state.note(self._record, began, failed=failed, why=why)

    def end(self) -> None:
        """End the blocks that a child has left open when it was killed; they count for nothing."""
        for name in list(self._began):
            self.count(name, failed=None, why="")


def make_dependencies(breakers: Breakers) -> Callable[[Record, RetryPolicy], Dependencies] | None:
    """Make the maker of the dependencies of a run; None where the pipeline declares none."""
    if not breakers.dependencies:
        return None
    return lambda record, policy: RunDependencies(breakers, record, policy)


def _down(name: str, state: BreakerState) -> DependencyDown:
    opening = state.opening
    until_at_s = None if opening is None or opening.prober else opening.until_at_s
    left_s = HALF_OPEN_S if until_at_s is None else max(HALF_OPEN_S, until_at_s - time.time())
    after = timedelta(seconds=left_s * (1 + SPREAD * random.random()))
    return DependencyDown(name, after, "" if opening is None else opening.reason)


def has_failed(error: BaseException | None, policy: RetryPolicy, run: CurrentRun) -> bool | None:
    """Whether a block that ends by this error shows that its dependency has failed; None where it shows nothing."""
    if error is None:
        return False
    found = [_shows(leaf, policy, run) for leaf in leaves(error)]
    return True if True in found else None


def _shows(error: BaseException, policy: RetryPolicy, run: CurrentRun) -> bool | None:
    if is_kind_of(error, JobInterrupted):
        return True if is_kind_of(error, TimeLimitExceeded) or run.interrupt_reason == "timeout" else None
    if is_kind_of(error, (asyncio.CancelledError, GeneratorExit)):
        return True if run.interrupt_reason == "timeout" else None
    if is_kind_of(error, (Snooze, Discard, AlreadyDone)) or is_kind_of(error, (*policy.permanent, *policy.ignored)):
        return None
    return True


def why_of(error: BaseException) -> str:
    """An error in a line, as the reason of an open breaker has it."""
    return f"{type_name(type(error))}: {reason_of(error)}"[:LONGEST_WHY]
