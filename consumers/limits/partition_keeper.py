"""`Keeper`: keeps one limit by key or tenant, where the owner of a partition knows all jobs that it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...topology.declaration.limits import BY_KEY, Limit, is_reserved
from ..meters.level import Level
from ..meters.meter import Meter
from ..meters.meter_kinds import lasts_s, make_meter
from ..meters.reserved_meter import ReservedMeter, ScopeKey
from ..records.record import Record
from ..reservations.partition_log import FormerLevel
from .scope import InForce, Limited, Scope


class Keeper:
    """Makes and finds the scopes of one limit; guarded by the lock of `Scopes`.

    A key or tenant is in one partition, whose owner runs all of its jobs. The log of reservations has what the owner
    before has begun. No job begins until this log is read. Without reservations, the rate counts as used up when an
    assignment begins, and is whole one window later.

    Attributes:
        name: of the limit.
        in_force: the limit as it is kept.
        is_reserved: whether it goes by reservations.
        scopes: {partition, and key or tenant: scope}.
    """

    def __init__(
        self, name: str, limit: Limit, *, is_within_tenant: bool, wanting: set[ReservedMeter] | None = None
    ) -> None:
        """Begin without scopes.

        Args:
            is_within_tenant: whether equal keys of different tenants may be in different partitions, so that each
                tenant's count apart.
            wanting: the meters of which a reservation is to be written; None where the queue writes no reservations.
        """
        self.name, self.in_force = name, InForce(limit)
        self.is_reserved = wanting is not None and is_reserved(limit)
        self.scopes: dict[tuple[int, bytes], Scope] = {}
        self._wanting = set() if wanting is None else wanting
        self._is_by_key = limit.by == BY_KEY
        self._is_within_tenant = is_within_tenant and self._is_by_key
        self._full_at_s: dict[int, float] = {}
        """{partition: when all of its scopes without a level were full}."""
        self._known: set[int] = set()
        self._former: dict[tuple[int, bytes], FormerLevel] = {}
        """Levels that were restored, of scopes that have no jobs yet."""

    def scope_of(self, record: Record) -> Scope | None:
        """The scope of a record; None where the limit does not count it, as one without a key."""
        value = record.key if self._is_by_key else record.tenant
        if value is None:
            return None
        name = value
        if self._is_within_tenant and record.tenant is not None:
            name = record.tenant + b"/" + value
        scope_key = record.partition, name
        scope = self.scopes.get(scope_key)
        return self._made(scope_key) if scope is None else scope

    def _made(self, scope_key: tuple[int, bytes]) -> Scope:
        partition, name = scope_key
        meter = self._meter(scope_key)
        if self.is_reserved:
            meter = ReservedMeter(
                meter, ScopeKey(self.name, partition, name), self._wanting, is_known=partition in self._known
            )
        why = Limited(self.name, name.decode(errors="backslashreplace"), self.in_force)
        scope = Scope(meter, why, partition, is_lifted=self.in_force.is_lifted)
        self.scopes[scope_key] = scope
        return scope

    def _meter(self, scope_key: tuple[int, bytes]) -> Meter:
        """Make a meter at the restored level of the scope, or full where the partition was."""
        meter, level = make_meter(self.in_force.limit), self._former.pop(scope_key, None)
        if level is not None:
            meter.restore(level.level)
        elif scope_key[0] in self._full_at_s:
            meter.fill(self._full_at_s[scope_key[0]])
        return meter

    def begin(self, partition: int, now_s: float) -> None:
        """Count the limit as used up in a partition that another worker may have had until now.

        A limit with reservations reads its log instead.
        """
        if self.is_reserved:
            return
        self._full_at_s[partition] = now_s
        for scope in self.of(partition):
            scope.meter.fill(now_s)

    def of(self, partition: int) -> list[Scope]:
        """The scopes of a partition."""
        return [scope for scope in self.scopes.values() if scope.partition == partition]

    def forget_idle(self, now_s: float) -> None:
        """Forget the scopes of which nothing is left."""
        self.scopes = {scope_key: scope for scope_key, scope in self.scopes.items() if not scope.is_idle(now_s)}
        lasts_s = self.lasts_s
        self._former = {
            scope_key: level for scope_key, level in self._former.items() if not level.is_over(lasts_s, now_s)
        }

    # ---- reservations

    @property
    def lasts_s(self) -> float:
        """How long a use counts at the most, by the declared limit or by an order's."""
        return max(lasts_s(self.in_force.limit), lasts_s(self.in_force.declared))

    def suspend(self, partition: int) -> Iterable[ReservedMeter]:
        """Let nothing of a partition begin until `restore`; return the meters whose exact level the log lacks."""
        self._known.discard(partition)
        self._former = {scope_key: level for scope_key, level in self._former.items() if scope_key[0] != partition}
        meters = [scope.meter for scope in self.of(partition)]
        return [meter for meter in meters if isinstance(meter, ReservedMeter) and meter.suspend()]

    def restore(self, partition: int, levels: Mapping[bytes, FormerLevel], full_at_s: float | None) -> None:
        """Restore these levels. Scopes without a level were full at `full_at_s`, or empty if it is None."""
        self._known.add(partition)
        self._full_at_s.pop(partition, None)
        if full_at_s is not None:
            self._full_at_s[partition] = full_at_s
        self._former.update({(partition, value): level for value, level in levels.items()})
        for scope in self.of(partition):
            if isinstance(scope.meter, ReservedMeter):
                scope.meter.begin(self._meter((partition, scope.meter.key.value)))

    def used(self, partition: int, now_s: float) -> Iterator[bytes]:
        """The keys or tenants of a partition whose scopes are in use."""
        yield from (value for found, value in self._former if found == partition)
        for (found, value), scope in self.scopes.items():
            if found == partition and not scope.meter.is_idle(now_s):
                yield value

    def former_level(self, partition: int, value: bytes, now_s: float) -> Level | None:
        """The restored level of a scope that has had no jobs yet, as of now; None where nothing is left of it."""
        level = self._former.get((partition, value))
        if level is None or level.is_over(self.lasts_s, now_s):
            return None
        meter = make_meter(self.in_force.limit)
        meter.restore(level.level)
        return meter.level(now_s)

    def unknown_for_s(self, partition: int, now_s: float) -> float | None:
        """How long ago the scopes of a partition were full since nothing was known; None where none is any more."""
        full_at_s = self._full_at_s.get(partition)
        return None if full_at_s is None or now_s - full_at_s > self.lasts_s else now_s - full_at_s
