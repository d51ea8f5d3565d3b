"""What may be committed is never past an incomplete job, whatever order the jobs end in, and gaps hold nothing up."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.progress.offset_set import OffsetSet
from stoker.consumers.progress.partition_progress import RECENT, OffsetsWentBack, PartitionProgress
from stoker.topology.wire.commit_metadata import CommitMetadata
from support.small_chunks import small_chunks


@pytest.fixture(params=[(16, RECENT), (3, 2)], ids=["as it is", "in small chunks"], scope="module", autouse=True)
def _chunks(request: pytest.FixtureRequest) -> Iterator[None]:
    """All offsets are in the dict of recent ones; or nearly all of them in bitmaps."""
    with small_chunks(*request.param):
        yield


def naive_committable(taken: list[int], complete: set[int], end: int | None) -> int | None:
    """The lowest incomplete offset, else one past all that was seen."""
    waiting = [offset for offset in taken if offset not in complete]
    if waiting:
        return min(waiting)
    beyond = [offset + 1 for offset in taken] + ([] if end is None else [end])
    return max(beyond, default=None)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Offsets with gaps, and some of them in the order in which they complete."""
    offsets = sorted(draw(st.sets(st.integers(0, 60), max_size=25)))
    shuffled = draw(st.permutations(offsets))
    return offsets, shuffled[: draw(st.integers(0, len(shuffled)))]


@given(deliveries())
def test_the_committable_offset_agrees_with_a_naive_model(delivery: tuple[list[int], list[int]]) -> None:
    """At every moment it is the lowest incomplete offset, or one past the last if all are complete."""
    offsets, completions = delivery
    progress, taken, complete = PartitionProgress(), list[int](), set[int]()
    for offset in offsets:
        progress.note_delivered(offset)
        taken.append(offset)
        assert progress.committable() == naive_committable(taken, complete, None)
    for offset in completions:
        progress.complete(offset)
        complete.add(offset)
        assert progress.committable() == naive_committable(taken, complete, None)
        assert progress.incomplete == len(taken) - len(complete)


@given(deliveries())
def test_taking_and_completing_may_alternate(delivery: tuple[list[int], list[int]]) -> None:
    """Jobs complete while others are still being delivered, and the commit stays right."""
    offsets, completions = delivery
    progress, taken, complete = PartitionProgress(), list[int](), set[int]()
    for offset in offsets:
        progress.note_delivered(offset)
        taken.append(offset)
        for done in [ready for ready in completions if ready in taken and ready not in complete][:1]:
            progress.complete(done)
            complete.add(done)
        assert progress.committable() == naive_committable(taken, complete, None)


def test_nothing_is_committed_before_anything_is_known() -> None:
    """A partition from which nothing came has no offset to commit."""
    assert PartitionProgress().committable() is None


def test_the_end_of_a_partition_is_committed_past_a_gap() -> None:
    """Offsets 4 and 5, then a transaction's marker at 6: the end is 7, and so is the commit once both are complete."""
    progress = PartitionProgress()
    progress.note_delivered(4)
    progress.note_delivered(5)
    progress.pass_gap(7)
    assert progress.committable() == 4
    progress.complete(4)
    progress.complete(5)
    assert progress.committable() == 7


def test_an_end_that_lies_behind_moves_nothing_back() -> None:
    """The end of the partition is reported late, after more was delivered: the commit does not go back."""
    progress = PartitionProgress()
    progress.note_delivered(9)
    progress.complete(9)
    progress.pass_gap(5)
    assert progress.committable() == 10


@pytest.mark.parametrize("offsets", [(), (3,)])
def test_completing_what_was_not_delivered_is_an_error(offsets: tuple[int, ...]) -> None:
    """A caller that counts wrong gets an error, instead of committing past a job."""
    progress = PartitionProgress()
    for offset in offsets:
        progress.note_delivered(offset)
        progress.complete(offset)
    with pytest.raises(KeyError):
        progress.complete(3)


def present(progress: PartitionProgress) -> CommitMetadata:
    """What would be committed."""
    committable = progress.committable()
    assert committable is not None
    return CommitMetadata(
        committed_offset=committable, position=progress.position, incomplete=tuple(progress.incomplete_runs())
    )


@given(st.data())
def test_successive_owners_run_each_offset_until_it_is_complete_and_then_no_more(data: st.DataObject) -> None:
    """Owners take over from one another wherever they are; what each delivers and completes adds up to every offset
    once; committed offset and runs hold at any time exactly what is complete. Offsets vanish, as in compaction."""
    present_offsets = sorted(data.draw(st.sets(st.integers(0, 80), min_size=1, max_size=50)))
    complete: set[int] = set()
    state = CommitMetadata(committed_offset=0, position=0)
    for _ in range(data.draw(st.integers(1, 5))):
        progress, taken = PartitionProgress(), list[int]()
        progress.begin(state)
        for offset in [o for o in present_offsets if o >= state.committed_offset]:
            if data.draw(st.integers(0, 9)) == 0:
                break
            is_passed = progress.pass_over(offset) if progress.is_catching_up else False
            assert is_passed is (offset in complete)
            if not is_passed:
                progress.note_delivered(offset)
                taken.append(offset)
            for done in [o for o in taken if o not in complete and data.draw(st.booleans())]:
                progress.complete(done)
                complete.add(done)
            check_exact(progress, present_offsets, complete)
        else:
            progress.pass_gap(max(present_offsets) + 3)
            check_exact(progress, present_offsets, complete)
        state = present(progress)
        vanishing = data.draw(st.sets(st.sampled_from(present_offsets), max_size=3))
        present_offsets = [o for o in present_offsets if o not in vanishing] or present_offsets[:1]


def check_exact(progress: PartitionProgress, present_offsets: list[int], complete: set[int]) -> None:
    """What is committed says of each offset that exists whether it is complete."""
    state = present(progress)
    listed = {offset for start, end in state.incomplete for offset in range(start, end)}
    for offset in present_offsets:
        known = offset < state.committed_offset or (offset < state.position and offset not in listed)
        assert known == (offset in complete), (offset, state)
    assert all(start < end <= state.position and start >= state.committed_offset for start, end in state.incomplete)


def test_offsets_that_are_not_there_any_more_are_not_waited_for() -> None:
    """Of the restored holes at 3 and 5 the first was compacted away: once 4 or more comes, it holds nothing up."""
    progress = PartitionProgress()
    progress.begin(CommitMetadata(committed_offset=3, position=9, incomplete=((3, 4), (5, 6))))
    assert (progress.committable(), progress.is_catching_up) == (3, True)
    assert progress.left_before(12) == 5
    assert progress.pass_over(4)
    assert (progress.committable(), progress.left_before(12)) == (5, 4)
    assert not progress.pass_over(5)
    progress.note_delivered(5)
    progress.complete(5)
    assert (progress.committable(), progress.position) == (9, 9)


@pytest.mark.parametrize("offset", [3, 7])
def test_an_offset_that_went_back_is_reported_at_once(offset: int) -> None:
    """What was known of the partition is void, so nothing more may be counted on it."""
    progress = PartitionProgress()
    progress.note_delivered(7)
    with pytest.raises(OffsetsWentBack) as told:
        progress.note_delivered(offset)
    assert (told.value.offset, told.value.expected) == (offset, 8)
    assert not progress.pass_over(offset)
    assert progress.incomplete_runs() == [(7, 8)]


def test_what_a_former_owner_left_cannot_be_completed_before_it_is_delivered() -> None:
    """It is incomplete, and not taken: a caller that completes it counts wrong."""
    progress = PartitionProgress()
    progress.begin(CommitMetadata(committed_offset=3, position=9, incomplete=((3, 4), (5, 6))))
    with pytest.raises(KeyError):
        progress.complete(5)
    progress.note_delivered(3)
    progress.complete(3)
    assert (progress.committable(), progress.incomplete) == (5, 0)


@given(deliveries())
def test_incomplete_offsets_are_counted_and_listed_as_they_are(delivery: tuple[list[int], list[int]]) -> None:
    """One by one, in runs, as a set, and as what is left before an end."""
    offsets, completions = delivery
    progress = PartitionProgress()
    for offset in offsets:
        progress.note_delivered(offset)
    for number, offset in enumerate(completions):
        progress.complete(offset)
        left = set(offsets) - set(completions[: number + 1])
        runs = progress.incomplete_runs()
        assert {found for run in runs for found in range(*run)} == left
        assert all(before[1] < after[0] for before, after in pairwise(runs))
        assert (progress.incomplete, progress.left_before(100)) == (len(left), len(left) + 100 - progress.position)
        assert all(progress.is_incomplete(offset) == (offset in left) for offset in offsets)
        if number % 3 == 0:
            assert [found for run in progress.incomplete_set().runs() for found in range(*run)] == sorted(left)


def test_what_is_known_as_a_whole_is_not_to_be_delivered() -> None:
    """It may be completed at once, and fetching begins behind it."""
    progress = PartitionProgress()
    progress.begin(CommitMetadata(committed_offset=3, position=6, incomplete=((3, 4),)))
    progress.begin_known(9, OffsetSet([(3, 4), (7, 8)]))
    assert (progress.committable(), progress.fetched_from, progress.incomplete) == (3, 9, 2)
    progress.complete(3)
    progress.note_delivered(9)
    assert progress.incomplete_runs() == [(7, 8), (9, 10)]
    assert progress.incomplete_between(0, 10, 1) == [7]
    assert progress.incomplete_between(8, 10, 5) == [9]


def test_what_is_superseded_is_passed_over() -> None:
    """As if the owner before had completed it; what it has not seen is delivered."""
    progress = PartitionProgress()
    progress.begin(CommitMetadata(committed_offset=3, position=9, incomplete=((3, 4), (5, 7))))
    progress.supersede([3, 6, 8, 20])
    assert (progress.committable(), progress.fetched_from) == (5, 5)
    assert [offset for offset in range(3, 11) if not progress.pass_over(offset)] == [5, 9, 10]
