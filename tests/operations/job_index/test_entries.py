"""Entries are made of each event that can be read; one that cannot ends nobody who reads the events in turn."""

from __future__ import annotations

import uuid
from math import inf, nan
from typing import Any

import pytest

from stoker.operations.job_index.entries import entries_of_event
from stoker.operations.job_index.job_history import listed_of
from stoker.operations.job_index.listed_jobs import instant_of
from stoker.schemas.own_records.jobs_ended import encode_jobs_ended, packed
from support.sight.statistics import AT, ended


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
