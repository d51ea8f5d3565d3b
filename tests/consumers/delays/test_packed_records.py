"""A record that was packed is the same record again, whatever its headers are."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from stoker.consumers.delays import packed_records
from stoker.consumers.delays.packed_records import packed_record, unpacked_record
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.topology.wire.headers import HeaderList

PLACE = Assignment(1, "delays", 0)
HEADERS: list[HeaderList] = [
    [],
    [("ce_id", b"job")],
    [("ce_id", b"job"), ("stoker-due", b"2013-01-01T12:00:00.000000Z")],
    [("twice", b"1"), ("twice", None), ("", b"")],  # type: ignore[list-item]  # Kafka allows a header without a value
]


def packed_again(headers: HeaderList | None) -> Record:
    """A record that was packed and unpacked."""
    message = Message(topic="delays", partition=0, offset=7, key=b"k", value=b"v", timestamp=(2, 5))
    record = unpacked_record(packed_record(message, 7, 5, headers), PLACE)
    assert (record.offset, record.timestamp_ms, record.key, record.value) == (7, 5, b"k", b"v")
    return record


@pytest.mark.parametrize("most_names", [1_000, 1, 0])
def test_headers_come_back_as_they_were(monkeypatch: pytest.MonkeyPatch, most_names: int) -> None:
    """Also where more names are in use than are kept once for all."""
    monkeypatch.setattr(packed_records, "MOST_NAMES", most_names)
    monkeypatch.setattr(packed_records, "_NAMES", {})
    monkeypatch.setattr(packed_records, "_NUMBERS", {})
    for _ in range(2):
        assert [packed_again(headers).pairs for headers in HEADERS] == HEADERS
    assert len(packed_records._NAMES) == min(most_names, 3)


def test_headers_that_cannot_be_read_cannot_be_read_of_the_packed_one() -> None:
    """So it ends where a record fresh from the client would: as a fault, not as one without headers."""
    assert packed_again(None).fault is not None
    assert packed_again([]).fault is None
