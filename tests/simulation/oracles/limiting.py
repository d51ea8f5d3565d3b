"""Limits by key in the simulation, and a ledger of begins from outside: `BeginsOfKeys`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from simulation.virtual_time import CLOCK
from stoker.consumers.records.record import Record
from stoker.topology import Concurrency, Rate
from stoker.topology.declaration.limits import Limit
from stoker.topology.declaration.queue import Ordering

COUNT: Final = 2
PER_S: Final = 3.0


def limits_of(ordering: Ordering) -> Sequence[Limit]:
    """Without order, jobs of a key run beside each other, and one that stands still would hold up the others."""
    rate = Rate(COUNT, per=timedelta(seconds=PER_S), by="key")
    return (rate,) if ordering == "none" else (rate, Concurrency(1, by="key"))


@dataclass(slots=True)
class BeginsOfKeys:
    """When jobs of each key began at the owner of their partition, whoever that was.

    A process that was cut off does not know of it, and may begin some more: these do not count.
    """

    _at_s: dict[bytes, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, record: Record) -> None:
        """A job begins: with those before, no window may hold too many."""
        if record.key is not None:
            begins = self._at_s[record.key]
            begins.append(CLOCK.time())
            in_window = [at_s for at_s in begins if at_s > CLOCK.time() - PER_S]
            assert len(in_window) <= COUNT, f"{record}: {len(in_window)} jobs of its key began within {PER_S} s"
