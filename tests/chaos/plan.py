"""The plan of a run: what each job is and does, and which fault comes when. All of it follows from the seed.

Moments are counts of completed jobs, not seconds, so that a plan means the same on a slow machine.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

KEYS: Final = {"steady": 2_000, "strict": 400, "unique": 8}
KEYLESS_RATIO: Final = 0.1
"""Of the steady jobs; a strict one always has a key."""

SESSION_TIMEOUT: Final = timedelta(seconds=4)
"""How soon the harness's groups miss a member."""
ROUGH_KINDS: Final = frozenset({"exiting", "stumbling", "stuck", "leaking", "killing"})
"""What is hard on the process that runs it."""
QUARANTINED: Final = frozenset({"exiting", "killing"})
"""What kills each process that runs it, and ends in the dead letters for that."""
CRASH_LIMIT: Final = 3
ATTEMPTS: Final = 3
"""Runs that the harness's retry policy allows."""

JOB_MIX: Final = {
    "light": 0.6872,
    "light_async": 0.08,
    "strict": 0.10,
    "effect": 0.03,
    "flaky": 0.02,
    "strict_flaky": 0.01,
    "doomed": 0.004,
    "strict_doomed": 0.001,
    "discarding": 0.004,
    "snoozing": 0.004,
    "long": 0.0003,
    "delayed": 0.008,
    "behind": 0.006,
    "strict_behind": 0.002,
    "hanging": 0.0005,
    "poison": 0.01,
    "cancelled": 0.004,
    "filtered": 0.004,
    "refused": 0.004,
    "tenanted": 0.009,
    "beyond": 0.001,
    "rescheduled": 0.001,
    "unique": 0.01,
}
"""{kind: share of all jobs}; they sum to one."""

ROUGH: Final = {1_001: "exiting", 1_501: "stumbling", 2_001: "stuck", 2_501: "leaking"}
"""{remainder: kind}: one job of each among so many, in a queue whose jobs run in child processes."""
ROUGH_IN: Final = 16_000
KILLING: Final = 1_251
"""The same, for jobs that end the whole worker: rarer, for each costs two of them."""
KILLING_IN: Final = 96_000

SLOW: Final = {3_001: "blocking", 5_001: "strict_blocking"}
"""The same, for jobs that take long, all of them of one key in each queue; so few that their key gets through."""
SLOW_IN: Final = 32_000
SLOW_KEY: Final = "slow"
BLOCKING_MS: Final = (20_000, 40_000)
DELAY_MS: Final = (20_000, 60_000)
CANCELLED: Final = "cancelled"
"""Jobs that are due later, as delayed ones, and that an operator cancels."""
FILTERED: Final = "filtered"
"""The same, cancelled by their type, where they were enqueued before the order."""
REFUSED: Final = "refused"
"""Jobs of a type that is blocked for a part of the run, so that they end as cancelled."""
BEYOND: Final = "beyond"
"""Jobs that are due after the end of the run; every other one is cancelled."""
RESCHEDULED: Final = "rescheduled"
"""The same, each of which an operator lets run now or soon."""
FAR_S: Final = (3_600, 86_400, 315_360_000)
"""When these are due: in an hour, a day, ten years."""
UNIQUE: Final = "unique"
"""Jobs that take a while, of few keys, and that are dropped while another of their key waits or runs."""
LATER: Final = {
    "delayed": "later",
    CANCELLED: "never",
    FILTERED: "perhaps",
    BEYOND: "beyond",
    RESCHEDULED: "sooner",
}
"""{kind: the beginning of its keys} of jobs that are due later."""
MAY_BE_CANCELLED: Final = frozenset({CANCELLED, FILTERED, REFUSED})
"""What either runs or is cancelled, as orders come before it or after it."""
TENANTS: Final = 5
DELAYED_KEYS: Final = 200
"""Of jobs that are due later: those of such a key begin as they fall due, not in the order of their records."""

POISONS: Final = ("garbage", "empty", "no_headers", "no_type", "null_header", "bad_attempt", "bad_due")
"""Ways in which a record can be one that nobody should have published, each of which makes a dead letter."""
DEFERRED: Final = ("unknown_type", "unknown_schema")
"""Poison that a newer worker might know: it goes round through a tier until the run ends."""
DEFERRED_PER_MILLE: Final = 4
"""Of the poison; few, as each costs a record every two seconds."""

FAULT_WEIGHTS: Final = {
    "kill_workers": 14,
    "kill_fleet": 2,
    "kill_coordinator": 3,
    "stop_worker": 3,
    "pause_worker": 6,
    "kill_producer": 5,
    "kill_operator": 3,
    "kill_broker": 3,
    "roll_broker": 1,
    "move_leaders": 2,
    "cut_network": 3,
    "delay_network": 2,
    "throttle_network": 1,
    "freeze_network": 2,
    "fill_disk": 1,
    "jump_clock": 4,
    "storm_rebalances": 3,
}
"""{kind: how often, relative to the others}."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One job.

    Attributes:
        number: its name in all notes; the job's id on the wire is made of it.
        kind: a key of `JOB_MIX`.
        key: the ordering key.
        how: failures before it succeeds (flaky), milliseconds that it takes (light, long, blocking) or is due later
            (delayed), or an index of `FAR_S`, or of `POISONS` and `DEFERRED` together.
    """

    number: int
    kind: str
    key: str | None
    how: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: a key of `FAULT_WEIGHTS`.
        after: so many jobs are completed when it strikes.
        draw: what its particulars (victim, length, strength) are drawn with, 0 to 1 each.
    """

    kind: str
    after: int
    draw: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    jobs: int
    faults: tuple[Fault, ...]


def make_plan(seed: int, jobs: int, faults: int, kinds: tuple[str, ...] = tuple(FAULT_WEIGHTS)) -> Plan:
    """Draw a run's faults: each kind at least once where there are enough, the rest by weight, evenly spread."""
    draw = random.Random(f"faults of {seed}")
    chosen = list(kinds)[:faults]
    weights = [FAULT_WEIGHTS[kind] for kind in kinds]
    chosen += draw.choices(list(kinds), weights, k=faults - len(chosen))
    draw.shuffle(chosen)
    stretch = jobs * 0.92 / max(1, faults)
    moments = (int(jobs * 0.03 + stretch * (number + draw.random() * 0.7)) for number in range(faults))
    planned = tuple(
        Fault(kind=kind, after=moment, draw=(draw.random(), draw.random(), draw.random()))
        for kind, moment in zip(chosen, moments, strict=True)
    )
    return Plan(seed=seed, jobs=jobs, faults=planned)


class JobPlans:
    """Tells what a job is by its number; the same for each process that asks."""

    def __init__(self, seed: int) -> None:
        self._salt = str(seed).encode()
        self._bounds = list(_bounds())

    def of(self, number: int) -> JobPlan:
        """The plan of one job."""
        if (rough := _rough(number)) is not None:
            return JobPlan(number, rough, None, 0)
        digest = hashlib.blake2b(b"%d" % number, digest_size=16, key=self._salt).digest()
        kind = SLOW.get(number % SLOW_IN) or self._kind(int.from_bytes(digest[:4]) / 2**32)
        share, which = int.from_bytes(digest[4:8]) / 2**32, int.from_bytes(digest[8:12])
        return JobPlan(number, kind, _key(kind, share, which), _how(kind, int.from_bytes(digest[12:16])))

    def _kind(self, drawn: float) -> str:
        return next((kind for kind, bound in self._bounds if drawn < bound), "light")


def queue_of(kind: str) -> str:
    """The name of the queue that the jobs of a kind go to."""
    if kind in ROUGH_KINDS:
        return "rough"
    if kind == UNIQUE:
        return "unique"
    return "strict" if kind.startswith("strict") else "steady"


def job_id_of(number: int) -> str:
    """The job's id on the wire."""
    return f"job-{number}"


def tenant_of(plan: JobPlan) -> str | None:
    """For whom a job is."""
    return f"tenant-{plan.number % TENANTS}" if plan.kind == "tenanted" else None


def is_to_wait(plan: JobPlan) -> bool:
    """Whether a job is to wait on when the run ends."""
    return plan.kind == BEYOND and plan.number % 2 == 1


def is_to_be_cancelled(plan: JobPlan) -> bool:
    """Whether a job is due after the end of the run, and to be cancelled."""
    return plan.kind == BEYOND and plan.number % 2 == 0


def is_doomed(kind: str) -> bool:
    """Whether a job of the kind ends in the dead letters after all of its attempts."""
    return kind in ("doomed", "strict_doomed", "hanging", "stuck", "leaking")


def _rough(number: int) -> str | None:
    if number % KILLING_IN == KILLING:
        return "killing"
    return ROUGH.get(number % ROUGH_IN)


def _bounds() -> Iterator[tuple[str, float]]:
    total = 0.0
    for kind, share in JOB_MIX.items():
        total += share
        yield kind, total


def _key(kind: str, share: float, which: int) -> str | None:
    queue = queue_of(kind)
    if kind.endswith(("behind", "blocking")):
        return f"{queue}-{SLOW_KEY}"
    if kind in LATER:
        return f"{LATER[kind]}-{which % DELAYED_KEYS}"
    if queue == "steady" and share < KEYLESS_RATIO:
        return None
    return f"{queue}-{which % KEYS[queue]}"


_SPANS_MS: Final = {
    "long": (2_000, 8_000),
    "blocking": BLOCKING_MS,
    "strict_blocking": BLOCKING_MS,
    "delayed": DELAY_MS,
    CANCELLED: DELAY_MS,
    FILTERED: DELAY_MS,
    UNIQUE: (50, 600),
}


def _how(kind: str, drawn: int) -> int:
    if kind in ("flaky", "strict_flaky"):
        return 1 + drawn % (ATTEMPTS - 1)
    if kind == "poison":
        return _poison(drawn)
    if kind in (BEYOND, RESCHEDULED):
        return drawn % len(FAR_S)
    if kind in _SPANS_MS:
        shortest_ms, longest_ms = _SPANS_MS[kind]
        return shortest_ms + drawn % (longest_ms - shortest_ms)
    return drawn % 10 if drawn % 8 == 0 else 0


def _poison(drawn: int) -> int:
    if drawn % 1_000 < DEFERRED_PER_MILLE:
        return len(POISONS) + drawn // 1_000 % len(DEFERRED)
    return drawn // 1_000 % len(POISONS)


def poison_name(plan: JobPlan) -> str:
    """What is wrong with a poisoned record."""
    return (*POISONS, *DEFERRED)[plan.how]
