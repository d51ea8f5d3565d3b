"""Limits as they are shown: declared, ordered by the control topic, used and waited for by the workers' statuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from ...consumers.meters.limit_report import ScopeReport, first_of
from ...topology.declaration.limits import Rate, changed, declared_limits, is_shared, shown_by
from ...topology.durations import format_duration
from ...topology.wire.orders import LIMIT, LimitChange
from ..cli.output import Figure, age_since, format_age, table_lines
from .orders_shown import order_document

if TYPE_CHECKING:
    from ...producers.control.answers import LastStatus
    from ...schemas.own_records.control_records import ControlOrder
    from ...topology import Pipeline
    from ...topology.declaration.limits import DeclaredLimit, Limit

TITLES: Final = ("LIMIT", "OF", "DECLARED", "ORDERED", "USED", "HELD", "NEXT")
STALE_AFTER_S: Final = 15.0
"""Workers write their statuses every 5 s."""
NOW_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLimit:
    """A limit as it is now.

    Attributes:
        owners: the queues and job types that declare it; `queues` those whose jobs it counts.
        in_force: the limit by the order that stands, if one does; `is_lifted` whether it holds nothing back.
        held: how many jobs it holds back; None where no worker runs that could report it.
        scopes, full: of how many scopes something is used, and how many of them have no room; None where no worker
            runs that keeps the limit.
        listed: the scopes that hold back most, and those that are fullest.
        stale: {worker: how old its report is}, of those that were silent for longer than a status takes.
    """

    name: str
    owners: tuple[str, ...]
    queues: tuple[str, ...]
    declared: Limit
    in_force: Limit
    is_lifted: bool
    order: ControlOrder | None
    held: int | None
    scopes: int | None
    full: int | None
    listed: tuple[ScopeReport, ...]
    stale: Mapping[str, float]

    @property
    def is_of_all(self) -> bool:
        """Whether it counts all jobs together."""
        return self.declared.by is None


def seen_limits(
    pipeline: Pipeline, orders: Iterable[ControlOrder], statuses: Sequence[LastStatus], now_s: float
) -> list[SeenLimit]:
    """The limits that the pipeline declares, as the orders that stand and the living workers have them."""
    now = datetime.fromtimestamp(now_s, UTC)
    by_name = {order.detail.get(LIMIT): order for order in orders if not order.is_over(now)}
    declared: dict[str, list[DeclaredLimit]] = {}
    for found in declared_limits(pipeline.queues.values(), pipeline.job_types.values()):
        declared.setdefault(found.name, []).append(found)
    return [_seen(name, all_of, by_name.get(name), statuses, now_s) for name, all_of in declared.items()]


def _seen(
    name: str,
    declared: Sequence[DeclaredLimit],
    order: ControlOrder | None,
    statuses: Sequence[LastStatus],
    now_s: float,
) -> SeenLimit:
    limit = declared[0].limit
    in_force, is_lifted = _in_force(limit, order)
    reporting = [(one, report) for one in statuses if (report := one.status.limits.get(name)) is not None]
    held, scopes, full = _counts([report for _, report in reporting])
    return SeenLimit(
        name=name,
        owners=tuple(dict.fromkeys(one.owner for one in declared)),
        queues=tuple(dict.fromkeys(one.queue for one in declared)),
        declared=limit,
        in_force=in_force,
        is_lifted=is_lifted,
        order=order,
        held=held,
        scopes=scopes,
        full=full,
        listed=tuple(_merged(report for _, report in reporting)),
        stale=_stale([one for one, _ in reporting], now_s),
    )


def _in_force(declared: Limit, order: ControlOrder | None) -> tuple[Limit, bool]:
    """The limit as it is kept, and whether it is lifted; workers pass over an order that does not fit it."""
    if order is None:
        return declared, False
    try:
        change = LimitChange.of_order(order)
        return changed(declared, change), change.is_lifted
    except ValueError:
        return declared, False


def _counts(reports: Sequence[Mapping[str, Any]]) -> tuple[int | None, int | None, int | None]:  # as JSON has them
    """How many jobs are held, how many scopes are in use, and how many of them are full; None if not reported."""
    keeping = [report for report in reports if report["keeps"]]
    held = sum(report["held"] for report in reports) if reports else None
    if not keeping:
        return held, None, None
    return held, sum(report["scopes"] for report in keeping), sum(report["full"] for report in keeping)


def _stale(statuses: Iterable[LastStatus], now_s: float) -> dict[str, float]:
    return {one.status.id: one.silent_s(now_s) for one in statuses if one.silent_s(now_s) > STALE_AFTER_S}


def _merged(reports: Iterable[Mapping[str, Any]]) -> list[ScopeReport]:  # as JSON has them
    """The scopes of all workers; of a shared one its coordinator knows the use, and each worker what is held."""
    found: dict[str | None, ScopeReport] = {}
    for scope in (ScopeReport(**scope) for report in reports for scope in report["listed"]):
        other = found.get(scope.value, ScopeReport(value=scope.value))
        waits = [next_s for next_s in (scope.next_s, other.next_s) if next_s is not None]
        found[scope.value] = ScopeReport(
            value=scope.value,
            used=max(scope.used, other.used),
            of=max(scope.of, other.of),
            held=scope.held + other.held,
            next_s=min(waits, default=None),
        )
    return first_of(found.values())


def limit_lines(seen: Sequence[SeenLimit]) -> list[str]:
    """The table for people: a row for each limit and for its scopes, then who ordered what, and what is stale."""
    rows: list[Sequence[object]] = []
    notes: dict[int, list[str]] = {}
    for limit in seen:
        rows.append(_row(limit))
        if not limit.is_of_all:
            rows += [_scope_row(scope) for scope in limit.listed]
        notes[len(rows)] = _notes(limit)
    lines = table_lines(TITLES, rows)
    return [lines[0], *(line for at, row in enumerate(lines[1:], 1) for line in (row, *notes.get(at, [])))]


def _row(seen: SeenLimit) -> Sequence[object]:
    ordered = "-" if seen.order is None else "lifted" if seen.is_lifted else str(seen.in_force)
    held = Figure("?" if seen.held is None else f"{seen.held:,}")
    return (seen.name, _owner(seen), str(seen.declared), ordered, _used(seen), held, _next(seen))


def _owner(seen: SeenLimit) -> str:
    if seen.declared.resource is not None:
        return f"resource {seen.declared.resource}"
    return seen.owners[0].replace("job type", "type").replace("'", "")


def _used(seen: SeenLimit) -> str:
    if seen.scopes is None:
        return "?"
    if not seen.is_of_all:
        return f"{seen.scopes:,} in use, {seen.full:,} full" if seen.scopes else "none in use"
    return _fill(seen.listed[0]) if seen.listed and seen.listed[0].of else "0"


def _fill(scope: ScopeReport) -> str:
    return f"{scope.used:,} of {scope.of:,}" if scope.of else "?"


def _next(seen: SeenLimit) -> str:
    if not seen.held:
        return "-"
    if seen.is_lifted:
        return "now"
    return _until(seen, [scope for scope in seen.listed if scope.held])


def _until(seen: SeenLimit, holding: Sequence[ScopeReport]) -> str:
    known = [scope.next_s for scope in holding if scope.next_s is not None]
    if known:
        return _length(min(known))
    if not isinstance(seen.in_force, Rate):
        return "when one ends"
    if seen.scopes is None:
        return "?"
    return f"within {format_duration(seen.in_force.per)}"  # a window that is full now has room by then


def _length(seconds: float) -> str:
    if seconds < NOW_S:
        return "now"
    return f"in {seconds:.1f}s" if seconds < 10 else f"in {format_age(timedelta(seconds=seconds))}"


def _scope_row(scope: ScopeReport) -> Sequence[object]:
    next_s = "-" if scope.next_s is None else _length(scope.next_s)
    held = Figure(f"{scope.held:,}")
    return (f"  {scope.value}", "", "", "", _fill(scope), held, next_s)


def _notes(seen: SeenLimit) -> list[str]:
    notes = [] if seen.order is None else [f"  ordered {_ordered(seen.order)}"]
    if seen.held is not None and seen.scopes is None:
        notes.append(f"  ! {_no_keeper(seen)}")
    for worker, silent_s in seen.stale.items():
        age = format_age(timedelta(seconds=silent_s))
        notes.append(f"  ! what worker {worker} has reported is {age} old: it hangs, was killed, or is cut off")
    return notes


def _ordered(order: ControlOrder) -> str:
    until = "" if order.until is None else f", until {order.until.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    why = f": {order.reason}" if order.reason else ""
    return f"{age_since(order.at)} ago by {order.operator}@{order.host}{until}{why}"


def _no_keeper(seen: SeenLimit) -> str:
    if is_shared(seen.declared):
        return f"no shares of it are given: no worker has partition 0 of queue {min(seen.queues)} yet"
    return "no worker keeps it yet"


def limit_document(seen: SeenLimit) -> dict[str, object]:
    """The data of a limit, for programs."""
    order = seen.order
    return {
        "name": seen.name,
        "kind": seen.declared.kind,
        "by": shown_by(seen.declared.by).removeprefix(" by ") or None,
        "resource": seen.declared.resource,
        "owners": seen.owners,
        "queues": seen.queues,
        "declared": _numbers(seen.declared),
        "in_force": None if seen.is_lifted else _numbers(seen.in_force),
        "is_lifted": seen.is_lifted,
        "order": None if order is None else order_document(order),
        "scopes_in_use": seen.scopes,
        "scopes_full": seen.full,
        "held": seen.held,
        "scopes": [_scope_document(scope) for scope in seen.listed],
        "stale": {worker: round(silent_s, 1) for worker, silent_s in seen.stale.items()},
    }


def _numbers(limit: Limit) -> dict[str, object]:
    if not isinstance(limit, Rate):
        return {"count": limit.count}
    return {"count": limit.count, "per_s": limit.per.total_seconds(), "burst": limit.burst}


def _scope_document(scope: ScopeReport) -> dict[str, object]:
    known = scope.of > 0
    return {
        "value": scope.value,
        "used": scope.used if known else None,
        "of": scope.of if known else None,
        "held": scope.held,
        "next_in_s": scope.next_s,
    }
