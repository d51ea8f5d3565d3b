"""Heavy tenants are passed: what a tenant has beyond its portion is put aside, and comes back in its order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import Message

from stoker.consumers.fairness.fair_queue import Load
from stoker.consumers.fairness.looks import LOOKED_AT
from stoker.consumers.fairness.read_ahead import FAST_PER_S, HOLD_FOR_S, LEAST_RECORDS, UNREAD, ReadAhead
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.progress.assignment import Assignment, Place
from stoker.consumers.records.record import Record
from stoker.topology.wire.headers import TENANT


class Scene:
    """One partition, a poll thread and a clock; nothing runs but by the test."""

    def __init__(self, most: int = 10) -> None:
        self.ready: list[Record] = []
        self.lanes = KeyLanes(self.ready.extend)
        self.lines = self.lanes.lines
        self.loads: dict[bytes | None, Load] = {}
        self.now_s, self.ended = 100.0, 0
        self.assignment = Assignment(1, "t", 0)
        self.ahead = ReadAhead(self.lines, self.loads, lambda: self.ended, most, clock=lambda: self.now_s)

    def look(self, unfinished: int, *, ended: int, unread: int = 0) -> None:
        """A second has passed."""
        self.now_s += 1
        self.ended += ended
        self.ahead.note_unfinished(unfinished, unread)

    def run_fast(self, seconds: int = 3) -> None:
        """Jobs are so short that four seconds' work is passed for somebody alone."""
        for _ in range(seconds):
            self.look(4 * 3 * FAST_PER_S, ended=3 * FAST_PER_S, unread=3 * FAST_PER_S)

    def see(self, tenant: bytes) -> list[int]:
        """A look at the end of the log shows records of a tenant; returns their offsets."""
        found = self.ahead.places_to_look_at({self.assignment: 1_000})
        offsets = found.get(self.assignment, [])
        assert all(self.ahead.look_at(self.message(tenant, offset), self.assignment) for offset in offsets)
        return offsets

    def load(self, tenant: bytes, number: int) -> None:
        """So many of its records wait in memory."""
        load = self.loads.setdefault(tenant, Load())
        load.count = load.waiting = number

    def take(self, tenant: bytes | None, offsets: range) -> list[int]:
        """Fetch records of a tenant; returns those that are left out."""
        left = [offset for offset in offsets if self.ahead.leave_out(self.message(tenant, offset), self.assignment)]
        self.ahead.end()
        return left

    def message(self, tenant: bytes | None, offset: int) -> Message:
        """As it was fetched."""
        headers = [("ce_id", b"%d" % offset), *([] if tenant is None else [(TENANT, tenant)])]
        read = {"headers": headers, "offset": offset, "partition": 0, "topic": "t", "error": None}
        return cast(Message, SimpleNamespace(**{name: lambda value=value: value for name, value in read.items()}))

    def pass_heavy_tenants(self, *fetched: tuple[bytes | None, int]) -> list[int]:
        """Fetch (tenant, offset) while tenants have others aside; returns the offsets that are left to the slow way."""
        self.ahead.want()
        found: list[int] = []
        for message in self.ahead.past_heavy_tenants([self.message(*one) for one in fetched], self.find_running):
            found.append(message.offset() or 0)
        self.ahead.end()
        return found

    def find_running(self, topic: str | None, partition: int | None) -> Assignment | None:
        """As `Assignments.find_running`."""
        is_here = (topic, partition) == ("t", 0) and self.assignment.is_current
        return self.assignment if is_here else None

    def wanted(self) -> list[int]:
        """The offsets that are to be read again by now."""
        self.ahead.want()
        return [offset for _, offset in self.lanes.take_wanted()]

    def come_back(self, offset: int) -> list[Record]:
        """A record is read again; returns what is to go to its lanes by that."""
        place: Place = self.assignment, offset
        record = cast(Record, SimpleNamespace(assignment=place[0], offset=offset, lane=b"key"))
        assert self.lanes.readd([record]) == []
        return self.lines.take_back()


@pytest.fixture
def scene() -> Scene:
    """One in which the present work lasts for long, so that heavy tenants are passed."""
    made = Scene()
    made.look(1_000, ended=5)
    return made


def test_what_is_beyond_the_portion_is_aside_and_all_that_comes_after_it(scene: Scene) -> None:
    """Ten have room; later ones wait aside too, so that they do not pass the others. Other tenants go on."""
    assert scene.take(b"flood", range(15)) == [10, 11, 12, 13, 14]
    scene.load(b"flood", 2)
    assert scene.take(b"flood", range(15, 17)) == [15, 16]
    assert scene.take(b"small", range(17, 19)) == []
    assert scene.take(None, range(19, 20)) == []
    assert scene.lines.waiting == 7


def test_a_flood_is_passed_in_few_steps_and_all_others_are_taken_in_their_turn(scene: Scene) -> None:
    """What is passed is taken, and aside behind what was; records of others come out between them."""
    scene.take(b"flood", range(15))
    scene.load(b"flood", 10)
    fetched = [(b"flood", 15), (b"small", 16), (b"flood", 17), (None, 18), (b"flood", 20)]
    assert scene.pass_heavy_tenants(*fetched) == [16, 18]
    assert scene.assignment.progress.position == 21, "taken"
    assert scene.lines.waiting == 8
    scene.load(b"flood", 0)
    assert scene.wanted() == [10, 11, 12, 13, 14, 15, 17, 20]


def test_offsets_that_went_back_and_partitions_that_left_are_not_passed(scene: Scene) -> None:
    """They are left to the slow way, which knows what to do."""
    scene.take(b"flood", range(15))
    scene.load(b"flood", 10)
    assert scene.pass_heavy_tenants((b"flood", 20), (b"flood", 3), (b"flood", 21)) == [3]
    assert scene.lines.waiting == 7
    scene.assignment.leave()
    scene.assignment.end()
    assert scene.pass_heavy_tenants((b"flood", 22)) == [22]


def test_it_comes_back_in_its_order_when_half_of_the_portion_has_gone(scene: Scene) -> None:
    """While more than half of the portion waits in memory, nothing is read again."""
    scene.take(b"flood", range(30))
    scene.load(b"flood", 6)
    assert scene.wanted() == []
    scene.load(b"flood", 4)
    assert scene.wanted() == [10, 11, 12, 13, 14, 15]
    assert scene.come_back(11) == [], "the one before it is still to come"
    assert [record.offset for record in scene.come_back(10)] == [10, 11]
    assert scene.lines.waiting == 18


def test_a_line_that_is_empty_is_forgotten(scene: Scene) -> None:
    """The tenant is like any other then."""
    scene.take(b"flood", range(12))
    scene.load(b"flood", 0)
    assert scene.wanted() == [10, 11]
    for offset in (10, 11):
        scene.come_back(offset)
    assert scene.wanted() == []
    assert (scene.ahead.is_skipping_ahead, scene.lines.waiting) == (False, 0)
    assert scene.take(b"flood", range(12, 14)) == []


def test_a_record_that_is_gone_from_the_log_holds_up_nothing(scene: Scene) -> None:
    """The next ones of its line come all the same."""
    scene.take(b"flood", range(12))
    scene.load(b"flood", 0)
    scene.wanted()
    assert scene.lanes.note_gone([(scene.assignment, 10)]) == {(scene.assignment, 10)}
    assert [record.offset for record in scene.come_back(11)] == [11]
    assert scene.lines.waiting == 0


def test_what_soon_runs_is_not_read_twice() -> None:
    """A second's work is not passed, nor five seconds' of very short jobs; more than that is."""
    for unfinished, ended, is_passed in (
        (90, 100, False),
        (500, 100, True),
        (4 * FAST_PER_S * 3, 3 * FAST_PER_S, False),
    ):
        scene = Scene()
        for _ in range(20):
            scene.look(unfinished, ended=ended)
        assert bool(scene.take(b"flood", range(15))) is is_passed, (unfinished, ended)


def test_very_short_jobs_are_passed_where_somebody_waits_behind_them() -> None:
    """A look at the last records of the log shows it: the tenant has nothing at hand, and came not lately."""
    scene = Scene()
    scene.run_fast()
    assert scene.take(b"flood", range(15)) == []
    assert scene.see(b"small") == list(range(1_000 - LOOKED_AT, 1_000))
    scene.run_fast(1)
    assert scene.take(b"flood", range(15)) == [10, 11, 12, 13, 14]
    assert scene.see(b"small") == [], "what is passed is read anyway"


@pytest.mark.parametrize("is_at_hand", [True, False])
def test_a_tenant_that_is_reached_waits_for_nobody(is_at_hand: bool) -> None:
    """It has records at hand, or some came just now."""
    scene = Scene()
    scene.run_fast()
    scene.take(b"other", range(1))
    if is_at_hand:
        scene.run_fast()
        scene.load(b"other", 1)
    scene.see(b"other")
    scene.run_fast(1)
    assert scene.take(b"flood", range(15)) == []


def test_a_flood_of_very_short_jobs_is_held_back_until_the_log_is_read_to_its_end() -> None:
    """Only where somebody waits behind it."""
    scene = Scene()
    scene.run_fast()
    assert not scene.ahead.is_holding
    scene.see(b"small")
    scene.run_fast(1)
    assert scene.ahead.is_holding
    scene.take(b"flood", range(15))
    scene.look(4 * 3 * FAST_PER_S, ended=0, unread=UNREAD)
    assert not scene.ahead.is_holding


def test_no_flood_is_held_back_for_long() -> None:
    """However long the log is, and however many others come."""
    scene = Scene()
    scene.run_fast()
    scene.see(b"small")
    held_s = 0
    for number in range(10):
        scene.run_fast(1)
        held_s += scene.ahead.is_holding
        scene.take(b"small-%d" % number, range(number, number + 1))
    assert held_s == HOLD_FOR_S


def test_more_is_read_again_while_the_first_still_comes(scene: Scene) -> None:
    """So that the runners do not wait for it; and all of it comes back in its order."""
    scene.take(b"flood", range(40))
    scene.load(b"flood", 0)
    assert scene.wanted() == list(range(10, 20))
    back = [record.offset for offset in (10, 11, 12, 13, 14) for record in scene.come_back(offset)]
    assert scene.wanted() == [20, 21, 22, 23, 24]
    scene.come_back(20)
    back += [record.offset for offset in range(15, 20) for record in scene.come_back(offset)]
    assert back == list(range(10, 21))


def test_a_tenant_with_few_records_is_no_flood() -> None:
    """Its portion would be taken from the heavy tenant's, which has none at hand just now."""
    scene = Scene(most=32)
    scene.look(1_000, ended=5)
    scene.take(b"flood", range(100))
    scene.load(b"flood", 0)
    for number in range(5):
        scene.load(b"t%d" % number, 2)
    scene.look(1_000, ended=5)
    assert scene.wanted() == list(range(32, 64))


def test_several_heavy_tenants_share_the_memory(scene: Scene) -> None:
    """The tenants that have most of the records are heavy, each with its part; none has less than a few."""
    for number in range(4):
        scene.load(b"t%d" % number, 20)
    scene.look(1_000, ended=5)
    assert len(scene.take(b"new", range(LEAST_RECORDS + 3))) == 3
    assert scene.ahead.loads_of_heavy_tenants() == 10


def test_partitions_that_leave_take_their_records_along(scene: Scene) -> None:
    """Nothing of them is read again."""
    scene.take(b"flood", range(20))
    scene.lanes.drop([scene.assignment])
    scene.load(b"flood", 0)
    assert (scene.wanted(), scene.lines.waiting) == ([], 0)
    assert not scene.ahead.is_skipping_ahead
