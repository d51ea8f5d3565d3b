"""`Account`: everything that was observed from outside in one run, and nothing that Stoker says of itself."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chaos.judging.schedules import NO_SCHEDULES, Scheduled
from chaos.notes import DISCARDED, FAILED, OK, Held, Run, read_confirmations, read_runs, read_stops
from chaos.plan import (
    ATTEMPTS,
    BEYOND,
    MAY_BE_CANCELLED,
    QUARANTINED,
    UNIQUE,
    JobPlan,
    JobPlans,
    is_doomed,
    is_to_be_cancelled,
)

HITS_PROCESSES: Final = frozenset(
    {"kill_workers", "kill_fleet", "kill_coordinator", "stop_worker", "pause_worker", "job_death", "order_stop"}
)
"""Faults that name the worker processes which they hit."""
HITS_ALL: Final = frozenset(
    {
        *("kill_broker", "roll_broker", "fill_disk", "move_leaders"),
        *("cut_network", "freeze_network", "delay_network", "throttle_network"),
    }
)
"""Faults between the workers and the brokers, which any worker may feel."""
LOST: Final = "lost_partitions"
"""A worker's log has that it lost partitions: for want of a processor, no heartbeat of it came in time."""
MOVES_PARTITIONS: Final = frozenset({*HITS_PROCESSES, *HITS_ALL, "storm_rebalances", "start", LOST})
NO_FAULTS: Final = frozenset({"job_death", "order_stop", "start", LOST})
"""What explains runs as faults do, and is none of the plan's: the fleets' first start, what jobs or orders end, and
what the machine was too busy for."""
STOPPED_S: Final = 20.0
"""So long after it was ordered to stop, a worker is gone, or was not there to take the order."""


@dataclass(slots=True, kw_only=True)
class Strike:
    """A fault that has happened.

    Attributes:
        begin_s, end_s: monotonic; the end is when the cause is gone, such as the broker is back.
        pids: the processes it hit, where it hits processes.
        places: the partitions of main topics that it took from their worker, where it hits nothing else.
        detail: its particulars in words.
    """

    kind: str
    after: int
    begin_s: float
    end_s: float = 0.0
    pids: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter.

    Attributes:
        number: None where its headers do not say which job it was.
        origin: the record as which the job came, `topic/partition/offset`.
        attempt: the run that failed last.
    """

    number: int | None
    reason: str
    origin: str
    attempt: int
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is checked.

    Attributes:
        plans: {number: plan} of all jobs of the run.
        runs: all of them, in the order of their starts.
        confirmed: {number: how often the brokers confirmed it, as far as a producer noted}.
        effects: {number: how often its effect is in the database}; None where the run had no such jobs.
        waiting: jobs that wait in a tier at the end.
        ended: worker processes that ended on their own, as their supervisor says: {pid: how}.
        max_in_flight: jobs that a worker takes at the most for each queue.
        enqueued_until_at_s: when the producers were done; the rate falls from there on.
        held: what orders held back, and from when until when.
        given: the orders that were given, and from when until when they may have held something back.
        cancelled: jobs that the ledger knows as cancelled.
        stamps: {number: when it was enqueued, by its producer's clock}, of jobs that ran and a filter may have meant.
        first_confirmed_s: {number: when a producer first noted that the brokers have it}.
        arrived: {number: when the brokers took its records}, of unique jobs, by the machine's monotonic clock.
        standing, audited: the orders that stand at the end on the control topic, and by the audit topic; of cancels
            neither.
    """

    plans: Mapping[int, JobPlan]
    runs: Sequence[Run]
    confirmed: Mapping[int, int]
    strikes: Sequence[Strike]
    dead_letters: Sequence[DeadLetter]
    waiting: frozenset[int] = frozenset()
    effects: Mapping[int, int] | None = None
    ended: Mapping[int, str] = field(default_factory=dict)
    max_in_flight: int = 4_000
    enqueued_until_at_s: float = math.inf
    held: Sequence[Held] = ()
    given: Sequence[Held] = ()
    cancelled: frozenset[int] = frozenset()
    stamps: Mapping[int, float] = field(default_factory=dict)
    first_confirmed_s: Mapping[int, float] = field(default_factory=dict)
    standing: Sequence[str] = ()
    audited: Sequence[str] = ()
    scheduled: Scheduled = NO_SCHEDULES
    arrived: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def runs_by_job(self) -> dict[int, list[Run]]:
        """{number: its runs by start}."""
        found: dict[int, list[Run]] = defaultdict(list)
        for run in self.runs:
            found[run.number].append(run)
        return found


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken guarantee."""

    rule: str
    what: str


def expected_attempts(plan: JobPlan) -> int:
    """How many attempts a job must take."""
    if plan.kind in ("flaky", "strict_flaky"):
        return plan.how + 1
    return ATTEMPTS if is_doomed(plan.kind) else 1


def is_final(run: Run, plan: JobPlan) -> bool:
    """Whether a run that ended so settles its job."""
    return run.how in (OK, DISCARDED) or (run.how == FAILED and run.attempt >= expected_attempts(plan))


def offset_of(place: str) -> int:
    """The offset of `topic/partition/offset`."""
    return int(place.rpartition("/")[2])


def load_runs(folder: Path) -> list[Run]:
    """All runs, by start."""
    return sorted(read_runs(folder), key=lambda run: run.start_s)


def load_confirmed(folder: Path) -> dict[int, list[float]]:
    """{number: when the brokers confirmed it, ascending}."""
    found: dict[int, list[float]] = defaultdict(list)
    for confirmation in sorted(read_confirmations(folder), key=lambda one: one.at_s):
        found[confirmation.number].append(confirmation.at_s)
    return dict(found)


def ordered_stops(folder: Path) -> list[Strike]:
    """The workers that an operator has stopped."""
    return [
        Strike(kind="order_stop", after=0, begin_s=at_s, end_s=at_s + STOPPED_S, pids=[pid])
        for pid, at_s in read_stops(folder)
    ]


def load_plans(seed: int, jobs: int) -> dict[int, JobPlan]:
    """The plans of all jobs of a run."""
    plans = JobPlans(seed)
    return {number: plans.of(number) for number in range(jobs)}


def write_strikes(path: Path, strikes: Iterable[Strike]) -> None:
    """Note faults, one JSON object a line."""
    with path.open("a", encoding="utf-8") as file:
        for strike in strikes:
            fields = {name: getattr(strike, name) for name in Strike.__slots__}
            file.write(json.dumps(fields) + "\n")


def may_end_cancelled(plan: JobPlan) -> bool:
    """Whether the job ends with a run or as cancelled, as its orders come."""
    return plan.kind in MAY_BE_CANCELLED or is_to_be_cancelled(plan)


def is_settled_by_run(plan: JobPlan) -> bool:
    """Whether the job ends with a run that succeeds or discards itself."""
    return plan.kind not in ("poison", BEYOND, UNIQUE, *MAY_BE_CANCELLED, *QUARANTINED) and not is_doomed(plan.kind)
