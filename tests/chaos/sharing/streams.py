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
LIMITED_QUEUE: Final = "limited"
RANKED_QUEUE: Final = "ranked"
EVEN_QUEUE: Final = "even"
BOUNDED_QUEUE: Final = "bounded"
PATIENT_QUEUE: Final = "patient"

PER_S: Final = 1.0
PER: Final = timedelta(seconds=PER_S)
"""The window of each rate."""
FLEET_RATE: Final = 20
TENANT_RATE: Final = 4
KEY_BOUND: Final = 2
RESOURCE_BOUND: Final = 4
DRAIN_RATE: Final = 10
"""So many jobs of each queue with a bound on what waits run in a second, so that it is full."""
MAX_WAITING: Final = 40
PRIORITIES: Final = {"high": 8, "normal": 3, "low": 1}
KEYS: Final = 60
FLOOD: Final = "flood"


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


STREAMS: Final = (
    Stream(job_type="fleet_rated", scopes=_named("f", 20), stock=7),
    Stream(job_type="tenant_rated", scopes=_named("t", 4), stock=28),
    Stream(job_type="key_bound", scopes=_named("k", 4), stock=24, wait_ms=400),
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
class Promise:
    """What a limit of a job type allows.

    Attributes:
        count: begins within `PER_S`, or jobs that run at once.
        is_rate: which of the two.
        is_by_scope: whether it counts each scope apart.
    """

    job_type: str
    count: int
    is_rate: bool
    is_by_scope: bool

    def scopes(self) -> Sequence[str]:
        """What it counts apart; one of all jobs where it counts them together."""
        return (
            next(stream.scopes for stream in STREAMS if stream.job_type == self.job_type) if self.is_by_scope else ("",)
        )


PROMISES: Final = (
    Promise(job_type="fleet_rated", count=FLEET_RATE, is_rate=True, is_by_scope=False),
    Promise(job_type="tenant_rated", count=TENANT_RATE, is_rate=True, is_by_scope=True),
    Promise(job_type="key_bound", count=KEY_BOUND, is_rate=False, is_by_scope=True),
    Promise(job_type="resource_bound", count=RESOURCE_BOUND, is_rate=False, is_by_scope=False),
)
