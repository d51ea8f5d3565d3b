"""What a new owner makes of a carried topic: jobs in the order in which they were enqueued, each once."""

from __future__ import annotations

from array import array
from typing import cast

from confluent_kafka import Consumer, Message

from simulation.brokers import SimBrokers
from simulation.clients import SimConsumer
from stoker.consumers.backlog.lane_backlog import hash_of
from stoker.consumers.carrying.copies_aside import CopiesAside
from stoker.consumers.carrying.restored_jobs import RestoredJobs
from stoker.consumers.gates.gate_row import GateRow
from stoker.consumers.ordering.key_lanes import KeyLanes
from stoker.consumers.ordering.lanes import Lanes
from stoker.consumers.partitions.carried import CarriedJobs, read_carried
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import CARRIED
from stoker.topology.wire import headers as wire
from support.scenes.deliveries import declare, plain_record

QUEUE = declare().queue
MAIN, TOPIC = QUEUE.topic, QUEUE.carried_topic
TIER = next(iter(QUEUE.retry_topics.values()))
CARRIED_0 = Assignment(1, TOPIC, 0, source=CARRIED)


def carry(brokers: SimBrokers, key: bytes, origin: str, copied_from: str) -> None:
    """A copy on partition 0."""
    headers = [(wire.JOB_ID, origin.encode()), (wire.ORIGIN, origin.encode()), (wire.CARRIED, copied_from.encode())]
    brokers.append(TOPIC, 0, key, b"", headers)


def read(brokers: SimBrokers, *complete: int) -> CarriedJobs:
    """What is known of the partition."""
    consumer = cast(Consumer, SimConsumer(brokers, None))  # type: ignore[arg-type]  # it commits nothing
    end = brokers.logs[TOPIC, 0].high
    return read_carried(consumer, CARRIED_0, QUEUE, (0, end), lambda offset: offset in complete, lambda: False)


def aside_of(lanes: Lanes) -> CopiesAside:
    """What puts copies into these lanes."""
    return CopiesAside(lanes.backlog, lanes.lines)


def test_copies_come_in_the_order_in_which_their_jobs_were_enqueued() -> None:
    """A later look has copied an earlier job again; one from a tier has its origin on the main topic."""
    brokers = SimBrokers(4_096)
    carry(brokers, b"a", f"{MAIN}/0/5", f"{MAIN}/0/5")
    carry(brokers, b"b", f"{MAIN}/0/9", f"{TIER}/0/2")
    carry(brokers, b"a", f"{MAIN}/0/3", f"{MAIN}/0/3")
    found = read(brokers)
    assert (list(found.offsets), list(found.enqueued_at), found.end) == ([2, 0, 1], [3, 5, 9], 3)
    assert list(found.lanes) == [hash_of(b"a"), hash_of(b"a"), hash_of(b"b")]
    assert {topic: sorted(offsets) for topic, offsets in found.superseded.items()} == {MAIN: [3, 5], TIER: [2]}


def test_of_several_copies_one_is_run() -> None:
    """A copy of a copy replaces that; of two copies of one record, as a lost answer leaves them, the first is run."""
    brokers = SimBrokers(4_096)
    carry(brokers, b"a", f"{MAIN}/0/5", f"{MAIN}/0/5")
    carry(brokers, b"a", f"{MAIN}/0/5", f"{TOPIC}/0/0")
    carry(brokers, b"a", f"{MAIN}/0/6", f"{MAIN}/0/6")
    carry(brokers, b"a", f"{MAIN}/0/6", f"{MAIN}/0/6")
    found = read(brokers)
    assert list(found.offsets) == [1, 2]
    assert found.incomplete.runs() == [(1, 3)]
    assert list(read(brokers, 0, 1, 2).offsets) == [3]


def test_an_origin_that_nobody_can_read_comes_first() -> None:
    """As one of another topic does: its job has waited for long."""
    brokers = SimBrokers(4_096)
    carry(brokers, b"a", f"{MAIN}/0/5", f"{MAIN}/0/5")
    carry(brokers, b"b", "nowhere", f"{MAIN}/0/7")
    carry(brokers, b"c", f"{MAIN}/1/2", f"{MAIN}/1/2")
    found = read(brokers)
    assert list(found.enqueued_at) == [-1, -1, 5]
    assert sorted(found.superseded[MAIN]) == [5, 7]


def test_carried_jobs_come_into_their_lanes_in_step_with_the_main_topic() -> None:
    """Those that were enqueued before a record of the main topic, and no others."""
    lanes, gates = KeyLanes(lambda _records: None), GateRow()
    restored = RestoredJobs(MAIN, aside_of(lanes), gates.aside)
    lane = hash_of(b"a")
    offsets, enqueued_at = array("q", [4, 2, 3]), array("q", [10, 20, 30])
    restored.begin(CARRIED_0, CarriedJobs(5, enqueued_at, array("q", [lane] * 3), offsets))
    main = Assignment(2, MAIN, 0)
    assert [restored.are_due([Message(topic=MAIN, partition=0, offset=offset)]) for offset in (10, 11)] == [False, True]
    assert not restored.are_due(
        [Message(topic=MAIN, partition=1, offset=99), Message(topic=TIER, partition=0, offset=99)]
    )
    restored.put_before(0, 20)
    assert list(lanes.backlog.places()) == [(CARRIED_0, 4)]
    lanes.add([plain_record(25, "a", main)])
    restored.put_before(0, None)
    assert not restored
    assert [offset for _, offset in lanes.backlog.places()] == [4, 25, 2, 3]
    assert gates.aside.take_released(10) == [lane, lane]


def test_a_copy_that_comes_late_has_its_place_among_those_that_wait() -> None:
    """Behind the first copy of its job; where all that was enqueued before it is in its lane, it needs none."""
    lanes = KeyLanes(lambda _records: None)
    restored = RestoredJobs(MAIN, aside_of(lanes), GateRow().aside)
    lane, brokers = hash_of(b"a"), SimBrokers(4_096)
    restored.begin(CARRIED_0, CarriedJobs(9, array("q", [20, 30]), array("q", [lane] * 2), array("q", [7, 8])))
    for enqueued_at in (30, 20, 10):
        carry(brokers, b"a", f"{MAIN}/0/{enqueued_at}", f"{MAIN}/0/{enqueued_at}")
    copies = [Record(message, CARRIED_0) for message in brokers.logs[TOPIC, 0].records.values()]
    assert [restored.put_in(copy) for copy in copies] == [True, True, False]
    restored.put_before(0, None)
    assert [offset for _, offset in lanes.backlog.places()] == [7, 1, 8, 0]
    assert not restored.put_in(copies[0])


def test_those_of_a_partition_that_goes_away_are_forgotten() -> None:
    """The next owner reads them again."""
    restored = RestoredJobs(MAIN, aside_of(KeyLanes(lambda _records: None)), GateRow().aside)
    restored.begin(CARRIED_0, CarriedJobs(1, array("q", [10]), array("q", [1]), array("q", [0])))
    restored.drop([CARRIED_0])
    assert not restored
