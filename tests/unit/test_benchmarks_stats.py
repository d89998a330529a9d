"""What is said of repetitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import CLEAN, Sample, percentile, summarise


def sample(value: float, other: float = 0.0) -> Sample:
    return Sample(
        value, wall=value, listener_cpu=2 * value, dialer_cpu=3 * value, other_cores=other
    )


def test_the_median_with_its_spread() -> None:
    summary = summarise([sample(5.0), sample(1.0), sample(3.0)])
    assert summary is not None
    assert (summary.median, summary.low, summary.high, summary.n) == (3.0, 1.0, 5.0, 3)
    assert (summary.wall, summary.listener_cpu, summary.dialer_cpu) == (3.0, 6.0, 9.0)
    assert (summary.dropped, summary.doubtful) == (0, False)


def test_repetitions_on_a_busy_machine_are_dropped() -> None:
    samples = [sample(10.0), sample(11.0), sample(12.0), sample(1.0, other=CLEAN + 0.01)]
    summary = summarise(samples)
    assert summary is not None
    assert (summary.low, summary.n, summary.dropped, summary.doubtful) == (10.0, 3, 1, False)


def test_the_threshold_itself_is_clean() -> None:
    assert sample(1.0, other=CLEAN).clean


def test_too_few_clean_ones_are_doubtful_and_all_are_kept() -> None:
    summary = summarise([sample(10.0), sample(2.0, other=1.0), sample(3.0, other=1.0)])
    assert summary is not None
    assert (summary.median, summary.n, summary.dropped, summary.doubtful) == (3.0, 3, 0, True)


def test_what_is_measured_once_is_enough_with_one() -> None:
    summary = summarise([sample(10.0)], enough=1)
    assert summary is not None and not summary.doubtful


def test_nothing_has_no_summary() -> None:
    assert summarise([]) is None


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(100)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError):
        percentile([], 0.5)


numbers = st.floats(min_value=0.001, max_value=1e9)


@given(st.lists(st.tuples(numbers, st.floats(min_value=0, max_value=2)), min_size=1))
def test_every_repetition_is_kept_or_dropped(pairs: list[tuple[float, float]]) -> None:
    summary = summarise([sample(value, other) for value, other in pairs])
    assert summary is not None
    assert summary.n + summary.dropped == len(pairs)
    assert summary.low <= summary.median <= summary.high
