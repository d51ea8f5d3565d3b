"""Entries are made of each event that can be read; one that cannot ends nobody who reads the events in turn."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from stoker.operations.job_index.entries import entries_of_event
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
