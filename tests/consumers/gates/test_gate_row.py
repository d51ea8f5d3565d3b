"""Gates: a ready record that may not start waits, with a reason, until its gate lets it pass or its time has come."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.gates.gate import START, Gate, PlainWhy, Start, Wait, Why
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.gates.leaving_records import NO_BOUND, MemoryBound
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from support.scenes.deliveries import plain_record

ODD = PlainWhy("odd", "the odd ones are let in")


@dataclass
class OddGate(Gate):
    """Holds back odd offsets, until a time if it is given one; lets them pass by itself at that time."""

    is_closed: bool = True
    until_at_s: float | None = None
    asked: int = 0

    def may_start(self, record: Record, now_s: float) -> Start | Wait:
        """Odd ones may not."""
        self.asked += 1
        is_late = self.until_at_s is not None and now_s >= self.until_at_s
        if not self.is_closed or is_late or record.offset % 2 == 0:
            return START
        return Wait(until_at_s=self.until_at_s, why=ODD)


@dataclass
class Scene:
    """A row whose released records are asked for again, as the dispatch does; `started` are those that may start."""

    gate: OddGate = field(default_factory=OddGate)
    now_s: float = 100.0
    started: list[int] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    bound: MemoryBound = NO_BOUND

    def __post_init__(self) -> None:
        """Begin."""
        self.assignment = Assignment(1, "t", 0)
        self.row = GateRow(
            [self.gate],
            clock=lambda: self.now_s,
            is_cancelled=lambda record: record.offset in self.cancelled,
            bound=self.bound,
        )
        self.row.start(self.make_ready)

    def make_ready(self, records: list[Record]) -> None:
        """As the dispatch does."""
        self.started += [record.offset for record in self.row.admit(records)]

    def take(self, *offsets: int) -> list[Record]:
        """Make records ready."""
        records = [plain_record(offset, None, self.assignment) for offset in offsets]
        self.make_ready(records)
        return records

    def whys(self) -> dict[Record, Why]:
        """Why each record waits."""
        return {record: wait.why for record, wait in self.row.view.waiting().items()}


def test_a_row_without_gates_is_false_and_asks_nothing() -> None:
    """So that a queue without gates pays one look for a whole handful."""
    assert not GateRow()
    assert Scene().row


def test_a_record_waits_with_its_reason_until_the_gate_opens() -> None:
    """Others start; what is released asks all gates again."""
    scene = Scene()
    _, first, _, second = scene.take(2, 3, 4, 5)
    assert scene.started == [2, 4]
    assert (scene.row.view.count, scene.whys()) == (2, {first: ODD, second: ODD})
    scene.row.wait_set.release(ODD)
    assert (scene.started, scene.row.view.count) == ([2, 4], 2), "it is still closed"
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    assert (scene.started, scene.row.view.count, scene.row.view.whys()) == ([2, 4, 3, 5], 0, [])


def test_a_record_that_waits_for_a_time_is_asked_for_again_then_and_not_before() -> None:
    """Ten seconds, at a clock that the test moves."""
    scene = Scene(OddGate(until_at_s=110.0))
    scene.take(1)
    assert (scene.started, scene.row.next_at_s) == ([], 110.0)
    scene.now_s = 109.9
    scene.row.ask_again()
    assert scene.started == []
    scene.now_s = 110.0
    scene.row.ask_again()
    assert (scene.started, scene.row.view.count) == ([1], 0)
    assert scene.row.next_at_s is None


def test_what_was_released_before_its_time_is_not_released_twice() -> None:
    """It would run twice at once."""
    scene = Scene(OddGate(until_at_s=110.0))
    scene.take(1)
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    scene.now_s = 120.0
    scene.row.ask_again()
    assert scene.started == [1]


def test_a_gate_that_opens_while_it_is_asked_keeps_no_record() -> None:
    """Its signal finds nothing held yet, and would never come again."""

    class Opening(OddGate):
        def may_start(self, record: Record, now_s: float) -> Start | Wait:
            answer = super().may_start(record, now_s)
            if self.asked == 1:
                self.is_closed = False
                scene.row.wait_set.release(ODD)
            return answer

    scene = Scene(Opening())
    scene.take(1)
    assert (scene.started, scene.gate.asked) == ([1], 2)


def test_records_of_partitions_that_go_away_are_given_back_and_held_no_more() -> None:
    """The next owner gets them; a shutdown waits for none of them."""
    scene = Scene(OddGate(until_at_s=110.0))
    other = plain_record(7, None, Assignment(2, "t", 1))
    (record,) = scene.take(1)
    scene.make_ready([other])
    scene.assignment.leave()
    assert scene.row.wait_set.drop([scene.assignment]) == [record]
    assert (scene.row.view.count, scene.whys()) == (1, {other: ODD})
    assert scene.row.admit([record]) == [record], "the next step ends it"
    assert not scene.row.wait_set.add_sent_back(record, Wait(until_at_s=None, why=ODD))


def test_a_record_that_a_step_has_sent_back_waits_like_the_others() -> None:
    """Also where no gate is declared."""
    scene = Scene()
    record = plain_record(2, None, scene.assignment)
    assert scene.row.wait_set.add_sent_back(record, Wait(until_at_s=None, why=ODD))
    assert scene.row.view.count_of(PlainWhy) == 1
    scene.row.wait_set.release(ODD)
    assert scene.started == [2]


def test_a_room_that_was_stopped_holds_nothing() -> None:
    """What waits is delivered again."""
    scene = Scene(OddGate(until_at_s=110.0))
    scene.take(1)
    scene.row.wait_set.stop()
    assert (scene.row.view.count, scene.row.next_at_s) == (0, None)
    scene.row.wait_set.release(ODD)
    assert scene.started == []


def test_gates_start_and_stop_with_their_row() -> None:
    """A gate that reads orders has a client or a thread of its own; those that have none need not say so."""

    class Reading(OddGate):
        is_reading = False

        def start(self) -> None:
            """Begin to read."""
            self.is_reading = True

        def stop(self) -> None:
            """End."""
            self.is_reading = False

    row, gate = GateRow([OddGate()]), Reading()
    row.add([gate])
    row.start(lambda _records: None)
    assert gate.is_reading
    row.stop()
    assert not gate.is_reading


def bounded(records: int, *, until_at_s: float | None = None) -> Scene:
    """A row that keeps so many records in memory."""
    return Scene(OddGate(until_at_s=until_at_s), bound=MemoryBound(records))


def aside(scene: Scene, *offsets: int) -> list[int]:
    """Make records with lanes ready and put aside what is beyond the bound; returns what has left the memory."""
    scene.make_ready([plain_record(offset, f"k{offset}", scene.assignment) for offset in offsets])
    return [record.offset for record in scene.row.aside.set_aside(lambda _record: True)]


def taken_back(scene: Scene, limit: int = 10) -> list[int]:
    """The offsets of the lanes that are released, by their keys."""
    offsets = {hash_of(b"k%d" % offset): offset for offset in range(20)}
    return [offsets[lane_hash] for lane_hash in scene.row.aside.take_released(limit)]


def test_beyond_the_bound_records_leave_the_memory_and_their_lanes_are_known() -> None:
    """The first ones stay; the others come back when the reason is released, in portions."""
    scene = bounded(2)
    assert aside(scene, 1, 3, 5, 7, 9) == [5, 7, 9]
    assert (scene.row.view.count, len(scene.row.aside), scene.row.view.counts()) == (2, 3, {ODD: 5})
    assert not scene.row.aside.has_released
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    assert scene.started == [1, 3]
    assert (taken_back(scene, 2), taken_back(scene), scene.row.aside.has_released) == ([5, 7], [9], False)
    assert len(scene.row.aside) == 0


def test_what_was_released_before_it_left_the_memory_does_not_leave_it() -> None:
    """It is ready, and would run twice."""
    scene = bounded(0)
    scene.make_ready([plain_record(1, "k1", scene.assignment)])
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    assert (scene.started, scene.row.aside.set_aside(lambda _record: True)) == ([1], [])


def test_what_may_not_leave_yet_is_looked_at_again() -> None:
    """As while records of its lane are being read."""
    scene = bounded(0)
    scene.make_ready([plain_record(1, "k1", scene.assignment)])
    assert scene.row.aside.set_aside(lambda _record: False) == []
    assert scene.row.view.count == 1
    assert [record.offset for record in scene.row.aside.set_aside(lambda _record: True)] == [1]


def test_lanes_aside_come_back_at_their_time() -> None:
    """Up to a second later than those in memory."""
    scene = bounded(2, until_at_s=110.4)
    aside(scene, 1, 3, 5)
    assert scene.row.next_at_s == 110.4
    scene.now_s = 110.5
    scene.row.ask_again()
    assert (scene.started, scene.row.next_at_s, taken_back(scene)) == ([1, 3], 111, [])
    scene.now_s = 111.0
    scene.row.ask_again()
    assert taken_back(scene) == [5]


def test_nothing_is_asked_again_for_lanes_aside_that_came_back() -> None:
    """The poll thread would turn without rest."""
    scene = bounded(2, until_at_s=110.0)
    aside(scene, 1, 3, 5)
    scene.now_s = 110.0
    scene.row.ask_again()
    assert (taken_back(scene), scene.row.next_at_s) == ([5], None)


def test_lanes_aside_that_are_not_ours_any_more_are_forgotten() -> None:
    """Those that are released and not taken back as well."""
    scene = bounded(2)
    aside(scene, 1, 3, 5, 7)
    scene.row.wait_set.release(ODD)
    aside(scene, 9, 11)
    scene.row.aside.forget(lambda lane_hash: lane_hash in (hash_of(b"k5"), hash_of(b"k9")))
    assert taken_back(scene) == [7]
    scene.row.wait_set.stop()
    assert len(scene.row.aside) == 0


def test_the_bound_in_bytes_counts_as_well() -> None:
    """Few records may be large."""
    scene = Scene(bound=MemoryBound(100, plain_record(1, "k1").size_bytes))
    records = [plain_record(offset, f"k{offset}", scene.assignment) for offset in (1, 3)]
    scene.make_ready(records)
    assert scene.row.aside.set_aside(lambda _record: True) == [records[1]]


def test_a_lane_aside_tells_why_it_waits() -> None:
    """For those who ask why its partition does not go on."""
    scene = bounded(2)
    aside(scene, 1, 3, 5)
    wait = scene.row.view.why_of(hash_of(b"k5"))
    assert wait is not None
    assert (wait.why, wait.until_at_s, scene.row.view.why_of(hash_of(b"k1"))) == (ODD, None, None)


def test_what_is_due_to_leave_leaves_whatever_the_bound() -> None:
    """But for records that a step has sent back, which somebody else releases, and those without a lane."""
    scene = Scene()
    old, young, sent_back = (plain_record(offset, f"k{offset}", scene.assignment) for offset in (1, 3, 5))
    without_lane = plain_record(7, None, scene.assignment)
    scene.make_ready([old, young, without_lane])
    scene.row.wait_set.add_sent_back(sent_back, Wait(until_at_s=None, why=PlainWhy("schema", "the store answers")))
    scene.row.aside.note_leaving(lambda record: record is not young)
    assert scene.row.aside.set_aside(lambda _record: True) == [old]
    assert scene.row.aside.set_aside(lambda _record: True) == []
    assert (scene.row.view.count, len(scene.row.aside), scene.started) == (3, 1, [])


def test_a_cancelled_job_waits_at_no_gate() -> None:
    """Neither where it comes later, nor where it waits already; the others stay."""
    scene = Scene()
    scene.cancelled = {1}
    scene.take(1, 3, 5)
    assert (scene.started, scene.row.view.count) == ([1], 2)
    scene.cancelled = {1, 5}
    scene.row.wait_set.release_cancelled()
    assert (scene.started, scene.row.view.count) == ([1, 5], 1)
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    assert (scene.started, scene.row.view.count) == ([1, 5, 3], 0)


def test_what_waits_aside_is_looked_at_again_for_a_filter_alone() -> None:
    """It is read again for that, so not for each job's cancel."""
    scene = bounded(0)
    scene.make_ready([plain_record(1, "k", scene.assignment)])
    assert scene.row.aside.set_aside(lambda _record: True)
    scene.row.wait_set.release_cancelled()
    assert not scene.row.aside.has_released
    scene.row.wait_set.release_all_aside()
    assert scene.row.aside.take_released(10) == [hash_of(b"k")]


def test_a_job_that_is_cancelled_as_it_begins_to_wait_is_not_kept() -> None:
    """The release finds nothing held yet, and would never come again."""
    answers = [False, True, True]

    def is_cancelled(_record: Record) -> bool:
        answer = answers.pop(0)
        if not answer:
            row.wait_set.release_cancelled()  # it was cancelled since it was asked for
        return answer

    row = GateRow([OddGate()], is_cancelled=is_cancelled)
    assert row.admits(plain_record(1, None, Assignment(1, "t", 0)))
    assert row.view.count == 0


def exchanged(scene: Scene, record: Record, copy: Record) -> Record | None:
    """What has left when a copy comes of a record that is due to leave."""
    scene.row.aside.note_leaving(lambda one: one is record)
    assert scene.row.aside.keeps((record.assignment, record.offset))
    return scene.row.aside.exchange((record.assignment, record.offset), copy, lambda _record: None)


@pytest.mark.parametrize("lane", [None, "k1"])
def test_a_copy_waits_in_the_place_of_a_record_that_stays_in_memory(lane: str | None) -> None:
    """One without lane stays at a gate, and any that a step has sent back: the copy is released in its place."""
    scene = Scene()
    carried = Assignment(2, "t.carried", 0)
    record, copy = plain_record(1, lane, scene.assignment), plain_record(3, lane, carried)
    if lane is None:
        scene.make_ready([record])
    else:
        assert scene.row.wait_set.add_sent_back(record, Wait(until_at_s=None, why=ODD))
    assert exchanged(scene, record, copy) is record
    assert (scene.whys(), scene.row.view.count) == ({copy: ODD}, 1)
    scene.row.aside.note_leaving(lambda _record: True)
    assert scene.row.aside.keeps((carried, 3)), "it may be copied again"
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    assert (scene.started, scene.row.view.count) == ([3], 0)


def test_a_copy_of_a_record_that_has_gone_on_does_not_wait() -> None:
    """The record runs, and its job would run twice."""
    scene = Scene()
    (record,) = scene.take(1)
    scene.row.aside.note_leaving(lambda _record: True)
    scene.gate.is_closed = False
    scene.row.wait_set.release(ODD)
    copy = plain_record(3, None, Assignment(2, "t.carried", 0))
    assert scene.row.aside.exchange((record.assignment, 1), copy, lambda _record: None) is None
    assert (scene.started, scene.row.view.count) == ([1], 0)


def test_a_copy_whose_partition_is_given_away_takes_no_place() -> None:
    """The record itself waits on."""
    scene = Scene()
    (record,) = scene.take(1)
    carried = Assignment(2, "t.carried", 0)
    carried.leave()
    assert exchanged(scene, record, plain_record(3, None, carried)) is None
    assert scene.whys() == {record: ODD}
