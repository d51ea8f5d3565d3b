"""The columns of a `JobsEnded` give back each job as it was, whatever its id, key and tenant are."""

from __future__ import annotations

import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from stoker.schemas import own_schema
from stoker.schemas.jobs_ended import (
    JobsEnded,
    decode_jobs_ended,
    encode_jobs_ended,
    ids_of,
    indexed,
    jobs_of,
    packed,
    packed_ids,
)

pytestmark = pytest.mark.filterwarnings("error")

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
IDS = [str(uuid_utils.uuid7()) for _ in range(3)]


def an_event() -> JobsEnded:
    """Three jobs of two types, one with a key."""
    raw, _ = packed_ids([job_id.encode() for job_id in IDS])
    types, type_indexes = indexed(["a", "b", "a"])
    return JobsEnded(
        queue="q",
        worker="w",
        release="r1",
        at=AT,
        count=3,
        ids=raw,
        types=types,
        type_indexes=type_indexes,
        places=[{"topic": "n.q", "partition": 4}],
        offsets=packed("q", [7, 8, 1 << 40]),
        key_sizes=packed("i", [-1, 2, 0]),
        keys=b"k1",
        began_before_s=packed("f", [2.0, 1.5, 0.5]),
        took_s=packed("f", [1.0, 0.25, 0.5]),
    )


def test_the_fields_of_the_class_are_those_of_the_schema() -> None:
    """A column without a field would be written as its default, and nobody would notice."""
    assert [field.name for field in fields(JobsEnded)] == [field["name"] for field in own_schema("JobsEnded")["fields"]]


def test_jobs_come_back_one_by_one() -> None:
    """A column that is left out stands for the same value in all jobs."""
    first, second, third = jobs_of(decode_jobs_ended(encode_jobs_ended(an_event())))
    assert [job.job_id for job in (first, second, third)] == IDS
    assert [(job.job_type, job.key, job.offset) for job in (first, second, third)] == [
        ("a", None, 7),
        ("b", b"k1", 8),
        ("a", b"", 1 << 40),
    ]
    assert (second.topic, second.partition, second.tenant, second.attempt) == ("n.q", 4, "", 1)
    assert (second.began, second.took_s) == (datetime(2026, 3, 1, 11, 59, 58, 500_000, tzinfo=UTC), 0.25)
    assert first.enqueued_ms == uuid.UUID(IDS[0]).int >> 80


@pytest.mark.parametrize(
    ("ids", "is_packed", "is_timed"),
    [
        (IDS, True, True),
        ([IDS[0], str(uuid.UUID(int=5))], True, False),
        ([IDS[0].upper()], False, False),
        (["nightly@2026-03-29T01:00:00Z"], False, False),
        (["x" * 35, "x" * 37], False, False),
        (["-" * 36], False, False),
        (["zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz"], False, False),
    ],
)
def test_only_ids_that_come_back_the_same_are_packed(ids: list[str], *, is_packed: bool, is_timed: bool) -> None:
    """An id that was written in another way than it came would be another job."""
    raw, timed = packed_ids([job_id.encode() for job_id in ids])
    assert (bool(raw), timed) == (is_packed, is_timed)
    if raw:
        assert ids_of(replace(an_event(), ids=raw)) == ids


@given(st.lists(st.text("0123456789abcdefABCDEF-", min_size=34, max_size=38), min_size=1, max_size=4))
def test_packed_ids_are_never_others(ids: list[str]) -> None:
    """Whatever is packed is read as it was."""
    raw, _ = packed_ids([job_id.encode() for job_id in ids])
    if raw:
        assert ids_of(replace(an_event(), ids=raw)) == ids


def test_a_column_that_is_too_short_is_refused() -> None:
    """Jobs would get the values of others."""
    with pytest.raises(ValueError, match="shorter"):
        list(jobs_of(replace(an_event(), offsets=packed("q", [7]))))
