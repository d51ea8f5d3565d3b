"""Writes: what a topic takes of what a producer sends."""

from __future__ import annotations

import random
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message

from support.clusters.cluster import Cluster, Seen, Writer, end_at, read_all

SIZES = (300, 700, 1_500, 10)
MOST_BYTES = 1_100
"""More than each record but one, with what Kafka adds to it."""


def test_what_is_confirmed_has_its_offset(kafka: Cluster) -> None:
    """Answers come with the flush, in the order of what was written."""
    topic = kafka.make_topic()
    assert outcomes(kafka.writer(), topic, [b"0", b"1"]) == [(None, 0), (None, 1)]
    assert read_all(kafka, topic) == [Seen(0, b"0"), Seen(1, b"1"), end_at(2)]


def test_a_batch_with_a_record_that_is_too_large_is_refused_as_a_whole(kafka: Cluster) -> None:
    """Also those of its records that would fit, and those that together do not."""
    topic = kafka.make_topic(most_bytes=MOST_BYTES)
    values = incompressible(SIZES)
    refusals = outcomes(kafka.writer(), topic, values) + outcomes(kafka.writer(), topic, incompressible([700, 700]))
    assert {error for error, _ in refusals} == {"MSG_SIZE_TOO_LARGE"}
    assert read_all(kafka, topic) == [end_at(0)]


def test_of_a_lone_producer_the_record_that_is_too_large_alone_is_refused(kafka: Cluster) -> None:
    """Each is a batch of its own."""
    topic = kafka.make_topic(most_bytes=MOST_BYTES)
    values = incompressible(SIZES)
    errors = [error for error, _ in outcomes(kafka.writer(is_lone=True), topic, values)]
    assert sorted(errors, key=str) == ["MSG_SIZE_TOO_LARGE", None, None, None]
    kept = [values[0], values[1], values[3]]
    assert read_all(kafka, topic) == [*(Seen(offset, value) for offset, value in enumerate(kept)), end_at(3)]


def incompressible(sizes: Sequence[int]) -> list[bytes]:
    """Values of these sizes."""
    draw = random.Random(5)
    return [draw.randbytes(size) for size in sizes]


def outcomes(writer: Writer, topic: str, values: Sequence[bytes]) -> list[tuple[str | None, int | None]]:
    """Write together; returns each answer's error and offset, the latter only where there is no error."""
    found: list[tuple[str | None, int | None]] = []

    def note(error: KafkaError | None, message: Message) -> None:
        found.append((None, message.offset()) if error is None else (error.name(), None))

    for value in values:
        writer.produce(topic, value=value, partition=0, on_delivery=note)
    assert writer.flush(20) == 0
    return found
