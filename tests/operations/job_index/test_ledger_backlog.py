"""`LedgerBacklog`: when the ledgers' partitions of an index are read, and when they are paused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from confluent_kafka import Message, TopicPartition

from stoker.consumers.partitions.ledger_records import batch_record
from stoker.operations.job_index import ledger_backlog
from stoker.operations.job_index.database import Partition
from stoker.operations.job_index.index_writer import IndexWriter
from stoker.operations.job_index.ledger_backlog import LedgerBacklog

MAILS, INVOICES = ("shop.mails.ledger", 0), ("shop.invoices.ledger", 0)


class Reader:
    """Notes which partitions are paused."""

    def __init__(self) -> None:
        self.paused: set[Partition] = set()

    def pause(self, places: Sequence[TopicPartition]) -> None:
        self.paused |= {(place.topic, place.partition) for place in places}

    def resume(self, places: Sequence[TopicPartition]) -> None:
        self.paused -= {(place.topic, place.partition) for place in places}


class Index:
    """Takes whatever the ledgers have."""

    def reconcile(self, ended: dict[str, Any], _offsets: dict[Partition, int]) -> int:
        return len(ended)


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def backlog(reader: Reader) -> LedgerBacklog:
    found = LedgerBacklog(cast(Any, reader), [MAILS[0], INVOICES[0]])
    found.add([MAILS])
    return found


def take(backlog: LedgerBacklog, *names: str, at: datetime | None = None) -> None:
    """Names of this moment, unless another is given."""
    at = datetime.now(UTC) if at is None else at
    key, value = batch_record(names, at)
    timestamp = (2, int(at.timestamp() * 1e3))
    backlog.take(MAILS, Message(topic=MAILS[0], partition=0, offset=0, key=key, value=value, timestamp=timestamp))


def test_the_ledger_of_a_new_queue_is_read_while_names_of_others_wait(backlog: LedgerBacklog, reader: Reader) -> None:
    """Busy queues have names of the last seconds waiting all the time, and would keep it paused for ever."""
    assert reader.paused == {MAILS}
    backlog.resume()
    take(backlog, "job-1")
    backlog.add([INVOICES])
    assert reader.paused == {INVOICES}
    backlog.resume()
    assert not reader.paused


def test_ledgers_are_paused_while_too_many_names_wait(
    backlog: LedgerBacklog, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of at most 4, a fifth one pauses them, and at two of them they are read on."""
    monkeypatch.setattr(ledger_backlog, "MOST_NAMES", 4)
    backlog.resume()
    long_ago = datetime(2013, 1, 1, tzinfo=UTC)
    take(backlog, "1", "2", "3", at=long_ago)
    assert not reader.paused
    take(backlog, "4", "5")
    backlog.resume()
    assert reader.paused == {MAILS}
    assert backlog.reconcile_for(1.0, cast(IndexWriter, Index())) == 3
    backlog.resume()
    assert not reader.paused


def test_an_entry_of_a_clock_that_is_ahead_does_not_keep_others_waiting(
    backlog: LedgerBacklog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is due as long after it was read as any other; till its own time came, no job was reconciled."""
    backlog.resume()
    take(backlog, "1", at=datetime.now(UTC) + timedelta(hours=1))
    take(backlog, "2", at=datetime(2013, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(ledger_backlog, "RECONCILE_AFTER_S", -1.0)
    assert backlog.reconcile_for(1.0, cast(IndexWriter, Index())) == 2
