"""A job of a schedule has ended when nothing of it waits, whatever moves between two requests that ask for it."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import cast

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from stoker.consumers.schedules.ended_jobs import FRESH_S, EndedJobs
from stoker.schemas.own_records.control_records import RecordPlace
from stoker.topology import Pipeline, Queue
from stoker.topology.wire import headers as wire
from stoker.topology.wire.commit_metadata import CommitMetadata, SpilledAt

PLAIN = Pipeline("sim").queue("q", partitions=2)
PRIORITIZED = Pipeline("sim").queue("q", partitions=2, priorities={"high": 4, "normal": 1})
NUMBER = 1
JOBS = 6


class MovingQueue:
    """A partition whose jobs run, fail and move on by chance, with each request; also the client that asks for it.

    Attributes:
        logs: {topic: ids of its records; None of another job}.
        ended: the jobs that are done, dead or cancelled.
        is_still: nothing moves any more.
    """

    def __init__(self, seed: int, queue: Queue = PLAIN) -> None:
        self.queue = queue
        self.chance = random.Random(seed)
        self.logs: dict[str, list[str | None]] = {topic: [] for topic in queue.job_topics}
        self.ended: set[str] = set()
        self.is_still = False
        self._followed: set[tuple[str, int]] = set()
        self._complete: dict[str, set[int]] = defaultdict(set)
        self._commits: dict[str, tuple[int, str | None]] = dict.fromkeys(queue.job_topics, (-1_001, None))
        self._positions: dict[str, int] = {}
        prioritized = queue.entry_topics if queue.priorities else []
        self._next_topics = [*queue.waiting_topics, *prioritized]

    def enqueue(self, job_id: str) -> RecordPlace:
        """Write a job to the main topic."""
        return self._append(self.queue.topic, job_id)

    def _append(self, topic: str, job_id: str | None) -> RecordPlace:
        self.logs[topic].append(job_id)
        return RecordPlace(topic=topic, partition=NUMBER, offset=len(self.logs[topic]) - 1)

    def move(self) -> None:
        """Write the record that follows one, or let one be complete, or commit."""
        topic = self.chance.choice(self.queue.job_topics)
        open_ = [offset for offset in range(len(self.logs[topic])) if offset not in self._complete[topic]]
        if self.chance.random() < 0.3:
            self.commit(topic)
        elif open_:
            self._go_on(topic, self.chance.choice(open_))
        elif self.chance.random() < 0.1:
            self._append(topic, None)

    def _go_on(self, topic: str, offset: int) -> None:
        job_id = self.logs[topic][offset]
        if job_id is not None and (topic, offset) not in self._followed:
            if self.chance.random() < 0.6:
                self._append(self.chance.choice(self._next_topics), job_id)
            else:
                self.ended.add(job_id)
            self._followed.add((topic, offset))
        else:
            self._complete[topic].add(offset)

    def commit(self, topic: str, *, is_spilled: bool = False) -> None:
        """Commit what is complete; which offsets are not, is on another topic if it is spilled."""
        position, complete = len(self.logs[topic]), self._complete[topic]
        incomplete = [offset for offset in range(position) if offset not in complete]
        begins = [offset for offset in incomplete if offset - 1 not in incomplete]
        runs = tuple(zip(begins, [offset + 1 for offset in incomplete if offset + 1 not in incomplete], strict=True))
        state = CommitMetadata(committed_offset=min(incomplete, default=position), position=position, incomplete=runs)
        if is_spilled:
            state = state.referring(SpilledAt(1, 0))
        self._commits[topic] = state.committed_offset, state.encode()

    def wait_in(self, place: RecordPlace) -> str:
        """Let a job fail, and wait in the first tier, whose topic it gives."""
        tier = self.queue.waiting_topics[0]
        self._append(tier, self.logs[place.topic][place.offset])
        self._complete[place.topic].add(place.offset)
        self.commit(place.topic)
        return tier

    def make_anew(self) -> None:
        """Delete all topics, and make them again."""
        self.logs = {topic: [] for topic in self.queue.job_topics}
        self._complete.clear()
        for topic in self.queue.job_topics:
            self.commit(topic)

    def come_to_rest(self) -> None:
        """End all jobs, and commit."""
        while any(len(self._complete[topic]) < len(log) for topic, log in self.logs.items()):
            self.move()
        for topic in self.queue.job_topics:
            self.commit(topic)
        self.is_still = True

    # ---- the client

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """What the group has committed; in truth, each at a moment of its own."""
        return [self._committed(place.topic) for place in places]

    def _committed(self, topic: str) -> TopicPartition:
        self._pass()
        offset, metadata = self._commits[topic]
        return TopicPartition(topic, NUMBER, offset, metadata or "")

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        """Where the log begins and ends."""
        self._pass()
        return 0, len(self.logs[place.topic])

    def assign(self, places: list[TopicPartition]) -> None:
        """Read from there."""
        self._positions = {place.topic: place.offset for place in places}

    def unassign(self) -> None:
        """Read no more."""
        self._positions = {}

    def consume(self, count: int, timeout: float) -> list[Message]:
        """Some of what is there."""
        self._pass()
        found = []
        for topic, position in self._positions.items():
            most = self.chance.choice([0, 1, 5])
            for offset, job_id in enumerate(self.logs[topic][position : position + most], position):
                found.append(_message(topic, offset, job_id))
                self._positions[topic] = offset + 1
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _pass(self) -> None:
        for _ in range(0 if self.is_still else self.chance.choice([0, 0, 1, 5])):
            self.move()


def _message(topic: str, offset: int, job_id: str | None) -> Message:
    headers: list[tuple[str, str | bytes | None]] = [(wire.JOB_ID, b"other"), ("x", None)]
    if job_id is not None:
        headers = [(wire.JOB_ID, job_id.encode()), (wire.SCHEDULE, b"s")]
    return Message(topic=topic, partition=NUMBER, offset=offset, headers=headers)


class Asking:
    """Asks, each time in another turn of the schedules."""

    def __init__(self, queue: MovingQueue) -> None:
        self._now_s = 0.0
        self._ended = EndedJobs(queue.queue, lambda: cast(Consumer, queue), lambda: self._now_s)

    def has_ended(self, job_id: str, place: RecordPlace) -> bool:
        """The answer."""
        self._now_s += FRESH_S
        return self._ended.has_ended(job_id, place)


@pytest.mark.parametrize("queue", [PLAIN, PRIORITIZED], ids=["plain", "with priorities"])
@pytest.mark.parametrize("first", range(0, 150, 50))
def test_no_job_has_ended_while_something_of_it_waits(first: int, queue: Queue) -> None:
    """Whatever moves while the owner asks, and gets another priority; at rest, all have."""
    ended_early = 0
    for seed in range(first, first + 50):
        moving = MovingQueue(seed, queue)
        asking = Asking(moving)
        places = {f"s@{number}": moving.enqueue(f"s@{number}") for number in range(JOBS)}
        for _ in range(60):
            job_id = moving.chance.choice(list(places))
            has_ended = asking.has_ended(job_id, places[job_id])
            assert not has_ended or job_id in moving.ended
            ended_early += has_ended
        moving.come_to_rest()
        assert all(asking.has_ended(job_id, place) for job_id, place in places.items())
    assert ended_early > 50


def test_where_a_commit_does_not_say_which_record_waits_none_holds_a_schedule_up() -> None:
    """Its runs are on the progress topic. A job that ended there long ago must not stop its schedule."""
    queue = MovingQueue(1)
    asking = Asking(queue)
    place = queue.enqueue("s@1")
    queue.is_still = True
    tier = queue.wait_in(place)
    assert not asking.has_ended("s@1", place)
    queue.commit(tier, is_spilled=True)
    assert asking.has_ended("s@1", place)


def test_topics_that_were_made_anew_are_read_from_their_beginnings() -> None:
    """What was read of the former ones says nothing."""
    queue = MovingQueue(2)
    asking = Asking(queue)
    place = queue.enqueue("s@1")
    queue.come_to_rest()
    assert asking.has_ended("s@1", place)
    queue.make_anew()
    place = queue.enqueue("s@2")
    queue.wait_in(place)
    assert not asking.has_ended("s@2", place)


def test_a_job_of_a_topic_that_its_queue_reads_no_more_holds_no_schedule_up() -> None:
    """The schedule was moved from another queue, or its queue has declared the job's priority no more."""
    asking = Asking(MovingQueue(3))
    assert asking.has_ended("s@1", RecordPlace(topic="sim.other", partition=NUMBER, offset=7))
