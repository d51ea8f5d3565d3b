"""`Opening`: a breaker that is not closed, as an order of the control topic has it. `Target`: which breaker it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from ...schemas.own_records.control_records import ControlOrder
from ...topology.wire.orders import DEPENDENCY, OVER, PROBER, SINCE, TRIPS, Verb

LONGEST_REASON: Final = 1_000


BreakerPhase = Literal["closed", "open", "half-open"]


class Target(NamedTuple):
    """The target of a breaker: a job type, or a dependency."""

    kind: Literal["type", "dependency"]
    name: str

    def __str__(self) -> str:
        return f"{'job type' if self.kind == 'type' else 'dependency'} {self.name!r}"

    @property
    def option(self) -> str:
        """The option by which a command names it."""
        return f"--{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A breaker that is not closed.

    Attributes:
        order_id: of the order that opened it.
        since_at_s: the epoch time since which it is not closed.
        until_at_s: the epoch time from which a job may probe, or until which the prober has the probe; None: no job
            may, until an operator closes it.
        trips: how often it has opened without closing.
        operator, host: who has opened it; a worker, or a person.
        reason: why, for people.
        prober: the id of the worker whose job probes; empty where no job may.
        over: of a lease of the probe: the id of the order that stood before.
    """

    order_id: str
    since_at_s: float
    until_at_s: float | None
    trips: int = 1
    operator: str = ""
    host: str = ""
    reason: str = ""
    prober: str = ""
    over: str = ""

    @property
    def is_lease(self) -> bool:
        """Whether a worker leases the probe by it, or goes on to hold it."""
        return bool(self.over)

    def is_over(self, now_s: float) -> bool:
        """Whether a worker may lease the probe."""
        return self.until_at_s is not None and self.until_at_s <= now_s


def phase_of(opening: Opening | None, now_s: float) -> BreakerPhase:
    """The state of a breaker at an epoch time."""
    if opening is None:
        return "closed"
    return "half-open" if opening.prober or opening.is_over(now_s) else "open"


def opening_of(order: ControlOrder, read_at_s: float = math.inf) -> Opening:
    """Read an order; one that a person has given names neither how often nor since when.

    Args:
        read_at_s: the epoch time by the reader's clock. The order lasts from then on for no longer than it was given
            for: else one of a worker whose clock is an hour ahead would hold the jobs of all others for that hour.
    """
    detail, at_s = order.detail, order.at.timestamp()
    lasts_s = math.inf if order.until is None else (order.until - order.at).total_seconds()
    return Opening(
        order_id=order.order_id,
        since_at_s=min(max(_number(detail.get(SINCE), at_s), 0.0), at_s),  # another program may count in milliseconds
        until_at_s=None if order.until is None else min(order.until.timestamp(), read_at_s + lasts_s),
        trips=max(1, int(_number(detail.get(TRIPS), 1))),
        operator=order.operator,
        host=order.host,
        reason=order.reason,
        prober=detail.get(PROBER, ""),
        over=detail.get(OVER, ""),
    )


def order_of(opening: Opening, target: Target, at_s: float) -> ControlOrder:
    """The order that opens a breaker, or leases its probe."""
    until_at_s = opening.until_at_s
    detail = {SINCE: f"{opening.since_at_s:.3f}", TRIPS: str(opening.trips)}
    detail |= {name: value for name, value in ((PROBER, opening.prober), (OVER, opening.over)) if value}
    order = ControlOrder(
        order_id=opening.order_id,
        verb=Verb.OPEN,
        operator=opening.operator,
        host=opening.host,
        at=datetime.fromtimestamp(at_s, UTC),
        until=None if until_at_s is None else datetime.fromtimestamp(until_at_s, UTC),
        reason=opening.reason[:LONGEST_REASON],
        detail=detail,
    )
    return about(target, order)


def about(target: Target, order: ControlOrder) -> ControlOrder:
    """The order with this breaker as its target."""
    if target.kind == "type":
        return replace(order, job_type=target.name)
    return replace(order, detail={**order.detail, DEPENDENCY: target.name})


def target_of(order: ControlOrder) -> Target | None:
    """The breaker that an order is about."""
    if DEPENDENCY in order.detail:
        return Target("dependency", order.detail[DEPENDENCY])
    return None if order.job_type is None else Target("type", order.job_type)


def _number(text: str | None, otherwise: float) -> float:
    try:
        found = otherwise if text is None else float(text)
    except ValueError:
        return otherwise
    return found if math.isfinite(found) else otherwise
