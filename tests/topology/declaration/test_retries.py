"""Retry policies: how long a job waits before its next attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.topology.declaration.retries import RetryPolicy

TIERS = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10))


@pytest.mark.parametrize(("next_attempt", "tier"), [(2, 0), (3, 1), (4, 2), (5, 2), (30, 2)])
def test_attempts_climb_the_tiers_and_the_last_one_repeats(next_attempt: int, tier: int) -> None:
    """Attempt n+1 waits in tier n."""
    assert RetryPolicy().delay_before(next_attempt, TIERS) == TIERS[tier]


def test_a_policy_may_use_some_of_the_queues_tiers() -> None:
    """Its own list counts, not the queue's."""
    assert RetryPolicy(tiers=(TIERS[2],)).delay_before(2, TIERS) == TIERS[2]


@given(st.integers(2, 31), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_only_ever_adds_and_stays_inside_its_share(next_attempt: int, chance: float, jitter: float) -> None:
    """tier <= delay <= tier * (1 + jitter), to the microsecond that datetimes have."""
    tier = RetryPolicy().delay_before(next_attempt, TIERS)
    delay = RetryPolicy(jitter=jitter).delay_before(next_attempt, TIERS, chance)
    assert tier <= delay <= tier * (1 + jitter) + timedelta(microseconds=1)
