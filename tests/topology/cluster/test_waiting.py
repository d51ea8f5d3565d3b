"""How many records of a topic wait for a group: what decides whether apply may give the topic up."""

from __future__ import annotations

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # the package re-exports it without saying so

from stoker.topology import ClusterSettings
from stoker.topology.cluster.admin import Administration

TIER = "shop.mails.retry.5s"
NOBODY_THERE = ClusterSettings(bootstrap_servers="127.0.0.1:1")


@pytest.mark.parametrize(
    ("committed", "expected"),
    [
        ({}, 8),
        ({0: 3, 1: 5}, 0),
        ({0: 3}, 5),
        ({0: 8, 1: 0}, 5),  # the end of partition 0 is 3: that it is passed by 5 hides none of partition 1
    ],
)
def test_partitions_are_counted_each_for_itself(
    monkeypatch: pytest.MonkeyPatch, committed: dict[int, int], expected: int
) -> None:
    """Partitions hold 3 and 5 records; of each, those beyond the group's commit wait."""
    administration = Administration(NOBODY_THERE)

    def offsets(_wanted: list[TopicPartition], which: OffsetSpec) -> dict[tuple[str, int], int]:
        ends = {0: 3, 1: 5} if which is OffsetSpec.latest() else {0: 0, 1: 0}  # type: ignore[no-untyped-call]  # the package has no types for it
        return {(TIER, number): offset for number, offset in ends.items()}

    monkeypatch.setattr(administration, "_offsets", offsets)
    monkeypatch.setattr(
        administration, "_committed", lambda *_: {(TIER, number): offset for number, offset in committed.items()}
    )
    assert administration.waiting({TIER: 2}, "shop.mails") == {TIER: expected}
