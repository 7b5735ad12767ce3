"""The contract's section on decisions, sentence by sentence."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.anomaly import AnomalySettings, Detectors, load_anomaly
from stream_guard.detection.decide import (
    PAYEE_REASON,
    PAYEE_WARMING,
    PAYER_REASON,
    PAYER_WARMING,
    Verdicts,
    decide,
    decide_slowly,
)
from stream_guard.detection.decision_kernels import decide_batch, settle
from stream_guard.detection.features import INDEX, N
from stream_guard.detection.policy import Policy, RuleMeta, load_policy
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Side
from tests.detection.decide_reference import Reference, Results, part, random_meta, random_stream, union

MODELS = Path(__file__).parents[2] / "models"
POLICY = load_policy((MODELS / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")
SHIPPED = load_anomaly((MODELS / "anomaly.yaml").read_text(encoding="utf-8"), "anomaly.yaml")
SMALL = load_anomaly(
    """
    version: 1
    trees: 5
    height: 4
    window: 20
    warm_up: 40
    quantile: 0.9
    payer:
      - {feature: txn.amount, transform: log, high: 1_000_000}
      - {feature: txn.amount, transform: log_ratio, against: payer.out_mean, high: 50}
      - {feature: pair.seen_before, transform: linear}
    payee:
      - {feature: txn.amount, transform: log, high: 1_000_000}
      - {feature: payee.in_sum_24h, transform: share, against: payee.out_sum_24h}
    """,
    "small.yaml",
)
PAYER, PAYEE = Side.PAYER, Side.PAYEE
LIVE, SHADOW = RuleState.LIVE, RuleState.SHADOW
BANK, POLICE = RuleSource.BANK, RuleSource.POLICE


class Rule:
    """A rule, and what it says about one payment."""

    def __init__(
        self,
        score: float,
        action: Action = Action.ALLOW,
        side: Side = PAYEE,
        state: RuleState = LIVE,
        source: RuleSource = BANK,
        fired: int = 1,
    ) -> None:
        self.score, self.fired = score, fired
        self.meta = (side, action, state, source)


def judge(
    *rules: Rule, policy: Policy = POLICY, late: bool = False, skip: bool = False, listed: str | None = None
) -> Verdicts:
    """Verdict about one payment, the detectors being new."""
    matrix = np.full((1, N), 1.0)
    for side in Side:
        matrix[0, INDEX[f"{side}.listed"]] = 1.0 if side == listed else 0.0
    return decide(
        matrix,
        Results(
            np.array([[r.fired for r in rules]], np.uint8), np.array([[r.score for r in rules]], np.float64)
        ),
        RuleMeta.of(r.meta for r in rules),
        Detectors(SMALL),
        policy,
        np.array([3], np.uint8),
        np.array([late]),
        np.array([skip]),
    )


def action(*rules: Rule, **more: Any) -> Action:
    return Action(int(judge(*rules, **more).action[0]))


def nothing(n: int) -> dict[str, Any]:
    """No rules, both parties accounts, in time."""
    return {
        "results": Results(np.zeros((n, 0), np.uint8), np.zeros((n, 0))),
        "accounts": np.full(n, 3, np.uint8),
        "late": np.zeros(n, np.bool_),
        "skip": np.zeros(n, np.bool_),
    }


def amounts(*values: float) -> Any:
    """Matrix of payments that differ by their amount only."""
    matrix = np.full((len(values), N), np.nan)
    matrix[:, INDEX["txn.amount"]] = values
    return matrix


NO_RULES = RuleMeta.of([])


def trained(policy: Policy = POLICY, config: AnomalySettings = SMALL) -> Detectors:
    """Detectors that know payments of about 100."""
    detectors = Detectors(config)
    matrix = amounts(*np.random.default_rng(1).uniform(50, 150, 300).tolist())
    decide(matrix, meta=NO_RULES, detectors=detectors, policy=policy, **nothing(300))
    return detectors


def odd(detectors: Detectors, policy: Policy = POLICY, accounts: int = 3, late: bool = False) -> Verdicts:
    """Verdict about a payment unlike all before."""
    rest = nothing(1)
    rest["accounts"][:] = accounts
    rest["late"][:] = late
    return decide(amounts(900_000.0), meta=NO_RULES, detectors=detectors, policy=policy, **rest)


# --- scores ---------------------------------------------------------------------------------------


def test_score_of_a_side_is_100_times_1_less_the_product() -> None:
    verdict = judge(Rule(50), Rule(60), Rule(20, side=PAYER))
    assert verdict.payee_score[0] == 80.0
    assert verdict.payer_score[0] == 20.0


@settings(deadline=None)
@given(scores=st.lists(st.floats(0, 100), max_size=12))
def test_score_is_0_to_100_rises_with_every_reason_and_is_at_least_the_highest(scores: list[float]) -> None:
    score = judge(*[Rule(s) for s in scores]).score[0]
    assert score == pytest.approx(union(scores), abs=1e-8)
    assert max([0.0, *scores]) - 1e-9 <= score <= 100.0


@pytest.mark.parametrize("score", range(101))
def test_one_reason_scores_exactly_what_it_says(score: int) -> None:
    assert judge(Rule(score)).score[0] == score


def test_the_decisions_score_is_the_higher_sides() -> None:
    verdict = judge(Rule(45), Rule(55, side=PAYER))
    assert verdict.score[0] == verdict.payer_score[0] == 55
    verdict = judge(Rule(55), Rule(45, side=PAYER))
    assert verdict.score[0] == verdict.payee_score[0] == 55


def test_no_reason_is_score_0_and_allow() -> None:
    verdict = judge()
    assert (verdict.score[0], verdict.action[0]) == (0.0, Action.ALLOW)


def test_only_rules_that_fired_count() -> None:
    assert judge(Rule(90, Action.HOLD, fired=0)).score[0] == 0.0
    assert action(Rule(90, Action.HOLD, fired=0)) is Action.ALLOW


def test_a_rule_that_could_not_be_evaluated_does_not_fire() -> None:
    verdict = judge(Rule(90, Action.HOLD, fired=2))
    assert (verdict.score[0], verdict.action[0]) == (0.0, Action.ALLOW)


def test_shadow_rules_never_touch_a_score_or_an_action() -> None:
    verdict = judge(Rule(90, Action.STOP, state=SHADOW, source=POLICE), Rule(10))
    assert (verdict.score[0], verdict.action[0]) == (10.0, Action.ALLOW)


@pytest.mark.parametrize("score", [-5.0, math.nan, 400.0, math.inf])
def test_a_rules_score_beyond_0_to_100_is_clipped(score: float) -> None:
    assert judge(Rule(score)).score[0] == (100.0 if score > 0 else 0.0)


# --- actions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (39.9, Action.ALLOW),
        (40, Action.CONFIRM),
        (59.9, Action.CONFIRM),
        (60, Action.DELAY),
        (79.9, Action.DELAY),
        (80, Action.HOLD),
        (100, Action.HOLD),
    ],
)
def test_the_scores_thresholds_ask_for_an_action_and_never_for_a_stop(score: float, expected: Action) -> None:
    assert action(Rule(score)) is expected
    assert action(Rule(score, side=PAYER)) is expected


def test_a_threshold_is_not_missed_by_a_rounding_error() -> None:
    # 100 * (1 - (1 - 0.6) * (1 - 0.5)) and the like are a hair below in binary fractions.
    for first in range(0, 100, 5):
        needed = 100 * (1 - 0.2 / (1 - first / 100))
        if needed >= 0:
            assert action(Rule(first), Rule(needed)) is Action.HOLD


def test_two_sides_do_not_add_up() -> None:
    assert action(Rule(39, side=PAYER), Rule(39, side=PAYEE)) is Action.ALLOW


@pytest.mark.parametrize("asked", [Action.CONFIRM, Action.DELAY, Action.HOLD])
def test_the_action_is_the_higher_of_what_thresholds_and_rules_ask(asked: Action) -> None:
    assert action(Rule(1, asked)) is asked
    assert action(Rule(85, asked)) is Action.HOLD
    assert action(Rule(1, asked), Rule(1, Action.CONFIRM)) is asked


def test_stop_only_for_police_rules_everything_else_at_most_hold() -> None:
    assert action(Rule(1, Action.STOP, source=POLICE)) is Action.STOP
    assert action(Rule(100, Action.STOP, source=BANK)) is Action.HOLD
    assert action(Rule(100, Action.STOP), Rule(100, Action.DELAY, source=POLICE)) is Action.HOLD


@pytest.mark.parametrize("side", ["payer", "payee"])
def test_stop_for_listed_parties(side: str) -> None:
    assert action(Rule(1, Action.STOP, source=BANK), listed=side) is Action.STOP


def test_a_risk_signal_counts_through_the_rules_that_name_it() -> None:
    verdict = judge(Rule(10), listed="payee")
    assert (verdict.score[0], verdict.action[0]) == (10.0, Action.ALLOW)


# --- anomaly --------------------------------------------------------------------------------------


def test_above_its_running_quantile_the_anomaly_is_a_reason_of_score_30() -> None:
    verdict = odd(trained())
    assert verdict.anomaly[0] == PAYER_REASON | PAYEE_REASON
    assert verdict.payer_anomaly[0] > verdict.payer_quantile[0]
    assert verdict.payer_score[0] == verdict.payee_score[0] == 30.0


def test_a_score_equal_to_the_quantile_is_no_reason() -> None:
    detectors = Detectors(SMALL)
    matrix = amounts(*[100.0] * 200)
    verdict = decide(matrix, meta=NO_RULES, detectors=detectors, policy=POLICY, **nothing(200))
    assert verdict.payer_anomaly[-1] == verdict.payer_quantile[-1]
    assert not (verdict.anomaly & (PAYER_REASON | PAYEE_REASON)).any()


def test_no_reason_before_the_warm_up_which_is_reported() -> None:
    values = np.random.default_rng(2).uniform(1, 1e6, 60).tolist()
    verdict = decide(
        amounts(*values), meta=NO_RULES, detectors=Detectors(SMALL), policy=POLICY, **nothing(60)
    )
    assert (verdict.anomaly[:40] == PAYER_WARMING | PAYEE_WARMING).all()
    assert not (verdict.anomaly[40:] & (PAYER_WARMING | PAYEE_WARMING)).any()


def test_each_side_is_scored_on_its_own_features() -> None:
    detectors, matrix = trained(), amounts(100.0)
    matrix[0, INDEX["payee.in_sum_24h"]] = 5.0
    matrix[0, INDEX["payee.out_sum_24h"]] = 1_000.0
    before = decide(amounts(100.0), meta=NO_RULES, detectors=trained(), policy=POLICY, **nothing(1))
    verdict = decide(matrix, meta=NO_RULES, detectors=detectors, policy=POLICY, **nothing(1))
    assert verdict.payer_anomaly[0] == before.payer_anomaly[0]
    assert verdict.payee_anomaly[0] > before.payee_anomaly[0]


@pytest.mark.parametrize("accounts", [0, 1, 2])
def test_a_side_that_is_no_account_is_not_scored_and_not_learned(accounts: int) -> None:
    detectors = trained()
    verdict = odd(detectors, accounts=accounts)
    assert math.isnan(verdict.payer_anomaly[0]) == math.isnan(verdict.payer_quantile[0]) == (not accounts & 1)
    assert math.isnan(verdict.payee_anomaly[0]) == math.isnan(verdict.payee_quantile[0]) == (not accounts & 2)
    assert verdict.anomaly[0] == accounts
    assert detectors.payer.detector.learned == 300 + (accounts & 1)
    assert detectors.payee.detector.learned == 300 + (accounts >> 1)


def test_anomaly_alone_asks_for_confirm_at_most() -> None:
    for score, expected in ((30, Action.ALLOW), (45, Action.CONFIRM), (100, Action.CONFIRM)):
        policy = POLICY.model_copy(update={"anomaly_score": float(score)})
        verdict = odd(trained(policy), policy)
        assert verdict.action[0] == expected
        assert verdict.score[0] == score


def test_anomaly_beside_a_rule_counts_in_full_on_the_rules_side_only() -> None:
    def with_rule(side: int) -> tuple[int, float, float]:
        arrays = (
            np.array([side], np.uint8),
            np.zeros(1, np.uint8),
            np.ones(1, np.bool_),
            np.zeros(1, np.bool_),
        )
        limits = np.array([40.0, 60.0, 80.0, 90.0])
        return settle(np.ones(1, np.uint8), np.array([10.0]), *arrays, True, False, False, limits)

    assert with_rule(0) == (Action.HOLD, 91.0, 0.0)
    assert with_rule(1) == (Action.CONFIRM, 90.0, 10.0)


def test_quantile_is_nan_before_the_first_score() -> None:
    values = [100.0] * 25
    verdict = decide(
        amounts(*values), meta=NO_RULES, detectors=Detectors(SMALL), policy=POLICY, **nothing(25)
    )
    assert np.isnan(verdict.payer_quantile[:21]).all()
    assert not np.isnan(verdict.payer_quantile[21:]).any()
    assert (verdict.payer_anomaly[:20] == 0.0).all()


# --- late, skipped, learning ----------------------------------------------------------------------


@pytest.mark.parametrize("on_late", [Action.ALLOW, Action.CONFIRM, Action.HOLD])
@pytest.mark.parametrize("asked", list(Action))
def test_on_late_caps_the_decision_never_the_warning(on_late: Action, asked: Action) -> None:
    policy = POLICY.model_copy(update={"on_late": on_late})
    verdict = judge(Rule(55, asked, source=POLICE), policy=policy, late=True)
    full = max(asked, Action.CONFIRM)
    assert verdict.action[0] == min(full, on_late)
    assert verdict.uncapped[0] == full
    assert verdict.score[0] == 55.0
    assert judge(Rule(55, asked, source=POLICE), policy=policy).action[0] == full


def test_a_late_decision_is_not_learned_if_it_was_above_allow_in_time() -> None:
    detectors = trained()
    rest = nothing(1)
    rest["results"] = Results(np.ones((1, 1), np.uint8), np.array([[70.0]]))
    rest["late"][:] = True
    meta = RuleMeta.of([Rule(70).meta])
    verdict = decide(amounts(100.0), meta=meta, detectors=detectors, policy=POLICY, **rest)
    assert (verdict.action[0], verdict.uncapped[0]) == (Action.ALLOW, Action.DELAY)
    assert detectors.payer.detector.learned == 300


@pytest.mark.parametrize("asked", list(Action))
def test_it_never_learns_from_an_event_decided_above_allow(asked: Action) -> None:
    detectors = trained()
    before = detectors.dump()
    rest = nothing(1)
    rest["results"] = Results(np.ones((1, 1), np.uint8), np.array([[0.0]]))
    meta = RuleMeta.of([(PAYER, asked, LIVE, POLICE)])
    decide(amounts(120.0), meta=meta, detectors=detectors, policy=POLICY, **rest)
    assert (detectors.dump() == before) == (asked > Action.ALLOW)
    assert detectors.payer.detector.learned == 300 + (asked is Action.ALLOW)


def test_an_anomaly_that_is_allowed_is_learned() -> None:
    detectors = trained()
    odd(detectors)
    assert detectors.payer.detector.learned == 301
    assert detectors.payer.quantile.observations == 281


def test_a_payment_sent_again_is_neither_scored_nor_learned() -> None:
    detectors = trained()
    before = detectors.dump()
    rest = nothing(1)
    rest["skip"][:] = True
    verdict = decide(amounts(900_000.0), meta=NO_RULES, detectors=detectors, policy=POLICY, **rest)
    assert detectors.dump() == before
    assert (verdict.action[0], verdict.score[0], verdict.anomaly[0]) == (0, 0.0, 0)
    assert math.isnan(verdict.payer_anomaly[0])
    assert math.isnan(verdict.payee_quantile[0])


# --- the whole ------------------------------------------------------------------------------------


def same(a: Verdicts, b: Verdicts) -> None:
    for name, left, right in zip(Verdicts._fields, a, b, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), on_late=st.sampled_from(["allow", "confirm", "hold"]))
def test_is_what_the_plain_reference_with_rivers_classes_decides(seed: int, on_late: str) -> None:
    n, rules = 150, 6
    stream, meta = random_stream(seed, n, rules), random_meta(seed, rules)
    policy = load_policy((MODELS / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml", on_late=on_late)
    verdict = decide(meta=meta, detectors=Detectors(SMALL), policy=policy, **stream)
    reference = Reference(SMALL, policy, meta)
    for i in range(n):
        r = stream["results"]
        expected = reference.decide(
            stream["matrix"][i], r.fired[i], r.score[i], *(stream[k][i] for k in ("accounts", "late", "skip"))
        )
        assert verdict.action[i] == expected["action"]
        assert verdict.uncapped[i] == expected["uncapped"]
        assert verdict.anomaly[i] == expected["flags"]
        assert verdict.score[i] == pytest.approx(expected["score"], abs=1e-8)
        assert [verdict.payer_score[i], verdict.payee_score[i]] == pytest.approx(expected["sides"], abs=1e-8)
        anomaly = [verdict.payer_anomaly[i], verdict.payer_quantile[i]]
        anomaly += [verdict.payee_anomaly[i], verdict.payee_quantile[i]]
        np.testing.assert_allclose(anomaly, expected["anomaly"], rtol=0, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_results_never_depend_on_batch_boundaries(seed: int, cuts: list[int]) -> None:
    stream, meta = random_stream(seed, 300, 4), random_meta(seed, 4)
    whole = Detectors(SMALL)
    expected = decide(meta=meta, detectors=whole, policy=POLICY, **stream)
    pieces = Detectors(SMALL)
    edges = [0, *sorted(cuts), 300]
    got = [
        decide(meta=meta, detectors=pieces, policy=POLICY, **part(stream, slice(a, b)))
        for a, b in pairwise(edges)
    ]
    same(Verdicts(*(np.concatenate(column) for column in zip(*got, strict=True))), expected)
    assert pieces.dump() == whole.dump()


def test_the_slow_path_decides_the_same() -> None:
    stream, meta = random_stream(5, 200, 4), random_meta(5, 4)
    fast, slow = Detectors(SMALL), Detectors(SMALL)
    expected = decide(meta=meta, detectors=fast, policy=POLICY, **stream)
    same(decide_slowly(meta=meta, detectors=slow, policy=POLICY, **stream), expected)
    assert slow.dump() == fast.dump()


def test_the_stream_of_these_tests_holds_what_it_should() -> None:
    stream, meta = random_stream(5, 2000, 6), random_meta(5, 6)
    verdict = decide(meta=meta, detectors=Detectors(SMALL), policy=POLICY, **stream)
    assert set(verdict.uncapped.tolist()) == {0, 1, 2, 3, 4}
    assert (verdict.action < verdict.uncapped).any()
    for bit in (PAYER_REASON, PAYEE_REASON, PAYER_WARMING, PAYEE_WARMING):
        assert (verdict.anomaly & bit).any()


def test_strided_and_read_only_arrays_do_not_compile_the_kernel_again() -> None:
    stream, meta = random_stream(5, 50, 4), random_meta(5, 4)
    expected = decide(meta=meta, detectors=Detectors(SMALL), policy=POLICY, **stream)
    wide = np.zeros((50, 2 * N))
    wide[:, ::2] = stream["matrix"]
    turned = Results(np.asfortranarray(stream["results"].fired), np.asfortranarray(stream["results"].score))
    frozen = stream["accounts"].copy()
    frozen.flags.writeable = False
    other = {**stream, "matrix": wide[:, ::2], "results": turned, "accounts": frozen}
    same(decide(meta=meta, detectors=Detectors(SMALL), policy=POLICY, **other), expected)
    assert len(decide_batch.signatures) == 1  # type: ignore[attr-defined]


def test_an_empty_batch_is_fine() -> None:
    verdict = decide(amounts(), meta=NO_RULES, detectors=Detectors(SHIPPED), policy=POLICY, **nothing(0))
    assert [len(column) for column in verdict] == [0] * 10


@pytest.mark.parametrize("name", ["accounts", "late", "skip", "matrix", "results"])
def test_shapes_that_do_not_agree_are_refused(name: str) -> None:
    stream, meta = random_stream(5, 10, 4), random_meta(5, 4)
    stream[name] = part(stream, slice(0, 9))[name]
    with pytest.raises(ValueError, match="has shape"):
        decide(meta=meta, detectors=Detectors(SMALL), policy=POLICY, **stream)
