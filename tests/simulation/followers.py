"""A second record that some outcomes write, made up for the simulation: it names what the ledger settles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stoker.consumers.partitions.ledger import tried_name
from stoker.consumers.records.outcomes import Dead, Done, Outcome, Retried
from stoker.consumers.records.record import Record
from stoker.consumers.settling.next_records import SettlingContext
from stoker.consumers.settling.outgoing import OutgoingRecord
from stoker.consumers.settling.writes import WRITERS, Writer

FOLLOWED_TOPIC: Final = "unit.followed"


def follow(record: Record, outcome: Outcome, context: SettlingContext) -> Sequence[OutgoingRecord]:
    """One record, whose key is the name that the ledger has of the outcome."""
    name = record.deduplication_id if isinstance(outcome, Done) else tried_name(record)
    return [
        OutgoingRecord(
            topic=FOLLOWED_TOPIC,
            partition=record.assignment.partition,
            key=(name or "").encode(),
            value=b"",
            headers=[("a", b"b")],
        )
    ]


FOLLOWED_WRITERS: Final[Sequence[Writer]] = (*WRITERS, Writer(follows=(Done, Retried, Dead), plan=follow))
