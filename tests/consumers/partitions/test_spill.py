"""Progress that is too large for a commit: written when it changes, and by a client that can write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, Message, Producer

from stoker.consumers.partitions import spill as spilling
from stoker.consumers.partitions.spill import INTERVAL_S as SPILL_INTERVAL_S
from stoker.consumers.partitions.spill import Spill
from stoker.consumers.records.assignment import Assignment
from stoker.consumers.records.commit_metadata import CommitMetadata
from support.scenes.deliveries import declare

STATE = CommitMetadata(committed_offset=0, position=10, incomplete=((0, 1), (5, 6)))
LATER = CommitMetadata(committed_offset=0, position=12, incomplete=((0, 1), (5, 6)))


class Answering:
    """Stands for librdkafka's producer with brokers that answer as told, as none does at will."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.error = error
        self.written = 0
        self._asked: list[Callable[[KafkaError | None, Message], None]] = []

    def produce(self, topic: str, *, on_delivery: Callable[[KafkaError | None, Message], None], **_others: Any) -> None:
        """Take one."""
        self.written += 1
        self._asked.append(on_delivery)

    def poll(self, _timeout_s: float) -> int:
        """Answer all."""
        asked, self._asked = self._asked, []
        for answer in asked:
            answer(self.error, Message(topic="t", offset=7))
        return 0


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for time to pass."""
    monkeypatch.setattr(spilling, "INTERVAL_S", 0.0)
    monkeypatch.setattr(spilling, "REST_S", 0.0)


def spill_by(*producers: Answering) -> Spill:
    """A spill that makes these producers, one after the other."""
    made = iter(producers)
    return Spill(declare().queue, lambda: cast(Producer, next(made)))


def test_a_state_that_has_not_changed_is_written_once() -> None:
    """A partition that stands still costs the brokers nothing."""
    producer, place = Answering(), Assignment(1, "unit.q", 0)
    spill = spill_by(producer)
    for _ in range(3):
        spill.offer(place, STATE)
        spill.serve()
    assert (producer.written, place.commit_state.spilled_at) == (1, 7)
    spill.offer(place, LATER)
    assert producer.written == 2


def test_a_partition_writes_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast it changes: an older state is as true as a new one. The last one of an assignment is written."""
    monkeypatch.setattr(spilling, "INTERVAL_S", 60.0)
    producer, place, other = Answering(), Assignment(1, "unit.q", 0), Assignment(2, "unit.q", 1)
    spill = spill_by(producer)
    for state in (STATE, LATER, STATE, LATER):
        spill.offer(place, state)
        spill.serve()
    assert producer.written == 1
    spill.offer(other, STATE)
    assert producer.written == 2
    spill.offer_last(place, LATER)
    assert producer.written == 3


def test_the_interval_of_writing_is_a_second() -> None:
    """As the architecture says; the tests above shorten or lengthen it."""
    assert SPILL_INTERVAL_S == 1.0


@pytest.mark.expected_errors("progress cannot be written")
def test_what_could_not_be_written_is_written_again_by_a_client_that_can() -> None:
    """A client that has failed for good never writes again; another one takes its place."""
    broken, sound = Answering(KafkaError(KafkaError._FATAL, "fenced", fatal=True)), Answering()
    place = Assignment(1, "unit.q", 0)
    spill = spill_by(broken, sound)
    spill.offer(place, STATE)
    spill.serve()
    spill.offer(place, STATE)
    spill.serve()
    assert (broken.written, sound.written) == (1, 1)
    assert place.commit_state.spilled_at == 7
