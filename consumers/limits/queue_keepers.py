"""`Keepers`: the keepers of all limits of one queue, by job type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...topology.declaration.job_type import AnyJobType
from ...topology.declaration.limits import Limit, is_shared, named_limits
from ...topology.declaration.queue import Queue
from ..meters.reserved_meter import ReservedMeter
from .partition_keeper import Keeper
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

    def __init__(
        self,
        queue: Queue,
        job_types: Iterable[AnyJobType],
        coordinators: Mapping[str, str],
        wanting: set[ReservedMeter] | None,
    ) -> None:
        """Make them.

        Args:
            wanting: the meters of which a reservation is to be written; None where the queue writes no reservations.
        """
        self._queue, self._coordinators, self._wanting = queue, coordinators, wanting
        self.all: dict[str, AnyKeeper] = {}
        self.of_queue = self._sorted(self._of(queue.name, queue.limits))
        self.of_types = {
            job.name.encode(): self._sorted([*self.of_queue, *self._of(job.name, job.limits)]) for job in job_types
        }

    @property
    def shared(self) -> list[SharedKeeper]:
        """The keepers of limits that workers share."""
        return [keeper for keeper in self.all.values() if isinstance(keeper, SharedKeeper)]

    @property
    def reserved(self) -> list[Keeper]:
        """The keepers of limits of which the owner of a partition reserves what it uses."""
        return [keeper for keeper in self.all.values() if isinstance(keeper, Keeper) and keeper.is_reserved]

    def _of(self, owner: str, limits: Sequence[Limit]) -> list[AnyKeeper]:
        named = named_limits(owner, limits)
        return [self.all.setdefault(name, self._made(name, limit)) for name, limit in named.items()]

    def _made(self, name: str, limit: Limit) -> AnyKeeper:
        if is_shared(limit):
            return SharedKeeper(name, limit, self._coordinators.get(name, self._queue.name))
        return Keeper(name, limit, is_within_tenant=self._queue.route_by == "tenant", wanting=self._wanting)

    def _sorted(self, keepers: Iterable[AnyKeeper]) -> tuple[AnyKeeper, ...]:
        once = dict.fromkeys(keepers)
        return tuple(sorted(once, key=lambda keeper: isinstance(keeper, SharedKeeper)))
