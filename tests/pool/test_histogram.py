"""A histogram against the values themselves."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from itertools import pairwise
from math import ceil, inf, isnan, nan, nextafter
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pgwire.errors import ProgrammingError
from pgwire.pool.histogram import BOUNDS, Histogram, Tally

durations = st.one_of(
    st.floats(0.0, 0.001), st.floats(0.0, 1000.0), st.sampled_from(BOUNDS), st.just(0.0)
)
shares = st.one_of(st.floats(0.0, 1.0), st.integers(0, 100).map(lambda percent: percent / 100))


def tell(values: list[float]) -> Histogram:
    tally = Tally()
    for value in values:
        tally.add(value)
    assert tally.count == len(values)
    return tally.histogram()


def least_bound(value: float) -> float:
    return next((bound for bound in BOUNDS if value <= bound), inf)


def test_the_bounds_are_even_steps_from_100_us_to_100_s() -> None:
    histogram = Histogram()
    assert histogram.bounds == BOUNDS
    assert (BOUNDS[0], BOUNDS[-1]) == (0.0001, 100.0)
    assert len(histogram.counts) == len(BOUNDS) + 1
    for lower, upper in pairwise(BOUNDS):
        assert 1.99 < upper / lower < 2.51


@given(st.lists(durations, max_size=60))
@settings(derandomize=True, deadline=None)
def test_every_value_is_in_the_bucket_of_its_least_bound(values: list[float]) -> None:
    histogram = tell(values)
    bounds = [least_bound(value) for value in values]
    assert histogram.counts == tuple(bounds.count(bound) for bound in (*BOUNDS, inf))
    assert histogram.count == len(values)
    assert histogram.sum == pytest.approx(sum(values))


@given(st.lists(durations, min_size=1, max_size=60), shares)
@settings(derandomize=True, deadline=None)
def test_a_quantile_is_the_bound_of_the_value_at_that_rank(values: list[float], q: float) -> None:
    bound = tell(values).quantile(q)
    within = sum(value <= bound for value in values)
    assert within >= 1
    assert within / len(values) >= q
    below = [lower for lower in BOUNDS if lower < bound]
    if below:  # the next lower bound would not do
        too_few = sum(value <= below[-1] for value in values)
        assert too_few == 0 or too_few / len(values) < q


@given(st.lists(durations, min_size=1, max_size=60))
@settings(derandomize=True, deadline=None)
def test_a_percentile_is_that_of_the_sorted_values(values: list[float]) -> None:
    histogram, ordered = tell(values), sorted(values)
    for percent in range(1, 101):
        rank = ceil(percent * len(values) / 100)
        assert histogram.quantile(percent / 100) == least_bound(ordered[rank - 1])


@given(st.lists(durations, max_size=30), st.lists(shares, min_size=2, max_size=2).map(sorted))
@settings(derandomize=True, deadline=None)
def test_a_larger_share_has_no_smaller_bound(values: list[float], two: list[float]) -> None:
    histogram = tell([*values, 1.0])
    assert histogram.quantile(two[0]) <= histogram.quantile(two[1])


@given(st.lists(durations, max_size=30), st.integers(0, 5))
@settings(derandomize=True, deadline=None)
def test_values_of_zero_may_be_added_at_the_end(values: list[float], zeros: int) -> None:
    tally = Tally()
    for value in values:
        tally.add(value)
    told = tell([0.0] * zeros + values)
    assert tally.histogram(zeros=zeros).counts == told.counts
    assert tally.histogram(zeros=zeros).sum == pytest.approx(told.sum)
    assert tally.histogram() == tell(values)


def test_a_bound_belongs_to_its_bucket_and_what_follows_to_the_next() -> None:
    for place, bound in enumerate(BOUNDS):
        assert tell([bound]).counts[place] == 1
        assert tell([nextafter(bound, inf)]).counts[place + 1] == 1


def test_a_tenth_is_not_rounded_up() -> None:
    """0.1 * 30 is a little more than 3."""
    assert tell([0.001] * 3 + [1.0] * 27).quantile(0.1) == 0.001


def test_the_ends_of_the_scale() -> None:
    histogram = tell([0.003, 200.0])
    assert histogram.quantile(0) == 0.005
    assert histogram.quantile(0.5) == 0.005
    assert histogram.quantile(0.51) == inf
    assert histogram.quantile(1) == inf


def test_of_nothing_there_is_no_quantile() -> None:
    histogram = Tally().histogram()
    assert histogram == Histogram()
    assert (histogram.count, histogram.sum) == (0, 0.0)
    assert isnan(histogram.quantile(0.5))


@pytest.mark.parametrize("q", [-0.01, 1.01, 99, nan])
def test_what_is_no_share_is_refused(q: float) -> None:
    with pytest.raises(ProgrammingError, match="a quantile is a number from 0 to 1, not "):
        Histogram().quantile(q)


def test_a_histogram_does_not_change_and_can_be_sent() -> None:
    tally = Tally()
    tally.add(1.0)
    histogram: Any = tally.histogram()
    tally.add(1.0)
    assert histogram.count == 1
    with pytest.raises(FrozenInstanceError):
        histogram.sum = 2.0
    assert pickle.loads(pickle.dumps(histogram)) == histogram
    assert hash(histogram) == hash(tell([1.0]))
