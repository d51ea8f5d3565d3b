"""`CancelFilters`: the filters by which jobs are cancelled, each for all jobs that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ...topology.wire.headers import JOB_TYPE, REPLAY, TIME, parse_instant
from ..records.cancellation import Standing
from ..records.field_index import FieldIndex, Fields
from ..records.record import Record


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
    def fields(self) -> Fields:
        """The jobs of a filter, as records name them: of these fields, and None where one does not matter."""
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
    """Asked by runners, changed by one other thread at a time."""

    __slots__ = ("_by_fields", "_by_order")

    def __init__(self) -> None:
        self._by_order: dict[str, _Filter] = {}
        self._by_fields = FieldIndex[tuple[_Filter, ...]]()

    def __len__(self) -> int:
        return len(self._by_order)

    def begin(self, order_id: str, wanted: CancelFilter, standing: Standing) -> None:
        """Hold to a filter, in place of an earlier one of the same order."""
        self.end(order_id)
        found = self._by_order[order_id] = wanted, standing
        self._by_fields.put(wanted.fields, (*self._with_equal_fields(wanted), found))

    def end(self, order_id: str) -> None:
        """Let go of one; nothing happens where it does not stand."""
        found = self._by_order.pop(order_id, None)
        if found is None:
            return
        left = tuple(one for one in self._with_equal_fields(found[0]) if one is not found)
        if left:
            self._by_fields.put(found[0].fields, left)
        else:
            self._by_fields.remove(found[0].fields)

    def _with_equal_fields(self, wanted: CancelFilter) -> tuple[_Filter, ...]:
        return self._by_fields.get(wanted.fields) or ()

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
        for filters in self._by_fields.of((queue, record.header(JOB_TYPE), record.key, record.tenant)):
            for wanted, standing in filters:
                if wanted.takes_time_of(record):
                    return standing
        return None
