"""Lines of tenants stand beside the lanes in one backlog: what comes back of them is in its order, and is counted."""

from __future__ import annotations

import pytest

from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.backlog.tenant_lines import line_of
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from support.scenes.deliveries import plain_record

LINE = line_of(b"flood")


class Scene:
    """Lanes with lines beside them, over two partitions."""

    def __init__(self) -> None:
        self.ready: list[Record] = []
        self.lanes = KeyLanes(self.ready.extend)
        self.lines = self.lanes.lines
        self.assignment, self.leaving = Assignment(1, "t", 0), Assignment(2, "t", 1)

    def come_back(self, offset: int) -> list[int]:
        """A record is read again; returns what is to go to its lanes by that."""
        assert self.lanes.readd([plain_record(offset, "a", self.assignment)]) == []
        return [record.offset for record in self.lines.take_back()]


@pytest.fixture
def scene() -> Scene:
    """Nothing waits."""
    return Scene()


def test_lines_are_counted_right_where_one_of_two_partitions_leaves(scene: Scene) -> None:
    """What had come before its turn comes at once, and is in no line any more."""
    scene.lines.put(LINE, scene.leaving, [7])
    scene.lines.put(LINE, scene.assignment, [3, 4])
    scene.lines.want(LINE, 2, 1)
    assert scene.come_back(3) == []
    scene.lanes.drop([scene.leaving])
    assert [record.offset for record in scene.lines.take_back()] == [3]
    assert scene.lines.waiting == 1


def test_what_is_back_and_not_taken_yet_leaves_with_its_partition(scene: Scene) -> None:
    """The caller counts it out, and the next owner reads it."""
    scene.lines.put(LINE, scene.leaving, [7])
    scene.lines.want(LINE, 1, 1)
    scene.lanes.readd([plain_record(7, "a", scene.leaving)])
    assert [record.offset for record in scene.lanes.drop([scene.leaving])] == [7]
    assert scene.lines.take_back() == []
    assert not scene.lines.want(LINE, 1, 1)
    assert not scene.lines


def test_a_line_and_a_lane_of_one_backlog_are_told_apart(scene: Scene) -> None:
    """Of the lane, what comes back is ready at once; of the line, it is to go to its lane first."""
    scene.lanes.add([plain_record(0, "a", scene.assignment), plain_record(1, "a", scene.assignment)])
    scene.lanes.set_parked_aside(lambda _record: True)
    scene.lines.put(LINE, scene.assignment, [2])
    assert (LINE in scene.lines, hash_of(b"a") in scene.lines) == (True, False)
    scene.lanes.free(scene.ready.pop())
    scene.lines.want(LINE, 1, 1)
    assert [offset for _, offset in scene.lanes.take_wanted()] == [1, 2]
    assert (scene.come_back(1), [record.offset for record in scene.ready]) == ([], [1])
    assert (scene.come_back(2), [record.offset for record in scene.ready]) == ([2], [1])
    assert (scene.lines.waiting, scene.lanes.waiting) == (0, 0)
