from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import stats

from stream_guard.detection.quantile import RunningQuantile

observations = st.one_of(
    st.lists(st.floats(-1e6, 1e6), max_size=200),
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.97, 1.0]), max_size=200),
    st.lists(st.floats(0.9, 1.0), max_size=400),
)


@settings(max_examples=150, deadline=None)
@given(q=st.floats(0.001, 0.999), xs=observations)
def test_is_rivers_quantile_after_every_observation(q: float, xs: list[float]) -> None:
    ours, rivers = RunningQuantile(q), stats.Quantile(q)
    assert ours.get() is rivers.get() is None
    for x in xs:
        ours.update(x)
        rivers.update(x)
        assert ours.get() == pytest.approx(rivers.get(), rel=1e-9, abs=1e-9)
    assert ours.observations == len(xs)


def test_is_near_the_true_quantile_of_a_long_stream() -> None:
    quantile = RunningQuantile(0.995)
    for i in range(20_000):
        quantile.update((i * 7919 % 20_000) / 20_000)
    assert quantile.get() == pytest.approx(0.995, abs=0.002)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.5, math.nan])
def test_a_quantile_outside_0_and_1_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        RunningQuantile(q)


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_a_value_that_would_spoil_all_later_ones_is_refused(x: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        RunningQuantile(0.5).update(x)
