"""What a run asks of queues that share: streams of jobs with limits, priorities, tenants, or a bound on what waits.

Each stream keeps some jobs waiting all through a run, so that what it may use is there to be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

SHARES: Final = "CHAOS_SHARES"
"""The environment's name of whether there are such queues: 1 or 0."""
LIMITS: Final = "CHAOS_LIMITS"
"""That of the limits: a `Sizes` as three numbers with spaces between them."""
LIMITED_QUEUE: Final = "limited"
RANKED_QUEUE: Final = "ranked"
EVEN_QUEUE: Final = "even"
BOUNDED_QUEUE: Final = "bounded"
PATIENT_QUEUE: Final = "patient"

PER_S: Final = 1.0
PER: Final = timedelta(seconds=PER_S)
"""The window of each rate."""
RESOURCE_BOUND: Final = 4
DRAIN_RATE: Final = 10
"""So many jobs of each queue with a bound on what waits run in a second, so that it is full."""
MAX_WAITING: Final = 40
PRIORITIES: Final = {"high": 8, "normal": 3, "low": 1}
KEYS: Final = 60
FLOOD: Final = "flood"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What limits allow.

    Attributes:
        fleet_rate: jobs a second that the whole fleet begins.
        tenant_rate: the same of each tenant.
        key_bound: jobs of a key that run at once.
    """

    fleet_rate: int = 20
    tenant_rate: int = 4
    key_bound: int = 2

    def __str__(self) -> str:
        return f"{self.fleet_rate} {self.tenant_rate} {self.key_bound}"

    @classmethod
    def parse(cls, text: str) -> Sizes:
        """What `str` has made."""
        return cls(*map(int, text.split()))


USUAL: Final = Sizes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Jobs of one type.

    Attributes:
        scopes: what its limits go by, each with jobs of its own.
        stock: so many jobs of each scope wait at a time, as far as the producer can see to it.
        wait_ms: how long a job takes.
        per_s: how many of each scope are enqueued a second, whatever waits; None keeps the stock.
    """

    job_type: str
    scopes: Sequence[str]
    stock: int = 0
    wait_ms: int = 0
    per_s: float | None = None


def _named(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}-{number}" for number in range(count))


def streams(sizes: Sizes) -> tuple[Stream, ...]:
    """Those whose producer does not wait. What waits of a limit lasts for some seconds, whatever it allows."""
    fleet_stock, tenant_stock = round(sizes.fleet_rate * 0.35), sizes.tenant_rate * 7
    return (
        Stream(job_type="fleet_rated", scopes=_named("f", 20), stock=fleet_stock),
        Stream(job_type="tenant_rated", scopes=_named("t", 4), stock=tenant_stock),
        Stream(job_type="key_bound", scopes=_named("k", 4), stock=sizes.key_bound * 12, wait_ms=400),
        Stream(job_type="resource_bound", scopes=_named("r", 10), stock=8, wait_ms=300),
        Stream(job_type="ranked", scopes=("normal",), stock=120, wait_ms=600),
        Stream(job_type="ranked", scopes=("low",), stock=80, wait_ms=600),
        Stream(job_type="ranked", scopes=("high",), wait_ms=50, per_s=2.0),
        Stream(job_type="even", scopes=(FLOOD,), stock=200, wait_ms=600),
        Stream(job_type="even", scopes=_named("small", 5), wait_ms=50, per_s=0.5),
        Stream(job_type="bounded", scopes=("b",), per_s=2.0 * DRAIN_RATE),
    )


PATIENT: Final = Stream(job_type="patient", scopes=("p",))
"""The same whose producer waits for room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """What a limit of a job type allows.

    Attributes:
        stream: the jobs.
        count: begins within `PER_S`, or jobs that run at once.
        is_rate: which of the two.
        is_by_scope: whether it counts each scope apart.
    """

    stream: Stream
    count: int
    is_rate: bool
    is_by_scope: bool

    @property
    def job_type(self) -> str:
        """The type of the jobs."""
        return self.stream.job_type

    def scopes(self) -> Sequence[str]:
        """What it counts apart; one of all jobs where it counts them together."""
        return self.stream.scopes if self.is_by_scope else ("",)


def guarantees(sizes: Sizes) -> tuple[Guarantee, ...]:
    """All limits but those of the queues with a bound on what waits."""
    by_type = {stream.job_type: stream for stream in streams(sizes)}
    return (
        Guarantee(stream=by_type["fleet_rated"], count=sizes.fleet_rate, is_rate=True, is_by_scope=False),
        Guarantee(stream=by_type["tenant_rated"], count=sizes.tenant_rate, is_rate=True, is_by_scope=True),
        Guarantee(stream=by_type["key_bound"], count=sizes.key_bound, is_rate=False, is_by_scope=True),
        Guarantee(stream=by_type["resource_bound"], count=RESOURCE_BOUND, is_rate=False, is_by_scope=False),
    )
