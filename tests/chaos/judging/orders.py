"""Orders: no run begins that an order holds back or has cancelled, once its worker has answered; none is forgotten."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from chaos.judging.account import Account, Finding
from chaos.judging.reruns import describe
from chaos.notes import Held, Run
from chaos.plan import CANCELLED, JobPlan, queue_of

BEGUN_S: Final = 0.1
"""Between the slot in which a worker sees a run and the note that its job writes."""
BEGUN_IN_CHILD_S: Final = 5.0
"""The same where the job runs in a child process."""


def check_orders(account: Account) -> Iterator[Finding]:
    """Each order holds from its answer until it is lifted, and each is in the trail of orders, or not there at all."""
    for held in account.held:
        for run in _begun_while(held, account.runs):
            plan = account.plans.get(run.number)
            if plan is not None and _is_meant(held, run, plan):
                rule = "cancelled" if held.verb == "cancel" else "paused"
                late_s = run.start_s - held.from_s
                said = f"{late_s:.2f} s after its worker had answered: {held.verb} {held.target}"
                yield Finding(rule, f"{describe(run)} began {said}")
    if sorted(account.standing) != sorted(account.audited):
        yield Finding("audit", f"{account.standing} stand, and by the audit topic {account.audited}")
    for order_id in account.standing:
        yield Finding("paused", f"order {order_id} stands at the end")


def _begun_while(held: Held, runs: Sequence[Run]) -> Iterator[Run]:
    """Runs, by their starts, of the workers that hold to an order."""
    begin = bisect_right(runs, held.from_s + BEGUN_S, key=_start_s)
    for run in runs[begin : bisect_left(runs, held.until_s, key=_start_s)]:
        is_begun_before = run.child and run.start_s < held.from_s + BEGUN_IN_CHILD_S
        if run.pid not in held.missing and not is_begun_before:
            yield run


def _start_s(run: Run) -> float:
    return run.start_s


def _is_meant(held: Held, run: Run, plan: JobPlan) -> bool:
    kind, _, name = held.target.partition("=")
    queue, _, part = name.partition(":")
    match kind:
        case "below":
            return plan.kind == CANCELLED and plan.number < int(name)
        case "type":
            return plan.kind == name
        case "key":
            return queue_of(plan.kind) == queue and plan.key == part
        case "partition":
            return queue_of(plan.kind) == queue and run.place.split("/")[1] == part
        case "queue":
            return queue_of(plan.kind) == name
        case "worker":
            return name.rpartition("-")[2] == str(run.pid)
        case _:
            return True
