"""What workers report of waiting jobs is summed up over the workers of a queue."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stoker.consumers.inspection.waiting_counts import NEXT_DUE_AT
from stoker.operations.queue_status.waiting_reports import WaitingReport, sum_of

AT = datetime(2013, 1, 1, 5, 17, tzinfo=UTC)
DUE_AT_S = int(AT.timestamp())


def report(worker: str, **counts: int) -> WaitingReport:
    """One of the queue `q`."""
    return WaitingReport(
        queue="q", worker=worker, at=AT, counts={name.replace("_", "-"): n for name, n in counts.items()}
    )


def test_the_next_due_time_of_a_queue_is_the_earliest_of_its_workers() -> None:
    """Counts add up, times do not; a worker that has left is not asked."""
    assert NEXT_DUE_AT == "due-at"
    reports = [
        report("a", due=1_000, due_at=DUE_AT_S + 60),
        report("b", due=200, key=3, due_at=DUE_AT_S),
        report("gone", due=1, due_at=DUE_AT_S - 60),
    ]
    waits = sum_of(reports, "q", {"a", "b"})
    assert waits is not None
    assert (waits.key, waits.due, waits.next_due) == (3, 1_200, AT)
    assert str(waits) == (
        "an earlier job of their key 3, their due time 1,200; the next is due at 2013-01-01 05:17:00 UTC"
    )


@pytest.mark.parametrize("counts", [{"key": 3}, {"key": 3, "due": 1}])
def test_a_due_time_that_nobody_has_reported_is_left_out(counts: dict[str, int]) -> None:
    """As by workers of an earlier version."""
    waits = sum_of([report("a", **counts)], "q", {"a"})
    assert waits is not None
    assert waits.next_due is None
    assert "next" not in str(waits)
