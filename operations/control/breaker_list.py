"""Breakers and dead guards as they are shown: their state by the control topic, what waits by the workers' statuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from ...consumers.breakers.breakers import Breakers
from ...consumers.breakers.opening import Opening, Target, opening_of, phase_of, target_of
from ...topology.wire.orders import Verb
from ..cli.output import Figure, format_age

if TYPE_CHECKING:
    from ...schemas.own_records.control_records import ControlOrder, WorkerStatus
    from ...topology import Breaker, DeadGuard, Pipeline

BREAKER_TITLES: Final = ("BREAKER", "STATE", "SINCE", "NEXT", "HELD", "BY", "WHY", "OPENS")
GUARD_TITLES: Final = ("DEAD GUARD", "PAUSES AT", "STATE", "BY", "WHY")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenBreaker:
    """A breaker as it is now.

    Attributes:
        needed_by: the job types whose jobs wait for it before they begin.
        opening: None where it is closed.
        held: how many jobs wait for it; None where no worker runs that could report it.
    """

    target: Target
    rules: Breaker
    needed_by: tuple[str, ...]
    opening: Opening | None
    state: str
    held: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenGuard:
    """A dead guard, and the order by which its job type is paused, if it is."""

    job_type: str
    rules: DeadGuard
    pause: ControlOrder | None


def seen_breakers(
    pipeline: Pipeline, orders: Iterable[ControlOrder], statuses: Sequence[WorkerStatus], now_s: float
) -> list[SeenBreaker]:
    """The breakers that the pipeline declares, as the orders that stand and the living workers have them."""
    openings = {target_of(order): opening_of(order) for order in orders if order.verb == Verb.OPEN}
    return [
        SeenBreaker(
            target=target,
            rules=state.rules,
            needed_by=_needed_by(pipeline, target),
            opening=openings.get(target),
            state=phase_of(openings.get(target), now_s),
            held=_held(target, statuses) if statuses else None,
        )
        for target, state in Breakers.of_pipeline(pipeline, "").states.items()
    ]


def _needed_by(pipeline: Pipeline, target: Target) -> tuple[str, ...]:
    if target.kind == "type":
        return (target.name,)
    return tuple(name for name, job_type in pipeline.job_types.items() if target.name in job_type.needs)


def _held(target: Target, statuses: Iterable[WorkerStatus]) -> int:
    name = f"{target.kind}/{target.name}"
    return sum(int(status.breakers.get(name, {}).get("held", 0)) for status in statuses)


def breaker_row(seen: SeenBreaker, now_s: float) -> Sequence[object]:
    """One breaker, for people."""
    opening = seen.opening
    return (
        f"{seen.target.kind} {seen.target.name}",
        seen.state,
        "-" if opening is None else f"{format_age(timedelta(seconds=max(0.0, now_s - opening.since_at_s)))} ago",
        _next(opening, now_s),
        Figure("?" if seen.held is None else f"{seen.held:,}"),
        "-" if opening is None else f"{opening.operator}@{opening.host}",
        "-" if opening is None else opening.reason or "-",
        str(seen.rules),
    )


def _next(opening: Opening | None, now_s: float) -> str:
    if opening is None:
        return "-"
    if opening.until_at_s is None:
        return "when it is closed"
    if opening.is_over(now_s):
        return "now"
    left = format_age(timedelta(seconds=opening.until_at_s - now_s))
    return f"{opening.prober} probes" if opening.prober else f"in {left}"


def breaker_document(seen: SeenBreaker) -> dict[str, object]:
    """The data of a breaker, for programs."""
    opening, rules = seen.opening, seen.rules
    return {
        "name": f"{seen.target.kind}/{seen.target.name}",
        "kind": seen.target.kind,
        "target": seen.target.name,
        "needed_by": seen.needed_by,
        "state": seen.state,
        "since": None if opening is None else _instant(opening.since_at_s),
        "until": None if opening is None else _instant(opening.until_at_s),
        "trips": 0 if opening is None else opening.trips,
        "prober": None if opening is None else opening.prober or None,
        "operator": None if opening is None else opening.operator,
        "host": None if opening is None else opening.host,
        "reason": None if opening is None else opening.reason,
        "order_id": None if opening is None else opening.order_id,
        "held": seen.held,
        "declared": {
            "failures": rules.failures,
            "ratio": rules.ratio,
            "window_s": rules.window.total_seconds(),
            "least": rules.least,
            "open_for_s": rules.open_for.total_seconds(),
            "longest_s": rules.longest.total_seconds(),
        },
    }


def _instant(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)


def seen_guards(pipeline: Pipeline, orders: Iterable[ControlOrder], now_s: float) -> list[SeenGuard]:
    """The dead guards that the pipeline declares, and the pauses of their job types."""
    now = datetime.fromtimestamp(now_s, UTC)
    paused = {
        order.job_type: order
        for order in orders
        if order.verb == Verb.PAUSE and order.job_type is not None and not order.is_over(now)
    }
    return [
        SeenGuard(job_type=name, rules=job_type.dead_guard, pause=paused.get(name))
        for name, job_type in pipeline.job_types.items()
        if job_type.dead_guard is not None
    ]


def guard_row(seen: SeenGuard) -> Sequence[object]:
    """One guard, for people."""
    pause = seen.pause
    state = (
        ("watches", "-", "-") if pause is None else ("paused", f"{pause.operator}@{pause.host}", pause.reason or "-")
    )
    return (f"type {seen.job_type}", str(seen.rules), *state)


def guard_document(seen: SeenGuard) -> dict[str, object]:
    """The data of a guard, for programs."""
    pause = seen.pause
    return {
        "job_type": seen.job_type,
        "most": seen.rules.most,
        "within_s": seen.rules.within.total_seconds(),
        "is_paused": pause is not None,
        "since": None if pause is None else pause.at,
        "operator": None if pause is None else pause.operator,
        "reason": None if pause is None else pause.reason,
        "order_id": None if pause is None else pause.order_id,
    }
