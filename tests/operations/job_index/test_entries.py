"""Entries are made of each event that can be read; one that cannot ends nobody who reads the events in turn."""

from __future__ import annotations

import uuid
from math import inf, nan
from typing import Any

import pytest
from confluent_kafka import Message

from stoker.operations.job_index.entries import DispositionEntry, TopicOrigin, entries_of_event, entry_of_record
from stoker.operations.job_index.job_history import listed_of
from stoker.operations.job_index.listed_jobs import instant_of
from stoker.schemas.own_records.jobs_ended import encode_jobs_ended, packed
from stoker.topology.declaration.topics import Role
from stoker.topology.wire import headers as wire
from support.sight.statistics import AT, ended

Headers = list[tuple[str, str | bytes | None]]


def test_a_job_that_is_done_has_its_instants() -> None:
    """All are ms since 1970, by the event's own instant."""
    (entry,) = entries_of_event(encode_jobs_ended(ended([0.5], waits_s=[2.0])))
    at_ms = round(AT.timestamp() * 1e3)
    assert (entry.enqueued_ms, entry.began_ms, entry.at_ms) == (at_ms - 2_500, at_ms - 500, at_ms)
    assert entry.took_us == 500_000


@pytest.mark.parametrize(
    "named",
    [
        *({name: packed("d", [length])} for name in ("began_s", "ended_s") for length in (inf, -inf, nan, 1e300, 1e16)),
        *({"enqueued_ms": packed("q", [at_ms])} for at_ms in (2**63 - 1, -(2**63))),
        {"clock_s": 1e300},
    ],
)
def test_an_event_of_impossible_instants_holds_no_jobs(named: dict[str, Any]) -> None:
    """An error would end the index at each start, and its file has no place for such numbers."""
    assert list(entries_of_event(encode_jobs_ended(ended([0.5], **named)))) == []


def test_a_job_whose_id_names_a_far_year_is_shown() -> None:
    """An id may have chance bits where its time should be; Python's instants end before those of UUIDs do."""
    odd = uuid.UUID("f0000000-0000-7000-8000-000000000001")
    (entry,) = entries_of_event(encode_jobs_ended(ended([0.5], binary_ids=odd.bytes)))
    shown = listed_of(entry)
    assert (shown.job_id, shown.enqueued.year) == (str(odd), 9999)
    assert [instant_of(ms).year for ms in (-(2**48), 0, 2**48)] == [1, 1970, 9999]


def disposition(settles: bytes) -> DispositionEntry | None:
    """What the index makes of a disposition that stands at offset 8."""
    headers: Headers = [(wire.DISPOSITION, b"discarded"), (wire.SETTLES, settles)]
    record = Message(topic="shop.mails.dead", partition=0, offset=8, headers=headers, timestamp=(1, 1_000))
    found = entry_of_record(record, TopicOrigin(queue="mails", role=Role.DEAD))
    assert found is None or isinstance(found, DispositionEntry)
    return found


@pytest.mark.parametrize("settles", [b"", b"x", b"8", b"9", b"9" * 20, b"9" * 5_000])
def test_a_disposition_of_no_dead_letter_before_it_is_none(settles: bytes) -> None:
    """Its offset may be larger than the file has place for, or than Python reads: that would end each start."""
    assert disposition(settles) is None


def test_a_disposition_names_a_dead_letter_before_it() -> None:
    """At offset 7, say."""
    found = disposition(b"7")
    assert found is not None
    assert found.offset == 7


@pytest.mark.parametrize("at_ms", [2**63 - 1, -(2**62)])
def test_a_record_of_an_impossible_time_is_taken_with_one_that_the_file_has_place_for(at_ms: int) -> None:
    """Brokers before 4.0 take any time that a publisher names."""
    headers: Headers = [
        (wire.JOB_ID, b"job-1"),
        (wire.TIME, b"0001-01-01T00:00:00Z" if at_ms > 0 else b"9999-01-01T00:00:00Z"),
    ]
    record = Message(topic="shop.mails", partition=0, offset=8, headers=headers, timestamp=(1, at_ms))
    found = entry_of_record(record, TopicOrigin(queue="mails", role=Role.MAIN))
    assert found is not None
    assert abs(found.at_ms) <= 2**48
