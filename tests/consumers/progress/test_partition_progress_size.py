"""A million incomplete offsets take little memory, and little time of a commit."""

from __future__ import annotations

import tracemalloc

from stoker.consumers.progress.partition_progress import PartitionProgress


def test_a_million_incomplete_offsets_take_little_memory() -> None:
    """Every other one of two million: less than a megabyte, where a dict of them took seventy."""
    tracemalloc.start()
    try:
        progress = PartitionProgress()
        for offset in range(0, 2_000_000, 2):
            progress.note_delivered(offset)
        assert progress.incomplete == 1_000_000
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_has_not_changed_is_not_looked_at_again() -> None:
    """Of 31 chunks one has changed: the runs of the others are the very lists that were made before."""
    progress = PartitionProgress()
    for offset in range(0, 2_000_000, 2):
        progress.note_delivered(offset)
    found = progress.incomplete_set()
    before = {number: chunk.runs for number, chunk in found._chunks.items()}
    progress.complete(70_000)
    assert len(progress.incomplete_runs()) == 999_999
    kept = {number for number, chunk in found._chunks.items() if chunk.runs is before[number]}
    assert set(before) - kept == {1}
