"""Header layouts are shared by the records of one producer, and names that are made at random do not stay for good."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.records.header_layout import LAYOUTS, MOST_LAYOUTS
from stoker.topology.wire.headers import IDEMPOTENCY_KEY, JOB_ID, REPLAY, header_map
from stoker.topology.wire.ledger_names import deduplication_id
from support.scenes.deliveries import record_of

NAMES = st.sampled_from([JOB_ID, IDEMPOTENCY_KEY, REPLAY, "tenant", "ce_type"])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=8)), max_size=6)


@given(HEADERS)
def test_a_record_says_of_its_headers_what_a_dict_would(pairs: list[tuple[str, bytes | None]]) -> None:
    """Each value is found by its name, a repeated name counts once, and the ledger has the same name for the record."""
    record, as_dict = record_of(pairs), header_map(pairs)
    assert record.headers == as_dict
    assert {name: record.header(name) for name in as_dict} == as_dict
    assert record.header("absent") is None
    assert record.pairs == pairs
    assert record.deduplication_id == deduplication_id(as_dict)
    assert record.size_bytes == sum(map(len, as_dict.values()))


def test_records_with_the_same_names_share_their_layout() -> None:
    """Their names are kept once, however many such records wait in memory."""
    first, second = record_of([("ce_id", b"1"), ("a", b"x")]), record_of([("ce_id", b"2"), ("a", b"y")])
    assert first.layout is second.layout


def test_layouts_are_bounded_in_number() -> None:
    """Names made at random do not fill the memory."""
    for number in range(2 * MOST_LAYOUTS + 1):
        LAYOUTS[(f"name-{number}",)]
    assert len(LAYOUTS) <= MOST_LAYOUTS
