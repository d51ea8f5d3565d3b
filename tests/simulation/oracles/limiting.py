"""Limits by key in the simulation, orders that change them, and a ledger of begins from outside: `BeginsOfKeys`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from simulation.virtual_time import CLOCK
from stoker.consumers.limits.limits import Limits
from stoker.consumers.records.record import Record
from stoker.topology import Concurrency, Rate
from stoker.topology.declaration.limits import Limit
from stoker.topology.declaration.queue import Ordering
from stoker.topology.wire.orders import LIMIT, LimitChange

COUNT: Final = 2
PER_S: Final = 3.0

NAME: Final = "q.rate.key"
CHANGES: Final = tuple(
    {"detail": {LIMIT: NAME, **change.detail}}
    for change in (LimitChange(count=1), LimitChange(is_lifted=True), LimitChange(count=3, per=timedelta(seconds=1.5)))
)
"""What is ordered."""


def limits_of(ordering: Ordering) -> Sequence[Limit]:
    """Without order, jobs of a key run beside each other, and one that stands still would hold up the others."""
    rate = Rate(COUNT, per=timedelta(seconds=PER_S), by="key")
    return (rate,) if ordering == "none" else (rate, Concurrency(1, by="key"))


@dataclass(slots=True)
class BeginsOfKeys:
    """When jobs of each key began at the owner of their partition, whoever that was.

    A process that was cut off does not know of it, and may begin some more: these do not count. What counts of orders
    are those that the owner has taken.
    """

    _at_s: dict[bytes, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, record: Record, limits: Limits) -> None:
        """A job begins: with those before, no window may hold too many, unless the limit is lifted."""
        if record.key is None:
            return
        begins, in_force = self._at_s[record.key], limits._all[NAME].in_force
        begins.append(CLOCK.time())
        assert isinstance(in_force.limit, Rate)
        per_s = in_force.limit.per.total_seconds()
        in_window = [at_s for at_s in begins if at_s > CLOCK.time() - per_s]
        is_kept = in_force.is_lifted or len(in_window) <= in_force.limit.count
        assert is_kept, f"{record}: {len(in_window)} jobs of its key began within {per_s} s, by {in_force}"
