"""What a lane wants read again is back in the lane's order, however the sweeps bring it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.carrying.copies_aside import CopiesAside
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.lanes import Lanes
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from support.scenes.deliveries import plain_record

BOTH = pytest.mark.parametrize("kind", [KeyLanes, StrictLanes])
LANE = hash_of(b"a")
Name = tuple[int, int]
"""A topic, and an offset of it."""


class Scene:
    """A lane that stands in two topics, and wakes with all of it aside."""

    def __init__(self, kind: type[KeyLanes] | type[StrictLanes], lane: list[Name]) -> None:
        self.ready: list[Record] = []
        self.lanes: Lanes = kind(self.ready.extend)
        self.topics = [Assignment(1, "main", 0), Assignment(2, "carried", 0)]
        aside = CopiesAside(self.lanes.backlog, self.lanes.lines)
        for topic, offset in lane:
            aside.put(self.topics[topic], [LANE], [offset])
        self.lanes.wake([LANE])
        self.done: list[Name] = []

    def wanted(self) -> list[Name]:
        """What the lane wants now."""
        return [(self.topics.index(assignment), offset) for assignment, offset in self.lanes.take_wanted()]

    def bring(self, name: Name) -> None:
        """The re-reader has found it."""
        self.lanes.readd([plain_record(name[1], "a", self.topics[name[0]])])

    def lose(self, name: Name) -> None:
        """The re-reader has not found it, twice."""
        self.lanes.note_gone([(self.topics[name[0]], name[1])])

    def run(self) -> None:
        """What is ready runs, one by one."""
        while self.ready:
            record = self.ready.pop(0)
            self.done.append((self.topics.index(record.assignment), record.offset))
            self.lanes.finish(record, DONE)


LANES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40)), min_size=1, unique=True)


@BOTH
@given(lane=LANES, data=st.data())
def test_records_that_come_early_wait_for_those_before_them(
    kind: type[KeyLanes] | type[StrictLanes], lane: list[Name], data: st.DataObject
) -> None:
    """Whatever order they come in, and whatever is gone, what is left of the lane runs in its order."""
    scene = Scene(kind, lane)
    gone = set(data.draw(st.lists(st.sampled_from(lane), unique=True)))
    while wanted := scene.wanted():
        for name in data.draw(st.permutations(wanted)):
            (scene.lose if name in gone else scene.bring)(name)
            if data.draw(st.booleans()):
                scene.run()
        scene.run()
    assert scene.done == [name for name in lane if name not in gone]
    assert not scene.lanes.backlog
    assert (scene.lanes.waiting, scene.lanes.idle) == (0, 0)


@BOTH
@given(lane=LANES, data=st.data())
def test_a_partition_that_goes_takes_its_own_records_and_holds_up_no_other(
    kind: type[KeyLanes] | type[StrictLanes], lane: list[Name], data: st.DataObject
) -> None:
    """Records that came early and are kept go back to the caller once; those behind them run in their order."""
    scene = Scene(kind, lane)
    brought: list[Name] = []
    drop_after = data.draw(st.integers(0, len(lane)))
    while wanted := scene.wanted():
        for name in data.draw(st.permutations(wanted)):
            if drop_after == len(brought):
                break
            scene.bring(name)
            brought.append(name)
        else:
            scene.run()
            continue
        break
    ready = list(scene.ready)
    dropped = [(1, record.offset) for record in scene.lanes.drop([scene.topics[1]])]
    assert len(set(dropped)) == len(dropped), "each is counted out once"
    assert set(dropped) <= {name for name in brought if name[0] == 1}
    held = {(1, record.offset) for record in ready if record.assignment is scene.topics[1]}
    assert {name for name in brought if name[0] == 1} - set(scene.done) == set(dropped) | held
    scene.run()
    for name in [name for name in lane if name[0] == 0 and name not in brought]:
        scene.bring(name)
        scene.run()
    while wanted := scene.wanted():
        for name in wanted:
            scene.bring(name)
            scene.run()
    assert [name for name in scene.done if name[0] == 0] == [name for name in lane if name[0] == 0]
    assert (scene.lanes.waiting, scene.lanes.idle) == (0, 0)
