"""What an operator holds back for a while: of each order with a target how it is given, and how it is lifted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chaos.plan import REFUSED, TENANTS
from stoker.producers.control import Control, OrderReceipt

Order = Callable[[Control], OrderReceipt]
REASON: Final = "a test"


@dataclass(frozen=True, slots=True)
class Hold:
    """An order that is lifted again; `name` is what the notes call it, verb and target."""

    name: str
    give: Order
    lift: Order


def _pause_type(job_type: str) -> Hold:
    return Hold(
        f"pause type={job_type}",
        lambda control: control.pause(job_type=job_type),
        lambda control: control.resume(job_type=job_type),
    )


def _block_type(job_type: str, *, discard: bool = False) -> Hold:
    return Hold(
        f"{'discard' if discard else 'block'} type={job_type}",
        lambda control: control.block(job_type=job_type, discard=discard, reason=REASON),
        lambda control: control.unblock(job_type=job_type),
    )


def _block_tenant(tenant: str) -> Hold:
    return Hold(
        f"block tenant={tenant}",
        lambda control: control.block(tenant=tenant, reason=REASON),
        lambda control: control.unblock(tenant=tenant),
    )


def _pause_tenant(chance: random.Random) -> Hold:
    tenant = f"tenant-{chance.randrange(TENANTS)}"
    return Hold(
        f"pause tenant={tenant}",
        lambda control: control.pause(tenant=tenant),
        lambda control: control.resume(tenant=tenant),
    )


def _pause_queue(_chance: random.Random) -> Hold:
    return Hold(
        "pause queue=strict",
        lambda control: control.pause(queue="strict"),
        lambda control: control.resume(queue="strict"),
    )


def _pause_key(chance: random.Random) -> Hold:
    key = f"steady-{chance.randrange(50)}"
    return Hold(
        f"pause key=steady:{key}",
        lambda control: control.pause(queue="steady", key=key),
        lambda control: control.resume(queue="steady", key=key),
    )


def _block_key(chance: random.Random) -> Hold:
    key = f"strict-{chance.randrange(20)}"
    return Hold(
        f"block key=strict:{key}",
        lambda control: control.block(queue="strict", key=key, reason=REASON),
        lambda control: control.unblock(queue="strict", key=key),
    )


def _pause_partition(chance: random.Random) -> Hold:
    number = chance.randrange(8)
    return Hold(
        f"pause partition=steady:{number}",
        lambda control: control.pause(queue="steady", partition=number),
        lambda control: control.resume(queue="steady", partition=number),
    )


def _quiet_all(_chance: random.Random) -> Hold:
    return Hold("quiet all", lambda control: control.worker_quiet(), lambda control: control.worker_work())


def hold_of_worker(workers: Sequence[str]) -> Callable[[random.Random], Hold]:
    """Make one worker of these quiet."""

    def make(chance: random.Random) -> Hold:
        worker = chance.choice(workers)
        return Hold(
            f"quiet worker={worker}",
            lambda control: control.worker_quiet(worker=worker),
            lambda control: control.worker_work(worker=worker),
        )

    return make


HOLDS: Final[Sequence[Callable[[random.Random], Hold]]] = (
    lambda _chance: _pause_type("light_async"),
    lambda _chance: _block_type("strict"),
    _pause_tenant,
    _pause_queue,
    _pause_key,
    _block_key,
    _pause_partition,
    _quiet_all,
)
"""For a moment, with particulars that are drawn."""
PARTS_OF_RUN: Final = {
    _pause_type("effect"): (0.1, 0.5),
    _block_type(REFUSED, discard=True): (0.2, 0.45),
    _block_tenant(f"tenant-{TENANTS - 1}"): (0.3, 0.6),
}
"""{hold: the share of the jobs completed when it begins, and when it ends}."""
