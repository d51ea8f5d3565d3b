"""`Looks`: finds out whether another tenant waits behind heavy ones, by looks at the last records of the log.

To read past a heavy tenant with very short jobs costs as much as to run it. So it is worth it only where others follow:
tenants that have nothing at hand, and of which no record came lately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from ..progress.assignment import Assignment, Place
from .fair_queue import Load

LOOKED_AT: Final = 16
"""Records at the end of each partition."""
SEEN_FOR_S: Final = 2.0
"""How long other tenants count as waiting after one was seen."""

Tenant = bytes | None


class Looks:
    """Owned by the poll thread.

    Args:
        loads: {tenant: its load}.

    Attributes:
        lately: the tenants of which records came since the last call of `turn`.
    """

    def __init__(self, loads: Mapping[Tenant, Load], clock: Callable[[], float]) -> None:
        self._loads, self._clock = loads, clock
        self.lately: set[Tenant] = set()
        self._before: set[Tenant] = set()
        self._wanted: set[Place] = set()
        self._seen_at_s = -math.inf

    @property
    def has_seen(self) -> bool:
        """Whether another tenant waited behind heavy ones a moment ago."""
        return self._clock() < self._seen_at_s + SEEN_FOR_S

    def turn(self) -> None:
        """Forget who came before the last call."""
        self.lately, self._before = set(), self.lately

    def note(self, tenant: Tenant) -> None:
        """Note the tenant of a record at the end of the log, or of one that came since others are passed."""
        load = self._loads.get(tenant)
        if tenant not in self.lately and tenant not in self._before and (load is None or not load.count):
            self._seen_at_s = self._clock()

    def want(self, ends: Mapping[Assignment, int]) -> dict[Assignment, list[int]]:
        """{assignment: the last offsets of its partition}, where those were not fetched.

        Args:
            ends: {assignment of the main topic: the end of its partition}, as far as they are known.
        """
        found = {
            assignment: list(range(end - LOOKED_AT, end))
            for assignment, end in ends.items()
            if end - LOOKED_AT > assignment.progress.position
        }
        self._wanted = {(assignment, offset) for assignment, offsets in found.items() for offset in offsets}
        return found

    def pop_wanted(self, place: Place) -> bool:
        """Whether a record that was read again was wanted here; once, and perhaps it was wanted elsewhere as well."""
        is_wanted = place in self._wanted
        self._wanted.discard(place)
        return is_wanted
