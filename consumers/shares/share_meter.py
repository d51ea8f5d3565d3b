"""`ShareMeter`: what a worker was granted of a limit that counts the jobs of several workers together."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

from ...schemas.own_records.share_records import ShareEntry
from ...topology.declaration.limits import Concurrency, Limit
from ..meters.meter import Meter
from ..meters.meter_kinds import make_meter
from .share_book import RENEWALS, valid_s

IDLE_S: Final = 0.2
"""Whatever is granted and not used for so long is returned, for others to have."""

FEW: Final = 4
FORGET_S: Final = 120.0
Amounts: TypeAlias = tuple[int, int, int]
"""`used`, `returned` and `wanted` of a request."""


class ShareMeter(Meter):
    """The grants of one scope of this worker; all amounts count up from zero.

    Attributes:
        session: the name under which the coordinator knows this scope of this worker.
        used, returned: of all that was granted.
        written: the amounts that were reported last.
    """

    __slots__ = (
        "_begun",
        "_clip",
        "_ends_at_s",
        "_granted",
        "_has_permits",
        "_last_use_at_s",
        "_most",
        "_running",
        "_speed_at_s",
        "_valid_s",
        "_was_begun",
        "_written_at_s",
        "count",
        "returned",
        "session",
        "used",
        "written",
    )

    def __init__(self, limit: Limit, session: str) -> None:
        self.count, self.session = limit.count, session
        self._has_permits = isinstance(limit, Concurrency)
        self._clip = 1 if self._has_permits else make_meter(limit).most
        self._valid_s = valid_s(limit)
        self._granted = self.used = self.returned = 0
        self._running = 0
        self._most = limit.count
        self._ends_at_s = self._last_use_at_s = -math.inf
        self.written, self._written_at_s = (0, 0, 0), -math.inf
        self._begun = self._was_begun = 0
        self._speed_at_s = -math.inf

    def change(self, limit: Limit, now_s: float) -> None:
        """A grant that is held was given under the former limit, so it is returned."""
        self._expire(now_s)
        if limit.count <= self.count:
            self._most = 0  # a permit that becomes free is returned, until the coordinator has answered
        self.count, self._clip = limit.count, 1 if self._has_permits else make_meter(limit).most
        self.returned += max(0, self.held)

    @property
    def most(self) -> int:
        return self._clip

    @property
    def has_permits(self) -> bool:
        return self._has_permits

    @property
    def granted(self) -> int:
        """All that was granted; a lifted limit grants what it needs to itself."""
        return self._granted

    @property
    def held(self) -> int:
        """Granted and not used; of permits, those of running jobs are used."""
        return self._granted - self.used - self.returned - self._running

    def wait_s(self, cost: int, now_s: float) -> float:
        """The next grant decides."""
        self._expire(now_s)
        return 0.0 if self.held >= cost else math.inf

    def room(self, now_s: float) -> int:
        self._expire(now_s)
        return self.held

    def acquire(self, cost: int, now_s: float) -> None:
        self._last_use_at_s = now_s
        self._begun += cost
        if self._has_permits:
            self._running += cost
        else:
            self.used += cost
        self._granted = max(self._granted, self.used + self.returned + self._running)  # more where it is lifted

    def give_back(self, cost: int, now_s: float) -> None:
        if self._has_permits:
            self.end(cost)
        else:
            self.used -= cost

    def end(self, cost: int) -> bool:
        """Free a permit, to be used again here or to be returned."""
        if not self._has_permits:
            return False
        self._running -= cost
        if self._granted - self.used - self.returned > self._most:
            self.returned += cost
        return self.held > 0

    def fill(self, now_s: float) -> None:
        """Keep what was granted: the coordinator counts for all."""
        return

    def is_idle(self, now_s: float) -> bool:
        """The coordinator is to have the last report, and forgets its session later."""
        self._expire(now_s)
        is_reported = self.written == (self.used, self.returned, self.used + self.returned)
        is_empty = not (self.held or self._running)
        return is_empty and is_reported and now_s >= self._written_at_s + FORGET_S

    def _expire(self, now_s: float) -> None:
        """Take what was granted for used once the coordinator may do so: its answers have stayed away.

        Permits of jobs that run are not used: a coordinator that comes back must know of them.
        """
        if now_s >= self._ends_at_s and self._granted > self.used + self.returned:
            self.used = self._granted - self.returned - self._running

    def note_grant(self, entry: ShareEntry, sent_at_s: float, now_s: float) -> bool:
        """Take in a grant; returns whether there is room by that.

        Args:
            sent_at_s: of the request that it answers.
        """
        self._expire(now_s)
        if entry.granted > self._granted:
            self._granted, self._last_use_at_s = entry.granted, now_s
        self._most = entry.most
        self._ends_at_s = max(self._ends_at_s, sent_at_s + self._valid_s)
        self._expire(now_s)
        return self.held > 0

    def report(self, waiting: int, least: int, now_s: float) -> Amounts | None:
        """The amounts to be written now; None where nothing is new or to be renewed.

        Args:
            waiting: the cost of what waits.
            least: the cost of the first one.
        """
        self._expire(now_s)
        if self.held and now_s >= self._last_use_at_s + IDLE_S:
            self.returned += self.held
        needed = min(waiting, max(least, self._soon(now_s)))
        wanted = self.used + self.returned + self._running + max(needed, self.held)
        amounts = self.used, self.returned, wanted
        is_in_use = self.held or self._running or needed
        if amounts == self.written and not (is_in_use and now_s >= self._written_at_s + self._valid_s / RENEWALS):
            return None
        self.written, self._written_at_s = amounts, now_s
        return amounts

    def return_shares(self) -> Amounts:
        """Return all that no job uses, and the last amounts to be written.

        Jobs that still run keep their permits, since their threads may outlast the worker: the coordinator frees these
        when the grant ends.
        """
        self._most = 0  # a permit that becomes free from now on is not used again
        self.returned += self.held
        return self.used, self.returned, self.used + self.returned + self._running

    def _soon(self, now_s: float) -> int:
        """The cost that may begin soon: twice that of what began lately, so that a slow worker holds up no other."""
        if now_s >= self._speed_at_s + IDLE_S:
            self._was_begun, self._begun, self._speed_at_s = self._begun, 0, now_s
        return max(FEW, 2 * max(self._was_begun, self._begun))
