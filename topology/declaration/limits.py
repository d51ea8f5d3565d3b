"""`Rate` and `Concurrency`: how often jobs may begin, and how many may run at once, as queues and job types declare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from ...schemas import Contract
from ..durations import format_duration
from ..wire.orders import LimitChange
from .labels import LabelFunction, label_faults

if TYPE_CHECKING:
    from .job_type import AnyJobType
    from .queue import Queue

By: TypeAlias = Callable[..., str | None] | str | None
"""The jobs that a limit counts apart: those of each key, of each tenant, or of each text that a function returns."""
Cost: TypeAlias = Callable[..., int] | int
"""The weight of one job in rates: a number, or a function of those of its arguments that it names."""

LONGEST_UNRESERVED: Final = timedelta(seconds=1)
"""The next owner of a partition waits for windows up to this. Reservations would cost a record for each scope and
second, and save less than the group needs to notice a death."""
SHORTEST_PER: Final = timedelta(milliseconds=100)
LONGEST_PER: Final = timedelta(days=1)
BY_KEY: Final = "key"
BY_TENANT: Final = "tenant"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit on how many jobs may begin in any window of this length, wherever it begins.

    Attributes:
        count: how many begin at the most; each job counts as its type's `cost`.
        per: the length of the window.
        by: "key" or "tenant" counts the jobs of each key or tenant apart; a function counts those apart for which it
            returns different texts, and leaves out those for which it returns None. None counts all of them together.
        burst: makes it a token bucket in place of the window: so many may begin at once, and `count` in each `per` are
            added again, so up to `burst + count * t / per` begin in any time `t`.
        resource: the name of what is limited; all queues and job types with a limit of this name share it.
        name: of the limit, for orders and people; None makes one of its owner and kind.
    """

    count: int
    per: timedelta = field(kw_only=True)
    by: By = field(default=None, kw_only=True)
    burst: int | None = field(default=None, kw_only=True)
    resource: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    @property
    def kind(self) -> str:
        """The word for people and names."""
        return "rate"

    def __str__(self) -> str:
        """The limit for people: `10/1m by tenant, burst 20`."""
        burst = "" if self.burst is None else f", burst {self.burst:,}"
        return f"{self.count:,}/{format_duration(self.per)}{shown_by(self.by)}{burst}"

    def own_faults(self) -> list[str]:
        """List what is wrong with its numbers."""
        found = [] if self.count >= 1 else [f"count must be at least 1; it is {self.count}"]
        if not SHORTEST_PER <= self.per <= LONGEST_PER:
            found.append(f"per must be from {SHORTEST_PER} to {LONGEST_PER}; it is {self.per}")
        if self.burst is not None and self.burst < 1:
            found.append(f"burst must be at least 1; it is {self.burst}")
        return found


@dataclass(frozen=True, slots=True)
class Concurrency:
    """A limit on how many jobs may run at once.

    Attributes:
        count: how many run at the most; each job counts as one.
        by, resource, name: as those of `Rate`.
    """

    count: int
    by: By = field(default=None, kw_only=True)
    resource: str | None = field(default=None, kw_only=True)
    name: str | None = field(default=None, kw_only=True)

    @property
    def kind(self) -> str:
        """The word for people and names."""
        return "concurrency"

    def __str__(self) -> str:
        """The limit for people: `3 at once by key`."""
        return f"{self.count:,} at once{shown_by(self.by)}"

    def own_faults(self) -> list[str]:
        """List what is wrong with its numbers."""
        return [] if self.count >= 1 else [f"count must be at least 1; it is {self.count}"]


Limit: TypeAlias = Rate | Concurrency


def changed(limit: Limit, change: LimitChange) -> Limit:
    """The limit as an order changes it.

    Raises:
        ValueError: the limit has no such number, or cannot have this one.
    """
    if isinstance(limit, Concurrency) and (change.per or change.burst):
        raise ValueError(f"Concurrency({limit}) has a count alone: no per, and no burst")
    if isinstance(limit, Rate) and limit.burst is None and change.burst is not None:
        raise ValueError(f"Rate({limit}) is a window: it is declared without burst=")
    found = replace(limit, **change.named)  # type: ignore[arg-type]  # each has the type of its field
    if faults := found.own_faults():
        raise ValueError("; ".join(faults))
    return found


def shown_by(by: By) -> str:
    """The part of `str(limit)` that names what it counts apart; empty where it counts all jobs together."""
    if by is None:
        return ""
    if isinstance(by, str):
        return f" by {by}"
    name = getattr(by, "__name__", "")
    return f" by {name}" if name.isidentifier() else " by a function"


def limit_name(owner: str, limit: Limit) -> str:
    """The name of a limit: its own, or one made of what it limits, its kind, and what it counts apart.

    >>> limit_name("mails", Rate(10, per=timedelta(seconds=1), by="tenant")), limit_name("mails", Concurrency(2))
    ('mails.rate.tenant', 'mails.concurrency')
    """
    if limit.name is not None:
        return limit.name
    by = shown_by(limit.by).removeprefix(" by ").replace("a function", "function")
    return ".".join(filter(None, (limit.resource or owner, limit.kind, by)))


def named_limits(owner: str, limits: Sequence[Limit]) -> Mapping[str, Limit]:
    """{name: limit} of one queue or job type."""
    return {limit_name(owner, limit): limit for limit in limits}


def as_tuple(limits: Sequence[Limit]) -> Sequence[Limit]:
    """The declared limits as a tuple; what is no list is left to `limit_faults`."""
    return tuple(limits) if isinstance(limits, list) else limits


def limit_faults(owner: str, limits: object, queue: Queue) -> list[str]:
    """List what is wrong with the limits of a queue, or of one of its job types; empty when all is well."""
    if not isinstance(limits, tuple):
        return [f"limits must be a list of Rate and Concurrency; it is {limits!r}"]
    odd = [limit for limit in limits if not isinstance(limit, Rate | Concurrency)]
    if odd:
        return [f"limits may have Rate and Concurrency; {odd[0]!r} is neither"]
    names = [limit_name(owner, limit) for limit in limits]
    twice = sorted({name for name in names if names.count(name) > 1})
    found = [f"two limits have the name {name!r}; give one of them another name=" for name in twice]
    for limit in limits:
        shown = f"{type(limit).__name__}({limit})"
        found += [f"{shown}: {fault}" for fault in (*limit.own_faults(), *_scope_faults(limit, queue))]
    return found


def _scope_faults(limit: Limit, queue: Queue) -> list[str]:
    """Name what keeps a limit from being exact."""
    if isinstance(limit.by, str) and limit.by not in (BY_KEY, BY_TENANT):
        return [f'by must be "key", "tenant" or a function of the arguments; it is {limit.by!r}']
    if limit.by == BY_TENANT and queue.route_by != "tenant" and limit.resource is None:
        return [
            'by="tenant" needs all jobs of a tenant on one worker; declare the queue with route_by="tenant" '
            "(docs/tenants.md has the way of a queue that has jobs already)"
        ]
    return []


def by_faults(limits: Sequence[Limit], contract: Contract) -> list[str]:
    """List the functions of limits that take what a job does not have."""
    return [fault for limit in limits if callable(limit.by) for fault in label_faults("by", limit.by, contract)]


def cost_faults(cost: object, contract: Contract) -> list[str]:
    """List what is wrong with a declared cost; empty when all is well."""
    if callable(cost):
        return label_faults("cost", cost, contract)
    is_number = isinstance(cost, int) and not isinstance(cost, bool)
    if is_number and cost >= 1:  # type: ignore[operator]  # mypy does not take `is_number` for a check
        return []
    return [f"cost must be a number of at least 1, or a function of the arguments; it is {cost!r}"]


def made_by(limits: Mapping[str, Limit], contract: Contract) -> dict[str, LabelFunction]:
    """{name of a limit: maker of what it counts apart} of those limits that declare a function."""
    return {name: LabelFunction("by", limit.by, contract) for name, limit in limits.items() if callable(limit.by)}


def is_shared(limit: Limit) -> bool:
    """Whether the limit counts the jobs of several workers together, so that they share it."""
    return limit.resource is not None or not isinstance(limit.by, str)


def is_reserved(limit: Limit) -> bool:
    """Whether the owner of a partition reserves what it uses of the limit, so that the next owner knows it."""
    return not is_shared(limit) and isinstance(limit, Rate) and limit.per > LONGEST_UNRESERVED


def scoped_value(header: bytes | None, name: str) -> bytes | None:
    """The text that the function of a limit has made of a job's arguments; None where it has made none."""
    if header is None:
        return None
    try:
        found = json.loads(header)
    except ValueError:
        return None
    value = found.get(name) if isinstance(found, dict) else None
    return value.encode() if isinstance(value, str) else None


class DeclaredLimit(NamedTuple):
    """A limit with its name, its owner (a queue or a job type), and the queue whose jobs it counts."""

    name: str
    limit: Limit
    owner: str
    queue: str


def declared_limits(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> Iterator[DeclaredLimit]:
    """All limits of these queues and job types."""
    for queue in queues:
        for name, limit in named_limits(queue.name, queue.limits).items():
            yield DeclaredLimit(name, limit, f"queue {queue.name!r}", queue.name)
    for job in job_types:
        for name, limit in named_limits(job.name, job.limits).items():
            yield DeclaredLimit(name, limit, f"job type {job.name!r}", job.queue.name)


def shared_limits(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> list[DeclaredLimit]:
    """All limits that count the jobs of several workers together."""
    return [found for found in declared_limits(queues, job_types) if is_shared(found.limit)]


def coordinators(queues: Iterable[Queue], job_types: Iterable[AnyJobType]) -> Mapping[str, str]:
    """{name of a shared limit: queue whose first partition's owner gives it}; of a resource, the first by its name."""
    found: dict[str, str] = {}
    for declared in shared_limits(queues, job_types):
        found[declared.name] = min(declared.queue, found.get(declared.name, declared.queue))
    return found


def clashes(new: Iterable[DeclaredLimit], known: Iterable[DeclaredLimit]) -> list[str]:
    """List the limits that cannot have the name that they have."""
    by_name = {declared.name: declared for declared in known}
    found = []
    for declared in new:
        other = by_name.get(declared.name)
        if other is None:
            continue
        if declared.limit.resource is None or other.limit.resource is None:
            found.append(f"{other.owner} has a limit {declared.name!r} already; give one of them another name=")
        elif declared.limit != other.limit:
            found.append(
                f"resource {declared.limit.resource!r} is limited to {declared.limit} here and to {other.limit} by "
                f"{other.owner}; declare the same, or give one of them another name="
            )
    return found
