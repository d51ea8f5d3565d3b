"""What is known of a partition survives in its commit's metadata to the last offset; what is not ours is not read."""

from __future__ import annotations

import binascii
from base64 import b64encode
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.topology.wire.commit_metadata import (
    MAX_CHARACTERS,
    MAX_CRASHES,
    PREFIX,
    CommitMetadata,
    OffsetRange,
    SpilledAt,
    _runs,
)

ANY_OFFSET = st.integers(0, 2**62)


def runs(draw: st.DrawFn, committed: int) -> tuple[OffsetRange, ...]:
    """Ascending runs that do not touch, from the first offset on."""
    lengths = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=40))
    at, found = committed + draw(st.sampled_from((0, 0, 5))), []
    for incomplete, complete in lengths:
        found.append((at, at + incomplete))
        at += incomplete + complete
    return tuple(found)


@st.composite
def states(draw: st.DrawFn) -> CommitMetadata:
    """Anything that a partition may be like."""
    committed = draw(ANY_OFFSET)
    incomplete = runs(draw, committed)
    end = incomplete[-1][1] if incomplete else committed
    crashes = draw(st.dictionaries(st.integers(0, 500), st.integers(1, 9), max_size=9))
    return CommitMetadata(
        committed_offset=committed,
        position=end + draw(st.integers(0, 1_000)),
        incomplete=incomplete,
        is_open=draw(st.booleans()),
        deaths=draw(st.integers(0, 10)),
        window_end=draw(ANY_OFFSET),
        crashes={committed + far: count for far, count in crashes.items()},
    )


def offsets_of(state: CommitMetadata) -> set[int]:
    """The incomplete offsets, counted one by one."""
    return {offset for start, end in state.incomplete for offset in range(start, end)}


@given(states())
def test_a_state_survives_its_encoding(state: CommitMetadata) -> None:
    """What is read back is what was written, from metadata and from the progress topic alike."""
    metadata = state.encode()
    assert metadata is not None
    assert metadata.isascii()
    assert CommitMetadata.decode(metadata, state.committed_offset) == state
    assert CommitMetadata.from_bytes(state.to_bytes()) == state


@given(states(), ANY_OFFSET, ANY_OFFSET, st.none() | ANY_OFFSET)
def test_a_reference_survives_its_encoding(state: CommitMetadata, epoch: int, offset: int, count: int | None) -> None:
    """A spilled state says where its chunks are and how much is incomplete, and all else by itself."""
    reference = state.referring(SpilledAt(epoch, offset), count)
    assert CommitMetadata.decode(reference.encode(), state.committed_offset) == reference
    assert reference.incomplete_count == count


def test_a_reader_that_knows_no_count_takes_it_for_complete_offsets() -> None:
    """The count stands where such a reader has the lengths of runs: none that is incomplete comes of it."""
    assert not list(_runs(100, (0, 12)))


@given(states(), st.data())
def test_metadata_that_was_damaged_is_not_read(state: CommitMetadata, data: st.DataObject) -> None:
    """Any one bit flipped, or any tail cut off, is noticed: nothing is taken for complete that may not be."""
    value = bytearray(state.to_bytes())
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << (bit % 8)
    assert CommitMetadata.decode(PREFIX + b64encode(bytes(value)).decode(), state.committed_offset) is None
    cut_off = state.to_bytes()[: data.draw(st.integers(0, len(value) - 1))]
    assert CommitMetadata.from_bytes(cut_off) is None


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        "",
        "somebody else's",
        "stoker1:",
        "stoker1:????",
        "stoker1:AAAA",
        "stoker2:" + "A" * 40,
        "stoker1:ä",
        "\x00",
    ],
)
def test_foreign_metadata_is_not_read(metadata: str | None) -> None:
    """Another program's metadata, another version's, and none at all are like no knowledge."""
    assert CommitMetadata.decode(metadata, 5) is None


def test_metadata_of_another_offset_is_not_read() -> None:
    """Somebody has moved the offset and kept the metadata: what it says is void."""
    metadata = CommitMetadata(committed_offset=5, position=9, incomplete=((5, 6),)).encode()
    assert CommitMetadata.decode(metadata, 4) is None
    assert CommitMetadata.decode(metadata, 5) is not None


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_read_or_refused(body: bytes) -> None:
    """A checksum that fits by chance, or a newer writer's body, raises nothing."""
    CommitMetadata.from_bytes(binascii.crc32(body).to_bytes(4, "big") + body)


def test_one_stuck_job_before_a_million_others_takes_few_bytes() -> None:
    """The size is that of the holes, not of what is complete."""
    state = CommitMetadata(
        committed_offset=1_000_000, position=2_000_000, incomplete=((1_000_000, 1_000_001), (1_999_990, 2_000_000))
    )
    metadata = state.encode()
    assert metadata is not None
    assert len(metadata) < 60


def test_what_would_not_fit_is_not_encoded() -> None:
    """Every other job of 6,000 is complete: that is 6,000 bytes, more than a commit takes."""
    state = CommitMetadata(
        committed_offset=0, position=6_000, incomplete=tuple((at, at + 1) for at in range(0, 6_000, 2))
    )
    assert state.encode() is None
    assert state.referring(SpilledAt(2**62 - 1, 12)).encode() is not None
    assert CommitMetadata.from_bytes(state.to_bytes()) == state
    fitting = replace(state, position=2_800, incomplete=state.incomplete[:1_400])
    assert len(fitting.encode() or "") in range(2_000, MAX_CHARACTERS + 1)
    assert fitting.encode(100) is None


def test_crashes_are_bounded() -> None:
    """With more crashed jobs than are remembered, those that crashed most are."""
    crashes = {offset: 1 + (offset % 2) for offset in range(3 * MAX_CRASHES)}
    kept = CommitMetadata.from_bytes(CommitMetadata(committed_offset=0, position=900, crashes=crashes).to_bytes())
    assert kept is not None
    assert len(kept.crashes) == MAX_CRASHES
    assert set(kept.crashes.values()) == {2}
    past = CommitMetadata(committed_offset=10, position=20, crashes={3: 1, 12: 2})
    assert CommitMetadata.from_bytes(past.to_bytes()) == replace(past, crashes={12: 2})


def test_without_runs_nothing_is_shown_as_complete() -> None:
    """The fallback where the runs can be kept nowhere claims no more than the committed offset does."""
    state = CommitMetadata(committed_offset=3, position=9, incomplete=((3, 4), (7, 8)), deaths=2)
    assert state.without_runs() == replace(state, incomplete=((3, 9),))
    assert CommitMetadata(committed_offset=3, position=3).without_runs().incomplete == ()
