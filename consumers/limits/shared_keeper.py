"""`SharedKeeper`: keeps one limit that counts the jobs of several workers together, by shares of it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from uuid import uuid4

from ...topology.declaration.limits import BY_KEY, BY_TENANT, Limit, scoped_value
from ...topology.wire.headers import LIMITED_BY
from ..records.record import Record
from ..shares.share_meter import ShareMeter
from .scope import InForce, Limited, Scope


class SharedKeeper:
    """Makes and finds the scopes of one limit; guarded by the lock of `Scopes`.

    Attributes:
        name: of the limit.
        in_force: the limit as it is kept.
        coordinator: the queue whose first partition's owner gives the shares.
        scopes: {value that the limit counts apart, None where it counts all jobs together: scope}.
    """

    def __init__(self, name: str, limit: Limit, coordinator: str) -> None:
        self.name, self.in_force, self.coordinator = name, InForce(limit), coordinator
        self.scopes: dict[bytes | None, Scope] = {}
        self._value_of = self._finder()
        self._process, self._numbers = uuid4().hex[:12], count()

    def scope_of(self, record: Record) -> Scope | None:
        """The scope of a record; None where the limit does not count it."""
        value = None if self._value_of is None else self._value_of(record)
        if value is None and self._value_of is not None:
            return None
        scope = self.scopes.get(value)
        return self._made(value) if scope is None else scope

    def _finder(self) -> Callable[[Record], bytes | None] | None:
        by = self.in_force.declared.by
        if by is None:
            return None
        if by == BY_KEY:
            return lambda record: record.key
        if by == BY_TENANT:
            return lambda record: record.tenant
        return lambda record: scoped_value(record.header(LIMITED_BY), self.name)

    def _made(self, value: bytes | None) -> Scope:
        in_force = self.in_force
        meter = ShareMeter(in_force.limit, f"{self._process}.{next(self._numbers)}")
        shown = None if value is None else value.decode(errors="backslashreplace")
        why = Limited(self.name, shown, in_force)
        scope = self.scopes[value] = Scope(meter, why, None, is_lifted=in_force.is_lifted)
        return scope

    def begin(self, partition: int, now_s: float) -> None:
        """Keep what was granted: the coordinator counts for all workers."""
        return

    def forget_idle(self, now_s: float) -> None:
        """Forget the scopes of which nothing is left."""
        self.scopes = {value: scope for value, scope in self.scopes.items() if not scope.is_idle(now_s)}
