"""`LimitSharing`: the limits that workers share, as the thread of shares sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...schemas.own_records.share_records import ShareEntry
from ...topology.declaration.limits import Limit
from ..meters.limit_report import LimitReport
from ..shares.share_meter import ShareMeter
from .reports import LimitReports
from .scope import Scope
from .scopes import Scopes
from .shared_keeper import SharedKeeper


class LimitSharing:
    """Safe to call from all threads.

    Args:
        find_in_force: finds the queue's limits as they are kept by now.
    """

    def __init__(
        self,
        keepers: Iterable[SharedKeeper],
        scopes: Scopes,
        reports: LimitReports,
        find_in_force: Callable[[], Mapping[str, Limit]],
    ) -> None:
        self._keepers = {keeper.name: keeper for keeper in keepers}
        self._scopes, self._reports = scopes, reports
        self._find_in_force = find_in_force

    @property
    def in_force(self) -> Mapping[str, Limit]:
        """{name: limit} of the queue's limits as they are kept; another object after each change."""
        return self._find_in_force()

    def requests(self) -> Mapping[str, list[ShareEntry]]:
        """{coordinator: entries to send now} of the shared limits."""
        found: dict[str, list[ShareEntry]] = {}
        with self._scopes.lock:
            scopes = [
                (keeper, value, scope) for keeper in self._keepers.values() for value, scope in keeper.scopes.items()
            ]
        for keeper, value, scope in scopes:
            entry = self._request(keeper.name, value, scope, self._scopes.count_waiting(scope))
            if entry is not None:
                found.setdefault(keeper.coordinator, []).append(entry)
        return found

    def _request(self, name: str, value: bytes | None, scope: Scope, waiting: int) -> ShareEntry | None:
        meter = scope.meter
        assert isinstance(meter, ShareMeter)
        with self._scopes.lock:
            least = scope.least if waiting else 0
            amounts = meter.report((waiting + scope.pending) * max(1, least), least, self._scopes.clock())
            hold_ms = scope.pop_hold_ms(self._scopes.clock())
        if amounts is None and not hold_ms:
            return None
        used, returned, wanted = amounts or meter.written
        return ShareEntry(
            worker=meter.session,
            limit=name,
            value=value,
            granted=meter.granted,
            used=used,
            returned=returned,
            wanted=wanted,
            least=least,
            closed_ms=hold_ms,
        )

    def last_requests(self) -> Mapping[str, list[ShareEntry]]:
        """{coordinator: entries to send at the end} of the shared limits: all that no job uses is returned."""
        found: dict[str, list[ShareEntry]] = {}
        with self._scopes.lock:
            for keeper in self._keepers.values():
                for value, scope in keeper.scopes.items():
                    assert isinstance(scope.meter, ShareMeter)
                    used, returned, wanted = scope.meter.return_shares()
                    entry = ShareEntry(
                        worker=scope.meter.session,
                        limit=keeper.name,
                        value=value,
                        granted=scope.meter.granted,
                        used=used,
                        returned=returned,
                        wanted=wanted,
                    )
                    found.setdefault(keeper.coordinator, []).append(entry)
        return found

    def note_given(self, reports: Mapping[str, LimitReport]) -> None:
        """Keep what the coordinator of this process knows; nothing where it is none any more."""
        self._reports.note_given(reports)

    def note_grant(self, entry: ShareEntry, sent_at_s: float) -> None:
        """Take a grant, and release the records that it is for; a grant for another worker changes nothing."""
        keeper = self._keepers.get(entry.limit)
        if keeper is None:
            return
        with self._scopes.lock:
            scope = keeper.scopes.get(entry.value)
            meter = None if scope is None else scope.meter
            if not isinstance(meter, ShareMeter) or meter.session != entry.worker:
                return
            has_room = meter.note_grant(entry, sent_at_s, self._scopes.clock())
        if scope is not None and has_room and scope.is_full:
            self._scopes.release_fitting(scope)

    def note_held(self, entry: ShareEntry) -> None:
        """Hold a scope for which a job of another worker has asked that."""
        keeper = self._keepers.get(entry.limit)
        if keeper is not None:
            with self._scopes.lock:
                scope = keeper.scopes.get(entry.value)
                if scope is not None:
                    scope.note_held(self._scopes.clock() + entry.closed_ms / 1_000)
