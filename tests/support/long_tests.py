"""Which tests are begun first: those that take long, so that no process is left alone with one of them at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
LONG: Final = (
    "chaos/test_short_run.py",
    "examples/test_demo.py",
    "consumers/test_outage.py",
    "conformance/test_commits.py",
    "operations/replay/test_replay_outage.py",
    "consumers/partitions/test_exact_progress.py",
    "consumers/kafka/test_worker_outage.py",
    "producers/test_producer_outage.py",
    "documents/test_documents.py",
    "bench/test_bench.py",
    "chaos/cluster/test_nodes.py",
    "operations/broker/test_broker.py",
    "producers/test_lazy_producer.py",
    "consumers/inbox/test_inbox_crashes.py",
    "consumers/settling/test_silent_events.py",
    "consumers/test_crashes.py",
    "consumers/partitions/test_moved_partitions.py",
    "consumers/isolation/test_child_pool.py",
)
"""The files with tests of 15 seconds and more, the longest first; in the order of their names they are begun late."""


def begin_with_long(items: list[pytest.Item]) -> None:
    """Move the tests of these files to the front."""
    ranks = {TESTS / name: rank for rank, name in enumerate(LONG)}
    items.sort(key=lambda item: ranks.get(item.path, len(LONG)))
