"""Delivery: what a consumer is given of a partition, in which order, and from where."""

from __future__ import annotations

import pytest

from support.clusters.cluster import Client, Cluster, Seen, at, end_at, read_all, read_on
from support.waiting import wait_until

EARLIEST, LATEST = -2, -1


def test_records_come_in_the_order_in_which_they_were_written(kafka: Cluster) -> None:
    """Their offsets follow each other, and the end is reported once they are all delivered."""
    topic = kafka.make_topic()
    kafka.write(topic, *(b"%d" % number for number in range(50)))
    assert read_all(kafka, topic) == [*(Seen(number, b"%d" % number) for number in range(50)), end_at(50)]


def test_the_end_is_reported_anew_when_more_has_come(kafka: Cluster) -> None:
    """Once for each time that it is reached."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0")
    reader = kafka.reader()
    reader.assign([at(topic)])
    assert read_on(reader) == [Seen(0, b"0"), end_at(1)]
    kafka.write(topic, b"1")
    assert read_on(reader) == [Seen(1, b"1"), end_at(2)]


def test_a_record_may_lack_value_key_and_headers(kafka: Cluster) -> None:
    """The client gives None for each."""
    topic = kafka.make_topic()
    kafka.write(topic, None)
    reader = kafka.reader()
    reader.assign([at(topic)])
    (record,) = wait_until(lambda: reader.consume(1, 0.1), 60.0)
    assert (record.value(), record.key(), record.headers()) == (None, None, None)


@pytest.mark.parametrize("beyond", [0, 1, 99])
def test_a_position_that_is_not_there_is_set_to_the_first_record(kafka: Cluster, beyond: int) -> None:
    """It was truncated, or the topic was created again and is shorter."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0", b"1", b"2")
    kafka.cut(topic, before=2)
    assert read_all(kafka, topic, beyond) == [Seen(2, b"2"), end_at(3)]


def test_where_a_partition_begins_and_ends(kafka: Cluster) -> None:
    """Both ways to ask agree."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0", b"1", b"2")
    kafka.cut(topic, before=2)
    reader = kafka.reader()
    assert reader.get_watermark_offsets(at(topic), timeout=30.0) == (2, 3)
    marks = [reader.offsets_for_times([at(topic, mark)], timeout=30.0)[0].offset for mark in (EARLIEST, LATEST)]
    assert marks == [2, 3]


def test_what_is_paused_as_soon_as_it_is_assigned_gives_nothing(kafka: Cluster) -> None:
    """So a partition rests until what it needs is restored."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0")
    reader, places = kafka.reader(), [at(topic)]
    reader.incremental_assign(places)
    reader.pause(places)
    assert_silent(reader)
    reader.resume(places)
    assert read_on(reader) == [Seen(0, b"0"), end_at(1)]


def test_a_pause_outlives_the_assignment(kafka: Cluster) -> None:
    """A partition that comes back rests until it is resumed; then nothing of it is left out."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0")
    reader, places = kafka.reader(), [at(topic)]
    reader.incremental_assign(places)
    assert read_on(reader) == [Seen(0, b"0"), end_at(1)]
    reader.pause(places)
    assert_silent(reader)
    reader.incremental_unassign(places)
    reader.incremental_assign(places)
    assert_silent(reader)
    reader.resume(places)
    assert read_on(reader) == [Seen(0, b"0"), end_at(1)]


@pytest.mark.parametrize("offset", [0, 5])
def test_what_is_sought_comes_next(kafka: Cluster, offset: int) -> None:
    """Nothing of what the client has fetched ahead comes before it; so a partition begins anew further back."""
    topic = kafka.make_topic()
    kafka.write(topic, *(b"%d" % number for number in range(50)))
    reader = kafka.reader()
    reader.assign([at(topic)])
    wait_until(lambda: reader.consume(10, 0.1), 60.0)
    reader.seek(at(topic, offset))
    assert read_on(reader) == [*(Seen(number, b"%d" % number) for number in range(offset, 50)), end_at(50)]


def test_what_is_sought_in_a_paused_partition_comes_when_it_is_resumed(kafka: Cluster) -> None:
    """The worker pauses while it has no room, and offsets may go back then too."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0", b"1", b"2")
    reader, places = kafka.reader(), [at(topic)]
    reader.incremental_assign(places)
    assert read_on(reader)[-1] == end_at(3)
    reader.pause(places)
    reader.seek(at(topic, 1))
    assert_silent(reader)
    reader.resume(places)
    assert read_on(reader) == [Seen(1, b"1"), Seen(2, b"2"), end_at(3)]


def assert_silent(reader: Client) -> None:
    """It gives nothing, however often it is asked."""
    for _ in range(10):
        assert reader.consume(10, 0.05) == []
