"""`HeaderLayout`: where each header stands among those of a record, found once for all records with the same names.

The records of one producer have the same header names in the same order. A record keeps its values alone, and shares
the layout with the others: so nothing is indexed anew for each, and the names take no memory.
"""

from __future__ import annotations

from typing import Final

from ...topology.wire.headers import (
    ATTEMPT,
    BAGGAGE,
    COST,
    DUE,
    EXPIRES,
    IDEMPOTENCY_KEY,
    JOB_ID,
    JOB_TYPE,
    LIMITED_BY,
    REPLAY,
    TENANT,
    TRACE_PARENT,
)

MOST_LAYOUTS: Final = 1_000
"""All are forgotten beyond so many: foreign producers may name headers at random."""

_CONDITIONS: Final = frozenset({ATTEMPT, DUE, EXPIRES})

Names = tuple[str, ...]


class HeaderLayout:
    """The header names of a record, in their order.

    Attributes:
        positions: {name: its index}; the last one of a repeated name, as in Kafka's own clients.
        is_plain: whether no name comes twice.
        job_id_at: where the job id stands, if that alone is what the ledger knows the record by; None where an
            idempotency key or a replay has a part in that.
        job_type_at, tenant_at, trace_parent_at: where these stand; None where the header is absent.
        is_of_first_run: whether no header sets an attempt, a due time or an expiry, as in most records by far.
        is_traced: whether a header names a span or baggage under which the job was enqueued.
        is_counted_apart: whether a header sets what limits count the job for, or with which others.
    """

    __slots__ = (
        "is_counted_apart",
        "is_of_first_run",
        "is_plain",
        "is_traced",
        "job_id_at",
        "job_type_at",
        "names",
        "positions",
        "tenant_at",
        "trace_parent_at",
    )

    def __init__(self, names: Names) -> None:
        self.names = names
        self.positions = {name: at for at, name in enumerate(names)}
        self.is_plain = len(self.positions) == len(names)
        self.is_of_first_run = self.positions.keys().isdisjoint(_CONDITIONS)
        is_named_otherwise = IDEMPOTENCY_KEY in self.positions or REPLAY in self.positions
        self.job_id_at = None if is_named_otherwise else self.positions.get(JOB_ID)
        self.job_type_at, self.tenant_at = self.positions.get(JOB_TYPE), self.positions.get(TENANT)
        self.trace_parent_at = self.positions.get(TRACE_PARENT)
        self.is_traced = self.trace_parent_at is not None or BAGGAGE in self.positions
        self.is_counted_apart = COST in self.positions or LIMITED_BY in self.positions


class _Layouts(dict[Names, HeaderLayout]):
    """{names: their layout}, each made when it is first asked for; any thread may ask."""

    def __missing__(self, names: Names) -> HeaderLayout:
        if len(self) >= MOST_LAYOUTS:
            self.clear()
        layout = self[names] = HeaderLayout(names)
        return layout


LAYOUTS: Final = _Layouts()
"""The layouts of all names that have come."""
