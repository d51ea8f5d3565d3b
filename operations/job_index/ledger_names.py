"""The names in a queue's ledger as an index needs them: which jobs have ended, and how. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from confluent_kafka import Message

from ...consumers.partitions.ledger_records import names_of
from ...schemas import Undecodable, UnknownSchema, decode_own
from ...schemas.own_records.own import is_own
from ...topology.wire.ledger_names import MOVED
from .states import State

CLOCKS_DIFFER_MS: Final = 60_000
"""How far the clock of a publisher may be ahead of a worker's."""


def is_of_earlier_job(enqueued_ms: int, ended_ms: int) -> bool:
    """Whether the idempotency key of a job, which was enqueued then, ended in the ledger as that of an earlier one.

    >>> is_of_earlier_job(1_000_000, 999_000), is_of_earlier_job(1_000_000, 900_000)
    (False, True)
    """
    return enqueued_ms > ended_ms + CLOCKS_DIFFER_MS


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
