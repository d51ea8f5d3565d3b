"""Which stored jobs a selection takes, and how times and references are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from stoker.operations.instants import parse_when
from stoker.operations.stored_jobs.dispositions import (
    Disposition,
    DispositionVerdict,
    OffsetBitmap,
    disposition_of,
    is_disposition,
)
from stoker.operations.stored_jobs.selection import Selection
from stoker.operations.stored_jobs.stored_job import Ref, StoredJob, parse_ref, record_of
from stoker.operations.stored_jobs.tally import MAX_GROUPS, OVERFLOW, GroupTally
from stoker.topology.wire import headers as wire

NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


def dead_letter(*pairs: tuple[str, bytes | None], at: datetime = NOON, key: bytes | None = b"N123") -> StoredJob:
    """A dead letter with further headers."""
    common = [(wire.JOB_ID, b"job-1"), (wire.JOB_TYPE, b"charge"), (wire.REASON, b"permanent")]
    common += [(wire.TENANT, b"acme")]
    error = [(wire.ERROR_TYPE, b"shop.errors.CardRefused"), (wire.ERROR_FINGERPRINT, b"00aa11bb22cc33dd")]
    return StoredJob(ref=Ref(2, 17), at=at, key=key, value=b"", raw_headers=[*common, *error, *pairs])


@pytest.mark.parametrize(
    ("selection", "takes"),
    [
        (Selection(), True),
        (Selection(job_types=frozenset({"charge", "refund"})), True),
        (Selection(job_types=frozenset({"refund"})), False),
        (Selection(fingerprints=frozenset({"00aa"})), True),
        (Selection(fingerprints=frozenset({"aa11"})), False),
        (Selection(error_types=frozenset({"CardRefused"})), True),
        (Selection(error_types=frozenset({"shop.errors.CardRefused"})), True),
        (Selection(error_types=frozenset({"Refused"})), False),
        (Selection(reasons=frozenset({"permanent"})), True),
        (Selection(reasons=frozenset({"expired"})), False),
        (Selection(keys=frozenset({"N123"})), True),
        (Selection(keys=frozenset({"N124"})), False),
        (Selection(tenants=frozenset({"acme", "other"})), True),
        (Selection(tenants=frozenset({"other"})), False),
        (Selection(ids=frozenset({"job-1"})), True),
        (Selection(ids=frozenset({"job-2"})), False),
        (Selection(refs=frozenset({Ref(2, 17)})), True),
        (Selection(refs=frozenset({Ref(2, 18)})), False),
        (Selection(refs=frozenset({Ref(2, 18)}), ids=frozenset({"job-1"})), True),
        (Selection(partitions=frozenset({2})), True),
        (Selection(partitions=frozenset({1})), False),
        (Selection(since=NOON), True),
        (Selection(until=NOON), False),
        (Selection(since=NOON - timedelta(hours=1), until=NOON + timedelta(hours=1)), True),
        (Selection(job_types=frozenset({"charge"}), keys=frozenset({"N124"})), False),
    ],
)
def test_all_filters_must_hold_and_any_value_of_one_will_do(selection: Selection, takes: bool) -> None:
    """Filters are joined by and, the values of one by or; a since is inclusive, an until exclusive."""
    assert selection.takes(dead_letter()) is takes


@pytest.mark.parametrize(
    ("selection", "fault"),
    [
        (Selection(fingerprints=frozenset({"00a"})), "too short"),
        (Selection(limit=0), "at least 1"),
        (Selection(since=NOON, until=NOON), "before"),
    ],
)
def test_what_cannot_be_meant_is_named(selection: Selection, fault: str) -> None:
    """A selection that cannot be meant is refused with the filter's name."""
    assert fault in selection.faults()[0]


def test_a_selection_survives_being_written_down() -> None:
    """What is kept with a replay's progress reads back to the same selection."""
    selection = Selection(
        job_types=frozenset({"a", "b"}),
        fingerprints=frozenset({"00aa"}),
        error_types=frozenset({"E"}),
        reasons=frozenset({"r"}),
        keys=frozenset({"ü"}),
        tenants=frozenset({"t"}),
        ids=frozenset({"i"}),
        refs=frozenset({Ref(0, 1)}),
        partitions=frozenset({3}),
        since=NOON,
        until=NOON + timedelta(microseconds=1),
        limit=7,
    )
    assert Selection.from_words(selection.in_words()) == selection
    assert Selection.from_words(Selection().in_words()) == Selection()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-01-01T05:17:00Z", datetime(2013, 1, 1, 5, 17, tzinfo=UTC)),
        ("2013-01-01T05:17:00.250-05:00", datetime(2013, 1, 1, 10, 17, 0, 250_000, tzinfo=UTC)),
        ("2013-01-01", datetime(2013, 1, 1, tzinfo=UTC)),
        ("-2h", NOON - timedelta(hours=2)),
        ("30m ago", NOON - timedelta(minutes=30)),
        (" 1d12h ago ", NOON - timedelta(hours=36)),
        ("now", NOON),
    ],
)
def test_points_in_time_are_read_as_people_write_them(text: str, expected: datetime) -> None:
    """RFC 3339, dates and lengths of time ago all become aware instants."""
    assert parse_when(text, NOON) == expected


@pytest.mark.parametrize("text", ["", "2h", "yesterday", "2013-01-01T05:17:00", "-2 hours", "ago", "-"])
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    """Nothing is guessed: no offset from UTC, or another form, is an error that shows the forms."""
    with pytest.raises(ValueError, match=r"2013-01-01T05:17:00Z|1h30m"):
        parse_when(text, NOON)


def test_references_are_distinguished_from_ids() -> None:
    """Only partition/offset is a reference; anything else is an id."""
    assert parse_ref("3/120") == Ref(3, 120)
    assert parse_ref("job/12") is None
    assert parse_ref("0198c0de-0000-7000-8000-000000000000") is None
    assert parse_ref("0/" + "9" * 20) is None  # Kafka has no such offset, and its client fails by it
    assert parse_ref("0/" + "9" * 5_000) is None


@given(first=st.integers(0, 1_000), offsets=st.sets(st.integers(0, 3_000)))
def test_a_set_of_offsets_holds_what_was_added_since_its_first(first: int, offsets: set[int]) -> None:
    """Offsets from the first one on are held exactly; those before it are gone from the log."""
    held = OffsetBitmap(first)
    for offset in offsets:
        held.add(offset)
    assert {offset for offset in range(4_000) if offset in held} == {offset for offset in offsets if offset >= first}


@pytest.mark.parametrize(
    "headers",
    [
        [(wire.DISPOSITION, b"replayed"), (wire.SETTLES, b"x")],
        [(wire.DISPOSITION, b"eaten"), (wire.SETTLES, b"3")],
        [(wire.DISPOSITION, b"replayed")],
        [(wire.DISPOSITION, b"replayed"), (wire.SETTLES, b"17")],
        [(wire.DISPOSITION, b"replayed"), (wire.SETTLES, b"9" * 5_000)],
    ],
    ids=["no offset", "unknown verdict", "no dead letter", "itself", "more digits than Python reads"],
)
def test_an_unsound_disposition_settles_nothing_and_is_no_dead_letter(headers: list[tuple[str, bytes | None]]) -> None:
    """Garbage in a disposition neither settles a dead letter nor shows up as one."""
    record = dead_letter(*headers)
    assert is_disposition(record)
    assert disposition_of(record) is None


def test_a_disposition_reads_back_as_written() -> None:
    """Verdict, dead letter, replay, operator and note survive the wire."""
    written = Disposition(
        settles=Ref(2, 5), verdict=DispositionVerdict.DISCARDED, action_id="r", operator="a@b", reason="zu spät"
    )
    record = StoredJob(ref=Ref(2, 9), at=NOON, key=None, value=None, raw_headers=written.headers())
    read = disposition_of(record)
    assert read == Disposition(
        settles=Ref(2, 5),
        verdict=DispositionVerdict.DISCARDED,
        action_id="r",
        operator="a@b",
        reason="zu spät",
        at=NOON,
    )


def test_counts_stay_bounded_under_a_flood_of_different_errors() -> None:
    """Beyond the largest number of groups, dead letters are counted together, and none is left out."""
    flood = (dead_letter((wire.ERROR_FINGERPRINT, f"{number:016x}".encode())) for number in range(MAX_GROUPS + 50))
    tally = GroupTally(flood)
    assert tally.total == MAX_GROUPS + 50
    assert dict(tally.groups())[OVERFLOW].count == 50


def test_an_unreadable_header_does_not_stop_the_desk() -> None:
    """Bytes that are no UTF-8, null values and unreadable expiries are shown or ignored, never raised."""
    record = dead_letter((wire.ERROR_MESSAGE, b"\xff"), ("x", None), (wire.EXPIRES, b"soon"), key=b"\xfe")
    assert record.text(wire.ERROR_MESSAGE) == "�"
    assert record.key_text == "�"
    assert not record.is_expired(NOON)


class _OddlyNamed(Message):
    """A record with a header whose name is not UTF-8: the client fails to give its headers."""

    def headers(self) -> None:
        raise SystemError("returned a result with an exception set")


def test_a_header_whose_name_is_no_text_does_not_stop_the_desk() -> None:
    """One such record of a foreign publisher must not end `doctor`, `queues` and `dead list`."""
    record = record_of(_OddlyNamed(topic="shop.mails", partition=1, offset=7, key=b"k", value=b"v", timestamp=(1, 0)))
    assert (record.ref, record.key, record.value, record.raw_headers) == (Ref(1, 7), b"k", b"v", [])
    assert record.job_id == record.job_type == ""
