from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.backtest import spectrum as module
from stream_guard.backtest.spectrum import Spectrum

Ranked = list[tuple[float, bool]]
RANKED = st.lists(st.tuples(st.sampled_from([0.0, 30.0, 50.0, 72.5]), st.booleans()), min_size=1, max_size=6)


def of(ranked: Ranked) -> Spectrum:
    spectrum = Spectrum()
    for score, positive in ranked:
        spectrum.add(np.array([score]), np.array([positive]))
    return spectrum


def test_expected_hits_by_hand() -> None:
    # 90 is a hit; of three at 60 one is: two places left give 2/3; then come one more and nothing.
    spectrum = of([(90.0, True), (60.0, True), (60.0, False), (60.0, False), (10.0, True)])
    assert spectrum.expected_hits(1) == 1.0
    assert spectrum.expected_hits(3) == pytest.approx(1 + 2 / 3)
    assert spectrum.expected_hits(4) == 2.0
    assert spectrum.expected_hits(50) == 3.0
    assert spectrum.expected_hits(0) == 0.0


def test_auc_by_hand() -> None:
    # Pairs (positive, negative): 90>60, 90>20, 60=60 counts half, 60>20: 3.5 of 4.
    assert of([(90.0, True), (60.0, True), (60.0, False), (20.0, False)]).auc() == 0.875


def test_average_precision_by_hand() -> None:
    # At 90: recall 0 to 1/2 at precision 1. At 60: recall 1/2 to 1 at precision 2/3.
    spectrum = of([(90.0, True), (60.0, True), (60.0, False), (20.0, False)])
    assert spectrum.average_precision() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_nothing_to_stand_on() -> None:
    assert of([(1.0, False)]).auc() is None
    assert of([(1.0, True)]).auc() is None
    assert of([(1.0, False)]).average_precision() is None
    assert Spectrum().expected_hits(5) == 0.0


@given(ranked=RANKED, top=st.integers(0, 8))
def test_ties_are_the_mean_over_every_order(ranked: Ranked, top: int) -> None:
    orders = [
        sum(positive for _, positive in order[:top])
        for order in itertools.permutations(ranked)
        if all(a[0] >= b[0] for a, b in itertools.pairwise(order))
    ]
    assert of(ranked).expected_hits(top) == pytest.approx(sum(orders) / len(orders))


@given(ranked=RANKED)
def test_auc_is_the_share_of_pairs_in_order(ranked: Ranked) -> None:
    good = [score for score, positive in ranked if positive]
    bad = [score for score, positive in ranked if not positive]
    found = of(ranked).auc()
    if not good or not bad:
        assert found is None
    else:
        pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in good for b in bad]
        assert found == pytest.approx(sum(pairs) / len(pairs))


def test_counts_and_scores_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PENDING", 3)
    one, other = of([(5.0, True)] * 3 + [(0.0, False)] * 4), Spectrum()
    other.add_counts(0.0, 4, 0)
    other.add_counts(5.0, 0, 3)
    whole = Spectrum()
    one.into(whole)
    assert (whole.positives, whole.negatives) == (other.positives, other.negatives) == (3, 4)
    assert whole.auc() == other.auc() == 1.0


def test_memory_is_bounded_by_rounding_where_scores_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DISTINCT", 500)
    spectrum = Spectrum()
    scores = np.linspace(40.0, 40.2, 2_000)
    spectrum.add(scores, scores > 40.1)
    assert (spectrum.positives, spectrum.negatives) == (1_000, 1_000)
    assert len(spectrum._scores) <= 202
    auc = spectrum.auc()
    assert auc is not None
    assert auc > 0.999
