"""A histogram counts a batch as it counts its values one by one, and as Prometheus defines its buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.producers.metrics.histogram import Histogram, bins_between, bins_of

BOUNDS = (0.25, 1.0, 8.0)
VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 7.0, 8.0, 9.0]), max_size=60)


@given(VALUES.filter(bool))
def test_a_batch_counts_like_its_values(values: list[float]) -> None:
    """Few or many, on bounds or between them; what is negative counts as 0, and the sum never falls."""
    one_by_one, together = Histogram(BOUNDS), Histogram(BOUNDS)
    for value in values:
        one_by_one.note(value)
    together.add(bins_of(values, BOUNDS))
    assert together.value().counts == one_by_one.value().counts
    assert together.value().total == pytest.approx(sum(max(0.0, value) for value in values))
    assert sum(together.value().counts) == len(values)
    assert together.value().counts[0] == sum(value <= 0.25 for value in values)


@given(VALUES.filter(bool), st.sampled_from([0.0, 0.1, 3.0]))
def test_values_of_one_bucket_need_no_look_at_each(values: list[float], margin: float) -> None:
    """By bounds of theirs, exact or wider, they are counted as one by one, or not at all."""
    found = bins_between(min(values) - margin, max(values) + margin, len(values), sum(values), BOUNDS)
    is_one = len({(value > 0.25) + (value > 1.0) + (value > 8.0) for value in values}) == 1
    if margin == 0.0 and is_one and min(values) >= 0.0:
        assert found is not None
    if found is not None:
        by_value = bins_of(values, BOUNDS)
        assert (found.first, list(found.counts)) == (by_value.first, by_value.counts)
        assert found.total == pytest.approx(by_value.total)
