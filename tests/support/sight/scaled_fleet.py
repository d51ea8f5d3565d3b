"""`Plant`: a queue with workers that start slowly and pause while partitions are assigned, for a scaler to steer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Final

from stoker.operations.scaling.load import LimitAdmission, QueueLoad, ScalingPolicy
from stoker.operations.scaling.rule import Recommendation
from stoker.operations.scaling.scaler import Scaler

TICK_S: Final = 5.0
PAUSE_S: Final = 5.0
"""For how long nothing runs when workers come or go."""
Shown = Callable[[QueueLoad], QueueLoad | None]


@dataclass
class Step:
    """One tick of the simulation."""

    at_s: float
    workers: int
    starting: int
    waiting: float
    found: Recommendation | None


@dataclass
class Plant:
    """The queue: jobs come, workers take them in their order.

    Attributes:
        arrivals: {second: jobs a second}.
        run_s: how long a run takes; a worker has `runners`.
        start_s: how long a worker takes to start.
        limit_per_s: how many may begin in a second.
        stuck: jobs that wait for a key, whoever runs them.
        shows_runs: whether statistics are kept; without them the rule knows of runs only what busy runners show.
    """

    arrivals: Callable[[float], float]
    partitions: int = 24
    workers: int = 2
    run_s: float = 0.5
    runners: int = 8
    start_s: float = 30.0
    limit_per_s: float | None = None
    stuck: int = 0
    shows_runs: bool = True
    at_s: float = 0.0
    lot: deque[list[float]] = field(default_factory=deque)
    starting: list[float] = field(default_factory=list)
    paused_until_at_s: float = 0.0
    changed_s: float = -1e9

    @property
    def waiting(self) -> float:
        """Jobs that have not begun."""
        return sum(count for _, count in self.lot)

    @property
    def worker_per_s(self) -> float:
        """Jobs a second of one worker."""
        return self.runners / self.run_s

    def scale_to(self, wanted: int) -> None:
        """Start and stop workers, as KEDA does: at once."""
        missing = wanted - self.workers - len(self.starting)
        self.starting += [self.at_s + self.start_s] * max(missing, 0)
        surplus = max(-missing, 0)
        dropped = min(surplus, len(self.starting))
        self.starting = self.starting[: len(self.starting) - dropped]
        if surplus > dropped:
            self._change(self.workers - (surplus - dropped))

    def tick(self) -> QueueLoad:
        """Let time pass; the load as it is observed."""
        self.at_s += TICK_S
        ready = sum(due_s <= self.at_s for due_s in self.starting)
        if ready:
            self.starting = [due_s for due_s in self.starting if due_s > self.at_s]
            self._change(self.workers + ready)
        come = self.arrivals(self.at_s) * TICK_S
        if come:
            self.lot.append([self.at_s, come])
        busy_workers = min(self.workers, self.partitions)
        could = 0.0 if self.at_s <= self.paused_until_at_s else busy_workers * self.worker_per_s * TICK_S
        limited = could if self.limit_per_s is None else min(could, self.limit_per_s * TICK_S)
        done = self._take(limited)
        return self._load(come / TICK_S, done / TICK_S, is_limited=limited < could)

    def _change(self, workers: int) -> None:
        self.workers, self.changed_s = workers, self.at_s
        self.paused_until_at_s = self.at_s + PAUSE_S

    def _take(self, many: float) -> float:
        taken = 0.0
        while self.lot and taken < many - 1e-9:
            part = min(self.lot[0][1], many - taken)
            self.lot[0][1] -= part
            taken += part
            if self.lot[0][1] < 1e-6:
                self.lot.popleft()
        return taken

    def _load(self, arriving: float, done: float, *, is_limited: bool) -> QueueLoad:
        busy = round(done * self.run_s)
        waiting = round(self.waiting) + self.stuck + busy
        not_runnable = {"key": self.stuck} if self.stuck else {}
        not_runnable |= {"limited": round(self.waiting)} if is_limited and self.waiting > 1 else {}
        return QueueLoad(
            queue="work", at_s=self.at_s, partitions=self.partitions, backlog=waiting,
            oldest_s=self._oldest_s(), arriving_per_s=arriving, done_per_s=done, workers=self.workers,
            runners=self.runners, busy=busy,
            run_s=self.run_s if self.shows_runs else None, not_runnable=not_runnable,
            admissions=() if self.limit_per_s is None else (LimitAdmission(limit="api", per_s=self.limit_per_s),),
            is_settled=self.at_s - self.changed_s > 60,
        )  # fmt: skip

    def _oldest_s(self) -> float | None:
        if self.stuck:
            return self.at_s
        return self.at_s - self.lot[0][0] if self.lot else None


def steer(plant: Plant, policy: ScalingPolicy, seconds: float, shown: Shown = lambda load: load) -> list[Step]:
    """Let a scaler steer the plant; `shown` changes what it sees, and gives None where it sees nothing."""
    scaler, steps = Scaler(policy), []
    for _ in range(int(seconds / TICK_S)):
        load = shown(plant.tick())
        found = None if load is None else scaler.look(load)
        if found is not None and found.wanted is not None:
            plant.scale_to(found.wanted)
        steps.append(Step(plant.at_s, plant.workers, len(plant.starting), plant.waiting, found))
    return steps


def turns(steps: list[Step]) -> int:
    """How often the number of wanted workers turns from up to down, or from down to up."""
    wanted = [step.found.wanted for step in steps if step.found and step.found.wanted is not None]
    ways = [after > before for before, after in pairwise(wanted) if after != before]
    return sum(one != other for one, other in pairwise(ways))


def no_look(_: QueueLoad) -> QueueLoad | None:
    """A look that has failed."""
    return None


def without_workers(load: QueueLoad) -> QueueLoad:
    """A look at which the workers are not known."""
    return replace(load, workers=None)


def without_rates(load: QueueLoad) -> QueueLoad:
    """A look at which the rates are not known."""
    return replace(load, arriving_per_s=None, done_per_s=None)


POLICY: Final = ScalingPolicy(target_wait=timedelta(seconds=10))
