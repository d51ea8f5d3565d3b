"""`Breakers`: all breakers of one worker process, for its gates, its jobs and the control thread."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Protocol

from ...topology import AnyJobType, Breaker, Pipeline, Queue
from .breaker_state import BreakerState, Change
from .opening import Target


@dataclass(frozen=True, slots=True)
class BreakerOpen:
    """Why a job waits for a breaker; the details are those of the moment."""

    target: Target
    breaker: BreakerState = field(compare=False, repr=False)

    @property
    def state(self) -> str:
        """The state of the job in a word."""
        return "breaker"

    @property
    def detail(self) -> Mapping[str, str]:
        """Which breaker, since when and why it is open, and what ends the wait."""
        opening = self.breaker.opening
        found = {"breaker": str(self.target), "ends_by": f"the breaker closes, or `{lifting_command(self.target)}`"}
        if opening is None:
            return found
        since = datetime.fromtimestamp(opening.since_at_s, UTC)
        return {**found, "since": since.isoformat(timespec="seconds"), "why": f"{opening.operator}: {opening.reason}"}


def lifting_command(target: Target) -> str:
    """The command that closes a breaker."""
    return f"stoker control close {target.option}"


@dataclass(slots=True)
class BegunJob:
    """A job that runs.

    Attributes:
        taken: its breakers, with what `BreakerState.acquire` has given of each.
        reported: those about which blocks of the job report.
    """

    taken: list[tuple[BreakerState, int]]
    reported: set[Target] = field(default_factory=set)


class JobHolder(Protocol):
    """Holds the jobs of one queue that wait for breakers."""

    def held(self, why: BreakerOpen) -> int:
        """How many wait, of a lane aside the first one."""
        ...

    def note_change(self, why: BreakerOpen) -> None:
        """The breaker has opened or closed."""
        ...

    def release_first(self, why: BreakerOpen) -> None:
        """Let the first one go on, which is to probe."""
        ...


class Breakers:
    """The breakers of a process. Falsy where the pipeline declares none.

    Attributes:
        states: {target: its breaker}.
        begun: {record: the breakers with which its job has begun}, of the jobs that run and whose types have any.
        decided: what this process has decided, which the control thread takes out, logs and publishes.
    """

    def __init__(
        self,
        job_types: Iterable[AnyJobType] = (),
        dependencies: Mapping[str, Breaker] = MappingProxyType({}),
        *,
        worker_id: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        rules: dict[Target, Breaker] = {Target("dependency", name): rule for name, rule in dependencies.items()}
        job_types = list(job_types)
        rules |= {Target("type", found.name): found.breaker for found in job_types if found.breaker is not None}
        self.states = {
            target: BreakerState(target, rule, worker_id, on_change=self._publish_change, clock=clock)
            for target, rule in rules.items()
        }
        self._whys = {target: BreakerOpen(target, state) for target, state in self.states.items()}
        self._needed = {found.name.encode(): needed for found in job_types if (needed := self._needed_by(found))}
        self._queues = {found.queue.name for found in job_types if found.name.encode() in self._needed}
        self._holders: list[JobHolder] = []
        self._offers = Counter[Target]()
        self.begun: dict[Hashable, BegunJob] = {}
        self.decided: deque[Change] = deque()

    @classmethod
    def of_pipeline(cls, pipeline: Pipeline, worker_id: str, clock: Callable[[], float] = time.time) -> Breakers:
        """The breakers that a pipeline declares."""
        return cls(pipeline.job_types.values(), pipeline.dependencies, worker_id=worker_id, clock=clock)

    def __bool__(self) -> bool:
        return bool(self.states)

    def _needed_by(self, job_type: AnyJobType) -> tuple[BreakerState, ...]:
        own = [] if job_type.breaker is None else [self.states[Target("type", job_type.name)]]
        return (*own, *(self.states[Target("dependency", name)] for name in job_type.needs))

    def needed(self) -> Mapping[bytes, tuple[BreakerState, ...]]:
        """{job type: the breakers that hold its jobs}, of those that have any."""
        return self._needed

    def hold(self, queue: Queue) -> bool:
        """Whether jobs of a queue may wait for a breaker."""
        return queue.name in self._queues

    @property
    def dependencies(self) -> list[str]:
        """The names of the dependencies."""
        return [target.name for target in self.states if target.kind == "dependency"]

    def why(self, state: BreakerState) -> BreakerOpen:
        """Why jobs wait for a breaker."""
        return self._whys[state.target]

    def mark_reported(self, job: Hashable, dependency: str) -> None:
        """Note that a block of a job reports about a dependency, so that the end of the whole job does not."""
        begun = self.begun.get(job)
        if begun is not None:
            begun.reported.add(Target("dependency", dependency))

    def add_holder(self, holder: JobHolder) -> None:
        """Have a holder know of changes."""
        self._holders.append(holder)

    def _publish_change(self, state: BreakerState, decided: Change | None) -> None:
        why = self._whys[state.target]
        for holder in self._holders:
            holder.note_change(why)
        if decided is not None:
            self.decided.append(decided)

    # ---- the control thread

    def turn(self) -> None:
        """Let each breaker lease the probe, or hold it, and let go of the job that probes."""
        for target, state in self.states.items():
            if state.opening is None:
                state.turn(is_wanted=False)
                continue
            why = self._whys[target]
            waiting = [holder for holder in self._holders if holder.held(why)]
            if state.turn(is_wanted=bool(waiting)) and waiting:
                # By turns: a queue whose runners are all busy for long would keep the probe from the others.
                self._offers[target] += 1
                waiting[self._offers[target] % len(waiting)].release_first(why)

    def report(self) -> dict[str, dict[str, object]]:
        """{breaker: its state in this process, and how many jobs wait for it}, of those that are not closed."""
        return {
            f"{target.kind}/{target.name}": {"state": state.phase, "held": self._held(target)}
            for target, state in self.states.items()
            if state.opening is not None
        }

    def _held(self, target: Target) -> int:
        return sum(holder.held(self._whys[target]) for holder in self._holders)


NO_BREAKERS: Final = Breakers()
