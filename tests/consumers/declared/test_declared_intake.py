"""The features of intake: those of a queue are asked in their order, and cost nothing where it declares none."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from types import FrameType

import pytest

from simulation.commands import Enqueue
from simulation.play import Play, begin
from simulation.processes import SimProcess
from simulation.virtual_time import virtual_time
from simulation.world import Shape
from stoker.consumers.intake.carried_records import CarriedRecords
from stoker.consumers.intake.delayed_records import DelayedRecords
from stoker.consumers.records.record import Record
from stoker.consumers.sources.source import sources_of

UNKEYED = 3
ROOM = "/consumers/"


@pytest.fixture(autouse=True)
def _no_real_time() -> Iterator[None]:
    """The worker asks the simulation's clock."""
    with virtual_time():
        yield


def calls_to_take(play: Play, process: SimProcess, jobs: int) -> Counter[str]:
    """{function of the room: how often it is called while so many jobs arrive in one batch}."""
    place = play.world.queue.topic, 0
    before = play.world.brokers.logs[place].end
    play.carry_out(Enqueue([UNKEYED] * jobs, ""))
    arrived = [record for offset, record in play.world.brokers.logs[place].records.items() if offset >= before]
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _value: object) -> None:
        code = frame.f_code
        if event == "call" and ROOM in code.co_filename:
            calls[f"{code.co_filename.rsplit(ROOM, 1)[1]}: {code.co_name}"] += 1

    profiler = sys.getprofile()
    sys.setprofile(note)
    try:
        process.intake.take(arrived)
    finally:
        sys.setprofile(profiler)
    assert not arrived, "a batch is emptied, so that each message is freed with the next one"
    return calls


def test_a_queue_that_declares_nothing_calls_no_feature_for_a_record() -> None:
    """Each call for each record would be felt: of two hundred thousand in a second, or of a backlog."""
    play, process = begin(Shape(), 0)
    few, many = calls_to_take(play, process, 10), calls_to_take(play, process, 30)
    for_each = {name for name in many if many[name] != few[name]}
    assert {name for name in for_each if name.startswith("intake/")} == set()
    assert {name: many[name] - few[name] for name in for_each} == {
        "partitions/assignments.py: find_running": 20,
        "progress/partition_progress.py: note_delivered": 20,
        "records/record.py: __init__": 20,
    }


def test_heavy_tenants_are_asked_before_the_lanes() -> None:
    """Where tenants share the runners: what is beyond a share is left out, whatever its key has aside."""
    play, process = begin(Shape(is_fair=True), 0)
    many = calls_to_take(play, process, 30)
    assert many["intake/heavy_tenants.py: divert"] == 30
    assert many["intake/heavy_tenants.py: end_batch"] == 1


def test_records_of_each_topic_go_the_way_of_their_source() -> None:
    """A topic without a way would stop the worker at its first record."""
    _, process = begin(Shape(has_priorities=True), 0)
    delayed, carried = set(), set()
    for topic, source in sources_of(process.queue).items():
        way = process.intake._ways[topic]
        owner = getattr(way, "__self__", None)
        assert (way is Record) == (not source.is_delayed and topic != process.queue.carried_topic)
        delayed.update([topic] if isinstance(owner, DelayedRecords) else [])
        carried.update([topic] if isinstance(owner, CarriedRecords) else [])
    assert delayed == {topic for topic, source in sources_of(process.queue).items() if source.is_delayed}
    assert carried == {process.queue.carried_topic}


def test_what_lanes_want_is_asked_for_before_what_is_due_later() -> None:
    """The re-reader reads in the order of requests, and a lane has nothing to run until its own are here."""
    _, process = begin(Shape(is_fair=True), 0)
    names = [type(requester).__name__ for requester in process.reread_records._requesters]
    assert names == ["CarriedRecords", "CancelledDelays", "DelayedRecords", "HeavyTenants", "LaneRecords"]
