"""Values of parameters from small samples made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream_guard.detection.rules import Rule, load_pack
from stream_guard.detection.vocabulary import Side
from stream_guard.tuning.fit import UNPROVEN, cold_values, tuned_values
from stream_guard.tuning.ladders import SHARES, Ladder
from stream_guard.tuning.sample import Sample

ACCOUNTS = 200
PACK = """
pack: small
version: "1"
rules:
  - id: graded
    version: 1
    name: {en: graded, zh: 分级}
    account: payer
    when: not pair.seen_before and payer.out_sum_8h / payer.out_mean >= limit
    params:
      limit: {value: 30, unit: evidence}
      half: {value: 10, unit: evidence}
      base: {value: 35, unit: score}
      span: {value: 60, unit: score}
    score: >-
      base + span * (payer.out_sum_8h / payer.out_mean - limit)
      / (payer.out_sum_8h / payer.out_mean - limit + half)
    reason: why
  - id: amounts
    version: 1
    name: {en: amounts, zh: 金额}
    account: payer
    when: txn.amount >= min_amount and payer.out_count_8h >= min_count and pair.seen_before
    params:
      min_amount: {value: 50_000, unit: base}
      min_count: {value: 6, unit: count}
      base: {value: 50, unit: score}
    score: base
    reason: why
  - id: aged
    version: 1
    name: {en: aged, zh: 年龄}
    account: payer
    when: payer.holder_age_y >= min_age
    params: {min_age: {value: 65, unit: years}}
    score: 50
    reason: why
"""
RULES = {rule.id: rule for rule in load_pack(PACK, "small").rules}
OWN = np.ones(ACCOUNTS, np.bool_)


def sample(fraud: set[int] = frozenset(), **columns: list[float]) -> Sample:  # type: ignore[assignment]
    """One payment an account, from account i to account i."""
    n = np.arange(ACCOUNTS)
    features = {
        "pair.seen_before": np.zeros(ACCOUNTS),
        "payer.out_sum_8h": 100.0 * (n + 1),
        "payer.out_mean": np.full(ACCOUNTS, 100.0),
        "payer.out_count_8h": np.full(ACCOUNTS, 4.0),
        "payer.holder_age_y": np.full(ACCOUNTS, np.nan),
        "txn.amount": 10.0 * (n + 1),
        **columns,
    }
    rows = {Side.PAYER: n, Side.PAYEE: np.full(ACCOUNTS, -1)}
    flags = np.isin(n, sorted(fraud))
    return Sample(
        {name: np.asarray(values, np.float32) for name, values in features.items()}, n, rows, flags, ACCOUNTS
    )


def fitted(rule: Rule, of: Sample) -> dict[str, float]:
    with np.errstate(all="ignore"):
        return dict(tuned_values(rule, of, of, OWN, budget=ACCOUNTS).values)


def test_a_limit_is_what_the_strongest_accounts_reach_whatever_the_currency() -> None:
    rung = Ladder(RULES["graded"], sample(), OWN).rungs()[SHARES.index(0.02)]
    # Accounts have 1 to 200; the strongest 4 of 200 begin at 197, the strongest 20 at 181.
    assert rung.values == {"limit": 197.0, "half": pytest.approx(0.25 * 197, abs=0.1)}
    euro = sample(
        **{"payer.out_sum_8h": (13 * (np.arange(200) + 1)).tolist(), "payer.out_mean": [13.0] * 200}
    )
    assert Ladder(RULES["graded"], euro, OWN).rungs()[SHARES.index(0.02)].values == rung.values


def test_only_the_banks_own_accounts_count() -> None:
    own = OWN.copy()
    own[150:] = False
    rung = Ladder(RULES["graded"], sample(), own).rungs()[SHARES.index(0.02)]
    assert rung.values["limit"] == 148.0


def test_amounts_and_counts_move_by_one_quantile_and_a_count_keeps_half_of_what_makes_the_pattern() -> None:
    of = sample(**{"pair.seen_before": [1.0] * 200, "payer.out_count_8h": [1.0] * 199 + [40.0]})
    rungs = Ladder(RULES["amounts"], of, OWN).rungs()
    assert rungs[1].values == {"min_amount": 1_000.0, "min_count": 3.0}
    assert "quantile 0.5 of txn.amount over 200 payments" in rungs[1].origins["min_amount"]
    assert rungs[-1].values["min_amount"] > 1_980


def test_where_the_pattern_is_hardly_ever_met_only_extraordinary_amounts_speak() -> None:
    loosest = Ladder(RULES["amounts"], sample(), OWN).rungs()[0]
    assert loosest.values["min_amount"] >= 1_980.0


def test_what_a_typology_means_is_not_moved() -> None:
    assert Ladder(RULES["aged"], sample(), OWN).rungs() == []


def test_cold_values_know_no_label() -> None:
    for rule in RULES.values():
        with np.errstate(all="ignore"):
            plain = cold_values(rule, sample(), OWN)
            told = cold_values(rule, sample({1, 50, 199}), OWN)
        assert plain == told
        assert "base" not in plain.values


def test_a_rule_that_was_right_scores_high_and_one_that_was_wrong_low_and_stays() -> None:
    right = fitted(RULES["graded"], sample(set(range(196, 200))))
    wrong = fitted(RULES["graded"], sample({3}))
    assert right["limit"] == 197.0
    assert right["base"] > 55
    assert wrong["base"] < 20
    assert wrong["base"] + wrong["span"] < 40


def test_one_hit_is_not_yet_a_certainty() -> None:
    few = fitted(RULES["graded"], sample({199}))
    many = fitted(RULES["graded"], sample(set(range(184, 200))))
    assert few["base"] < many["base"]


def test_the_budget_is_kept_while_a_rung_keeps_it() -> None:
    everybody = sample(set(range(ACCOUNTS)))
    with np.errstate(all="ignore"):
        values = tuned_values(RULES["graded"], everybody, everybody, OWN, budget=2).values
    assert values["limit"] >= 199.0


def test_a_rule_that_never_fired_opens_no_warning_alone_and_one_that_cannot_be_tried_stays() -> None:
    silent = fitted(RULES["amounts"], sample({1}))
    assert silent["base"] == UNPROVEN[0]
    assert fitted(RULES["aged"], sample({1})) == {}


def test_a_fixed_score_is_fitted_as_such() -> None:
    of = sample({199}, **{"payer.holder_age_y": [20.0] * 199 + [80.0]})
    assert fitted(RULES["aged"], of) == {"score": pytest.approx(95 * 1.6 / 3, abs=0.1)}


def test_an_account_is_ranked_by_its_best_payment_on_its_own_side() -> None:
    of = replace(sample(), rows={Side.PAYER: np.zeros(200, int), Side.PAYEE: np.full(200, -1)})
    best = of.best(Side.PAYER, np.ones(200, np.bool_), np.arange(200.0))
    assert best[0] == 199.0
    assert not best[1:].any()
    assert not of.best(Side.PAYEE, np.ones(200, np.bool_), np.arange(200.0)).any()
