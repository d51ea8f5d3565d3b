"""What is aside of lanes: it is found again, and nearly all lanes of which nothing is aside are passed in one look."""

from __future__ import annotations

from stoker.consumers.backlog.lane_backlog import LaneBacklog, hash_of
from stoker.consumers.progress.assignment import Assignment, Lane

MAIN = Assignment(1, "t", 0)


def test_a_lane_that_waits_is_never_passed_and_nearly_all_others_are() -> None:
    """Keys and ids of jobs, put behind or ahead; ten lanes of 65,536 marks."""
    backlog = LaneBacklog()
    lanes: list[Lane] = [*(b"key-%d" % number for number in range(5)), *(f"id-{number}" for number in range(5))]
    for offset, lane in enumerate(lanes):
        if offset % 2:
            backlog.put(hash_of(lane), MAIN, offset)
        else:
            backlog.put_back(hash_of(lane), [(MAIN, offset)])
    assert all(backlog.may_hold(lane) for lane in lanes)
    assert sum(backlog.may_hold(b"other-%d" % number) for number in range(1_000)) < 50


def test_no_lane_may_wait_once_nothing_is_aside() -> None:
    """What has come back, or went away with its partition, leaves no mark that counts."""
    backlog = LaneBacklog()
    backlog.put(hash_of(b"key"), MAIN, 1)
    backlog.want(hash_of(b"key"), 1)
    assert backlog.may_hold(b"key"), "it is coming"
    backlog.end_coming((MAIN, 1))
    assert not backlog.may_hold(b"key")
    backlog.put(hash_of(b"key"), MAIN, 2)
    backlog.drop([MAIN])
    assert not backlog.may_hold(b"key")


def test_a_backlog_may_fill_and_drain_for_ever() -> None:
    """An assignment takes one of a million indexes while something is aside, and gives it back."""
    backlog = LaneBacklog()
    for offset in range(3):
        backlog.put(hash_of(b"key"), MAIN, offset)
        assert max(backlog.indexes.values()) == 0
        backlog.want(hash_of(b"key"), 1)
        backlog.end_coming((MAIN, offset))


def test_its_parts_are_the_whole() -> None:
    """Each lane is in one of them."""
    backlog = LaneBacklog()
    for offset in range(200):
        backlog.put(hash_of(b"key-%d" % offset), MAIN, offset)
    parts = [found for part in backlog.parts for found in backlog.part(part)]
    assert sorted(offset for (_, offset), _ in parts) == list(range(200))
    assert dict(parts) == {(MAIN, offset): hash_of(b"key-%d" % offset) for offset in range(200)}
