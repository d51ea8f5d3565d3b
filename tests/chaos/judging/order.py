"""Order per key: what the outside ledger says about who ran before whom (P4), and strictly so through retries."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from chaos.judging.account import HITS_ALL, MOVES_PARTITIONS, Account, Finding, Strike, is_final, offset_of
from chaos.judging.reruns import MOVING_S, describe, main_partition, may_be_late
from chaos.notes import Run
from chaos.plan import LATER, JobPlan, queue_of


def check_order(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """First runs of a key begin in the order of its records; in the strict queue, each when the one before is over.

    Delayed jobs have keys of their own: they begin as they fall due.
    """
    for key, numbers in jobs_by_key(account, by_job).items():
        if account.plans[numbers[0]].kind in LATER:
            continue
        queue = queue_of(account.plans[numbers[0]].kind)
        for earlier, later in itertools.pairwise(numbers):
            first, second = by_job[earlier], by_job[later]
            if second[0].start_s < first[0].start_s:
                yield Finding("order", f"key {key}: {describe(second[0])} began before {describe(first[0])}")
            elif queue == "strict" and second[0].start_s < _over_s(first, account.plans[earlier]):
                last = first[-1]
                yield Finding(
                    "strict order", f"key {key}: {describe(second[0])} began before the end of {describe(last)}"
                )


def jobs_by_key(account: Account, by_job: Mapping[int, Sequence[Run]]) -> dict[str, list[int]]:
    """{key: its jobs that ran, in the order of their records}. Of a job that was enqueued twice, the first counts."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, runs in by_job.items():
        plan = account.plans.get(number)
        if plan is not None and plan.key is not None:
            found[plan.key].append((min(offset_of(run.origin) for run in runs), number))
    return {key: [number for _, number in sorted(places)] for key, places in found.items()}


def _over_s(runs: Sequence[Run], plan: JobPlan) -> float:
    """When the job was over: the end of the first run that settled it, or the start of its last where none is noted."""
    ends = (run.end_s for run in runs if run.end_s is not None and is_final(run, plan))
    return min(ends, default=max((run.start_s for run in runs), default=math.inf))


def check_overlaps(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """Jobs of one key run one at a time, unless a fault took the partition from a worker in whose hands one was."""
    moves = Moves(account.strikes)
    for key, numbers in jobs_by_key(account, by_job).items():
        runs = sorted((run for number in numbers for run in by_job[number]), key=lambda run: run.start_s)
        running: Run | None = None
        for run in runs:
            if running is not None and run.start_s < (running.end_s or 0.0) and not moves.explain(running, run):
                yield Finding("overlap", f"key {key}: {describe(run)} began within {describe(running)}")
            if run.end_s is not None and (running is None or run.end_s > (running.end_s or 0.0)):
                running = run


class Moves:
    """Knows when partitions were taken from workers that could not know it, or in whose hands a job still ran."""

    def __init__(self, strikes: Sequence[Strike]) -> None:
        self._moving = [strike for strike in strikes if strike.kind in MOVES_PARTITIONS]

    def explain(self, earlier: Run, later: Run) -> bool:
        """Whether a fault explains that a run began while another one of its key went on."""
        causes = [strike for strike in self._moving if _is_recent(strike, later.start_s)]
        if any(earlier.pid in strike.pids and strike.kind == "pause_worker" for strike in causes):
            return True
        if any(strike.kind in HITS_ALL or main_partition(earlier.place) in strike.places for strike in causes):
            return True
        is_moved = any(_may_move_within(strike, earlier.start_s, later.start_s) for strike in self._moving)
        return earlier.pid != later.pid and is_moved and may_be_late(earlier, later.start_s)


def _is_recent(strike: Strike, at_s: float) -> bool:
    return strike.begin_s <= at_s <= strike.end_s + MOVING_S


def _may_move_within(strike: Strike, since_s: float, until_s: float) -> bool:
    """Whether a partition may have moved by a fault while the run of `since_s` went on, however long ago that was."""
    return strike.begin_s <= until_s and since_s <= strike.end_s + MOVING_S
