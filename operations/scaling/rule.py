"""`recommend`: how many workers a queue needs, by what is known at one moment, and why. Pure.

Each case is a function below that is asked in turn: nothing is known, nothing waits or comes, nothing can move, no
worker runs, nothing shows how fast a worker is, and the usual one. `Scaler` adds what only time can show: it goes down
late and by steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ...topology import format_duration
from ...topology.counts import counted, counted_doing
from .capacity import BUSY, IDLE, Capacity, capacity_of, run_of
from .load import LIMITED, QueueLoad, ScalingPolicy

GROWTH: Final = 1.5
"""By how much workers are raised whose pace is not known, and whose runners are all busy."""
SLACK: Final = 1e-6
"""The part of a worker that arithmetic adds to a whole number."""


class Bound(StrEnum):
    """The thing that bounds the pace of a queue: change it, and jobs wait for less."""

    NOTHING = "nothing"
    """The workers there are suffice."""
    RUNNERS = "runners"
    """More workers help, or more runners in each (`--concurrency`)."""
    CPU = "cpu"
    """Workers are bounded by their process, not by their runners: more workers help, more runners do not."""
    PARTITIONS = "partitions"
    """A partition has one worker, so that further ones would have nothing to do."""
    LIMIT = "limit"
    """A declared or ordered limit lets no more jobs through."""
    KEY = "key"
    """Jobs wait for earlier ones of their key."""
    HELD = "held"
    """Jobs wait at a gate, such as a pause or a breaker."""
    MAXIMUM = "maximum"
    """The policy allows no more workers."""
    UNKNOWN = "unknown"
    """Something is not known, so that the workers stay as they are."""


_STANDING: Final = (Bound.KEY, Bound.HELD, Bound.UNKNOWN)
"""With these, a pace of the workers does not show when the backlog is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """How many workers a queue needs.

    Attributes:
        wanted: workers; None where not even the present number is known.
        bound_by: what bounds the pace of the queue, with the workers there are.
        reason: why so many, in a sentence.
        is_behind: whether jobs that a worker could run wait for longer than they are to.
        is_known: whether it follows from what was observed; if not, the workers stay as they are.
        eta_s: in how many seconds the backlog is gone with the present workers: 0 without backlog, infinite if it does
            not shrink, None where it is not known.
        eta_wanted_s: the same with the wanted workers, of which new ones take `ScalingPolicy.start` to begin.
        per_worker_per_s: how many jobs a second one worker can do.
        need: how many workers the work takes, in fractions and beyond any bound; None where `wanted` is all that is
            known.
    """

    load: QueueLoad
    wanted: int | None
    bound_by: Bound
    reason: str
    is_behind: bool = False
    is_known: bool = True
    eta_s: float | None = None
    eta_wanted_s: float | None = None
    per_worker_per_s: float | None = None
    need: float | None = None


def recommend(load: QueueLoad, policy: ScalingPolicy, capacity: Capacity | None = None) -> Recommendation:
    """Judge a load by itself.

    Args:
        capacity: the pace of one worker; by default that which the load itself shows.
    """
    capacity = capacity or capacity_of(load)
    found = _unknown(load) or _idle(load, policy) or _not_runnable(load) or _without_workers(load, policy, capacity)
    if found is None and capacity is None:
        found = _of_unknown_pace(load, policy)
    if found is None:
        assert capacity is not None
        found = _needed(load, policy, capacity)
    found = replace(found, is_behind=is_behind(load, policy))
    return with_eta(found, policy, capacity)


def is_behind(load: QueueLoad, policy: ScalingPolicy) -> bool:
    """Whether jobs that a worker could run wait for longer than they are to."""
    target_s = policy.target_wait.total_seconds()
    many = max((load.arriving_per_s or 0.0) * target_s, 1.0)
    is_old = load.oldest_s is not None and load.oldest_s > target_s
    return load.ready > many or (is_old and load.ready > 0 and not load.not_runnable_count)


def bounded(wanted: int, load: QueueLoad, policy: ScalingPolicy) -> tuple[int, Bound | None]:
    """Keep a number within partitions, minimum and maximum; the second is what has lowered it."""
    most = math.inf if policy.maximum is None else policy.maximum
    if wanted > load.partitions and load.partitions <= most:
        return load.partitions, Bound.PARTITIONS
    if wanted > most:
        return int(most), Bound.MAXIMUM
    return max(wanted, min(policy.minimum, load.partitions)), None


def _unknown(load: QueueLoad) -> Recommendation | None:
    missing = [
        word
        for word, value in (
            ("how many jobs wait", load.backlog),
            ("how many workers run", load.workers),
            ("how many jobs come", load.arriving_per_s),
            ("how many are done", load.done_per_s),
        )
        if value is None
    ]
    if not missing:
        return None
    return _kept(load, Bound.UNKNOWN, f"it is not known {missing[0]}, so the workers stay as they are", is_known=False)


def _idle(load: QueueLoad, policy: ScalingPolicy) -> Recommendation | None:
    if load.backlog or load.arriving_per_s:
        return None
    if policy.minimum == 0 and not load.later and not load.schedules:
        return Recommendation(load=load, wanted=0, bound_by=Bound.NOTHING, reason="no job waits, and none comes")
    waiting = counted_doing(load.later, "job", "wait")
    later = f"only {waiting} to be due" if load.later else "no job waits, and none comes"
    reason = f"{later}, but {counted_doing(load.schedules, 'schedule', 'fire')} here" if load.schedules else later
    wanted, _ = bounded(1, load, policy)
    return Recommendation(load=load, wanted=wanted, bound_by=Bound.NOTHING, reason=reason)


def _not_runnable(load: QueueLoad) -> Recommendation | None:
    """Jobs that further workers would not run."""
    if not load.workers:
        return None
    if load.trouble:
        return _kept(load, Bound.UNKNOWN, f"{load.trouble}, so the workers stay as they are", is_known=False)
    gates = {why: count for why, count in load.not_runnable.items() if why != LIMITED and count}
    is_busy = (load.busy_share or 0.0) >= IDLE
    if not gates or is_busy or 2 * sum(gates.values()) < load.ready:
        return None
    why, count = max(gates.items(), key=lambda one: one[1])
    waiting = counted_doing(count, "job", "wait")
    if why == Bound.KEY:
        return _kept(load, Bound.KEY, f"{waiting} for earlier ones of the same key, whoever runs these")
    return _kept(load, Bound.HELD, f"{waiting} at a gate ({why}), and further workers would not change that")


def _kept(load: QueueLoad, bound: Bound, reason: str, *, is_known: bool = True) -> Recommendation:
    return Recommendation(load=load, wanted=load.workers, bound_by=bound, reason=reason, is_known=is_known)


def _without_workers(load: QueueLoad, policy: ScalingPolicy, capacity: Capacity | None) -> Recommendation | None:
    if load.workers or capacity is not None:
        return None
    wanted, _ = bounded(1, load, policy)
    waiting = counted_doing(load.backlog or 0, "job", "wait")
    reason = f"{waiting} and no worker runs: the first one shows how fast they go"
    return Recommendation(load=load, wanted=wanted, bound_by=Bound.RUNNERS, reason=reason)


def _of_unknown_pace(load: QueueLoad, policy: ScalingPolicy) -> Recommendation:
    """With all runners busy, more of them are needed, whatever a run takes."""
    assert load.workers is not None
    share = load.busy_share
    if share is None or share < BUSY or not is_behind(load, policy):
        reason = "nothing shows how fast one worker is, so the workers stay as they are"
        return _kept(load, Bound.UNKNOWN, reason, is_known=False)
    wanted, lowered = bounded(math.ceil(load.workers * GROWTH), load, policy)
    reason = f"all runners are busy, jobs wait, and none has ended yet: {GROWTH:g} times as many workers"
    return Recommendation(load=load, wanted=wanted, bound_by=lowered or Bound.RUNNERS, reason=reason)


def _needed(load: QueueLoad, policy: ScalingPolicy, capacity: Capacity) -> Recommendation:
    """Enough for what comes, with headroom, and for the backlog to be gone in time."""
    assert load.arriving_per_s is not None
    assert load.workers is not None
    steady = load.arriving_per_s / policy.use
    catching_up = load.arriving_per_s + _excess(load, policy, capacity) / policy.catch_up.total_seconds()
    demand_per_s = max(steady, catching_up)
    admitted, limit = _admitted(load)
    is_limited = admitted < demand_per_s or _is_held_by_limits(load)
    need = min(demand_per_s, admitted / policy.use if is_limited else math.inf) / capacity.per_s
    raw = math.ceil(need - SLACK)
    wanted, lowered = bounded(max(raw, 1), load, policy)
    enough = wanted <= load.workers and lowered is None and not is_limited
    bound = Bound.LIMIT if is_limited and lowered is None else lowered
    bound = bound or (Bound.NOTHING if enough else Bound(capacity.comes_from))
    return Recommendation(
        load=load,
        wanted=wanted,
        bound_by=bound,
        reason=_reason(load, policy, capacity, bound, (raw, limit)),
        need=need,
    )


def _excess(load: QueueLoad, policy: ScalingPolicy, capacity: Capacity) -> float:
    """Jobs that wait for too long by the time at which new workers begin."""
    arriving = load.arriving_per_s or 0.0
    excess = load.ready - arriving * policy.target_wait.total_seconds()
    growing = max(-_net_per_s(load, load.workers or 0, capacity), 0.0) * policy.start.total_seconds()
    return max(excess + growing, 0.0)


def _is_held_by_limits(load: QueueLoad) -> bool:
    """Whether most of what waits does so for limits, such as those of single tenants."""
    return 0 < (load.backlog or 0) <= 2 * load.not_runnable.get(LIMITED, 0)


def _admitted(load: QueueLoad) -> tuple[float, str]:
    """Jobs a second that the limits let through, and the name of that which decides it; infinite without limits."""
    run_s = run_of(load)
    rates = [(rate, one.limit) for one in load.admissions if (rate := one.rate_per_s(run_s)) is not None]
    return min(rates, default=(math.inf, ""))


def _reason(load: QueueLoad, policy: ScalingPolicy, capacity: Capacity, bound: Bound, needed: tuple[int, str]) -> str:
    raw, limit = needed
    facts = f"{load.arriving_per_s:,.3g} jobs/s come and a worker does {capacity.per_s:,.3g}/s"
    if is_behind(load, policy):
        facts += f"; {load.ready:,} wait, to be gone in {format_duration(policy.catch_up)}"
    match bound:
        case Bound.PARTITIONS:
            most = counted_doing(load.partitions, "partition", "employ")
            return f"{facts}; that takes {counted(raw, 'worker')}, and {most} no more"
        case Bound.MAXIMUM:
            return f"{facts}; that takes {counted(raw, 'worker')}, and the maximum is {policy.maximum}"
        case Bound.LIMIT:
            return f"{facts}; {f'limit {limit}' if limit else 'a limit'} lets no more through, however many workers run"
        case _:
            return facts


def with_eta(found: Recommendation, policy: ScalingPolicy, capacity: Capacity | None) -> Recommendation:
    """Add in what time the backlog is gone, as the number of wanted workers now is."""
    load = found.load
    found = replace(found, per_worker_per_s=None if capacity is None else capacity.per_s)
    if load.backlog == 0:
        return replace(found, eta_s=0.0, eta_wanted_s=0.0)
    if capacity is None or found.wanted is None or found.bound_by in _STANDING:
        return found
    eta_s = _eta_s(load.backlog or 0, _net_per_s(load, load.workers or 0, capacity))
    return replace(found, eta_s=eta_s, eta_wanted_s=_eta_wanted_s(found, eta_s, policy, capacity))


def _eta_wanted_s(found: Recommendation, eta_s: float, policy: ScalingPolicy, capacity: Capacity) -> float:
    """In what time the backlog is gone with the wanted workers: new ones begin after their start."""
    load, start_s = found.load, policy.start.total_seconds()
    backlog, present, wanted = float(load.backlog or 0), load.workers or 0, found.wanted or 0
    net_per_s = _net_per_s(load, wanted, capacity)
    if wanted <= present or eta_s <= start_s:
        return _eta_s(backlog, net_per_s)
    return start_s + _eta_s(backlog - _net_per_s(load, present, capacity) * start_s, net_per_s)


def _net_per_s(load: QueueLoad, workers: int, capacity: Capacity) -> float:
    """By how much the backlog shrinks in a second."""
    pace = min(capacity.per_s * min(workers, load.partitions), _admitted(load)[0])
    return pace - (load.arriving_per_s or 0.0)


def _eta_s(backlog: float, net_per_s: float) -> float:
    return backlog / net_per_s if net_per_s > 0 else math.inf
