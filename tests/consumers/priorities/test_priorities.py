"""Priorities in the worker: shares by weight, urgent jobs first, one job of a key at a time across all priorities."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

import pytest
from confluent_kafka import Message
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stoker.consumers.ordering.parking import USUAL_LIMITS
from stoker.consumers.priorities.key_holds import KeyHolds
from stoker.consumers.priorities.priority_lanes import PriorityLanes
from stoker.consumers.priorities.ready import ReadyRecords
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.sources.priorities import Priorities
from stoker.consumers.sources.source import MAIN, Priority, Source, Tier
from stoker.topology.declaration.retries import DEFAULT_TIERS
from stoker.topology.wire import headers as wire

WEIGHTS = {"high": 8, "normal": 3, "low": 1}
PRIORITIES = Priorities(WEIGHTS)
SOURCES: dict[str, Source] = {"high": Priority("high"), "normal": MAIN, "low": Priority("low")}
PLACES = {name: Assignment(at, f"t.{name}", 0, source=source, priorities=PRIORITIES)
          for at, (name, source) in enumerate(SOURCES.items())}  # fmt: skip


def record_at(offset: int, priority: str, key: str | None = None, headers: wire.HeaderList | None = None) -> Record:
    """A record on the topic of a priority."""
    return _record(offset, PLACES[priority], key, headers)


def _record(offset: int, at: Assignment, key: str | None, headers: wire.HeaderList | None = None) -> Record:
    message = Message(
        topic=at.topic, partition=0, offset=offset, key=key.encode() if key else None, value=b"",
        headers=list[tuple[str, str | bytes | None]](headers or []), timestamp=(1, 0),
    )  # fmt: skip
    return Record(message, at)


def test_starts_are_shared_by_weight_and_evenly_mixed() -> None:
    """Of twelve starts in a row, the weights 8, 3 and 1 give 8, 3 and 1, however many wait: low ones do not starve."""
    ready = ReadyRecords(PRIORITIES).make()
    for name in WEIGHTS:
        ready.extend(record_at(offset, name) for offset in range(400))
    for _ in range(30):
        assert Counter(ready.popleft().priority for _ in range(12)) == WEIGHTS


@pytest.mark.parametrize("backlog", [1, 100, 4_000])
def test_an_urgent_job_is_the_next_one_before_any_backlog(backlog: int) -> None:
    """A high job that becomes ready is taken next or next but one, whatever was taken before."""
    ready = ReadyRecords(PRIORITIES).make()
    ready.extend(record_at(offset, "normal") for offset in range(backlog * 2 + 2))
    for _ in range(backlog):
        ready.popleft()
    ready.extend([record_at(0, "high")])
    assert "high" in {ready.popleft().priority for _ in range(2)}


def test_only_one_record_of_a_key_is_in_hand() -> None:
    """A high job of a key passes its ready normal one, but waits for one that runs, and goes first when that ends."""
    records = ReadyRecords(PRIORITIES)
    ready = records.make()
    lanes = PriorityLanes(ready.extend, USUAL_LIMITS, records.holds)
    lanes.add([record_at(0, "normal", "k"), record_at(1, "normal", "k"), record_at(2, "normal", "other")])
    first = ready.popleft()
    lanes.add([record_at(0, "high", "k"), record_at(1, "high", "k")])
    second = ready.popleft()
    assert (first.offset, second.key) == (0, b"other")
    with pytest.raises(IndexError):
        ready.popleft()
    assert [str(record) for record in lanes.parked_records()] == ["t.normal/0/1", "t.high/0/1", "t.high/0/0"]
    lanes.free(first)
    third = ready.popleft()
    assert (third.priority, third.offset) == ("high", 0)


def test_a_record_that_waits_at_a_gate_lets_others_of_its_key_go_on() -> None:
    """A gate that holds back a normal job of a key does not hold back the high one."""
    records = ReadyRecords(PRIORITIES)
    ready = records.make()
    lanes = PriorityLanes(ready.extend, USUAL_LIMITS, records.holds)
    lanes.add([record_at(0, "normal", "k")])
    held = ready.popleft()
    lanes.add([record_at(0, "high", "k")])
    with pytest.raises(IndexError):
        ready.popleft()
    lanes.wait_at_gates(held)
    assert ready.popleft().priority == "high"


def test_a_turn_that_is_taken_again_before_it_is_given_back_stays() -> None:
    """A gate may release a record before its runner has noted that it waits there."""
    records = ReadyRecords(PRIORITIES)
    ready = records.make()
    lanes = PriorityLanes(ready.extend, USUAL_LIMITS, records.holds)
    lanes.add([record_at(0, "normal", "k")])
    held = ready.popleft()
    ready.extend([held])
    assert ready.popleft() is held
    lanes.wait_at_gates(held)
    lanes.add([record_at(0, "high", "k")])
    with pytest.raises(IndexError):
        ready.popleft()
    lanes.free(held)
    assert ready.popleft().priority == "high"


@pytest.mark.parametrize(
    ("header", "priority"), [(None, "normal"), (b"high", "high"), (b"gone", "normal"), (b"\xff", "normal")]
)
def test_a_retry_keeps_the_priority_of_its_job(header: bytes | None, priority: str) -> None:
    """On a tier the header names it; one that is not declared any more counts as normal."""
    tier = Assignment(9, "t.retry.5s", 0, source=Tier(DEFAULT_TIERS[0]), priorities=PRIORITIES)
    pairs = [] if header is None else [(wire.PRIORITY, header)]
    retry = _record(0, tier, "k", pairs)
    assert retry.priority == priority
    assert retry.lane == record_at(1, priority, "k").lane


def test_the_topic_of_a_priority_decides_before_any_header() -> None:
    """A foreign producer's record without the header has the priority of its topic, and normal ones are normal."""
    assert record_at(0, "low").priority == "low"
    assert record_at(0, "normal", headers=[(wire.PRIORITY, b"high")]).priority == "normal"


class PrioritiesMachine(RuleBasedStateMachine):
    """Deliveries, runs, gates and revocations in any order: one record of a key in hand, each priority in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.records = ReadyRecords(PRIORITIES)
        self.ready = [self.records.make(), self.records.make()]
        self.lanes = PriorityLanes(self._make_ready, USUAL_LIMITS, self.records.holds)
        self.in_hand: list[Record] = []
        self.at_gate: list[Record] = []
        self.expected: defaultdict[tuple[str, bytes | None], list[int]] = defaultdict(list)
        self.offset = 0

    def _make_ready(self, records: list[Record]) -> None:
        for number, ready in enumerate(self.ready):
            ready.extend([record for record in records if record.offset % 2 == number])

    @rule(what=st.lists(st.tuples(st.sampled_from(list(WEIGHTS)), st.sampled_from(["a", "b"])), max_size=6))
    def deliver(self, what: list[tuple[str, str]]) -> None:
        """Records arrive."""
        for priority, key in what:
            self.lanes.add([record_at(self.offset, priority, key)])
            self.expected[priority, key.encode()].append(self.offset)
            self.offset += 1

    @rule(kind=st.integers(0, 1))
    def take(self, kind: int) -> None:
        """A runner takes the next record, if there is any for it."""
        try:
            record = self.ready[kind].popleft()
        except IndexError:
            return
        assert self.expected[record.priority, record.key][0] == record.offset
        self.in_hand.append(record)

    @rule(choice=st.integers(0, 10), is_put_back=st.booleans())
    def end(self, choice: int, is_put_back: bool) -> None:
        """What a runner has taken ends, or others take it back."""
        if not self.in_hand:
            return
        record = self.in_hand.pop(choice % len(self.in_hand))
        if is_put_back:
            self.ready[record.offset % 2].extendleft([record])
        else:
            self.expected[record.priority, record.key].pop(0)
            self.lanes.free(record)

    @rule(choice=st.integers(0, 10))
    def hold(self, choice: int) -> None:
        """A gate holds back what a runner has taken."""
        if self.in_hand:
            record = self.in_hand.pop(choice % len(self.in_hand))
            self.at_gate.append(record)
            self.lanes.wait_at_gates(record)

    @rule()
    def open(self) -> None:
        """It lets the record pass."""
        released, self.at_gate = self.at_gate, []
        self._make_ready(released)

    @rule(priority=st.sampled_from(list(WEIGHTS)))
    def revoke(self, priority: str) -> None:
        """A topic's partition goes away: what has not begun is dropped; it comes again to another."""
        leaving = PLACES[priority]
        gone = self.lanes.drop([leaving])
        ready = [record for kind in self.ready for record in kind.take_out([leaving])]
        ready += [record for record in self.at_gate if record.assignment is leaving]
        self.at_gate = [record for record in self.at_gate if record.assignment is not leaving]
        for record in ready:
            self.lanes.free(record)
        for record in (*gone, *ready):
            self.expected[record.priority, record.key].remove(record.offset)

    @invariant()
    def one_of_a_key(self) -> None:
        """No two records of a key are in hand."""
        keys = [record.key for record in self.in_hand]
        assert len(keys) == len(set(keys))

    def teardown(self) -> None:
        """Everything comes to its end: nothing is lost, and nothing stands still."""
        self.open()
        for _ in range(10_000):
            for kind in range(2):
                self.take(kind)
            if not self.in_hand:
                break
            self.end(0, is_put_back=False)
        assert not any(self.expected.values())
        assert not self.records.holds.held()


TestPriorities = PrioritiesMachine.TestCase
TestPriorities.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


class InDrop(list[Assignment]):
    """Partitions that are taken away, while a runner makes a record ready that was held back."""

    def __init__(self, holds: KeyHolds, freed: Record) -> None:
        super().__init__([PLACES["low"]])
        self.runner = threading.Thread(target=holds.pop_freed, args=(freed,))

    def __contains__(self, assignment: object) -> bool:
        if self.runner.ident is None:
            self.runner.start()
            self.runner.join(0.2)  # it is held up for as long as this goes on
        return super().__contains__(assignment)


def test_partitions_may_go_while_records_become_ready() -> None:
    """The poll thread takes holds back in a rebalance, and runners ask at the same time: none of them fails."""
    holds = KeyHolds()
    first, second, third = (record_at(offset, "normal", "key") for offset in range(3))
    assert [holds.acquire(record) for record in (first, second, third)] == [True, False, False]
    assert holds.end([first]) == [second, third]
    leaving = InDrop(holds, second)
    assert holds.drop(leaving) == []
    leaving.runner.join(10)
    assert not leaving.runner.is_alive()
    assert (holds.pop_freed(second), holds.pop_freed(third), holds.pop_freed(third)) == (False, True, False)
