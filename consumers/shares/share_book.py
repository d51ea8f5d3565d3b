"""`ShareBook`: how much of each limit the workers hold, and what of it may be given. Pure: it follows from the log.

A coordinator gives what the meter has left, less what workers hold and have not reported as used. A use counts when its
report comes, which is after it; so no window can hold more than the meter allows, without any clock of two machines
being compared. A worker that is silent for `valid_s` holds nothing any more: it may use a grant for so long only after
it has sent the request that was answered, and that is earlier than the request came here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ...schemas.own_records.share_records import ShareEntry, ShareRecord
from ...topology.declaration.limits import Concurrency, Limit
from ..meters.limit_report import LimitReport, ScopeReport, kept_limit
from ..meters.meter import Meter
from ..meters.meter_kinds import make_meter

RATE_VALID_S: Final = 1.0
PERMITS_VALID_S: Final = 6.0
RENEWALS: Final = 4
"""A grant in use is renewed so often while it is valid."""
FORGOTTEN_AFTER: Final = 10
"""A worker that holds nothing is forgotten when it was silent for so many times that."""

ScopeName = tuple[str, bytes | None]
"""The limit's name, and the value that it counts apart."""


def valid_s(limit: Limit) -> float:
    """How long a grant is valid, from when the request was sent that it answers."""
    return PERMITS_VALID_S if isinstance(limit, Concurrency) else RATE_VALID_S


@dataclass(slots=True)
class _WorkerShare:
    """The part of a scope that one worker holds."""

    last_seen_at_s: float
    granted: int = 0
    used: int = 0
    returned: int = 0
    wanted: int = 0
    least: int = 1
    number: int = 0
    answered: int = 0
    answered_at_s: float = 0.0
    last_given: int = 0
    has_news: bool = False
    has_expired: bool = False

    @property
    def held(self) -> int:
        return self.granted - self.used - self.returned

    @property
    def lacks(self) -> int:
        return max(0, self.wanted - self.granted)


class _SharedScope:
    """One scope."""

    def __init__(self, name: ScopeName, limit: Limit) -> None:
        self.name, self.limit = name, limit
        self.meter: Meter = make_meter(limit)
        self.counts_use = not isinstance(limit, Concurrency)
        self.valid_s = valid_s(limit)
        self.held_until_at_s = 0.0
        self.shares: dict[str, _WorkerShare] = {}

    @property
    def held(self) -> int:
        return sum(share.held for share in self.shares.values())

    def expire(self, now_s: float) -> None:
        """Count the shares of silent workers as used."""
        for worker, share in list(self.shares.items()):
            silent_s = now_s - share.last_seen_at_s
            if silent_s < self.valid_s:
                continue
            if share.held > 0:
                self.use(share.held, share.last_seen_at_s + self.valid_s)
                share.used += share.held
            share.wanted, share.has_expired, share.has_news = 0, True, False
            if silent_s > FORGOTTEN_AFTER * self.valid_s:
                del self.shares[worker]

    def change(self, limit: Limit, now_s: float) -> None:
        """Grant by a changed limit from now on; workers that hold too much are told."""
        self.expire(now_s)
        self.meter.change(limit, now_s)
        self.limit = limit
        for share in self.shares.values():
            share.has_news = share.has_news or share.held > 0

    def use(self, amount: int, at_s: float) -> None:
        if self.counts_use:
            self.meter.acquire(amount, at_s)

    def note_request(self, entry: ShareEntry, number: int, at_s: float) -> None:
        share = self.shares.get(entry.worker)
        if share is None:
            share = _WorkerShare(at_s, granted=entry.used + entry.returned, used=entry.used, returned=entry.returned)
            self.shares[entry.worker] = share
        if entry.used > share.used:
            self.use(entry.used - share.used, at_s)
        # It may be less: a silent worker's share was taken for used, and it had returned that, or was never answered.
        share.used, share.returned = entry.used, entry.returned
        # It may have granted more to itself: permits of jobs that have begun while the limit was lifted.
        has_of_before = 0 if share.has_expired else share.granted
        share.granted = max(has_of_before, share.used + share.returned, entry.granted)
        share.has_expired = False
        if number >= share.number:
            share.number, share.wanted, share.least = number, entry.wanted, max(1, entry.least)
        share.last_seen_at_s = at_s
        self.held_until_at_s = max(self.held_until_at_s, at_s + entry.closed_ms / 1_000 if entry.closed_ms else 0.0)

    def note_grant(self, entry: ShareEntry, at_s: float) -> None:
        share = self.shares.get(entry.worker)
        if share is None:
            self.shares[entry.worker] = _WorkerShare(at_s, granted=entry.granted, used=entry.granted)
        else:
            share.granted = max(share.granted, entry.granted)

    def give(self, now_s: float, turn: int) -> list[ShareEntry]:
        """Grant shares to workers that want some, first to the one that got least lately; renew those in use."""
        self.expire(now_s)
        free = 0 if now_s < self.held_until_at_s else self.meter.room(now_s) - self.held
        wanting = sorted((share for share in self.shares.values() if share.lacks), key=lambda share: share.last_given)
        while wanting and free >= wanting[0].least:
            part = max(wanting[0].least, free // len(wanting))
            first = wanting.pop(0)
            given = min(part, first.lacks)
            first.granted += given
            first.last_given, first.has_news = turn, True
            free -= given
        return [
            self._entry(worker, share, now_s)
            for worker, share in self.shares.items()
            if self._is_to_answer(share, now_s)
        ]

    def is_idle(self, now_s: float) -> bool:
        """Whether a new scope would give alike."""
        return not self.shares and now_s >= self.held_until_at_s and self.meter.is_idle(now_s)

    def report(self, now_s: float) -> ScopeReport:
        """Report the use, and when more may be granted; the workers know how many jobs wait."""
        held, wanting = self.held, [share.least for share in self.shares.values() if share.lacks]
        wait_s = self.meter.wait_s(min(wanting, default=1) + held, now_s)
        next_s = max(wait_s, self.held_until_at_s - now_s)
        most = self.meter.most
        return ScopeReport(
            value=None if self.name[1] is None else self.name[1].decode(errors="backslashreplace"),
            used=most - self.meter.room(now_s) + held,
            of=most,
            next_s=None if math.isinf(next_s) else round(next_s, 3),
        )

    def _is_to_answer(self, share: _WorkerShare, now_s: float) -> bool:
        is_old = now_s - share.answered_at_s >= self.valid_s / RENEWALS
        return share.has_news or (share.held > 0 and is_old and share.number > share.answered)

    def _entry(self, worker: str, share: _WorkerShare, now_s: float) -> ShareEntry:
        share.answered, share.answered_at_s, share.has_news = share.number, now_s, False
        return ShareEntry(
            worker=worker,
            number=share.number,
            limit=self.name[0],
            value=self.name[1],
            granted=share.granted,
            most=self._most(),
        )

    def _most(self) -> int:
        lacking = [share for share in self.shares.values() if share.lacks]
        active = [share for share in self.shares.values() if share.lacks or share.held]
        if active and self.held > self.limit.count:  # it was lowered
            return self.limit.count // len(active)
        return -(-self.limit.count // len(active)) if lacking and active else self.limit.count


class ShareBook:
    """The scopes of the limits of one coordinator; those that are named to a method alone take part in it."""

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        self._limits = limits
        self._scopes: dict[ScopeName, _SharedScope] = {}
        self._live: dict[ScopeName, _SharedScope] = {}
        """The scopes whose shares workers hold or want, or did a moment ago."""
        self._turn = 0

    def __len__(self) -> int:
        """How many scopes it remembers."""
        return len(self._scopes)

    def note(self, record: ShareRecord, at_s: float, names: Collection[str]) -> None:
        """Take in a request or a grant of the log; in its order, with times that do not go back."""
        for entry in record.entries:
            if entry.limit not in names or entry.limit not in self._limits:
                continue
            scope = self._scope(entry)
            scope.expire(at_s)
            if record.kind == "grant":
                scope.note_grant(entry, at_s)
            else:
                scope.note_request(entry, record.number, at_s)

    def change(self, limits: Mapping[str, Limit], now_s: float) -> None:
        """Give by these limits from now on."""
        self._limits = limits
        for scope in self._scopes.values():
            limit = limits[scope.name[0]]
            if limit != scope.limit:
                scope.change(limit, now_s)

    def give(self, now_s: float, names: Collection[str]) -> list[ShareEntry]:
        """Give what may be given now; the answers are to be written as they are."""
        self._turn += 1
        given: list[ShareEntry] = []
        for name, scope in list(self._live.items()):
            if name[0] not in names:
                continue
            given += scope.give(now_s, self._turn)
            if not scope.shares:
                del self._live[name]
        return given

    def forget_idle(self, now_s: float) -> None:
        """Forget the scopes of which nothing is left: a function of the arguments may make any number of them."""
        self._scopes = {
            name: scope for name, scope in self._scopes.items() if name in self._live or not scope.is_idle(now_s)
        }

    def report(self, now_s: float, names: Collection[str]) -> Mapping[str, LimitReport]:
        """{limit: its report}, for people."""
        scopes: dict[str, list[ScopeReport]] = {name: [] for name in self._limits if name in names}
        for (name, _), scope in self._scopes.items():
            if name in scopes:
                scopes[name].append(scope.report(now_s))
        return {name: kept_limit(of_limit, 0) for name, of_limit in scopes.items()}

    def _scope(self, entry: ShareEntry) -> _SharedScope:
        name = entry.limit, entry.value
        scope = self._scopes.get(name)
        if scope is None:
            scope = self._scopes[name] = _SharedScope(name, self._limits[entry.limit])
        self._live[name] = scope
        return scope
