"""`Keepers`: the keepers of all limits of one queue, by job type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.limits import Limit, is_shared, named_limits
from ...topology.declaration.queue import Queue
from .keeper import Keeper
from .shared_keeper import SharedKeeper

AnyKeeper = Keeper | SharedKeeper


class Keepers:
    """Made once; a limit that several declare together, as one of a resource, has one keeper.

    Attributes:
        of_queue: those that count all jobs of the queue.
        of_types: {job type: those that count its jobs}; the limits of the worker alone come first, since what they hold
            back is to use no shares.
        all: {name: keeper}.
    """

    def __init__(self, queue: Queue, job_types: Iterable[AnyJobType], givers: Mapping[str, str]) -> None:
        self._queue, self._givers = queue, givers
        self.all: dict[str, AnyKeeper] = {}
        self.of_queue = self._sorted(self._of(queue.name, queue.limits))
        self.of_types = {
            job.name.encode(): self._sorted([*self.of_queue, *self._of(job.name, job.limits)]) for job in job_types
        }

    def _of(self, owner: str, limits: Sequence[Limit]) -> list[AnyKeeper]:
        named = named_limits(owner, limits)
        return [self.all.setdefault(name, self._made(name, limit)) for name, limit in named.items()]

    def _made(self, name: str, limit: Limit) -> AnyKeeper:
        if is_shared(limit):
            return SharedKeeper(name, limit, self._givers.get(name, self._queue.name))
        return Keeper(name, limit, is_within_tenant=self._queue.route_by == "tenant")

    def _sorted(self, keepers: Iterable[AnyKeeper]) -> tuple[AnyKeeper, ...]:
        once = dict.fromkeys(keepers)
        return tuple(sorted(once, key=lambda keeper: isinstance(keeper, SharedKeeper)))
