"""What may be committed is never past an incomplete job, whatever order the jobs end in, and gaps hold nothing up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.offsets import Progress


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
    progress, taken, complete = Progress(), list[int](), set[int]()
    for offset in offsets:
        progress.take(offset)
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
    progress, taken, complete = Progress(), list[int](), set[int]()
    for offset in offsets:
        progress.take(offset)
        taken.append(offset)
        for done in [ready for ready in completions if ready in taken and ready not in complete][:1]:
            progress.complete(done)
            complete.add(done)
        assert progress.committable() == naive_committable(taken, complete, None)


def test_nothing_is_committed_before_anything_is_known() -> None:
    """A partition from which nothing came has no offset to commit."""
    assert Progress().committable() is None


def test_the_end_of_a_partition_is_committed_past_a_gap() -> None:
    """Offsets 4 and 5, then a transaction's marker at 6: the end is 7, and so is the commit once both are complete."""
    progress = Progress()
    progress.take(4)
    progress.take(5)
    progress.pass_gap(7)
    assert progress.committable() == 4
    progress.complete(4)
    progress.complete(5)
    assert progress.committable() == 7


def test_an_end_that_lies_behind_moves_nothing_back() -> None:
    """The end of the partition is told late, after more was delivered: the commit does not go back."""
    progress = Progress()
    progress.take(9)
    progress.complete(9)
    progress.pass_gap(5)
    assert progress.committable() == 10


@pytest.mark.parametrize("offsets", [(), (3,)])
def test_completing_what_was_not_taken_is_an_error(offsets: tuple[int, ...]) -> None:
    """A caller that counts wrong is told so, instead of committing past a job."""
    progress = Progress()
    for offset in offsets:
        progress.take(offset)
        progress.complete(offset)
    with pytest.raises(KeyError):
        progress.complete(3)
