"""`Accounts`: finds the scopes that a record counts in, and what it counts for; once for all records that are alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.limits import BY_KEY
from ...topology.wire.headers import COST, JOB_TYPE
from ..records.record import Record
from .queue_keepers import Keepers
from .scope import Scope

LONGEST_COST: Final = 9
"""Digits of a header."""
MOST_ACCOUNTS: Final = 10_000
"""All are forgotten beyond so many."""


class Account:
    """The scopes that a record counts in.

    Attributes:
        uses: the scopes, and what the record counts for in each.
        lone: the only one of these; None where there are several, or none.
        has_permits: whether the end of the run gives room.
    """

    __slots__ = ("has_permits", "lone", "uses")

    def __init__(self, uses: list[tuple[Scope, int]]) -> None:
        self.uses = uses
        self.lone = uses[0] if len(uses) == 1 else None
        self.has_permits = any(scope.meter.has_permits for scope, _ in uses)


class Accounts:
    """The accounts of one queue's records; guarded by the lock of `Scopes`.

    Records of one job type, partition, tenant and key count alike. Those that name a cost or a value of their own have
    an account that is not kept.
    """

    def __init__(self, keepers: Keepers, job_types: Iterable[AnyJobType]) -> None:
        self._of_types, self._of_others = keepers.of_types, keepers.of_queue
        self._go_by_key = any(keeper.in_force.declared.by == BY_KEY for keeper in keepers.all.values())
        self._costs = {job.name.encode(): job.cost for job in job_types if isinstance(job.cost, int)}
        self._found: dict[tuple[bytes | None, int, bytes | None, bytes | None], Account] = {}

    def of(self, record: Record) -> Account:
        """The account of a record."""
        layout, values = record.layout, record.values
        if layout.is_counted_apart:
            return self._made(record)
        type_at, tenant_at = layout.job_type_at, layout.tenant_at
        name = (
            None if type_at is None else values[type_at],
            record.assignment.partition,
            None if tenant_at is None else values[tenant_at],
            record.key if self._go_by_key else None,
        )
        account = self._found.get(name)
        if account is None:
            if len(self._found) >= MOST_ACCOUNTS:
                self._found.clear()
            account = self._found[name] = self._made(record)
        return account

    def forget(self) -> None:
        """Find all accounts anew from now on: scopes were forgotten, or a limit was changed."""
        self._found.clear()

    def _made(self, record: Record) -> Account:
        keepers = self._of_types.get(record.header(JOB_TYPE) or b"", self._of_others)
        scopes = [scope for keeper in keepers if (scope := keeper.scope_of(record)) is not None]
        cost = self.cost_of(record) if scopes else 0
        return Account([(scope, scope.meter.clipped(cost)) for scope in scopes])

    def cost_of(self, record: Record) -> int:
        """The cost of a job in rates: its header, or else what its type declares."""
        named = record.header(COST)
        if named is not None and named.isdigit() and len(named) <= LONGEST_COST:
            return max(1, int(named))
        return self._costs.get(record.header(JOB_TYPE) or b"", 1)
