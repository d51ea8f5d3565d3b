"""`BreakerControl`: the part of `Control` that opens and closes breakers by hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import datetime

from ...schemas.own_records.control_records import ControlOrder
from ...topology import Pipeline, UnknownName
from ...topology.wire.orders import DEPENDENCY, Verb
from .errors import OrderRefused
from .receipt import OrderReceipt

ONE_BREAKER = "name one breaker: that of a job type, or of a dependency"


class BreakerControl(ABC):
    """Orders about breakers."""

    _pipeline: Pipeline

    @abstractmethod
    def order(self, verb: Verb) -> ControlOrder:
        """A new order without a target."""

    @abstractmethod
    def give(self, order: ControlOrder) -> OrderReceipt:
        """Give one order."""

    def open_breaker(
        self,
        *,
        job_type: str | None = None,
        dependency: str | None = None,
        until: datetime | None = None,
        reason: str = "",
    ) -> OrderReceipt:
        """Open a breaker: the jobs that need it wait, at no attempt's cost.

        Name one: that of a job type, or of a dependency.

        Args:
            until: when a job may probe; None: none does, until `close_breaker`.

        Raises:
            OrderRefused, UnknownName: there is no such breaker.
            ControlError, ClusterUnreachable, NotAuthorized: the order could not be given.
        """
        order = self._about_breaker(Verb.OPEN, job_type, dependency)
        return self.give(replace(order, until=until, reason=reason))

    def close_breaker(
        self, *, job_type: str | None = None, dependency: str | None = None, reason: str = ""
    ) -> OrderReceipt:
        """Close a breaker, whoever has opened it: its jobs go on. Raises as `open_breaker`."""
        return self.give(replace(self._about_breaker(Verb.CLOSE, job_type, dependency), reason=reason))

    def _about_breaker(self, verb: Verb, job_type: str | None, dependency: str | None) -> ControlOrder:
        order = self.order(verb)
        if dependency is not None and job_type is None:
            if dependency not in self._pipeline.dependencies:
                raise UnknownName("dependency", dependency, list(self._pipeline.dependencies))
            return replace(order, detail={DEPENDENCY: dependency})
        if job_type is None or dependency is not None:
            raise OrderRefused(verb, ONE_BREAKER)
        if self._pipeline.find_job_type(job_type).breaker is None:
            raise OrderRefused(
                verb, f"job type {job_type!r} has no breaker: declare it with breaker=Breaker(), or pause the job type"
            )
        return replace(order, job_type=job_type)
