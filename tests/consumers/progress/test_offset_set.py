"""A set of offsets in bitmaps is what a plain set would be, whatever is done to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.progress.offset_set import OffsetSet
from support.small_chunks import small_chunks

END = 80
OFFSETS = st.integers(0, END)
RUN = st.tuples(OFFSETS, OFFSETS)


@pytest.fixture(scope="module", autouse=True)
def _chunks() -> Iterator[None]:
    """Eight offsets in each."""
    with small_chunks():
        yield


def check_same(found: OffsetSet, model: set[int]) -> None:
    """Each question has the answer that the plain set gives."""
    runs = found.runs()
    assert (found.count, found.lowest) == (len(model), min(model, default=None))
    assert {offset for start, end in runs for offset in range(start, end)} == model
    assert all(before[1] < after[0] for before, after in pairwise(runs))
    assert [most for most in range(len(runs) + 2) if found.has_more_runs_than(most)] == list(range(len(runs)))
    assert {offset for offset in range(END + 10) if offset in found} == model
    assert list(found.numbers()) == sorted({offset // 8 for offset in model})
    for number in range(END // 8 + 1):
        here = sum(1 << offset % 8 for offset in model if offset // 8 == number)
        assert found.bits_of(number) == bytes([here])
        assert found.count_in(number) == here.bit_count()


@given(st.data())
def test_it_holds_what_a_plain_set_holds(data: st.DataObject) -> None:
    """Filled, cleared, added to and removed from in any order."""
    found, model = OffsetSet(), set[int]()
    for _ in range(data.draw(st.integers(1, 12))):
        start, end = data.draw(RUN)
        match data.draw(st.sampled_from(["fill", "clear", "add", "remove", "keep", "chunk"])):
            case "fill":
                found.fill(start, end)
                model |= set(range(start, end))
            case "clear":
                assert found.clear(start, end) == len(model & set(range(start, end)))
                model -= set(range(start, end))
            case "add":
                added = sorted(data.draw(st.sets(OFFSETS, max_size=9)))
                found.add(added)
                model |= set(added)
            case "keep":
                found.keep(start, end)
                model &= set(range(start, end))
            case "chunk":
                bits = data.draw(st.integers(0, 255))
                found.set_chunk(start // 8, bytes([bits]))
                model -= set(range(start // 8 * 8, start // 8 * 8 + 8))
                model |= {start // 8 * 8 + at for at in range(8) if bits >> at & 1}
            case _:
                for offset in [offset for offset in model if offset % 3]:
                    found.remove(offset)
                    model.remove(offset)
        check_same(found, model)


def test_removing_what_is_not_in_is_an_error() -> None:
    """Beside others of its chunk, in a chunk that has none, and twice."""
    found = OffsetSet([(3, 5)])
    for absent in (2, 40):
        with pytest.raises(KeyError):
            found.remove(absent)
    found.remove(3)
    with pytest.raises(KeyError):
        found.remove(3)
    assert found.runs() == [(4, 5)]


def test_chunks_that_share_their_bits_change_alone() -> None:
    """Whole chunks are the same bytes until one of them changes."""
    found = OffsetSet([(0, 24)])
    found.remove(9)
    found.add([30])
    assert found.runs() == [(0, 9), (10, 24), (30, 31)]


def test_a_long_run_takes_little_memory() -> None:
    """A billion neighbours: what is unknown of a partition that stood still for long."""
    with small_chunks(16):
        found = OffsetSet([(5, 1_000_000_005)])
        assert (found.count, found.runs()) == (1_000_000_000, [(5, 1_000_000_005)])
        assert not found.has_more_runs_than(1)
        assert len({id(chunk.bits) for chunk in found._chunks.values()}) <= 3


def test_the_lowest_offsets_between_two_are_given_in_order() -> None:
    """Over chunks, no more than asked for, and none outside."""
    offsets = OffsetSet([(5, 10), (65_530, 65_540), (200_000, 200_002)])
    assert offsets.lowest_between(7, 65_538, 100) == [7, 8, 9, *range(65_530, 65_538)]
    assert offsets.lowest_between(0, 1_000_000, 7) == [5, 6, 7, 8, 9, 65_530, 65_531]
    assert offsets.lowest_between(10, 65_530, 5) == []
    assert offsets.lowest_between(65_539, 200_001, 5) == [65_539, 200_000]
