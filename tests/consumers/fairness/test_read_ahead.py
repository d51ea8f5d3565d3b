"""Floods are passed: what a tenant has beyond its share is put aside, and comes back in its order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Message

from stoker.consumers.fairness.fair_queue import Load
from stoker.consumers.fairness.read_ahead import FAST_PER_S, LEAST_SHARE, ReadAhead
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.records.assignment import Assignment, Place
from stoker.consumers.records.record import Record
from stoker.topology.wire.headers import TENANT


class Scene:
    """One partition, a poll thread and a clock; nothing runs but by the test."""

    def __init__(self, most: int = 10) -> None:
        self.ready: list[Record] = []
        self.lanes = KeyLanes(self.ready.extend)
        self.loads: dict[bytes | None, Load] = {}
        self.now_s, self.ended = 100.0, 0
        self.assignment = cast(Assignment, object())
        self.ahead = ReadAhead(self.lanes, self.loads, lambda: self.ended, most, clock=lambda: self.now_s)

    def look(self, lag: int, *, ended: int) -> None:
        """A second has passed."""
        self.now_s += 1
        self.ended += ended
        self.ahead.note_lag(lag)

    def load(self, tenant: bytes, number: int) -> None:
        """So many of its records wait in memory."""
        load = self.loads.setdefault(tenant, Load())
        load.count = load.waiting = number

    def take(self, tenant: bytes | None, offsets: range) -> list[int]:
        """Fetch records of a tenant; gives those that are left out."""
        left = [offset for offset in offsets if self.ahead.leaves_out(self.message(tenant, offset), self.assignment)]
        self.ahead.end()
        return left

    def message(self, tenant: bytes | None, offset: int) -> Message:
        """As it was fetched."""
        headers = [("ce_id", b"%d" % offset), *([] if tenant is None else [(TENANT, tenant)])]
        return cast(Message, SimpleNamespace(headers=lambda: headers, offset=lambda: offset))

    def wanted(self) -> list[int]:
        """The offsets that are to be read again by now."""
        self.ahead.want()
        return [offset for _, offset in self.lanes.take_wanted()]

    def come_back(self, offset: int) -> list[Record]:
        """A record is read again; gives what is to go to its lanes by that."""
        place: Place = self.assignment, offset
        record = cast(Record, SimpleNamespace(assignment=place[0], offset=offset, lane=b"key"))
        assert self.lanes.readd([record]) == []
        return self.lanes.take_from_lines()


@pytest.fixture
def scene() -> Scene:
    """One in which the present work lasts for long, so that floods are passed."""
    made = Scene()
    made.look(1_000, ended=5)
    return made


def test_what_is_beyond_the_share_is_aside_and_all_that_comes_after_it(scene: Scene) -> None:
    """Ten have room; later ones wait aside too, so that they do not pass the others. Other tenants go on."""
    assert scene.take(b"flood", range(15)) == [10, 11, 12, 13, 14]
    scene.load(b"flood", 2)
    assert scene.take(b"flood", range(15, 17)) == [15, 16]
    assert scene.take(b"small", range(17, 19)) == []
    assert scene.take(None, range(19, 20)) == []
    assert scene.lanes.in_lines == 7


def test_it_comes_back_in_its_order_when_half_of_the_share_has_gone(scene: Scene) -> None:
    """While more than half of the share waits in memory, nothing is read again."""
    scene.take(b"flood", range(30))
    scene.load(b"flood", 6)
    assert scene.wanted() == []
    scene.load(b"flood", 4)
    assert scene.wanted() == [10, 11, 12, 13, 14, 15]
    assert scene.come_back(11) == [], "the one before it is still to come"
    assert [record.offset for record in scene.come_back(10)] == [10, 11]
    assert scene.lanes.in_lines == 18


def test_a_line_that_is_empty_is_forgotten(scene: Scene) -> None:
    """The tenant is like any other then."""
    scene.take(b"flood", range(12))
    scene.load(b"flood", 0)
    assert scene.wanted() == [10, 11]
    for offset in (10, 11):
        scene.come_back(offset)
    assert scene.wanted() == []
    assert (scene.ahead.is_passing, scene.lanes.in_lines) == (False, 0)
    assert scene.take(b"flood", range(12, 14)) == []


def test_a_record_that_is_gone_from_the_log_holds_up_nothing(scene: Scene) -> None:
    """The next ones of its line come all the same."""
    scene.take(b"flood", range(12))
    scene.load(b"flood", 0)
    scene.wanted()
    assert scene.lanes.note_gone([(scene.assignment, 10)]) == {(scene.assignment, 10)}
    assert [record.offset for record in scene.come_back(11)] == [11]
    assert scene.lanes.in_lines == 0


def test_what_soon_runs_is_not_read_twice() -> None:
    """A second's work is not passed, nor five seconds' of very short jobs; more than that is."""
    for lag, ended, is_passed in ((90, 100, False), (500, 100, True), (4 * FAST_PER_S * 3, 3 * FAST_PER_S, False)):
        scene = Scene()
        for _ in range(20):
            scene.look(lag, ended=ended)
        assert bool(scene.take(b"flood", range(15))) is is_passed, (lag, ended)


def test_several_floods_share_the_memory(scene: Scene) -> None:
    """The tenants that have most of the records are floods, each with its part; none has less than a few."""
    for number in range(4):
        scene.load(b"t%d" % number, 20)
    scene.look(1_000, ended=5)
    assert len(scene.take(b"new", range(LEAST_SHARE + 3))) == 3
    assert scene.ahead.loads_of_floods() == 10


def test_partitions_that_leave_take_their_records_along(scene: Scene) -> None:
    """Nothing of them is read again."""
    scene.take(b"flood", range(20))
    scene.lanes.drop([scene.assignment])
    scene.load(b"flood", 0)
    assert (scene.wanted(), scene.lanes.in_lines) == ([], 0)
    assert not scene.ahead.is_passing
