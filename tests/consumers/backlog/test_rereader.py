"""`Rereader`: each sweep goes on upwards, and sweeps over delayed records take turns."""

from __future__ import annotations

from typing import Any, cast

from confluent_kafka import Consumer, Message, TopicPartition

from stoker.consumers.backlog.rereader import DELAYED_AT_ONCE, SEEK_ABOVE, Rereader
from stoker.consumers.progress.assignment import Assignment, Place
from stoker.consumers.sources.source import MAIN, Delay, Source
from stoker.topology.declaration.delays import DelayClass

DELAYED = Delay(DelayClass.SHORT)


class Log:
    """Stands for the client of endless partitions: it hands out what is assigned, a few records of each at a time."""

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self.begun: list[tuple[int, int]] = []

    def incremental_assign(self, given: list[TopicPartition]) -> None:
        """Read these from there."""
        for at in given:
            assert at.partition not in self.positions
            self.positions[at.partition] = at.offset
            self.begun.append((at.partition, at.offset))

    def incremental_unassign(self, taken: list[TopicPartition]) -> None:
        """Read these no more."""
        for at in taken:
            del self.positions[at.partition]

    def consume(self, limit: int, _timeout_s: float) -> list[Message]:
        """The next ones."""
        found = []
        for number in list(self.positions):
            for _ in range(limit):
                found.append(Message(topic="t", partition=number, offset=self.positions[number], value=b""))
                self.positions[number] += 1
        return found


def rereader_of(log: Log) -> Rereader:
    """What is tested, on such a log."""
    return Rereader(cast(Consumer, cast(Any, log)))


def partition(number: int, source: Source) -> Assignment:
    """One that is ours."""
    return Assignment(number + 1, "t", number, source=source)


def places(rereader: Rereader, limit: int) -> list[Place]:
    """What a turn brings."""
    return [(assignment, message.offset() or 0) for assignment, message in rereader.turn(limit).found]


def test_a_sweep_that_seeks_does_not_go_back_for_what_it_has_passed() -> None:
    """What is wanted behind it comes when there is nothing ahead: else each gap would begin the sweep anew."""
    log, place = Log(), partition(0, MAIN)
    rereader = rereader_of(log)
    far = 3 * SEEK_ABOVE
    rereader.want(place, [10, 11, far, 2 * far])
    assert places(rereader, 1) == [(place, 10)]
    rereader.want(place, [5])
    found = []
    while rereader.is_busy:
        found += places(rereader, 1)
    assert [offset for _, offset in found] == [11, far, 2 * far, 5]
    assert [offset for _, offset in log.begun] == [10, far, 2 * far, 5]


def test_sweeps_over_delayed_records_take_turns() -> None:
    """However much the first ones want, each partition has its turn before one of them has its second."""
    log = Log()
    rereader = rereader_of(log)
    delayed = [partition(number, DELAYED) for number in range(5)]
    for place in delayed:
        rereader.want(place, range(100, 120))
    turns: list[int] = []
    for step in range(100):
        assert len(log.positions) <= DELAYED_AT_ONCE
        for place in delayed:  # behind all that runs
            rereader.want(place, [step])
        for place, offset in places(rereader, 5):
            if offset == 119:
                turns.append(place.partition)
        if len(turns) == 5:
            break
    assert turns == [0, 1, 2, 3, 4]
    while rereader.is_busy:
        assert len(log.positions) <= DELAYED_AT_ONCE
        places(rereader, 100)


def test_jobs_of_the_main_topic_wait_for_no_turn() -> None:
    """Lanes want them now, and their sweeps are short."""
    log = Log()
    rereader = rereader_of(log)
    for number in range(5):
        rereader.want(partition(number, DELAYED), [100])
    lanes = [partition(number, MAIN) for number in range(5, 9)]
    for place in lanes:
        rereader.want(place, [7])
    assert set(places(rereader, 1)) >= {(place, 7) for place in lanes}


def test_the_others_go_on_when_a_partition_is_given_away_amid_its_turn_or_before() -> None:
    """A turn that has ended so is another's."""
    log = Log()
    rereader = rereader_of(log)
    delayed = [partition(number, DELAYED) for number in range(5)]
    for place in delayed:
        rereader.want(place, [100])
    rereader.drop([delayed[0], delayed[3]])
    found = []
    while rereader.is_busy:
        found += places(rereader, 1)
    assert {place.partition for place, _ in found} == {1, 2, 4}
    assert log.positions == {}
