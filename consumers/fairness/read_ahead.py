"""`ReadAhead`: lets fetching go on past tenants that have more ready records than their portion of the memory.

What is beyond that portion is put aside unread, by its offset, behind others of its tenant. So a heavy one is passed at
some hundred thousand records a second, and others behind it in the log are reached. When a part of a tenant's portion
has run, its next records are read again, in their order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from confluent_kafka import Message

from ...topology.wire.headers import TENANT, HeaderList
from ..backlog.tenant_lines import TenantLines, line_of
from ..progress.assignment import Assignment
from ..progress.partition_progress import OffsetsWentBack
from ..sources.source import MAIN
from .fair_queue import Load
from .looks import Looks, Tenant

SOON_S: Final = 1.0
"""While all that is known to wait runs within this time, at the present pace, nothing is read ahead."""
MEASURED_S: Final = 0.3
"""The pace of jobs is known when there was work for so long."""
FAST_PER_S: Final = 10_000
FAST_SOON_S: Final = 5.0
"""As `SOON_S`, for jobs that are so short that reading them twice takes as long as running them, where no tenant
waits behind them, as far as looks at the ends of the log have seen."""
HOLD_FOR_S: Final = 2.0
"""How long heavy tenants are held back at the most, so that the log is read to its end."""
LEAST_RECORDS: Final = 4
"""Records that a tenant may have in memory, however many tenants are heavy."""
HEAVY_HAVE: Final = 2 / 3
"""A part of the records in memory: the tenants with the most of them are heavy, as many as have it together."""
UNREAD: Final = 10_000
"""Records: what is left where the log counts as read to its end."""
MOST_HEAVY: Final = 16
"""A tenant that has no more of the heavy tenants' records in memory than one of so many is not heavy."""
ASKED_PART: Final = 2
"""When one in so many of a tenant's records has gone, its next ones are read again, while those before still come."""
PASSING: Final = 4
"""Times the usual number is fetched in a turn while heavy tenants are passed: each turn waits for the runners."""
PASSING_HELD: Final = 16
"""Times the usual number is fetched in a turn while heavy tenants are held back."""

FindRunning = Callable[[str | None, int | None], Assignment | None]
_Way = tuple[tuple[Tenant, int | None, str | None], Callable[[int], None], Callable[[int], None]]
"""Where the last record that was passed came from, and what takes an offset and puts it aside."""


class ReadAhead:
    """The heavy tenants, and what is aside of each; owned by the poll thread.

    Those with very short jobs, which cost as much to pass as to run, are passed where another tenant is seen behind
    them; then they are held back (`is_holding`) until the log is read to its end, for a moment only.

    Args:
        loads: {tenant: its load}.
        count_ended: how many records have come from the runners, since the start.
        most: how many records all heavy tenants may have in memory together, beside the bound for all others.
    """

    def __init__(
        self,
        lines: TenantLines,
        loads: Mapping[Tenant, Load],
        count_ended: Callable[[], int],
        most: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines = lines
        self._loads = loads
        self._count_ended = count_ended
        self._clock = clock
        self._most = most
        self._portion = most
        self._heavy_tenants: set[Tenant] = set()
        self._aside: dict[Tenant, int] = {}
        self._entering: dict[Tenant, int] = {}
        self._batch: dict[tuple[int, Assignment], list[int]] = {}
        self._way: _Way | None = None
        self._tenant_at = 0
        self._since = clock(), 0
        self._pace_per_s = 0.0
        self._is_on = False
        self._looks = Looks(loads, clock)
        self._hold_until_at_s = math.inf
        self._is_behind = self._is_fast = False
        self._unfinished_since_at_s = clock()
        self.is_holding = False

    @property
    def is_skipping_ahead(self) -> bool:
        """Whether any tenant has records aside."""
        return bool(self._aside)

    # ---- which tenants are heavy

    def note_unfinished(self, unfinished: int, unread: int = 0) -> None:
        """Take how many records have no outcome, as far as the ends of the log are known; called now and then.

        Args:
            unread: how many of them were not fetched.
        """
        now_s = self._clock()
        self._measure_pace(now_s)
        self._is_fast = self._pace_per_s >= FAST_PER_S
        if not unfinished:
            self._unfinished_since_at_s = now_s
        is_known = now_s - self._unfinished_since_at_s >= MEASURED_S or self._looks.has_seen
        self._is_behind = unfinished > self._pace_per_s * SOON_S
        is_long = unfinished > self._pace_per_s * FAST_SOON_S
        self._is_on = is_known and self._is_behind and (not self._is_fast or is_long or self._looks.has_seen)
        self._looks.turn()
        self._update_holding(unread, now_s)
        if self._is_on:
            self._heavy_tenants = self._largest() | self._aside.keys()
        else:
            self._heavy_tenants = set(self._aside)
        self._update_portion()

    def _measure_pace(self, now_s: float) -> None:
        since_at_s, before = self._since
        ended = self._count_ended()
        self._since = now_s, ended
        if not self.is_holding:  # else it is not that of the jobs
            pace_per_s = (ended - before) / max(1e-3, now_s - since_at_s)
            self._pace_per_s += (pace_per_s - self._pace_per_s) / (3 if self._pace_per_s else 1)

    def _update_holding(self, unread: int, now_s: float) -> None:
        """Hold those with very short jobs back until the log is read to its end, once each time they are passed."""
        if not (self._is_on or self._aside):
            self._hold_until_at_s = math.inf
        may_hold = self._is_on and self._is_fast and self._looks.has_seen and unread > UNREAD
        if may_hold and not self.is_holding:
            self._hold_until_at_s = min(self._hold_until_at_s, now_s + HOLD_FOR_S)
        self.is_holding = may_hold and now_s < self._hold_until_at_s

    # ---- who waits behind heavy tenants

    def places_to_look_at(self, ends: Mapping[Assignment, int]) -> dict[Assignment, list[int]]:
        """{assignment: offsets}, where a look may show a tenant that heavy ones hold up; as `Looks.want`."""
        is_worth_it = self._is_behind and not self._aside
        return self._looks.want(ends if is_worth_it else {})

    def look_at(self, message: Message, assignment: Assignment) -> bool:
        """Look at a record that was read again; False where that was not wanted here. Others may want it as well."""
        is_looked_at = self._looks.pop_wanted((assignment, message.offset() or 0))
        if is_looked_at:
            self._looks.note(self._tenant_of(message))
        return is_looked_at

    # ---- heavy tenants

    def _largest(self) -> set[Tenant]:
        loads = sorted(((load.count, tenant) for tenant, load in list(self._loads.items())), key=lambda item: -item[0])
        left = HEAVY_HAVE * sum(count for count, _ in loads)
        found: set[Tenant] = set()
        for count, tenant in loads:
            if left <= 0 or count <= self._most // MOST_HEAVY:
                break
            found.add(tenant)
            left -= count
        return found

    def _update_portion(self) -> None:
        self._portion = max(LEAST_RECORDS, self._most // max(1, len(self._heavy_tenants)))

    def loads_of_heavy_tenants(self) -> int:
        """How many records of heavy tenants are in memory, which take no room of others."""
        loads = (self._loads.get(tenant) for tenant in self._heavy_tenants)
        return min(self._most, sum(load.count for load in loads if load is not None))

    def limit(self, usual: int, room: int) -> int:
        """How many records to fetch in a turn: more of a heavy tenant, which takes no room."""
        if self.is_holding:
            return min(PASSING_HELD * usual, PASSING * room)
        return min(PASSING * usual, 2 * room) if self._aside else min(usual, room)

    # ---- aside

    def past_heavy_tenants(self, messages: Iterable[Message], find_running: FindRunning) -> Iterator[Message]:
        """Take the records of tenants that have others aside, and yield the rest; in their order.

        It does what `leave_out` would, in fewer steps: while a heavy tenant is passed, all others wait for that.
        """
        for message in messages:
            tenant = self._tenant_of(message)
            if (
                tenant not in self._aside
                or message.error() is not None
                or not self._pass(message, tenant, find_running)
            ):
                self._way = None  # the taking of that one may change it
                yield message

    def _pass(self, message: Message, tenant: Tenant, find_running: FindRunning) -> bool:
        """Take a record and put it aside; False where it is not to be passed, such as one whose offset went back."""
        place = tenant, message.partition(), message.topic()
        if self._way is None or self._way[0] != place:
            assignment = find_running(place[2], place[1])
            if assignment is None or assignment.source is not MAIN:
                return False
            put_aside = self._offsets_aside(self._aside[tenant], assignment).append
            self._way = place, assignment.progress.note_delivered, put_aside
        _, note_delivered, put_aside = self._way
        offset = message.offset() or 0
        try:
            note_delivered(offset)
        except OffsetsWentBack:
            return False
        put_aside(offset)
        return True

    def _offsets_aside(self, line: int, assignment: Assignment) -> list[int]:
        return self._batch.setdefault((line, assignment), [])

    def leave_out(self, message: Message, assignment: Assignment) -> bool:
        """Put a record of the main topic aside, if its tenant has more in memory than its portion; False where not."""
        tenant = self._tenant_of(message)
        line = self._aside.get(tenant)
        if line is None:
            if self._is_on:
                self._looks.note(tenant)
            self._looks.lately.add(tenant)
            if not self._is_on or not self._is_beyond(tenant):
                return False
            line = self._aside[tenant] = line_of(tenant)
        self._offsets_aside(line, assignment).append(message.offset() or 0)
        return True

    def _is_beyond(self, tenant: Tenant) -> bool:
        entering = self._entering[tenant] = self._entering.get(tenant, 0) + 1
        load = self._loads.get(tenant)
        if entering + (0 if load is None else load.waiting) <= self._portion:
            return False
        if tenant not in self._heavy_tenants:
            self._heavy_tenants.add(tenant)
            self._update_portion()
        return True

    def end(self) -> None:
        """Put aside what was left out since the last call; all else goes to the lanes next."""
        self._entering.clear()
        self._way = None
        if self._batch:
            for (line, assignment), offsets in self._batch.items():
                self._lines.put(line, assignment, offsets)
            self._batch = {}

    def forget_replaced(self) -> None:
        """Forget what was left out since the last call of `end` of assignments that have ended meanwhile."""
        self._batch = {place: offsets for place, offsets in self._batch.items() if place[1].is_current}

    def want(self) -> None:
        """Have the next records of those tenants read again that have few in memory."""
        if self._aside:
            self._aside = {tenant: line for tenant, line in self._aside.items() if self._want(tenant, line)}

    def _want(self, tenant: Tenant, line: int) -> bool:
        """Whether more of the tenant is aside, or on its way."""
        load = self._loads.get(tenant)
        waiting = 0 if load is None else load.waiting
        least = max(1, self._portion // ASKED_PART)
        return waiting > self._portion - least or self._lines.want(line, self._portion - waiting, least)

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
