"""A worker's settings are refused all together, with key, wish and value."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stoker.consumers.settings import WorkerSettings


def test_all_faults_are_reported_together() -> None:
    """One start tells everything that is wrong."""
    with pytest.raises(ValueError, match="concurrency") as refused:
        WorkerSettings(concurrency=0, max_in_flight=-1, max_in_flight_bytes=0, grace=timedelta(seconds=-1))
    said = str(refused.value)
    for part in (
        "concurrency must be at least 1; it is 0",
        "max_in_flight",
        "it is -1",
        "max_in_flight_bytes",
        "grace",
    ):
        assert part in said


@pytest.mark.parametrize(
    "values", [{}, {"concurrency": 1, "async_concurrency": 1, "max_in_flight": 1, "grace": timedelta(0)}]
)
def test_the_smallest_values_that_can_work_are_allowed(values: dict[str, int]) -> None:
    """The defaults, and one of each."""
    assert WorkerSettings(**values).worker_id  # type: ignore[arg-type]  # a table's keywords
