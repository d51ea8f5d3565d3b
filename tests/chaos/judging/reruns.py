"""Runs beyond the first: each must be explained by a fault that was named, and the run before it in flight then.

What was in flight when a process was killed, paused or cut off may run again. What had ended and was settled may not:
its name is in the ledger. Settling and its confirmation take a moment, longer while brokers are away.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chaos.judging.account import HITS_ALL, HITS_PROCESSES, MOVES_PARTITIONS, Account, Finding, Strike
from chaos.notes import Run
from chaos.plan import QUARANTINED
from stoker.topology.wire.names import id_space

SETTLE_S: Final = 6.0
"""What has ended so long before a process is hit is settled, as long as the brokers answer and processors are not
short; beside this, only as many can be unsettled as a worker takes at a time."""
DYING: Final = QUARANTINED | {"stumbling"}
DYING_S: Final = 1.0
LOST_S: Final = 15.0
"""So long after brokers and network are well again, a worker may still learn that its partitions were another's."""
MOVING_S: Final = 30.0
"""So long after its cause, a rebalance may still take a partition from a job that runs."""
REVOKE_GRACE_S: Final = 3.0
"""What the harness's workers give running jobs before a partition moves; who has not ended by then is late."""


@dataclass(frozen=True, slots=True)
class Rerun:
    """A run of an attempt that had run before; `cause` is None where no fault explains it."""

    before: Run
    again: Run
    cause: Strike | None


def find_reruns(account: Account, by_job: Mapping[int, Sequence[Run]]) -> list[Rerun]:
    """All repeated runs with their causes."""
    causes = Causes(account.strikes, Flights(account))
    return [
        Rerun(before, again, causes.of(before, again)) for runs in by_job.values() for before, again in _repeats(runs)
    ]


def _repeats(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Pairs of runs of the same attempt of the same record; a run after a snooze is of the same attempt, as planned."""
    if len(runs) < 2:
        return
    groups: dict[tuple[str, int, bool], list[Run]] = defaultdict(list)
    for run in runs:
        is_first_place = run.place == run.origin
        groups[run.origin, run.attempt, is_first_place and run.attempt == 1].append(run)
    for group in groups.values():
        yield from itertools.pairwise(group)


def with_job_deaths(account: Account) -> Account:
    """The account with each death that a job brought on itself among the faults: of its child, or of a whole worker."""
    deaths = [
        Strike(kind="job_death", after=0, begin_s=run.start_s, end_s=run.start_s + DYING_S, pids=[run.process])
        for run in account.runs
        if run.end_s is None and run.number in account.plans and account.plans[run.number].kind in DYING
    ]
    return replace(account, strikes=sorted([*account.strikes, *deaths], key=lambda strike: strike.begin_s))


def deaths_of_workers(account: Account) -> list[Strike]:
    """The deaths of whole workers among those that jobs brought about: what these had is another's only in a while."""
    workers = {run.pid for run in account.runs}
    return [s for s in with_job_deaths(account).strikes if s.kind == "job_death" and workers.issuperset(s.pids)]


class Flights:
    """Knows which runs of a process may have been unsettled at a moment: the last that it took, up to its bound."""

    def __init__(self, account: Account) -> None:
        self._bound = account.max_in_flight
        self._starts: dict[tuple[int, str], list[float]] = defaultdict(list)
        for run in account.runs:
            self._starts[run.pid, queue_of_place(run.place)].append(run.start_s)

    def has(self, run: Run, at_s: float) -> bool:
        """Whether a run may have been unsettled then."""
        if run.end_s is not None and run.end_s < at_s - SETTLE_S:
            return False
        starts, over_s = self._starts[run.pid, queue_of_place(run.place)], run.end_s or at_s
        return run.start_s <= at_s and bisect_right(starts, at_s) - bisect_left(starts, over_s) <= self._bound

    def count(self, pids: Iterable[int], at_s: float) -> int:
        """How many runs of some processes may have been unsettled then."""
        wanted = set(pids)
        return sum(
            min(self._bound, bisect_right(starts, at_s) - bisect_left(starts, at_s - SETTLE_S))
            for (pid, _), starts in self._starts.items()
            if pid in wanted
        )


def queue_of_place(place: str) -> str:
    """The main topic of a record's queue."""
    return id_space(place.partition("/")[0])


def main_partition(place: str) -> str:
    """The partition of the main topic that has the same owner as a record's, as `topic/partition`."""
    return f"{queue_of_place(place)}/{place.split('/')[1]}"


class Causes:
    """Finds the fault that explains a repeated run."""

    def __init__(self, strikes: Iterable[Strike], flights: Flights) -> None:
        self._flights = flights
        self._by_pid: dict[int, list[Strike]] = defaultdict(list)
        self._by_place: dict[str, list[Strike]] = defaultdict(list)
        self._all: list[Strike] = []
        self._moving: list[Strike] = []
        for strike in strikes:
            for pid in strike.pids if strike.kind in HITS_PROCESSES else ():
                self._by_pid[pid].append(strike)
            for place in strike.places:
                self._by_place[place].append(strike)
            if strike.kind in HITS_ALL:
                self._all.append(strike)
            if strike.kind in MOVES_PARTITIONS:
                self._moving.append(strike)

    def of(self, before: Run, again: Run) -> Strike | None:
        """The nearest explanation: the process was hit, or cut off, or the partition moved from under the run."""
        return (
            next((strike for strike in self._strikes_at(before) if self._was_in_flight(before, strike)), None)
            or next((strike for strike in self._by_pid[again.pid] if _wakes_with(again, strike)), None)
            or next((strike for strike in self._all if _overlaps(before, again, strike)), None)
            or self._moved(before, again)
        )

    def _strikes_at(self, run: Run) -> list[Strike]:
        """The faults that hit the process of a run, or took its partition; what ends a worker ends its children."""
        own = self._by_pid[run.child] if run.child else []
        return own + self._by_pid[run.pid] + self._by_place[main_partition(run.place)]

    def _was_in_flight(self, run: Run, strike: Strike) -> bool:
        # A process that was paused goes on with what it holds until it learns that its partitions are another's.
        knows_s = strike.end_s + (LOST_S if strike.kind == "pause_worker" else DYING_S)
        if self._flights.has(run, strike.begin_s) or strike.begin_s <= run.start_s <= knows_s:
            return True
        return run.start_s <= strike.begin_s and any(
            run.end_s is not None and other.begin_s - SETTLE_S <= run.end_s <= other.end_s + LOST_S
            for other in self._all
            if strike.begin_s <= other.end_s + LOST_S
        )

    def _moved(self, before: Run, again: Run) -> Strike | None:
        """A run that was longer than the grace, and begun again, had outlived its partition, which may have come back.

        However much later: the new owner knows what the ledger held when it took the partition over.
        """
        end_s = again.start_s if before.end_s is None else before.end_s
        if end_s - before.start_s < REVOKE_GRACE_S:
            return None
        causes = [s for s in self._moving if s.begin_s <= end_s and before.start_s <= s.end_s + MOVING_S]
        return causes[-1] if causes else None


def may_be_late(run: Run, next_s: float) -> bool:
    """Whether a run may have been going on when its partition moved to whoever began another one at `next_s`."""
    if run.end_s is None:
        return next_s - run.start_s >= REVOKE_GRACE_S
    return run.end_s - run.start_s >= REVOKE_GRACE_S and next_s <= run.end_s


def _wakes_with(again: Run, strike: Strike) -> bool:
    """Whether a process that was paused began the run again with what it had held before, before it knew better."""
    return strike.kind == "pause_worker" and strike.begin_s <= again.start_s <= strike.end_s + LOST_S


def _overlaps(before: Run, again: Run, strike: Strike) -> bool:
    """Whether the first run was in flight while the fault lasted or was not yet known to be over, and the second came
    of it."""
    ended_at_s = again.start_s if before.end_s is None else before.end_s
    return (
        before.start_s <= strike.end_s + LOST_S
        and ended_at_s >= strike.begin_s - SETTLE_S
        and strike.begin_s <= again.start_s
    )


def check_reruns(account: Account, reruns: Sequence[Rerun]) -> Iterator[Finding]:
    """Each repeated run is explained, and no crash repeats more runs than its processes had in flight."""
    for rerun in reruns:
        if rerun.cause is None:
            kind = account.plans[rerun.again.number].kind if rerun.again.number in account.plans else "unknown"
            said = f"job {rerun.again.number} ({kind}) attempt {rerun.again.attempt} ran again and no fault explains it"
            yield Finding("re-run", f"{said}: {describe(rerun.before)}; then {describe(rerun.again)}")
    for strike, count in count_by_strike(reruns):
        bound = account.max_in_flight * max(1, len(strike.pids)) * 2  # two queues
        if strike.kind in HITS_PROCESSES and count > bound:
            said = f"{strike.kind} at {strike.begin_s:.1f} s made {count} runs again"
            yield Finding("re-run", f"{said}; at most {bound} were in flight")


def count_by_strike(reruns: Iterable[Rerun]) -> list[tuple[Strike, int]]:
    """How many repeated runs each fault explains."""
    strikes = {id(rerun.cause): rerun.cause for rerun in reruns if rerun.cause is not None}
    counts = Counter(id(rerun.cause) for rerun in reruns if rerun.cause is not None)
    return [(strike, counts[name]) for name, strike in strikes.items()]


def describe(run: Run) -> str:
    """A run in words."""
    end = "without an end" if run.end_s is None else f"to {run.end_s:.2f} s, {run.how}"
    return f"process {run.pid} from {run.start_s:.2f} s {end}, {run.place}"
