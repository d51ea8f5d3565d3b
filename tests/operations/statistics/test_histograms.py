"""Histograms are exact to 4 %, whatever they are merged of."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from stoker.operations.statistics.histograms import HIGHEST, LOWEST, LengthHistogram, bucket_of, halves_of, middle_s
from stoker.schemas.own_records.jobs_ended import packed

LENGTHS = st.floats(min_value=2.0**-20, max_value=2.0**25, width=32)


def histogram(lengths: list[float]) -> LengthHistogram:
    made = LengthHistogram()
    made.add(halves_of(packed("f", lengths)))
    return made


@given(LENGTHS)
def test_a_length_is_within_four_percent_of_its_buckets_middle(length_s: float) -> None:
    """Of 16 buckets for each doubling, the lowest is an eighth of a quarter wide: 1/32 to each side of its middle."""
    assert abs(middle_s(bucket_of(length_s)) - length_s) <= 0.04 * length_s


@given(st.lists(LENGTHS, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_within_four_percent_of_the_exact_one(lengths: list[float], share: float) -> None:
    """The exact one is the smallest length that at least that share of all does not exceed."""
    exact = sorted(lengths)[max(math.ceil(share * len(lengths)), 1) - 1]
    found = histogram(lengths).quantile_s(share)
    assert found is not None
    assert abs(found - exact) <= 0.04 * exact


@given(st.lists(LENGTHS, max_size=50), st.lists(LENGTHS, max_size=50))
def test_merging_is_the_same_as_counting_all_together(left: list[float], right: list[float]) -> None:
    """By the columns of a record."""
    merged = histogram(left)
    merged.add_columns(*histogram(right).columns())
    assert merged.buckets() == histogram(left + right).buckets()
    assert merged.count == len(left) + len(right)


def test_lengths_that_cannot_be_are_in_the_outermost_buckets() -> None:
    """Clocks of two machines differ, so that a wait may be negative."""
    assert [bucket_of(length_s) for length_s in (-5.0, 0.0, 1e-9, 1e30, math.inf)] == [LOWEST] * 3 + [HIGHEST] * 2
    assert LengthHistogram().quantile_s(0.5) is None
