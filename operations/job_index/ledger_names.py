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
    """(name, state) of the jobs that a record of the ledger settles for good; `job_and_place` takes a name apart."""
    key, value = message.key(), message.value()
    if key is None or value is None:
        return
    try:
        is_cancelled = is_own("LedgerEntry", value) and decode_own("LedgerEntry", value)["outcome"] == "cancelled"
        names = names_of(key, value)
    except (Undecodable, UnknownSchema):
        return
    for name in names:
        if is_cancelled or not name.startswith(MOVED):
            yield name, State.CANCELLED if is_cancelled else State.DONE


def job_and_place(name: str) -> tuple[str, str]:
    """The job's name of a name, and where the record stands that alone has ended; "" where the job has.

    A record that has expired, or is a duplicate, leaves the job's name free: another job may have it by now.

    >>> job_and_place("moved:order-7@shop.mails/0/12"), job_and_place("order-7")
    (('order-7', 'shop.mails/0/12'), ('order-7', ''))
    """
    if not name.startswith(MOVED):
        return name, ""
    job, _, place = name.removeprefix(MOVED).rpartition("@")
    return job, place
