"""The checks: from an account, every guarantee that it shows broken. Pure; a fabricated account is checked alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from chaos.judging.account import HITS_ALL, Account, Finding, expected_attempts, is_final, may_end_cancelled
from chaos.notes import DISCARDED, OK, Run
from chaos.plan import DEFERRED, MAY_BE_CANCELLED, QUARANTINED, UNIQUE, JobPlan, is_doomed, is_to_wait, poison_name

UNREACHABLE: Final = "exit code 3"
"""What `stoker worker` ends with when Kafka cannot be reached at its start; its supervisor starts it again."""
CERTAIN_DEATHS: Final = 2
"""Of the three that put a job away, one may have been a worker's own."""
SPENT: Final = "attempts-spent"
POISON_REASONS: Final = {
    "garbage": "undecodable",
    "empty": "undecodable",
    "no_headers": "malformed",
    "no_type": "malformed",
    "null_header": "malformed",
    "bad_attempt": "malformed",
    "bad_due": "malformed",
}


def check_outcomes(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """Every confirmed job has the outcome that its plan wants (P1)."""
    dead = {dead_letter.number for dead_letter in account.dead_letters}
    for number in account.confirmed:
        plan = account.plans[number]
        runs = by_job.get(number, ())
        if plan.kind == UNIQUE:
            continue  # which of them are superfluous is checked by itself
        if may_end_cancelled(plan) or is_to_wait(plan):
            missing = _missing_end(plan, runs, number in account.cancelled, number in account.waiting)
        else:
            missing = _missing_outcome(plan, runs, number in dead, number in account.waiting)
        if missing:
            yield Finding("lost", f"job {number} ({plan.kind}, key {plan.key}) {missing}")
    unconfirmed = len(account.plans.keys() - account.confirmed.keys())
    if unconfirmed:
        yield Finding("unconfirmed", f"{unconfirmed:,} jobs of the plan were never confirmed")


def _missing_end(plan: JobPlan, runs: Sequence[Run], is_cancelled: bool, is_waiting: bool) -> str | None:
    """What is missing of a job that may be cancelled, or is to wait on."""
    if is_to_wait(plan):
        return None if is_waiting else "waits nowhere"
    if is_cancelled or (plan.kind in MAY_BE_CANCELLED and any(run.how == OK for run in runs)):
        return None
    return f"was neither cancelled nor run to its end{', and waits on' if is_waiting else ''}"


def _missing_outcome(plan: JobPlan, runs: Sequence[Run], is_dead: bool, is_waiting: bool) -> str | None:
    if plan.kind == "poison" and poison_name(plan) in DEFERRED:
        return None if is_waiting else "waits in no tier"
    if expected_reason(plan) is not None:
        return None if is_dead else f"is not among the dead letters; it ran {len(runs)} times"
    wanted = DISCARDED if plan.kind == "discarding" else OK
    return None if any(run.how == wanted for run in runs) else f"never ended {wanted!r}; it ran {len(runs)} times"


def check_dead_letters(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """Dead letters are exactly those expected, for the reason expected; a second one of a record needs a second run."""
    counts = Counter((dead_letter.number, dead_letter.origin) for dead_letter in account.dead_letters)
    for dead_letter in account.dead_letters:
        plan = None if dead_letter.number is None else account.plans.get(dead_letter.number)
        wanted = None if plan is None else expected_reason(plan)
        if dead_letter.reason != wanted:
            kind = "an unknown job" if plan is None else f"job {plan.number} ({plan.kind})"
            yield Finding(
                "dead letter", f"{dead_letter.place} holds {kind} as {dead_letter.reason!r}, expected was {wanted!r}"
            )
    for (number, origin), count in counts.items():
        last_runs = [run for run in by_job.get(number or 0, ()) if run.origin == origin and _is_last(run, account)]
        if count > max(1, len(last_runs)) and not _is_poison(number, account):
            yield Finding("dead letter", f"job {number} has {count} dead letters of {origin}")


def expected_reason(plan: JobPlan) -> str | None:
    """Why a job is expected among the dead letters; None where it is not."""
    if plan.kind == "poison":
        return POISON_REASONS.get(poison_name(plan))
    if plan.kind in QUARANTINED:
        return "quarantined"
    return SPENT if is_doomed(plan.kind) else None


def _is_last(run: Run, account: Account) -> bool:
    return run.attempt >= expected_attempts(account.plans[run.number])


def _is_poison(number: int | None, account: Account) -> bool:
    return number is None or (number in account.plans and account.plans[number].kind == "poison")


def check_attempts(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """Attempts are numbered without a gap from 1 and are as many as the plan wants: none lost, none invented (P8)."""
    for number, runs in by_job.items():
        plan = account.plans.get(number)
        if plan is None or number not in account.plans:
            yield Finding("attempts", f"job {number} ran and is in no plan")
            continue
        wanted = expected_attempts(plan)
        by_origin: dict[str, set[int]] = defaultdict(set)
        for run in runs:
            by_origin[run.origin].add(run.attempt)
        for origin, attempts in by_origin.items():
            if attempts != set(range(1, len(attempts) + 1)) or len(attempts) > wanted:
                said = f"had the attempts {sorted(attempts)}, expected were 1 to {wanted}"
                yield Finding("attempts", f"job {number} ({plan.kind}) from {origin} {said}")
        if max(map(len, by_origin.values())) < wanted and not any(is_final(run, plan) for run in runs):
            yield Finding("attempts", f"job {number} ({plan.kind}) ended before its {wanted} attempts")


def check_effects(account: Account) -> Iterator[Finding]:
    """Each effect through the inbox is there exactly once (P3)."""
    if account.effects is None:
        return
    for number, plan in account.plans.items():
        count = account.effects.get(number, 0)
        if plan.kind == "effect" and number in account.confirmed and count != 1:
            yield Finding("doubled" if count else "lost", f"the effect of job {number} is there {count} times")
    for number in account.effects.keys() - account.plans.keys():
        yield Finding("doubled", f"there is an effect of job {number}, which is in no plan")


def check_deaths(account: Account) -> Iterator[Finding]:
    """A worker process ends because a fault or a job ended it, or for want of brokers at its start, and never else."""
    hit = {pid for strike in account.strikes for pid in strike.pids}
    hit |= {run.pid for run in account.runs if run.end_s is None and _kills(run, account)}
    is_disturbed = any(strike.kind in HITS_ALL for strike in account.strikes)
    for pid, how in account.ended.items():
        if pid not in hit and not (how == UNREACHABLE and is_disturbed):
            yield Finding("died", f"worker process {pid} ended on its own: {how}")


def _kills(run: Run, account: Account) -> bool:
    plan = account.plans.get(run.number)
    return plan is not None and plan.kind == "killing"


def check_quarantine(account: Account, by_job: Mapping[int, Sequence[Run]]) -> Iterator[Finding]:
    """A job that kills its processes is not put away before two children have died under it, and none but it."""
    for dead_letter in account.dead_letters:
        plan = None if dead_letter.number is None else account.plans.get(dead_letter.number)
        if plan is not None and plan.kind == "exiting":
            deaths = sum(run.end_s is None for run in by_job.get(plan.number, ()))
            if deaths < CERTAIN_DEATHS:
                yield Finding("quarantine", f"job {plan.number} was put away after {deaths} deaths")
