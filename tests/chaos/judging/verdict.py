"""The verdict on an account: all checks together, and the figures that are published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from chaos.judging.account import HITS_PROCESSES, NO_FAULTS, Account, Finding
from chaos.judging.checks import (
    check_attempts,
    check_dead_letters,
    check_deaths,
    check_effects,
    check_outcomes,
    check_quarantine,
)
from chaos.judging.order import check_order, check_overlaps
from chaos.judging.orders import check_orders
from chaos.judging.recovery import Recovery, recoveries
from chaos.judging.reruns import (
    Flights,
    check_reruns,
    count_by_strike,
    deaths_of_workers,
    find_reruns,
    with_job_deaths,
)
from chaos.judging.schedules import broken_schedules
from chaos.judging.unique import check_unique, count_superfluous
from chaos.sharing.ledger import NO_SHARED, Shared
from chaos.sharing.verdict import NOTHING_SHARED, SharedVerdict, judge_shared

KILLS: Final = frozenset({"kill_workers", "kill_fleet"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a run has shown.

    Attributes:
        findings: broken guarantees; none is a success.
        runs, jobs: how many runs there were, and how many jobs were confirmed.
        reruns: {kind of fault: runs that it made again}.
        most_reruns: the most that one crash made again, and how many were in flight at that one.
        job_deaths: processes that jobs have ended, children or whole workers.
        recovered: each fault's time back to the full rate.
        fired: jobs that schedules have enqueued.
        cancelled: jobs that have ended as cancelled.
        superfluous: unique jobs that never ran to their ends.
        shared: what the queues that share have given.
    """

    findings: Sequence[Finding]
    jobs: int
    runs: int
    dead_letters: int
    reruns: Mapping[str, int]
    most_reruns: tuple[int, int]
    job_deaths: int
    recovered: Sequence[Recovery]
    fired: int = 0
    cancelled: int = 0
    superfluous: int = 0
    shared: SharedVerdict = NOTHING_SHARED

    def count(self, *rules: str) -> int:
        """How many findings there are of some rules."""
        return sum(finding.rule in rules for finding in self.findings)


def judge(account: Account, shared: Shared = NO_SHARED) -> Verdict:
    """Check everything."""
    shared_verdict = judge_shared(replace(shared, strikes=[*shared.strikes, *deaths_of_workers(account)]))
    account = with_job_deaths(account)
    by_job = account.runs_by_job()
    reruns = find_reruns(account, by_job)
    findings = [
        *check_outcomes(account, by_job),
        *check_dead_letters(account, by_job),
        *check_attempts(account, by_job),
        *check_effects(account),
        *check_quarantine(account, by_job),
        *check_order(account, by_job),
        *check_overlaps(account, by_job),
        *check_reruns(account, reruns),
        *check_deaths(account),
        *check_orders(account),
        *check_unique(account, by_job),
        *(Finding(broken.rule, broken.what) for broken in broken_schedules(account.scheduled)),
        *shared_verdict.findings,
    ]
    counts: Counter[str] = Counter()
    most, flights = (0, 0), Flights(account)
    for strike, count in count_by_strike(reruns):
        counts[strike.kind] += count
        if strike.kind in HITS_PROCESSES and count > most[0]:
            most = (count, flights.count(strike.pids, strike.begin_s))
    return Verdict(
        findings=findings,
        jobs=len(account.confirmed),
        runs=len(account.runs),
        dead_letters=len(account.dead_letters),
        reruns=counts,
        most_reruns=most,
        job_deaths=sum(strike.kind == "job_death" for strike in account.strikes),
        fired=len(account.scheduled.fired),
        cancelled=len(account.cancelled),
        superfluous=count_superfluous(account, by_job),
        shared=shared_verdict,
        recovered=recoveries(
            account.runs, [s for s in account.strikes if s.kind not in NO_FAULTS], account.enqueued_until_at_s
        ),
    )
