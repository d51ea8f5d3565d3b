"""`CancelFilters`: the filters by which jobs are cancelled, each for all jobs that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from ...topology.wire.headers import JOB_TYPE, REPLAY, TIME, parse_instant
from .cancellation import Standing
from .record import Record

Place = tuple[str | None, bytes | None, bytes | None, bytes | None]
"""Queue, job type, key and tenant of the jobs that a filter takes; None where that does not matter."""
Shape = tuple[bool, bool, bool, bool]
"""Which of these matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelFilter:
    """Which jobs a cancel is about; what is None does not matter.

    Attributes:
        queue: its name.
        before: only jobs that were enqueued before this instant.
    """

    queue: str | None = None
    job_type: bytes | None = None
    key: bytes | None = None
    tenant: bytes | None = None
    before: datetime | None = None

    @property
    def place(self) -> Place:
        """The jobs of a filter, as records name them."""
        return self.queue, self.job_type, self.key, self.tenant

    def takes_time_of(self, record: Record) -> bool:
        """Whether the job of a record was enqueued early enough."""
        return self.before is None or enqueued_at_s(record) < self.before.timestamp()


def enqueued_at_s(record: Record) -> float:
    """When the job was enqueued, by its publisher's clock, and else when the record was written.

    A replay enqueues its jobs anew.
    """
    written = None if record.header(REPLAY) is not None else record.header(TIME)
    try:
        return record.timestamp_ms / 1_000 if written is None else parse_instant(written).timestamp()
    except ValueError:
        return record.timestamp_ms / 1_000


_Filter = tuple[CancelFilter, Standing]


class CancelFilters:
    """Asked by runners, changed by one other thread at a time. What it costs to ask grows with the shapes alone."""

    __slots__ = ("_by_order", "_by_place")

    def __init__(self) -> None:
        self._by_order: dict[str, _Filter] = {}
        self._by_place: Mapping[Shape, dict[Place, tuple[_Filter, ...]]] = MappingProxyType({})

    def __len__(self) -> int:
        return len(self._by_order)

    def begin(self, order_id: str, wanted: CancelFilter, standing: Standing) -> None:
        """Hold to a filter, in place of an earlier one of the same order."""
        self.end(order_id)
        found = self._by_order[order_id] = wanted, standing
        shape = _shape_of(wanted.place)
        if shape not in self._by_place:
            self._by_place = {**self._by_place, shape: {}}
        at = self._by_place[shape]
        at[wanted.place] = (*at.get(wanted.place, ()), found)

    def end(self, order_id: str) -> None:
        """Let go of one; nothing happens where it does not stand."""
        found = self._by_order.pop(order_id, None)
        if found is None:
            return
        place = found[0].place
        shape = _shape_of(place)
        at = self._by_place[shape]
        at[place] = tuple(one for one in at[place] if one is not found)
        if not at[place]:
            del at[place]
        if not at:
            self._by_place = {known: at for known, at in self._by_place.items() if known != shape}

    def end_old(self, now_s: float) -> None:
        """Let go of those that are over."""
        for order_id in [known for known, (_, standing) in self._by_order.items() if standing.until_at_s <= now_s]:
            self.end(order_id)

    @property
    def order_ids(self) -> set[str]:
        """The orders whose filters stand."""
        return set(self._by_order)

    def of(self, record: Record, queue: str) -> Standing | None:
        """The first one that takes the job of a record, which is the queue's; None where none does."""
        job_type, key, tenant = record.header(JOB_TYPE), record.key, record.tenant
        for (by_queue, by_type, by_key, by_tenant), at in self._by_place.items():
            place = (
                queue if by_queue else None,
                job_type if by_type else None,
                key if by_key else None,
                tenant if by_tenant else None,
            )
            for wanted, standing in at.get(place, ()):
                if wanted.takes_time_of(record):
                    return standing
        return None


def _shape_of(place: Place) -> Shape:
    queue, job_type, key, tenant = place
    return queue is not None, job_type is not None, key is not None, tenant is not None
