"""`FairBy`: among whom the runners of a queue are shared, and by which weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

Divider = Literal["tenant"]


@dataclass(frozen=True, slots=True)
class FairBy:
    """How the runners of a queue are shared.

    Attributes:
        by: "tenant"; jobs without a tenant are together one more.
        weights: {tenant: its weight}; 1 for all others. One of weight 3 gets three runners where one of weight 1 gets
            one, while both have work.
    """

    by: Divider = "tenant"
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def faults(self, priorities: Mapping[str, int]) -> list[str]:
        """List what is wrong with the declaration of a queue with these priorities; empty when all is well."""
        found = []
        if priorities:
            found.append(
                "fair_by and priorities exclude each other, since each decides which job is next: keep fair_by and "
                "give urgent jobs a queue of their own, or keep priorities and bound each tenant by "
                'Concurrency(..., by="tenant")'
            )
        if self.by not in get_args(Divider):
            found.append(f"fair_by must be one of {', '.join(get_args(Divider))}; it is {self.by!r}")
        wrong = [f"{tenant!r}: {weight!r}" for tenant, weight in self.weights.items() if not _is_weight(weight)]
        if wrong:
            found.append(f"weights of fair_by must be finite numbers above zero; these are not: {', '.join(wrong)}")
        return found

    def weight_of(self, tenant: bytes | None) -> float:
        """The weight of a tenant, as records name it; None for jobs without one."""
        return 1.0 if tenant is None else self.weights.get(tenant.decode(errors="replace"), 1.0)


def _is_weight(weight: object) -> bool:
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        return False
    return math.isfinite(weight) and weight > 0
