"""`RetryPlan`: how each job is retried, by its state, and why some cannot be. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..job_index.states import State

if TYPE_CHECKING:
    from ..job_index.listed_jobs import ListedJob


class Way(Enum):
    """The way in which a job is retried.

    REPLAY: a dead letter is published to its queue again, with a fresh attempt count. NOW: a job that waits for its
    time is ordered to start now.
    """

    REPLAY = "replay"
    NOW = "now"


_WAYS: Final = {
    State.DEAD: Way.REPLAY,
    State.RETRYING: Way.NOW,
    State.DELAYED: Way.NOW,
    State.SNOOZED: Way.NOW,
    State.DEFERRED: Way.NOW,
}
_WHY_NOT: Final = {
    State.QUEUED: "it waits for its turn already, or runs: `stoker jobs why` shows for what",
    State.DONE: "it is done: `stoker replay` runs a stretch of a queue again, whatever became of it",
    State.DEAD_DISCARDED: "its dead letter was discarded: `stoker dead replay --again` replays it all the same",
    State.CANCELLED: "it was cancelled, and is on no topic any more: enqueue it again",
    State.EXPIRED: "it has expired, and is on no topic any more: enqueue it again",
    State.DISCARDED: "it has discarded itself, and is on no topic any more: enqueue it again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPlan:
    """The jobs that are retried, by the way of it.

    Attributes:
        dead: {queue: dead letters to be replayed}; `to_start` jobs that wait for their time, and are to start now.
        left_out: {why it cannot be retried: how many}.
    """

    dead: dict[str, list[ListedJob]] = field(default_factory=dict)
    to_start: list[ListedJob] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def dead_count(self) -> int:
        """How many dead letters are to be replayed."""
        return sum(map(len, self.dead.values()))

    @property
    def total(self) -> int:
        """How many jobs are to be retried."""
        return self.dead_count + len(self.to_start)


def plan_retry(jobs: Iterable[ListedJob]) -> RetryPlan:
    """Decide for each job how it is retried."""
    plan = RetryPlan()
    for job in jobs:
        match _WAYS.get(job.state):
            case Way.REPLAY:
                plan.dead.setdefault(job.queue, []).append(job)
            case Way.NOW:
                plan.to_start.append(job)
            case None:
                plan.left_out[_WHY_NOT[job.state]] += 1
    return plan


def plan_lines(plan: RetryPlan) -> list[str]:
    """The plan for people."""
    lines = [f"{len(jobs):>10,}  dead letters of {queue}, back to it" for queue, jobs in sorted(plan.dead.items())]
    by_state = Counter(job.state.shown for job in plan.to_start)
    lines += [f"{count:>10,}  {word}, to start now" for word, count in sorted(by_state.items())]
    return lines + [f"{count:>10,}  left alone: {why}" for why, count in sorted(plan.left_out.items())]
