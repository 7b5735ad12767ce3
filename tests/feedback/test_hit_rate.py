from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.feedback.hit_rate import Z_95, HitRate, wilson


def test_hit_rate_is_confirmed_over_confirmed_and_false_positive() -> None:
    rate = HitRate(confirmed=180, false_positive=186, pending=1000, inconclusive=50, expired=70)
    assert rate.value == 180 / 366
    assert rate.disposed == 366


def test_pending_inconclusive_and_expired_stand_beside_it() -> None:
    beside = HitRate(pending=1, inconclusive=2, expired=3)
    assert (beside.value, beside.interval, beside.disposed) == (None, None, 0)


def test_the_interval_is_wilsons_at_95_percent() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998),
    # table I, method 3 (Wilson without continuity correction).
    for hits, trials, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        interval = wilson(hits, trials)
        assert interval is not None
        assert interval == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bounds_are_where_the_score_test_just_rejects(figures: tuple[int, int]) -> None:
    hits, trials = figures
    interval = wilson(hits, trials)
    assert interval is not None
    low, high = interval
    share = hits / trials
    assert 0 <= low <= share <= high <= 1
    for bound in interval:
        if 0 < bound < 1:
            deviation = abs(share - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert deviation == pytest.approx(Z_95, rel=1e-6)


def test_no_hit_and_all_hits_end_at_the_exact_bound() -> None:
    none, every = wilson(0, 7), wilson(7, 7)
    assert none is not None
    assert every is not None
    assert (none[0], every[1]) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "trials"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="between 0 and the trials"):
        wilson(hits, trials)
