"""The columns of a `JobsEnded` give back each job as it was, whatever its id, key and tenant are."""

from __future__ import annotations

import uuid
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from stoker.schemas import Undecodable, UnknownSchema, own_schema, wire_text
from stoker.schemas.own_records.jobs_ended import (
    JobsEnded,
    are_timed,
    columns_of,
    decode_jobs_ended,
    encode_jobs_ended,
    ids_of,
    indexed,
    joined,
    joined_keys,
    packed,
    packed_uuids,
)
from support.sight.ended_jobs import jobs_of

pytestmark = pytest.mark.filterwarnings("error")

AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
IDS = [str(uuid_utils.uuid7()) for _ in range(3)]
WHOLE_COLUMNS = bytes.fromhex("c3018a4e57c902a3fb9e")
"""Before the body of events whose columns were not split by bytes."""
REQUIRED = ("partitions", "offsets", "began_s", "ended_s")


def an_event() -> JobsEnded:
    """Three jobs of two types, one with a key."""
    keys, key_sizes = joined_keys([None, b"k1", b""])
    types, type_indexes = indexed(["a", "b", "a"])
    return JobsEnded(
        queue="q",
        worker="w",
        release="r1",
        at=AT,
        clock_s=50.0,
        count=3,
        binary_ids=packed_uuids("\0".join(IDS).encode(), 3),
        types=types,
        type_indexes=type_indexes,
        topic="n.q",
        partitions=packed("i", [4, 4, 3]),
        offsets=packed("q", [7, 8, 1 << 40]),
        keys=keys,
        key_sizes=key_sizes,
        began_s=packed("d", [48.0, 48.5, 49.5]),
        ended_s=packed("d", [49.0, 48.75, 50.0]),
    )


def an_event_of(count: int, **named: Any) -> JobsEnded:
    """So many jobs that are alike but for what is given."""
    given: dict[str, Any] = {
        "count": count,
        "types": ["a"],
        "type_indexes": b"",
        "partitions": packed("i", [4] * count),
        "offsets": packed("q", range(count)),
        "keys": b"",
        "key_sizes": b"",
        "enqueued_ms": packed("q", [5] * count),
        "began_s": packed("d", [48.0] * count),
        "ended_s": packed("d", [49.0] * count),
    }
    return replace(an_event(), **{**given, **named})


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
    ("ids", "is_packed"),
    [
        (IDS, True),
        ([IDS[0], str(uuid.UUID(int=5))], True),
        ([IDS[0].upper()], False),
        (["nightly@2026-03-29T01:00:00Z"], False),
        (["x" * 35, "x" * 37], False),
        ([f"{IDS[0]}{IDS[1]}"[:35], f"{IDS[0]}{IDS[1]}"[35:]], False),
        ([f"{IDS[0]}-{IDS[1]}"[:8], f"{IDS[0]}-{IDS[1]}"[9:]], False),
        ([f"{IDS[0]}\0", IDS[1]], False),
        (["-" * 36], False),
        (["zzzzzzzz-zzzz-7zzz-zzzz-zzzzzzzzzzzz"], False),
        (["0123456 -abcd-7bcd-abcd-abcdefabcdef"], False),
        ([""], False),
        (["a", ""], False),
        (["a\0b", "c"], False),
        (["a\0bcdefg-abcd-7bcd-abcd-abcdefabcdef"], False),
    ],
)
def test_ids_come_back_the_same(ids: list[str], *, is_packed: bool) -> None:
    """An id that was written in another way than it came would be another job."""
    column, sizes = joined([job_id.encode() for job_id in ids])
    uuids = packed_uuids("\0".join(ids).encode(), len(ids))
    assert bool(uuids) == is_packed
    names: dict[str, Any] = {"binary_ids": uuids} if uuids else {"binary_ids": b"", "ids": column, "id_sizes": sizes}
    event = decode_jobs_ended(encode_jobs_ended(an_event_of(len(ids), **names)))
    assert ids_of(event) == [wire_text(job_id) for job_id in ids]


@given(st.lists(st.text("0123456789abcdefABCDEF-\0", min_size=34, max_size=38), min_size=1, max_size=4))
def test_packed_ids_are_never_others(ids: list[str]) -> None:
    """Whatever is packed is read as it was."""
    uuids = packed_uuids("\0".join(ids).encode(), len(ids))
    if uuids:
        assert [str(uuid.UUID(bytes=uuids[at : at + 16])) for at in range(0, len(uuids), 16)] == ids


@given(st.lists(st.uuids(), min_size=1, max_size=4))
def test_uuids_are_packed(ids: list[uuid.UUID]) -> None:
    """Of any version; only those of version 7 say when they were made."""
    column = "\0".join(map(str, ids)).encode()
    assert packed_uuids(column, len(ids)) == b"".join(one.bytes for one in ids)
    assert are_timed(column, len(ids)) == all(one.version == 7 or str(one)[14] == "7" for one in ids)


def test_columns_are_split_by_bytes_in_a_record_alone() -> None:
    """All first bytes of a column stand together there, where lz4 finds them; who reads the event gets numbers."""
    event = an_event()
    value = encode_jobs_ended(event)
    assert b"\x04\x04\x03" + bytes(9) in value
    assert b"\x07\x08\x00" in value
    assert decode_jobs_ended(value) == replace(event, types=list(event.types), tenants=[], replays=[])


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("offsets", {"offsets": bytes(9)}),
        ("offsets", {"offsets": packed("q", [7])}),
        ("binary_ids", {"count": 5}),
        ("binary_ids", {"count": -1}),
        ("partitions", {"count": 2**31 - 1} | dict.fromkeys(("binary_ids", "enqueued_ms", *REQUIRED), b"")),
        ("count", {"count": -1} | dict.fromkeys(("binary_ids", "enqueued_ms", *REQUIRED), b"")),
        ("partitions", {"partitions": b""}),
        ("offsets", {"offsets": b""}),
        ("began_s", {"began_s": b""}),
        ("ended_s", {"ended_s": b""}),
        ("types", {"types": []}),
        ("attempts", {"attempts": packed("I", [1, 1])}),
        ("ids", {"binary_ids": b""}),
        ("ids", {"binary_ids": b"", "ids": b"a\0b"}),
        ("enqueued_ms", {"binary_ids": b"", "ids": b"a\0b\0c", "enqueued_ms": b""}),
        ("keys", {"keys": b"a\0b"}),
        ("replays", {"replays": ["r"]}),
    ],
)
def test_a_column_that_has_not_an_entry_for_each_job_is_no_event(name: str, named: dict[str, Any]) -> None:
    """Jobs would get the values of others, and jobs that are not there would be counted."""
    value = encode_jobs_ended(replace(an_event_of(3), **named))
    with pytest.raises(Undecodable, match=f"the {name} of"):
        decode_jobs_ended(value)


def test_an_event_whose_columns_were_whole_is_of_another_version() -> None:
    """The fingerprint tells layouts apart: each has names of fields that no earlier one had."""
    body = encode_jobs_ended(an_event())[len(WHOLE_COLUMNS) :]
    with pytest.raises(UnknownSchema):
        decode_jobs_ended(WHOLE_COLUMNS + body)


@given(st.lists(st.none() | st.binary(max_size=4), min_size=1, max_size=4))
def test_keys_come_back_the_same(keys: list[bytes | None]) -> None:
    """Also such as have zero bytes, are empty, or are not there."""
    column, sizes = joined_keys(keys)
    event = replace(an_event(), count=len(keys), keys=column, key_sizes=sizes)
    found = columns_of(event)[5]
    assert list(found) == keys


def test_a_column_that_is_too_short_is_refused() -> None:
    """Jobs would get the values of others."""
    with pytest.raises(ValueError, match="shorter"):
        list(jobs_of(replace(an_event(), offsets=packed("q", [7]))))
