"""Lanes: each key's records one at a time and in order, all keys beside each other, nothing lost."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from support.scenes.deliveries import declare, plain_record

KEYS = st.sampled_from(["a", "b", "c", None])


class LanesMachine(RuleBasedStateMachine):
    """Deliveries, runs and revocations in any order, against a list of what each lane has to run."""

    def __init__(self) -> None:
        super().__init__()
        self.ready: list[Record] = []
        self.lanes = KeyLanes(self.ready.extend)
        self.offset = 0
        self.expected: defaultdict[object, list[int]] = defaultdict(list)
        self.places = [Assignment(1, "t", 0), Assignment(2, "t", 1)]

    @rule(keys=st.lists(KEYS, max_size=6), place=st.integers(0, 1))
    def deliver(self, keys: list[str | None], place: int) -> None:
        """Records arrive."""
        records = []
        for key in keys:
            record = plain_record(self.offset, key, self.places[place])
            records.append(record)
            lane = record.lane if record.lane is not None else self.offset
            self.expected[lane].append(self.offset)
            self.offset += 1
        self.lanes.add(records)

    @rule(choice=st.integers(0, 10))
    def run(self, choice: int) -> None:
        """Some ready record runs: it is the first that its lane still has."""
        if not self.ready:
            return
        record = self.ready.pop(choice % len(self.ready))
        lane = record.lane if record.lane is not None else record.offset
        assert self.expected[lane].pop(0) == record.offset
        self.lanes.free(record)

    @rule(place=st.integers(0, 1))
    def revoke(self, place: int) -> None:
        """A partition goes away: what waits is dropped at once; what is ready the runners drop."""
        leaving = self.places[place]
        dropped = self.lanes.drop([leaving])
        ready = [record for record in self.ready if record.assignment is leaving]
        for record in [*dropped, *ready]:
            lane = record.lane if record.lane is not None else record.offset
            self.expected[lane].remove(record.offset)
        self.ready[:] = [record for record in self.ready if record.assignment is not leaving]
        for record in ready:
            self.lanes.free(record)
        self.places[place] = Assignment(leaving.number + 2, "t", place)

    @invariant()
    def one_of_each_lane_is_ready(self) -> None:
        """The first of every lane that has work, and nothing else, is ready."""
        firsts = sorted(offsets[0] for offsets in self.expected.values() if offsets)
        assert sorted(record.offset for record in self.ready) == firsts

    def teardown(self) -> None:
        """All that is left runs to the end."""
        while self.ready:
            self.run(0)
        assert not any(self.expected.values())


LanesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLanes = LanesMachine.TestCase


def test_repetitions_of_a_job_without_key_share_a_lane() -> None:
    """Two records of one job id must not run beside each other, or both would pass the ledger."""
    delivery, ready = declare(), list[Record]()
    lanes = KeyLanes(ready.extend)
    first, twin = delivery.record(offset=1), delivery.record(offset=2)
    lanes.add([first, twin, delivery.record({"ce_id": b"another"}, offset=3)])
    assert [record.offset for record in ready] == [1, 3]
    lanes.free(first)
    assert [record.offset for record in ready] == [1, 3, 2]


def test_a_queue_without_order_spreads_the_jobs_of_one_key() -> None:
    """With ordering "none" a key binds nothing."""
    delivery, ready = declare(ordering="none"), list[Record]()
    lanes = KeyLanes(ready.extend)
    lanes.add([delivery.record({"ce_id": b"%d" % n}, key=b"k", offset=n) for n in range(3)])
    assert len(ready) == 3


def test_a_record_with_neither_key_nor_id_waits_for_nobody() -> None:
    """Such records have no lane at all."""
    delivery, ready = declare(), list[Record]()
    lanes = KeyLanes(ready.extend)
    records = [delivery.record({"ce_id": b""}, offset=n) for n in range(3)]
    lanes.add(records)
    assert len(ready) == 3
    for record in records:
        lanes.free(record)
