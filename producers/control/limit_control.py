"""`LimitControl`: the part of `Control` that changes limits, lifts them, and lets them be as they are declared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import datetime, timedelta

from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline, UnknownName
from ...topology.declaration.limits import Limit, changed, declared_limits
from ...topology.wire.orders import LIMIT, LimitChange, Verb
from .errors import OrderRefused
from .receipt import OrderReceipt

NOTHING_CHANGED = "name what is to change: a count, per or burst, or lift the limit"


class LimitControl(ABC):
    """Orders about limits."""

    _pipeline: Pipeline

    @abstractmethod
    def order(self, verb: Verb) -> ControlOrder:
        """A new order without a target."""

    @abstractmethod
    def give(self, order: ControlOrder) -> OrderReceipt:
        """Give one order."""

    def limit(
        self,
        name: str,
        *,
        count: int | None = None,
        per: timedelta | None = None,
        burst: int | None = None,
        lift: bool = False,
        until: datetime | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """Change a declared limit, in place of what was ordered for it before; what is not named is as declared.

        Args:
            name: of the limit, as `stoker limits` shows it.
            count, per, burst: as those of `Rate` and `Concurrency`; a window cannot be made a token bucket.
            lift: hold nothing back by this limit.
            until: when the limit is as declared again; None until `unlimit`.

        Raises:
            OrderRefused, UnknownName: there is no such limit, or it cannot be like that.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given.
        """
        declared = self._declared(name)
        change = LimitChange(count=count, per=per, burst=burst, is_lifted=lift)
        if bool(change.named) == lift:
            raise OrderRefused(Verb.LIMIT, NOTHING_CHANGED if not lift else "a lifted limit has no count, per or burst")
        try:
            changed(declared, change)
        except ValueError as wrong:
            raise OrderRefused(Verb.LIMIT, f"{name}: {wrong}") from None
        order = replace(self.order(Verb.LIMIT), detail={LIMIT: name, **change.detail})
        return self.give(replace(order, until=until, reason=reason))

    def unlimit(self, name: str, *, reason: str = "") -> OrderReceipt:
        """Let a limit be as it is declared: ends what `limit` has ordered. Raises as `limit`."""
        self._declared(name)
        return self.give(replace(self.order(Verb.UNLIMIT), detail={LIMIT: name}, reason=reason))

    def _declared(self, name: str) -> Limit:
        pipeline = self._pipeline
        found = {
            declared.name: declared.limit
            for declared in declared_limits(pipeline.queues.values(), pipeline.job_types.values())
        }
        if name not in found:
            raise UnknownName("limit", name, list(found))
        return found[name]
