"""The names in a queue's ledger as an index needs them: which jobs have ended, and how. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Message

from ...consumers.partitions.ledger_records import names_of
from ...schemas import Undecodable, UnknownSchema, decode_own
from ...schemas.own_records.own import is_own
from ...topology.wire.ledger_names import MOVED
from .states import State


def ended_by(message: Message) -> Iterator[tuple[str, State]]:
    """(name, state) of the jobs that a record of the ledger settles for good."""
    key, value = message.key(), message.value()
    if key is None or value is None:
        return
    try:
        is_cancelled = is_own("LedgerEntry", value) and decode_own("LedgerEntry", value)["outcome"] == "cancelled"
        names = names_of(key, value)
    except (Undecodable, UnknownSchema):
        return
    for name in names:
        if not name.startswith(MOVED):
            yield name, State.CANCELLED if is_cancelled else State.DONE
        elif is_cancelled:  # one record of it has expired, or is a duplicate
            yield name.removeprefix(MOVED).rpartition("@")[0], State.CANCELLED
