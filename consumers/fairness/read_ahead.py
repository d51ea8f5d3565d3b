"""`ReadAhead`: lets fetching go on past tenants that have more ready records than their share of the memory.

What is beyond that share is put aside unread, by its offset, behind others of its tenant. So a flood is passed at some
hundred thousand records a second, and others behind it in the log are reached. When half of a tenant's share has run,
its next records are read again, in their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Message

from ...topology.wire.headers import TENANT, HeaderList
from ..backlog.lane_backlog import line_of
from ..ordering.lanes import Lanes
from ..records.assignment import Assignment, Place
from .fair_queue import Load

SOON_S: Final = 1.0
"""While all that is known to wait runs within this time, at the present pace, nothing is read ahead."""
FAST_PER_S: Final = 10_000
FAST_SOON_S: Final = 5.0
"""As `SOON_S`, for jobs that are so short that reading them twice takes as long as running them."""
LEAST_SHARE: Final = 4
"""Records that a tenant may have in memory, however many tenants are floods."""
FLOODS_HAVE: Final = 2 / 3
"""Of the records in memory: the tenants with the most of them are floods, as many as have this part together."""
PASSING: Final = 4
"""Times the usual number of records is fetched in a turn while floods are passed: each turn waits for the runners."""

Tenant = bytes | None


class ReadAhead:
    """The floods, and what is aside of each; owned by the poll thread.

    Args:
        loads: {tenant: its load}.
        count_ended: how many records have come from the runners, since the start.
        most: how many records all floods may have in memory together, beside the bound for all others.
    """

    def __init__(
        self,
        lanes: Lanes,
        loads: Mapping[Tenant, Load],
        count_ended: Callable[[], int],
        most: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lanes = lanes
        self._loads = loads
        self._count_ended = count_ended
        self._clock = clock
        self._most = most
        self._share = most
        self._floods: set[Tenant] = set()
        self._aside: dict[Tenant, int] = {}
        self._entering: dict[Tenant, int] = {}
        self._batch: dict[int, list[Place]] = {}
        self._tenant_at = 0
        self._since = clock(), 0
        self._pace_per_s = 0.0
        self._is_on = False

    @property
    def is_passing(self) -> bool:
        """Whether any tenant has records aside."""
        return bool(self._aside)

    # ---- who is a flood

    def note_lag(self, lag: int) -> None:
        """Take how many records have no outcome, as far as the ends of the log are known; called now and then."""
        since_s, before = self._since
        now_s, ended = self._clock(), self._count_ended()
        self._since = now_s, ended
        self._pace_per_s += ((ended - before) / max(1e-3, now_s - since_s) - self._pace_per_s) / 3
        self._is_on = lag > self._pace_per_s * (FAST_SOON_S if self._pace_per_s >= FAST_PER_S else SOON_S)
        if self._is_on:
            self._floods |= self._largest()
        else:
            self._floods = set(self._aside)
        self._note_share()

    def _largest(self) -> set[Tenant]:
        loads = sorted(((load.count, tenant) for tenant, load in list(self._loads.items())), key=lambda item: -item[0])
        left = FLOODS_HAVE * sum(count for count, _ in loads)
        found: set[Tenant] = set()
        for count, tenant in loads:
            if left <= 0:
                break
            found.add(tenant)
            left -= count
        return found

    def _note_share(self) -> None:
        self._share = max(LEAST_SHARE, self._most // max(1, len(self._floods)))

    def loads_of_floods(self) -> int:
        """How many records of floods are in memory, and so take nobody's room."""
        loads = (self._loads.get(tenant) for tenant in self._floods)
        return min(self._most, sum(load.count for load in loads if load is not None))

    def limit(self, usual: int, room: int) -> int:
        """How many records to fetch in a turn: more of a flood, which takes no room."""
        return min(PASSING * usual, 2 * room) if self._aside else min(usual, room)

    # ---- aside

    def leaves_out(self, message: Message, assignment: Assignment) -> bool:
        """Put a record of the main topic aside, if its tenant has more in memory than its share; False where not."""
        tenant = self._tenant_of(message)
        line = self._aside.get(tenant)
        if line is None:
            if not self._is_on or not self._is_beyond(tenant):
                return False
            line = self._aside[tenant] = line_of(tenant)
        places = self._batch.get(line)
        if places is None:
            places = self._batch[line] = []
        places.append((assignment, message.offset() or 0))
        return True

    def _is_beyond(self, tenant: Tenant) -> bool:
        entering = self._entering[tenant] = self._entering.get(tenant, 0) + 1
        load = self._loads.get(tenant)
        if entering + (0 if load is None else load.waiting) <= self._share:
            return False
        if tenant not in self._floods:
            self._floods.add(tenant)
            self._note_share()
        return True

    def end(self) -> None:
        """Put aside what was left out since the last call; all else goes to the lanes next."""
        self._entering.clear()
        if self._batch:
            for line, places in self._batch.items():
                self._lanes.put_in_line(line, places)
            self._batch = {}

    def forget_replaced(self) -> None:
        """Forget what was left out since the last call of `end` of assignments that have ended meanwhile."""
        kept = {line: [place for place in places if place[0].is_current] for line, places in self._batch.items()}
        self._batch = {line: places for line, places in kept.items() if places}

    def want(self) -> None:
        """Have the next records of those tenants read again that have few in memory."""
        if self._aside:
            self._aside = {tenant: line for tenant, line in self._aside.items() if self._want(tenant, line)}

    def _want(self, tenant: Tenant, line: int) -> bool:
        """Whether more of the tenant is aside, or on its way."""
        load = self._loads.get(tenant)
        waiting = 0 if load is None else load.waiting
        if waiting > self._share // 2:
            return True
        return self._lanes.want_from_line(line, self._share - waiting)

    def _tenant_of(self, message: Message) -> Tenant:
        try:
            pairs: HeaderList = message.headers()  # type: ignore[assignment]  # a consumed one has them as a list, or None
        except (SystemError, UnicodeDecodeError):  # so the client fails over a name that is not UTF-8
            return None
        if not pairs:
            return None
        at = self._tenant_at
        if at < len(pairs) and pairs[at][0] == TENANT:  # where the last record had it
            return pairs[at][1] or None
        for number, (name, value) in enumerate(pairs):
            if name == TENANT:
                self._tenant_at = number
                return value or None
        return None
