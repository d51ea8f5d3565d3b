"""`Keeper`: keeps one limit by key or tenant, where the owner of a partition knows all jobs that it counts."""

from __future__ import annotations

from ...topology.declaration.limits import BY_KEY, Limit
from ..meters.meters import make_meter
from ..records.record import Record
from .scope import InForce, Limited, Scope


class Keeper:
    """Makes and finds the scopes of one limit; guarded by the lock of `Limits`.

    A key or tenant is in one partition, whose owner runs all of its jobs. What the owner before has begun, it does not
    know: so each rate counts as used up when an assignment begins, and is whole one window later.

    Attributes:
        name: of the limit.
        in_force: the limit as it is kept.
        scopes: {partition, and key or tenant: scope}.
    """

    def __init__(self, name: str, limit: Limit, *, is_within_tenant: bool) -> None:
        """Begin without scopes.

        Args:
            is_within_tenant: whether equal keys of different tenants may be in different partitions, so that each
                tenant's count apart.
        """
        self.name, self.in_force = name, InForce(limit)
        self.scopes: dict[tuple[int, bytes], Scope] = {}
        self._is_by_key = limit.by == BY_KEY
        self._is_within_tenant = is_within_tenant and self._is_by_key
        self._begun_at_s: dict[int, float] = {}

    def scope_of(self, record: Record) -> Scope | None:
        """The scope of a record; None where the limit does not count it, as one without a key."""
        value = record.key if self._is_by_key else record.tenant
        if value is None:
            return None
        name = value
        if self._is_within_tenant and record.tenant is not None:
            name = record.tenant + b"/" + value
        place = record.partition, name
        scope = self.scopes.get(place)
        return self._made(place) if scope is None else scope

    def _made(self, place: tuple[int, bytes]) -> Scope:
        partition, name = place
        meter = make_meter(self.in_force.limit)
        if partition in self._begun_at_s:
            meter.fill(self._begun_at_s[partition])
        why = Limited(self.name, name.decode(errors="backslashreplace"), self.in_force)
        scope = Scope(meter, why, partition, is_lifted=self.in_force.is_lifted)
        self.scopes[place] = scope
        return scope

    def begin(self, partition: int, now_s: float) -> None:
        """Take the limit for used up in a partition that another worker may have had until now."""
        self._begun_at_s[partition] = now_s
        for scope in self.scopes.values():
            if scope.partition == partition:
                scope.meter.fill(now_s)

    def forget_idle(self, now_s: float) -> None:
        """Forget the scopes of which nothing is left."""
        self.scopes = {place: scope for place, scope in self.scopes.items() if not scope.is_idle(now_s)}
