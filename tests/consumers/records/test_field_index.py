"""What is said of jobs with certain fields is found by the fields of a record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.records.field_index import FieldIndex, Fields

FIELDS = st.tuples(*[st.sampled_from([None, b"a", b"b"])] * 3)
CHANGES = st.lists(st.tuples(FIELDS, st.booleans()))


def is_meant(wanted: Fields, fields: Fields) -> bool:
    """Whether a job with these fields is one of those that are wanted."""
    return all(want is None or want == field for want, field in zip(wanted, fields, strict=True))


@given(CHANGES, FIELDS)
def test_a_record_finds_all_that_is_said_of_its_fields_and_nothing_else(
    changes: list[tuple[Fields, bool]], fields: Fields
) -> None:
    """As looking at each value would find it, whatever was put and removed before."""
    index, standing = FieldIndex[Fields](), dict[Fields, None]()
    for wanted, is_put in changes:
        if is_put:
            index.put(wanted, wanted)
            standing[wanted] = None
        else:
            index.remove(wanted)
            standing.pop(wanted, None)
    assert set(index.of(fields)) == {wanted for wanted in standing if is_meant(wanted, fields)}
    assert all(index.get(wanted) == (wanted if wanted in standing else None) for wanted, _ in changes)
    assert bool(index) == bool(standing)
