"""Progress that is too large for a commit: written when it changes, and by a client that can write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stoker.consumers.commits import spill as spilling
from stoker.consumers.commits import spilled_chunks
from stoker.consumers.commits.spill import INTERVAL_S as SPILL_INTERVAL_S
from stoker.consumers.commits.spill import Spill
from stoker.consumers.partitions.chunk_records import ChunkKey, decode_chunk
from stoker.consumers.progress.assignment import Assignment
from stoker.consumers.progress.commit_state import CommitState, SentCommit
from stoker.topology.wire.commit_metadata import SpilledAt
from support.scenes.deliveries import declare
from support.small_chunks import small_chunks

CHUNK = 8
FIRST_AT = 7
"""Where the first record is written; each of the others stands behind the one before."""


class Answering:
    """Stands for librdkafka's producer with brokers that answer as told, as none does at will."""

    def __init__(self, error: KafkaError | None = None) -> None:
        self.error = error
        self.failure: KafkaException | None = None
        self.written: list[tuple[ChunkKey, bytes | None]] = []
        self._asked: list[tuple[int, Callable[[KafkaError | None, Message], None]]] = []
        self._places = count(FIRST_AT)

    def produce(
        self,
        topic: str,
        *,
        key: bytes,
        value: bytes | None,
        on_delivery: Callable[[KafkaError | None, Message], None],
        **_others: Any,
    ) -> None:
        """Take one."""
        decoded = ChunkKey.decode(key)
        assert decoded is not None
        self.written.append((decoded, value))
        self._asked.append((next(self._places), on_delivery))

    def poll(self, _timeout_s: float) -> int:
        """Answer all, or fail."""
        if self.failure is not None:
            raise self.failure
        asked, self._asked = self._asked, []
        for at, answer in asked:
            answer(self.error, Message(topic="t", offset=at))
        return 0

    def take_numbers(self) -> list[int]:
        """The chunks that were written since the last call."""
        written, self.written = self.written, []
        return [key.number for key, value in written if value is not None]

    def take_deleted(self) -> list[tuple[int, int]]:
        """Epoch and number of the chunks that were deleted since the last call."""
        written, self.written = self.written, []
        return [(key.epoch, key.number) for key, value in written if value is None]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing waits for time to pass, and a chunk has eight offsets."""
    monkeypatch.setattr(spilling, "INTERVAL_S", 0.0)
    monkeypatch.setattr(spilling, "REST_S", 0.0)
    with small_chunks():
        yield


def spill_by(*producers: Answering) -> Spill:
    """A spill that makes these producers, one after the other."""
    made, epochs = iter(producers), count(1)
    return Spill(declare().queue, lambda: cast(Producer, next(made)), lambda: next(epochs))


def taken(offsets: int, number: int = 1) -> Assignment:
    """A partition of which so many records were taken and are not complete."""
    place = Assignment(number, "unit.q", number - 1)
    take(place, range(offsets))
    return place


def take(place: Assignment, offsets: range) -> None:
    """More of them."""
    for offset in offsets:
        place.progress.note_delivered(offset)


def offer(spill: Spill, place: Assignment) -> None:
    """As commits do."""
    spill.offer(place)
    spill.serve()


def note_committed(spill: Spill, place: Assignment, committed: int, spilled_at: SpilledAt | None) -> None:
    """The brokers have taken a commit."""
    text = "" if spilled_at is None else f"{spilled_at}"
    place.commit_state.note_sent(SentCommit(committed, text, spilled_at))
    assert place.commit_state.note_taken(committed, text)
    spill.clean(place)


def test_a_chunk_that_has_not_changed_is_written_once() -> None:
    """A partition that stands still costs the brokers nothing, and one that goes on what has changed."""
    producer, place = Answering(), taken(3 * CHUNK)
    spill = spill_by(producer)
    for _ in range(3):
        offer(spill, place)
    assert producer.take_numbers() == [0, 1, 2]
    assert place.commit_state.spilled_at == SpilledAt(1, FIRST_AT)
    place.progress.complete(CHUNK)
    offer(spill, place)
    assert producer.take_numbers() == [1]
    take(place, range(3 * CHUNK, 3 * CHUNK + 1))
    offer(spill, place)
    assert producer.take_numbers() == [3]
    place.progress.pass_gap(3 * CHUNK + 2)
    offer(spill, place)
    assert producer.take_numbers() == [3], "the same are incomplete, and more is known"


def test_what_is_written_is_what_is_incomplete() -> None:
    """Of each chunk, up to where the partition has come."""
    producer, place = Answering(), taken(CHUNK + 2)
    place.progress.complete(3)
    offer(spill_by(producer), place)
    found = {key.number: decode_chunk(key.encode(), value or b"") for key, value in producer.written}
    assert found == {0: (8, b"\xf7"), 1: (2, b"\xff")}


def test_a_commit_refers_to_chunks_when_all_that_it_needs_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a few times until all are written; until then what the owner before has written is more."""
    monkeypatch.setattr(spilling, "WRITE_S", -1.0)
    monkeypatch.setattr(spilling, "INTERVAL_S", 60.0)
    producer, place = Answering(), taken(3 * CHUNK)
    former = SpilledAt(9, 1)
    place.commit_state = CommitState(former)
    spill = spill_by(producer)
    for number in (0, 1):
        offer(spill, place)
        assert producer.take_numbers() == [number], "one at a time, and no rest between them"
        assert place.commit_state.spilled_at == former
    offer(spill, place)
    assert place.commit_state.spilled_at == SpilledAt(1, FIRST_AT)


def test_chunks_that_lie_far_back_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a new owner has a bounded number of records to read, however long one chunk has stood still."""
    monkeypatch.setattr(spilled_chunks, "SPAN_RECORDS", 8)
    producer, place = Answering(), taken(2 * CHUNK)
    spill = spill_by(producer)
    offer(spill, place)
    for offset in range(2 * CHUNK, 6 * CHUNK):
        take(place, range(offset, offset + 1))
        place.progress.complete(offset)
        offer(spill, place)
    end = FIRST_AT + len(producer.written)
    assert place.commit_state.spilled_at is not None
    assert end - place.commit_state.spilled_at.offset <= spilled_chunks.SPAN_FACTOR * 6 + 2
    assert producer.take_numbers().count(0) == 2


def test_a_partition_writes_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast it changes: an older state is as true as a new one. The last one of an assignment is written."""
    monkeypatch.setattr(spilling, "INTERVAL_S", 60.0)
    producer, place, other = Answering(), taken(2), taken(1, number=2)
    spill = spill_by(producer)
    for offset in range(2, 6):
        offer(spill, place)
        take(place, range(offset, offset + 1))
    assert producer.take_numbers() == [0]
    offer(spill, other)
    assert producer.take_numbers() == [0]
    spill.offer_last(place)
    assert producer.take_numbers() == [0]


def test_the_interval_of_writing_is_a_second() -> None:
    """As the architecture says; the tests above shorten or lengthen it."""
    assert SPILL_INTERVAL_S == 1.0


def test_what_a_commit_needs_no_more_is_deleted() -> None:
    """Chunks below the offset that the brokers have taken, not below one that is only sent."""
    producer, place = Answering(), taken(3 * CHUNK)
    spill = spill_by(producer)
    offer(spill, place)
    for offset in range(2 * CHUNK):
        place.progress.complete(offset)
    note_committed(spill, place, CHUNK - 1, SpilledAt(1, FIRST_AT))
    assert producer.take_deleted() == []
    note_committed(spill, place, 2 * CHUNK + 1, SpilledAt(1, FIRST_AT))
    assert producer.take_deleted() == [(1, 0), (1, 1)]
    note_committed(spill, place, 2 * CHUNK + 1, None)
    assert producer.take_deleted() == [], "the next commit may need it"
    spill.clean_last(place)
    assert producer.take_deleted() == [(1, 2)]


def test_what_a_former_owner_wrote_is_deleted_when_a_commit_refers_to_what_is_new() -> None:
    """Not before: until then it is all that a new owner would know."""
    producer, place = Answering(), taken(2 * CHUNK)
    former, keys = SpilledAt(9, 1), [(number, ChunkKey("unit.q", 0, 9, number).encode()) for number in range(3)]
    place.commit_state = CommitState(former, keys)
    spill = spill_by(producer)
    note_committed(spill, place, 0, former)
    offer(spill, place)
    assert producer.take_numbers() == [0, 1]
    note_committed(spill, place, CHUNK, former)
    assert producer.take_deleted() == [(1, 0), (9, 0)]
    note_committed(spill, place, CHUNK, SpilledAt(1, FIRST_AT))
    assert producer.take_deleted() == [(9, 1), (9, 2)]


@pytest.mark.expected_errors("progress cannot be written")
def test_what_could_not_be_written_is_written_again_by_a_client_that_can() -> None:
    """A client that has failed for good never writes again; another one takes its place."""
    broken, sound = Answering(KafkaError(KafkaError._FATAL, "fenced", fatal=True)), Answering()
    place = taken(2 * CHUNK)
    spill = spill_by(broken, sound)
    offer(spill, place)
    assert place.commit_state.spilled_at is None
    offer(spill, place)
    assert (broken.take_numbers(), sound.take_numbers()) == ([0, 1], [0, 1])
    assert place.commit_state.spilled_at == SpilledAt(1, FIRST_AT)


@pytest.mark.expected_errors("progress cannot be written")
def test_what_a_client_had_that_raises_that_it_has_failed_for_good_is_written_by_another() -> None:
    """It raises that once, from whatever is called next: the poll thread goes on."""
    broken, sound = Answering(), Answering()
    broken.failure = KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))
    place = taken(2 * CHUNK)
    spill = spill_by(broken, sound)
    offer(spill, place)
    offer(spill, place)
    assert (broken.take_numbers(), sound.take_numbers()) == ([0, 1], [0, 1])
    assert place.commit_state.spilled_at == SpilledAt(1, FIRST_AT)


@pytest.mark.expected_errors("progress cannot be written")
@pytest.mark.parametrize("way", ["poll", "answer"])
def test_a_client_that_has_failed_for_good_is_replaced_after_a_rest(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lasting cause makes a client now and then, and one line in the log for each, however the error comes."""
    monkeypatch.setattr(spilling, "REST_S", 1_000.0)
    fatal = KafkaError(KafkaError._FATAL, "fenced", fatal=True)
    broken, sound = Answering(fatal if way == "answer" else None), Answering()
    broken.failure = KafkaException(fatal) if way == "poll" else None
    place = taken(2 * CHUNK)
    spill = spill_by(broken, sound)
    for _ in range(3):
        offer(spill, place)
    assert sound.take_numbers() == []
    (line,) = caplog.records
    assert "fenced" in line.getMessage()
    spill._rest_ends_at_s = 0.0
    offer(spill, place)
    assert sound.take_numbers() == [0, 1]


@pytest.mark.expected_errors("progress cannot be written")
def test_a_chunk_that_was_refused_is_written_again_and_counts_as_it_was_before() -> None:
    """What the brokers have of it is older, and as true."""
    producer, place = Answering(), taken(2 * CHUNK)
    spill = spill_by(producer)
    offer(spill, place)
    known = place.commit_state.spilled_at
    place.progress.complete(3)
    producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)
    offer(spill, place)
    producer.error = None
    assert (producer.take_numbers(), place.commit_state.spilled_at) == ([0, 1, 0], known)
    offer(spill, place)
    assert producer.take_numbers() == [0]
