"""A carried copy waits where its record waited; where it takes no record's place, it waits behind its key or tenant."""

from __future__ import annotations

import pytest
from confluent_kafka import Message

from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.backlog.tenant_lines import line_of
from stoker.consumers.carrying.copies_aside import CopiesAside
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.lanes import Lanes
from stoker.consumers.ordering.strict_lanes import StrictLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.outcomes import DONE
from stoker.consumers.records.record import Record
from stoker.topology.wire import headers as wire

BOTH = pytest.mark.parametrize("kind", [KeyLanes, StrictLanes])
LANE, LINE = hash_of(b"a"), line_of(b"flood")


class Scene:
    """Lanes over the main and the carried topic, of one key and one tenant."""

    def __init__(self, kind: type[KeyLanes] | type[StrictLanes] = KeyLanes) -> None:
        self.ready: list[Record] = []
        self.lanes: Lanes = kind(self.ready.extend)
        self.lines = self.lanes.lines
        self.aside = CopiesAside(self.lanes.backlog, self.lines)
        self.main, self.carried = Assignment(1, "t", 0), Assignment(2, "t.carried", 0)

    def record(self, offset: int, topic: Assignment | None = None) -> Record:
        """A record of the main topic, or another one."""
        message = Message(topic="t", partition=0, offset=offset, key=b"a", headers=[(wire.TENANT, b"flood")])
        return Record(message, topic or self.main)

    def copy(self, offset: int) -> Record:
        """A record of the carried topic."""
        return self.record(offset, self.carried)

    def add(self, *offsets: int) -> None:
        """Deliver records of the main topic."""
        self.lanes.add([self.record(offset) for offset in offsets])

    def run(self) -> int:
        """The first ready job is done."""
        record = self.ready.pop(0)
        self.lanes.finish(record, DONE)
        return record.offset


@BOTH
def test_a_record_aside_is_known_by_another_place_from_now_on(kind: type[KeyLanes] | type[StrictLanes]) -> None:
    """In its place: its lane goes on with the copy, where the record was."""
    scene = Scene(kind)
    scene.add(1, 2, 3)
    assert not scene.aside.stand_in(scene.copy(7), (scene.main, 2)), "it parks in memory"
    scene.lanes.set_parked_aside(lambda _record: True)
    assert scene.aside.has(scene.record(2))
    assert scene.aside.stand_in(scene.copy(7), (scene.main, 2))
    assert not scene.aside.has(scene.record(2))
    assert scene.run() == 1
    assert scene.lanes.take_wanted() == [(scene.carried, 7), (scene.main, 3)]


def test_a_record_in_the_line_of_its_tenant_is_known_by_another_place_as_well() -> None:
    """Until it is wanted: then it is on its way, and its copy is not needed."""
    scene = Scene()
    scene.lines.put(LINE, scene.main, [1, 2, 3])
    assert scene.aside.has(scene.record(2))
    assert scene.aside.stand_in(scene.copy(7), (scene.main, 2))
    scene.lines.want(LINE, 3, 1)
    assert scene.lanes.take_wanted() == [(scene.main, 1), (scene.carried, 7), (scene.main, 3)]
    assert not scene.aside.has(scene.record(3))
    assert not scene.aside.stand_in(scene.copy(8), (scene.main, 3))


def test_a_copy_that_takes_no_records_place_waits_in_the_line_of_its_tenant_where_there_is_one() -> None:
    """Else in its lane, which is woken by the caller."""
    scene = Scene()
    assert not scene.aside.put_in_line(scene.copy(4))
    assert list(scene.aside.put(scene.carried, [LANE], [4], [LINE])) == [LANE]
    scene.lines.put(LINE, scene.main, [1])
    assert scene.aside.put_in_line(scene.copy(5))
    assert list(scene.aside.put(scene.carried, [LANE], [6], [LINE])) == []
    assert scene.lines.waiting == 3
    scene.lines.want(LINE, 3, 1)
    assert scene.lanes.take_wanted() == [(scene.main, 1), (scene.carried, 5), (scene.carried, 6)]
    scene.lanes.wake([LANE])
    assert scene.lanes.take_wanted() == [(scene.carried, 4)]
