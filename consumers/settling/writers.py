"""`WRITERS`: which records follow an outcome, in one table.

To write another record with an outcome, write a function of a record, its outcome and the context, in a file of its
own, and add one line here. The settler writes what all of them plan, and waits for the brokers' confirmation of each,
before it writes the ledger's entry. So a crash leads to the same records once more: give them ids that follow from
their cause, so that the second one can be recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ..records.outcomes import Cancelled, Dead, Deferred, Done, Outcome, Rescheduled, Retried, Snoozed
from ..records.record import Record
from .next_records import SettlingContext, next_record
from .outgoing import OutgoingRecord

Followed = type[Done | Retried | Dead | Snoozed | Deferred | Rescheduled | Cancelled]
"""The outcomes that records may follow. Of a skipped job they were written before, of an interrupted one nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """A pure function that plans records, and the outcomes after which the settler calls it.

    Attributes:
        is_ready: whether the records of an outcome can be planned now: the settler keeps it back until then. None
            where they always can.
    """

    follows: tuple[Followed, ...]
    plan: Callable[[Record, Outcome, SettlingContext], Iterable[OutgoingRecord]]
    is_ready: Callable[[Record, Outcome], bool] | None = None


WRITERS: Final[Sequence[Writer]] = (
    Writer(follows=(Retried, Dead, Snoozed, Deferred, Rescheduled), plan=next_record),  # the job itself
)


def planned(
    writers: Iterable[Writer], record: Record, outcome: Outcome, context: SettlingContext
) -> tuple[OutgoingRecord, ...]:
    """All records that follow an outcome, in the order of the table."""
    kind = type(outcome)
    return tuple(
        following for writer in writers if kind in writer.follows for following in writer.plan(record, outcome, context)
    )
