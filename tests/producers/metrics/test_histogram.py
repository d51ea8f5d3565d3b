"""A histogram counts a batch as it counts its values one by one, and as Prometheus defines its buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.producers.metrics.histogram import Histogram

BOUNDS = (0.25, 1.0, 8.0)
VALUES = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 7.0, 8.0, 9.0]), max_size=60)


@given(VALUES)
def test_a_batch_counts_like_its_values(values: list[float]) -> None:
    """None, few or many, on bounds or between them; what is negative counts as 0, and the sum never falls."""
    one_by_one, folded = Histogram(BOUNDS), Histogram(BOUNDS)
    for value in values:
        one_by_one.note(value)
    folded.fold(list(values))
    assert folded.value().counts == one_by_one.value().counts
    assert folded.value().total == pytest.approx(sum(max(0.0, value) for value in values))
    assert sum(folded.value().counts) == len(values)
    assert folded.value().counts[0] == sum(value <= 0.25 for value in values)


@given(VALUES, st.sampled_from([-2.0, 0.0, 5.0]))
def test_values_may_be_given_by_another_clock_and_in_another_unit(values: list[float], shift: float) -> None:
    """(value + shift) / unit: here shifts of 2 and 5 ms, and values in ms."""
    plain, folded = Histogram(BOUNDS), Histogram(BOUNDS)
    plain.fold([(value + shift) / 1_000 for value in values])
    folded.fold(list(values), shift=shift, unit=1_000.0)
    assert folded.value().counts == plain.value().counts
    assert folded.value().total == pytest.approx(plain.value().total)
