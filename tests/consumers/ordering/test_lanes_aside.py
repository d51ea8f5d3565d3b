"""Lanes that a gate holds back leave the memory as a whole, and come back in their order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.lanes import Lanes
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from support.scenes.deliveries import declare, plain_record

BOTH = pytest.mark.parametrize("kind", [KeyLanes, StrictLanes])


class Scene:
    """Lanes over a log that a list stands for."""

    def __init__(self, kind: type[KeyLanes] | type[StrictLanes]) -> None:
        self.ready: list[Record] = []
        self.lanes: Lanes = kind(self.ready.extend)
        self.assignment = Assignment(1, "t", 0)

    def record(self, offset: int, key: str | None = "a") -> Record:
        """A record of the log."""
        return plain_record(offset, key, self.assignment)

    def add(self, *offsets: int, key: str = "a") -> list[int]:
        """Deliver records; returns those that are aside."""
        return [record.offset for record in self.lanes.add([self.record(offset, key) for offset in offsets])]

    def leave(self) -> list[int]:
        """What is ready is held back, and leaves the memory with its lanes."""
        held, self.ready[:] = [record for record in self.ready if self.lanes.may_leave(record)], []
        return [record.offset for record in self.lanes.set_aside(held)]

    def wake(self, *keys: str) -> None:
        """The gate lets these pass."""
        self.lanes.wake(hash_of(key.encode()) for key in keys)

    def wanted(self) -> list[int]:
        """What is to be read again."""
        return [offset for _, offset in self.lanes.take_wanted()]

    def readd(self, offsets: Sequence[int], key: str = "a") -> None:
        """It was read again."""
        self.lanes.readd([self.record(offset, key) for offset in offsets])

    def run(self) -> int:
        """The first ready job is done."""
        record = self.ready.pop(0)
        self.lanes.finish(record, DONE)
        return record.offset

    def run_all(self) -> list[int]:
        """All run, and all that they want is read again."""
        done = []
        while self.ready or self.lanes.backlog.has_wanted:
            done += [self.run() for _ in range(len(self.ready))]
            self.readd(self.wanted())
        return done


@BOTH
def test_a_whole_lane_leaves_the_memory_and_comes_back_in_order(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """With what parks behind its head, ahead of what is delivered later."""
    scene = Scene(kind)
    scene.add(1, 2, 3)
    assert scene.leave() == [1, 2, 3]
    assert (scene.lanes.parking.count, scene.lanes.waiting) == (0, 3)
    assert scene.add(4) == [4], "nothing of a lane that is aside starts"
    assert not scene.ready
    scene.wake("a")
    assert scene.wanted() == [1], "one, since the gates may hold it back once more"
    scene.readd([1])
    assert scene.run_all() == [1, 2, 3, 4]
    assert (scene.lanes.waiting, scene.lanes.idle) == (0, 0)
    scene.add(5)
    assert scene.run_all() == [5]


@BOTH
def test_a_head_that_is_held_back_again_stays_ahead_of_its_lane(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """Paused, resumed, paused: twice."""
    scene = Scene(kind)
    scene.add(1, 2)
    for _ in range(2):
        scene.leave()
        scene.wake("a")
        while scene.lanes.backlog.has_wanted:
            scene.readd(scene.wanted())
        assert [record.offset for record in scene.ready] == [1]
    assert scene.run_all() == [1, 2]


@BOTH
def test_a_lane_stays_while_records_of_it_are_being_read_again(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """They would come before what is put back ahead of them."""
    scene = Scene(kind)
    scene.add(1, 2)
    scene.leave()
    scene.wake("a")
    scene.readd(scene.wanted())
    scene.run()
    assert scene.lanes.backlog.is_coming(hash_of(b"a"))
    held = scene.record(1)
    assert not scene.lanes.may_leave(held)
    scene.readd([2])
    assert scene.run_all() == [2]


@BOTH
def test_a_lane_whose_wanted_head_is_gone_goes_on_with_the_next(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """Retention has taken it; and where it was the only one, nothing is left of the lane."""
    scene = Scene(kind)
    scene.add(1, 2)
    scene.leave()
    scene.wake("a")
    scene.wanted()
    scene.lanes.note_gone([(scene.assignment, 1)])
    assert scene.wanted() == [2]
    scene.lanes.note_gone([(scene.assignment, 2)])
    assert (scene.lanes.waiting, scene.lanes.idle, scene.wanted()) == (0, 0, [])
    scene.add(3)
    assert scene.run_all() == [3]


@BOTH
def test_a_lane_whose_partition_goes_away_is_forgotten(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """Also while it is being read again; waking it does nothing then."""
    scene = Scene(kind)
    scene.add(1, 2)
    scene.add(7, key="b")
    scene.leave()
    scene.wake("b")
    scene.wanted()
    assert scene.lanes.drop([scene.assignment]) == []
    scene.wake("a", "b")
    assert (scene.lanes.waiting, scene.lanes.idle, scene.wanted()) == (0, 0, [])
    scene.assignment = Assignment(2, "t", 0)
    scene.add(1, 2)
    assert scene.run_all() == [1, 2]


@BOTH
def test_a_lane_that_is_woken_while_it_is_at_work_keeps_its_order(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """It was known at the gates from before a rebalance, perhaps."""
    scene = Scene(kind)
    scene.add(1, 2, 3)
    scene.leave()
    scene.wake("a")
    scene.readd(scene.wanted())
    scene.wake("a")
    scene.readd(scene.wanted())
    assert [record.offset for record in scene.ready] == [1]
    assert scene.run_all() == [1, 2, 3]


@BOTH
def test_the_lanes_of_a_key_and_of_a_job_id_of_one_text_are_two(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """Python hashes both alike; the one must not wait for the other."""
    assert hash("a") == hash(b"a")
    assert hash_of("a") != hash_of(b"a")
    scene = Scene(kind)
    scene.add(1)
    scene.leave()
    scene.lanes.add([declare().record({"ce_id": b"a"}, key=None, offset=2)])
    assert [record.offset for record in scene.ready] == [2]


@BOTH
def test_what_parks_leaves_the_memory_while_the_head_of_its_lane_goes_on(
    kind: type[KeyLanes] | type[StrictLanes],
) -> None:
    """All of a lane of which anything is due to leave; a record that comes then waits behind, and none is lost."""
    scene = Scene(kind)
    scene.add(1, 2, 3)
    scene.add(4, 5, key="b")
    left = scene.lanes.set_parked_aside(lambda record: record.offset == 3)
    assert [record.offset for record in left] == [2, 3]
    assert (scene.lanes.parking.count, scene.lanes.waiting) == (1, 3)
    assert scene.add(6) == [6]
    assert scene.wanted() == []
    assert sorted(scene.run_all()) == [1, 2, 3, 4, 5, 6]
    assert (scene.lanes.waiting, scene.lanes.idle) == (0, 0)
