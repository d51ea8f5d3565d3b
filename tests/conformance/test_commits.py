"""Commits: what the group's coordinator keeps, and what it refuses."""

from __future__ import annotations

import pytest

from support.clusters.cluster import Cluster, Seen, ask_committed, at, committed, end_at, read_on, refusal_of

LIMIT = 4_096
"""Of Kafka's own `offset.metadata.max.bytes`."""


def test_nothing_is_committed_at_first(kafka: Cluster) -> None:
    """The answer names a partition without an offset, and has no metadata."""
    topic = kafka.make_topic()
    found = ask_committed(kafka.reader(), topic)
    assert (found.offset, found.metadata) == (-1_001, None)


def test_the_later_commit_wins_also_over_a_higher_offset(kafka: Cluster) -> None:
    """So a commit that comes late undoes a newer one: one is on its way at a time."""
    topic = kafka.make_topic()
    member = kafka.join(topic)
    assert refusal_of(member, at(topic, 5, metadata="first")) is None
    assert refusal_of(member, at(topic, 3, metadata="second")) is None
    assert committed(kafka.reader(), topic) == (3, "second")


@pytest.mark.parametrize("letter", ["x", "é"])
def test_metadata_is_taken_below_the_limit_which_counts_characters(kafka: Cluster, letter: str) -> None:
    """Of a letter that is two bytes on the wire as many are taken as of any other."""
    topic = kafka.make_topic()
    member = kafka.join(topic)
    longest = letter * (LIMIT - 1)
    assert refusal_of(member, at(topic, 1, metadata=longest)) is None
    assert refusal_of(member, at(topic, 2, metadata=letter * LIMIT)) == "OFFSET_METADATA_TOO_LARGE"
    assert committed(member, topic) == (1, longest)


def test_a_partition_whose_metadata_is_too_large_does_not_hold_up_the_others(kafka: Cluster) -> None:
    """The commit is answered as refused, and has taken effect where it could."""
    topic = kafka.make_topic(partitions=2)
    member = kafka.join(topic)
    places = at(topic, 7, metadata="x" * LIMIT), at(topic, 7, partition=1, metadata="fits")
    assert refusal_of(member, *places) == "OFFSET_METADATA_TOO_LARGE"
    assert committed(member, topic) == (-1_001, "")
    assert committed(member, topic, partition=1) == (7, "fits")


def test_the_commit_of_a_member_that_lost_its_partitions_is_refused(kafka: Cluster) -> None:
    """It does not know yet; what the next owner has committed stands."""
    topic = kafka.make_topic()
    former = kafka.join(topic)
    assert refusal_of(former, at(topic, 1, metadata="former")) is None
    owner = kafka.replace(former, topic)
    assert refusal_of(owner, at(topic, 2, metadata="owner")) is None
    assert refusal_of(former, at(topic, 3, metadata="late")) == "UNKNOWN_MEMBER_ID"
    assert committed(owner, topic) == (2, "owner")


def test_the_next_owner_begins_where_the_group_is(kafka: Cluster) -> None:
    """What the former has read and not committed is delivered again."""
    topic = kafka.make_topic()
    kafka.write(topic, b"0", b"1", b"2")
    former = kafka.join(topic)
    assert refusal_of(former, at(topic, 1)) is None
    owner = kafka.replace(former, topic)
    assert read_on(owner)[-3:] == [Seen(1, b"1"), Seen(2, b"2"), end_at(3)]
