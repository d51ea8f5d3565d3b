"""Orders: no run begins that an order holds back or has cancelled, once its worker has answered; none is forgotten."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from chaos.judging.account import Account, Finding, may_end_cancelled
from chaos.judging.reruns import describe
from chaos.notes import Held, Run
from chaos.plan import (
    BEYOND,
    CANCELLED,
    FILTERED,
    REFUSED,
    RESCHEDULED,
    JobPlan,
    is_to_be_cancelled,
    queue_of,
    tenant_of,
)

BEGUN_S: Final = 0.1
"""Between the slot in which a worker sees a run and the note that its job writes."""
BEGUN_IN_CHILD_S: Final = 5.0
"""The same where the job runs in a child process."""
OPEN_S: Final = 60.0
"""A job that was enqueued so long before a block of its type may have waited until then."""
SEEN_S: Final = 30.0
"""So long after a block was lifted, a worker that was frozen or cut off may not know it."""
MOVED_S: Final = 90.0
"""More than two jumps of the clock."""


def check_orders(account: Account) -> Iterator[Finding]:
    """Each order holds from its answer until it is lifted, and each is in the trail of orders, or not there at all."""
    yield from _check_far(account)
    yield from _check_cancelled(account)
    for held in account.held:
        for run in _begun_while(held, account.runs):
            plan = account.plans.get(run.number)
            if plan is not None and _is_meant(held, run, plan, account.stamps):
                rule = "cancelled" if held.verb == "cancel" else "paused"
                late_s = run.start_s - held.from_s
                said = f"{late_s:.2f} s after its worker had answered: {held.verb} {held.target}"
                yield Finding(rule, f"{describe(run)} began {said}")
    if sorted(account.standing) != sorted(account.audited):
        yield Finding("audit", f"{account.standing} stand, and by the audit topic {account.audited}")
    for order_id in account.standing:
        yield Finding("paused", f"order {order_id} stands at the end")


def _check_far(account: Account) -> Iterator[Finding]:
    """What is due after the end of the run begins after an operator has said so, or not at all."""
    given = {held.target: held.from_s for held in reversed(account.given) if held.verb == "reschedule"}
    for run in account.runs:
        plan = account.plans.get(run.number)
        if plan is None or plan.kind not in (BEYOND, RESCHEDULED):
            continue
        if plan.kind == BEYOND or run.start_s < given.get(f"job={plan.number}", math.inf):
            yield Finding("early", f"job {plan.number} ({plan.kind}): {describe(run)}, and nobody had rescheduled it")


def _check_cancelled(account: Account) -> Iterator[Finding]:
    """A job ends as cancelled by an order that was given, or since it says so itself."""
    blocks = [held for held in account.given if held.verb == "discard"]
    filters = [held.from_s for held in account.given if held.target == "filter"]
    for number in sorted(account.cancelled):
        plan = account.plans.get(number)
        at_s = account.first_confirmed_s.get(number, 0.0)
        if plan is None or not (may_end_cancelled(plan) or plan.kind == "discarding"):
            yield Finding("cancelled", f"job {number} ended as cancelled, and nobody has said so")
        elif plan.kind == REFUSED and not any(
            held.from_s - OPEN_S <= at_s <= held.until_at_s + SEEN_S for held in blocks
        ):
            yield Finding("cancelled", f"job {number} was cancelled, and no block of its type stood")
        elif plan.kind == FILTERED and at_s > max(filters, default=0.0) + MOVED_S:
            yield Finding("cancelled", f"job {number} was cancelled, and was enqueued after the orders")


def _begun_while(held: Held, runs: Sequence[Run]) -> Iterator[Run]:
    """Runs, by their starts, of the workers that hold to an order."""
    begin = bisect_right(runs, held.from_s + BEGUN_S, key=_start_s)
    for run in runs[begin : bisect_left(runs, held.until_at_s, key=_start_s)]:
        is_begun_before = run.child and run.start_s < held.from_s + BEGUN_IN_CHILD_S
        if run.pid not in held.missing and not is_begun_before:
            yield run


def _start_s(run: Run) -> float:
    return run.start_s


def _is_meant(held: Held, run: Run, plan: JobPlan, stamps: Mapping[int, float]) -> bool:
    kind, _, name = held.target.partition("=")
    queue, _, part = name.partition(":")
    match kind:
        case "below":
            return plan.kind == CANCELLED and plan.number < int(name)
        case "beyond":
            return is_to_be_cancelled(plan) and plan.number < int(name)
        case "filtered":
            return plan.kind == FILTERED and stamps.get(plan.number, math.inf) < float(name)
        case "tenant":
            return tenant_of(plan) == name
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
