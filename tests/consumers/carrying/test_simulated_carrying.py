"""Scenes of carried jobs that chance seldom plays, in the simulation of `test_simulation.py`, with its checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from simulation.play import Play, begin
from simulation.processes import SimProcess
from simulation.virtual_time import CLOCK
from simulation.world import Shape
from stoker.consumers.kafka.lazy_producer import LazyProducer
from stoker.topology.declaration.queue import Ordering
from stoker.topology.wire.headers import JOB_ID

pytestmark = pytest.mark.usefixtures("simulated_time")
OLD_S = 10.0
"""After it, what waits is carried forward."""


def carried(play: Play) -> list[str]:
    """The jobs of which copies are on the carried topic."""
    records = play.world.brokers.logs[play.world.queue.carried_topic, 0].records.values()
    return [dict(record.headers() or [])[JOB_ID].decode() for record in records]  # type: ignore[union-attr]


FENCED = KafkaError(KafkaError._FATAL, "fenced", fatal=True)


class FailedClient:
    """A client that fails for good: it raises that, or answers the first record with it, and no other any more."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises
        self.answers: list[Callable[[KafkaError, Message | None], None]] = []

    def produce(self, *_: object, on_delivery: Callable[[KafkaError, Message | None], None], **__: object) -> None:
        """Queue a record."""
        self.answers.append(on_delivery)

    def poll(self, _timeout_s: float) -> int:
        """Give the answer, or raise it."""
        if self._raises:
            raise KafkaException(FENCED)
        answers, self.answers = self.answers, []
        for answer in answers[:1]:
            answer(FENCED, None)
        return len(answers)


def begun(play: Play) -> list[str]:
    """Run all that may, and give the jobs in the order in which they began."""
    play.finish()
    jobs = [(run.at, job.job_id) for job in play.world.account.jobs.values() for run in job.runs]
    return [job_id for _, job_id in sorted(jobs)]


def take_over(play: Play, former: SimProcess) -> SimProcess:
    """Another process takes the place of one that is cut off; its partitions flow, and it has fetched nothing."""
    play.world.expire(former)
    process = play.world.join(0.0)
    play.world.assign(process, 0, in_parts=False)
    play.world.restore(process)
    process.begin_restored()
    process.commit()
    while process.unanswered:
        process.answer_commit("done")
    process.begin_restored()
    return process


@pytest.mark.expected_errors("cannot be carried forward")
@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("is_moved_back", [False, True])
def test_a_restored_copy_waits_behind_earlier_jobs_of_its_key_in_the_line_of_its_tenant(
    ordering: Ordering, *, is_moved_back: bool
) -> None:
    """Of three jobs the last one alone is carried, and the worker dies; perhaps an operator moves the offsets back. The
    next owner takes the first job, and puts the second one aside for their tenant, unread, and the copy behind it."""
    play, process = begin(Shape(ordering=ordering, is_fair=True, is_short_lived=True), 3)
    process.carry_fates.extend(["refused", "done"])
    CLOCK.advance(OLD_S)
    for _ in range(4):
        play.turn(process)
    assert carried(play) == ["j2"]
    play.world.kill(process)
    if is_moved_back:
        play.world.brokers.committed[play.world.queue.topic, 0] = 0, ""
    process = take_over(play, process)
    process.fetch(2)
    assert process.parts.lanes.lines.waiting == 1
    process.fetch(20)
    assert begun(play) == ["j0", "j1", "j2"]


@pytest.mark.expected_errors("cannot be carried forward")
@pytest.mark.parametrize("ordering", ["key", "strict"])
def test_a_second_copy_of_a_former_owner_waits_in_the_line_of_its_tenant_as_well(ordering: Ordering) -> None:
    """A worker that is cut off has no answer to a copy, and writes it again; the next owner has the first one in line,
    by which its record is complete, when the second one comes."""
    play, former = begin(Shape(ordering=ordering, is_fair=True, is_short_lived=True), 3)
    former.commit()
    former.answer_commit("done")
    former.carry_fates.extend(["refused", "unanswered"])
    CLOCK.advance(OLD_S)
    for _ in range(4):
        former.reread()
    assert carried(play) == ["j2"]
    process = take_over(play, former)
    process.fetch(2)
    process.fetch(20)
    assert process.parts.lanes.lines.waiting == 2
    former.carry_fates.append("refused")
    CLOCK.advance(1.0)
    for _ in range(4):
        former.reread()
    assert carried(play) == ["j2", "j2"]
    process.fetch_delayed(20)
    assert begun(play) == ["j0", "j1", "j2"]


@pytest.mark.expected_errors("cannot be carried forward")
@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("is_fair", [False, True])
def test_a_second_copy_of_a_former_owner_waits_until_the_main_topic_has_come_so_far(
    ordering: Ordering, *, is_fair: bool
) -> None:
    """The next owner has read the carried topic, in which copies have copies by now, and nothing of the main topic
    yet, when the former one writes the last copies again."""
    play, former = begin(Shape(ordering=ordering, is_fair=is_fair, is_short_lived=True), 3)
    CLOCK.advance(OLD_S)
    for _ in range(8):
        play.turn(former)
    assert sorted(carried(play)) == ["j1", "j2"]
    former.carry_fates.extend(["unanswered", "unanswered"])
    CLOCK.advance(OLD_S)
    for _ in range(6):
        former.reread()
    assert sorted(carried(play)) == ["j1", "j1", "j2", "j2"]
    process = take_over(play, former)
    CLOCK.advance(1.0)
    for _ in range(6):
        former.reread()
    assert sorted(carried(play)) == ["j1", "j1", "j1", "j2", "j2", "j2"]
    process.fetch_delayed(20)
    assert not process.startable
    assert begun(play) == ["j0", "j1", "j2"]


@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("is_cut_off", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_a_copy_on_its_way_is_neither_early_nor_lost_where_offsets_go_back(
    ordering: Ordering, *, is_cut_off: bool, is_first: bool
) -> None:
    """The main topic comes again from its beginning, with the record of the copy or without, as it was truncated; the
    copy comes before the topic is read anew, or after."""
    play, process = begin(Shape(ordering=ordering, is_short_lived=True, goes_back=True), 2)
    CLOCK.advance(OLD_S)
    for _ in range(4):
        process.reread()
    assert carried(play) == ["j1"]
    play.world.go_back(0)
    if is_cut_off:
        del play.world.brokers.logs[play.world.queue.topic, 0].records[1]
    process.fetch(20)
    if not is_first:
        process.begin_restored()
    process.fetch_delayed(20)
    assert not process.startable
    assert begun(play) == ["j0", "j1"]


@pytest.mark.parametrize("ordering", ["key", "strict"])
@pytest.mark.parametrize("is_cut_off", [False, True])
def test_a_partition_whose_offsets_go_back_is_read_when_the_copies_on_their_way_are_there(
    ordering: Ordering, *, is_cut_off: bool
) -> None:
    """A copy is with the client still when the topic goes back, or is truncated. It is written before the carried topic
    is read, so that it has its place: later, it would count as one whose record is still to come."""
    play, process = begin(Shape(ordering=ordering, is_short_lived=True, goes_back=True), 2)
    CLOCK.advance(OLD_S)
    while not process.carrier.is_copying(process.assignments.all()[0]):
        process.reread()
    assert carried(play) == []
    play.world.go_back(0)
    if is_cut_off:
        del play.world.brokers.logs[play.world.queue.topic, 0].records[1]
    process.fetch(20)
    process.begin_restored()
    assert not process.unrestored
    process.reread()
    assert carried(play) == ["j1"]
    process.begin_restored()
    assert process.unrestored
    assert begun(play) == ["j0", "j1"]


@pytest.mark.expected_errors("cannot be carried forward")
@pytest.mark.parametrize("raises", [True, False])
def test_what_a_client_has_not_written_that_failed_for_good_is_carried_by_the_next_one(*, raises: bool) -> None:
    """It never answers for the other records; they would be too old one day, and deleted."""
    play, process = begin(Shape(is_short_lived=True), 3)
    clients = [cast(Producer, FailedClient(raises=raises)), process._carrying_producer()]
    process.carrier._producer = LazyProducer(lambda: clients.pop(0), process.carrier._doubt_written)
    CLOCK.advance(OLD_S)
    for _ in range(3):
        play.turn(process)
    assert len(clients) == 1
    for _ in range(4):
        CLOCK.advance(1.0)
        play.turn(process)
    assert carried(play) == ["j1", "j2"]
    assert begun(play) == ["j0", "j1", "j2"]
