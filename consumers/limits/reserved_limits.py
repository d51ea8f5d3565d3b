"""`LimitReservations`: the limits by key and tenant as the thread of reservations sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...schemas.own_records.reservation_records import ReservationEntry
from ..meters.reserved_meter import ReservedMeter
from ..progress.assignment import Assignment
from ..reservations.partition_log import FormerLevel, ScopeName, entry_of
from .partition_keeper import Keeper
from .scope import Scope
from .scopes import Scopes


class LimitReservations:
    """Falsy where no limit goes by reservations. Safe to call from all threads."""

    def __init__(self, keepers: Iterable[Keeper], wanting: set[ReservedMeter], scopes: Scopes) -> None:
        """Begin without partitions.

        Args:
            wanting: those to which meters add themselves when a reservation is to be written.
        """
        self._keepers = {keeper.name: keeper for keeper in keepers}
        self._wanting, self._scopes = wanting, scopes
        self._assignments: dict[int, list[Assignment]] = {}
        self._ownership_numbers: dict[int, int] = {}
        self._sent: dict[tuple[int, int], list[Scope]] = {}

    def __bool__(self) -> bool:
        return bool(self._keepers)

    @property
    def longest_s(self) -> float:
        """After so long nothing of a scope is left."""
        return max(keeper.lasts_s for keeper in self._keepers.values())

    # ---- partitions come and go

    def begin(self, assignment: Assignment) -> None:
        """Let nothing begin in a partition that was another worker's until its log is read; guarded by the caller.

        Its topics come one after the other. With the first one, the log is read.
        """
        partition = assignment.partition
        present = [one for one in self._assignments.get(partition, ()) if one.is_staying]
        self._assignments[partition] = [*present, assignment]
        if not present and not assignment.is_begun_anew:
            self._ownership_numbers[partition] = self._ownership_numbers.get(partition, 0) + 1
            self._suspend(partition)

    def owned(self) -> Mapping[int, int]:
        """{partition of this process: number of its present ownership}."""
        with self._scopes.lock:
            return {
                partition: self._ownership_numbers[partition]
                for partition, assignments in self._assignments.items()
                if any(assignment.is_staying for assignment in assignments)
            }

    def restore(
        self, partition: int, levels: Iterable[tuple[ScopeName, FormerLevel]], unknown_at_s: float | None
    ) -> None:
        """Go on with what the log has of a partition."""
        by_limit: dict[str, dict[bytes, FormerLevel]] = {name: {} for name in self._keepers}
        for (limit, value), level in levels:
            if limit in by_limit:
                by_limit[limit][value] = level
        with self._scopes.lock:
            for name, keeper in self._keepers.items():
                keeper.restore(partition, by_limit[name], unknown_at_s)
            full = [scope for keeper in self._keepers.values() for scope in keeper.of(partition) if scope.is_full]
        for scope in full:
            self._scopes.release_fitting(scope)

    def suspend(self, partition: int) -> Sequence[ReservationEntry]:
        """Let no job of a partition begin until `restore`; return the entries that the log still lacks."""
        with self._scopes.lock:
            return self._suspend(partition)

    def _suspend(self, partition: int) -> Sequence[ReservationEntry]:
        now_s = self._scopes.clock()
        entries = [
            entry_of(_name(meter), meter.level(now_s), now_s, 0)
            for keeper in self._keepers.values()
            for meter in keeper.suspend(partition)
        ]
        self._sent = {sent: scopes for sent, scopes in self._sent.items() if sent[0] != partition}
        return entries

    # ---- reservations

    def collect(self, number: int) -> Mapping[int, Sequence[ReservationEntry]]:
        """{partition: the reservations that are to be written now}, under this number."""
        if not self._wanting:
            return {}
        with self._scopes.lock:
            wanting = list(self._wanting)
            self._wanting.clear()
            scopes = [scope for meter in wanting if (scope := self._scope_of(meter)) is not None]
        waiting = {scope: self._scopes.count_waiting(scope) for scope in scopes}
        found: dict[int, list[ReservationEntry]] = {}
        with self._scopes.lock:
            now_s = self._scopes.clock()
            for scope, count in waiting.items():
                meter = _meter(scope)
                amount = meter.to_reserve(*_needed(scope, count), now_s)
                if amount is not None:
                    found.setdefault(meter.key.partition, []).append(self._send(scope, amount, number, now_s))
                elif scope.is_full and not meter.is_on_its_way and meter.free(now_s) > 0:
                    self._wanting.add(meter)  # what was released for its reservation has not begun yet
        return found

    def _send(self, scope: Scope, amount: int, number: int, now_s: float) -> ReservationEntry:
        """Note that a reservation is on its way, and make its entry."""
        meter = _meter(scope)
        meter.note_sent(number, amount, now_s)
        self._sent.setdefault((meter.key.partition, number), []).append(scope)
        return entry_of(_name(meter), meter.level(now_s), now_s, amount)

    def confirm(self, partition: int, number: int) -> None:
        """Confirm the reservations of this number, which the log has; release the records that wait for them."""
        with self._scopes.lock:
            scopes = self._sent.pop((partition, number), [])
            for scope in scopes:
                _meter(scope).confirm(number)
            self._wanting.update(_meter(scope) for scope in scopes if scope.is_lifted)
            full = [scope for scope in scopes if scope.is_full]
        for scope in full:
            self._scopes.release_fitting(scope)

    def fail(self, partition: int, number: int) -> None:
        """Give up the reservations of this number, which were not written; they are tried again."""
        with self._scopes.lock:
            for scope in self._sent.pop((partition, number), []):
                _meter(scope).fail(number)
                self._wanting.add(_meter(scope))

    # ---- a log that is begun anew

    def scopes(self, partition: int) -> Sequence[ScopeName]:
        """All scopes of a partition that are in use."""
        with self._scopes.lock:
            now_s = self._scopes.clock()
            return [
                (keeper.name, value) for keeper in self._keepers.values() for value in keeper.used(partition, now_s)
            ]

    def states(
        self, partition: int, names: Iterable[ScopeName], number: int
    ) -> tuple[Sequence[ReservationEntry], Sequence[ScopeName]]:
        """The entries of these scopes, and the scopes whose reservation is on its way just now."""
        entries: list[ReservationEntry] = []
        later: list[ScopeName] = []
        with self._scopes.lock:
            now_s = self._scopes.clock()
            for name in names:
                keeper = self._keepers[name[0]]
                scope = keeper.scopes.get((partition, name[1]))
                if scope is None:
                    level = keeper.former_level(partition, name[1], now_s)
                    entries += [] if level is None else [entry_of(name, level, now_s, 0)]
                elif _meter(scope).is_on_its_way:
                    later.append(name)
                elif (amount := _meter(scope).to_restate(*_needed(scope, 0), now_s)) is not None:
                    entries.append(self._send(scope, amount, number, now_s))
        return entries, later

    def unknown_for_s(self, partition: int) -> float | None:
        """How long ago the use in a partition was unknown; None where that has no effect any more."""
        with self._scopes.lock:
            now_s = self._scopes.clock()
            found = [keeper.unknown_for_s(partition, now_s) for keeper in self._keepers.values()]
        return min((for_s for for_s in found if for_s is not None), default=None)

    def _scope_of(self, meter: ReservedMeter) -> Scope | None:
        limit, partition, value = meter.key
        scope = self._keepers[limit].scopes.get((partition, value))
        return scope if scope is not None and scope.meter is meter else None


def _needed(scope: Scope, waiting: int) -> tuple[int, int]:
    """The cost of what waits for a scope, and of the first one of it."""
    # A record that was refused just now may not wait in the row yet.
    count = max(1, waiting + scope.pending) if scope.is_full else 0
    least = max(1, scope.least)
    return count * least, least


def _meter(scope: Scope) -> ReservedMeter:
    assert isinstance(scope.meter, ReservedMeter)
    return scope.meter


def _name(meter: ReservedMeter) -> ScopeName:
    return meter.key.limit, meter.key.value
