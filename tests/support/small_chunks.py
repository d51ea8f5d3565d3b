"""Parts so small, or so few, that tests with few offsets fill them: chunks of progress, shards of what waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from stoker.consumers.backlog import offset_queues
from stoker.consumers.commits import spill
from stoker.consumers.progress import offset_set, partition_progress


@contextmanager
def small_chunks(bits: int = 3, recent: int = 2) -> Iterator[None]:
    """Let a chunk have so few offsets, a power of two, and what was taken move on to chunks at once."""
    with patch.object(offset_set, "SHIFT", bits), patch.object(partition_progress, "RECENT", recent):
        yield


@contextmanager
def one_chunk_at_a_time() -> Iterator[None]:
    """Let a commit find many that are not written yet."""
    with patch.object(spill, "WRITE_S", -1.0):
        yield


@contextmanager
def few_shards(count: int = 2) -> Iterator[None]:
    """Let lanes that wait share so few tables, and tests not walk through many that are empty."""
    with patch.object(offset_queues, "SHARDS", count):
        yield
