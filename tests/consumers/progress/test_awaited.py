"""What keys of a strict queue wait for as a partition is assigned."""

from __future__ import annotations

from datetime import timedelta

from stoker.consumers.progress.assignment import Assignment, Awaited, Lane
from stoker.consumers.sources.source import Tier
from stoker.topology.wire.commit_metadata import CommitMetadata

TIER = Tier(timedelta(seconds=1))


def _awaited(offset: int) -> Awaited:
    return TIER, 0, f"shop.mails/0/{offset}".encode(), 2


def test_no_key_waits_for_a_record_of_which_a_copy_was_carried_forward() -> None:
    """The copy runs in its place, and the record never comes: its key would stand still for good."""
    tier = Assignment(1, "shop.mails.retry.1s", 0, source=TIER)
    found: dict[Lane, dict[int, Awaited]] = {b"a": {0: _awaited(7), 1: _awaited(8)}, b"b": {2: _awaited(9)}}
    tier.note_restored(CommitMetadata(committed_offset=0, position=3), awaited=found)
    assert tier.take_awaited([1, 2]) == {b"a": [_awaited(7)]}
    assert tier.take_awaited([]) == {}, "it is given once"
