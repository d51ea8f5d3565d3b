"""Gaps: offsets at which a consumer sees no record, for a transaction's end, an abort or compaction."""

from __future__ import annotations

import pytest

from support.clusters.cluster import OPENER, Cluster, Seen, at, end_at, read_all, read_on


def test_the_end_of_a_transaction_takes_an_offset(kafka: Cluster) -> None:
    """The record behind it follows after a gap; a partition may also end with one."""
    topic = kafka.make_topic()
    kafka.begin_transaction(topic, b"0")(True)
    kafka.write(topic, b"2")
    kafka.begin_transaction(topic, b"3")(True)
    assert read_all(kafka, topic) == [Seen(0, b"0"), Seen(2, b"2"), Seen(3, b"3"), end_at(5)]


def test_what_was_aborted_is_never_seen(kafka: Cluster) -> None:
    """Its offsets are a gap, with that of the marker."""
    topic = kafka.make_topic()
    kafka.begin_transaction(topic, b"0", b"1")(False)
    kafka.write(topic, b"3")
    assert read_all(kafka, topic) == [Seen(3, b"3"), end_at(4)]


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_open_transaction_holds_up_all_that_comes_after_it(kafka: Cluster, is_committed: bool) -> None:
    """The partition seems to end before it: to those who read, and to those who ask. Then nothing is left out."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0")
    end = kafka.begin_transaction(topic, b"1")
    kafka.write(topic, b"2")
    reader = kafka.reader()
    reader.assign([at(topic)])
    assert read_on(reader) == [Seen(0, b"0"), end_at(1)]
    assert reader.get_watermark_offsets(at(topic), timeout=30.0) == (0, 1)
    assert reader.offsets_for_times([at(topic, -1)], timeout=30.0)[0].offset == 1
    end(is_committed)
    held_up = [Seen(1, b"1"), Seen(2, b"2")] if is_committed else [Seen(2, b"2")]
    assert read_on(reader) == [*held_up, end_at(4)]


def test_compaction_keeps_the_last_record_of_each_key_at_its_offset(kafka: Cluster) -> None:
    """What is left comes in its old order, and the partition ends where it did."""
    topic = kafka.make_topic(is_compacted=True)
    for key, value in ((b"a", b"0"), (b"b", b"1"), (b"a", b"2"), (b"c", b"3"), (b"b", b"4")):
        kafka.write(topic, value, key=key)
    kafka.compact(topic)
    left = [Seen(2, b"2", b"a"), Seen(3, b"3", b"c"), Seen(4, b"4", b"b"), Seen(5, b"", OPENER), end_at(6)]
    assert read_all(kafka, topic) == left
    assert read_all(kafka, topic, offset=1) == left
