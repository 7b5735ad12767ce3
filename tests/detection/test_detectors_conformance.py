"""What every detector that can be configured has to keep to, ours and River's alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.detection.anomaly import AnomalySettings, Detectors, load_anomaly
from stream_guard.detection.decide import Verdicts, decide
from stream_guard.detection.policy import load_policy
from stream_guard.detection.vocabulary import Action
from tests.detection.decide_reference import part, random_meta, random_stream

MODELS = Path(__file__).parents[2] / "models"
POLICY = load_policy((MODELS / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")
N, RULES = 160, 3
META = random_meta(2, RULES)
STREAM = random_stream(6, N, RULES)

DETECTORS: dict[str, dict[str, Any]] = {
    "half-space-trees": {},
    "river.anomaly.HalfSpaceTrees": {"n_trees": 5, "height": 4, "window_size": 30},
    "river.anomaly.LODA": {"n_random_cuts": 10},
    "river.anomaly.OneClassSVM": {"nu": 0.2},
    "river.anomaly.LocalOutlierFactor": {"n_neighbors": 3},
}


@pytest.fixture(params=DETECTORS)
def config(request: pytest.FixtureRequest) -> AnomalySettings:
    shipped = load_anomaly((MODELS / "anomaly.yaml").read_text(encoding="utf-8"), "anomaly.yaml")
    small = {"trees": 5, "height": 4, "window": 30, "warm_up": 50, "quantile": 0.9}
    change = {**small, "detector": request.param, "params": DETECTORS[request.param]}
    return AnomalySettings.model_validate({**shipped.model_dump(), **change})


def run(detectors: Detectors, stream: dict[str, Any]) -> Verdicts:
    return decide(meta=META, detectors=detectors, policy=POLICY, **stream)


def same(a: Verdicts, b: Verdicts) -> None:
    for name, left, right in zip(Verdicts._fields, a, b, strict=True):
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_interface(config: AnomalySettings) -> None:
    detector = Detectors(config).payer.detector
    x = dict.fromkeys(Detectors(config).payer.names, 0.5)
    for i in range(5):
        assert detector.learned == i
        assert math.isfinite(detector.score_one(x))
        detector.learn_one(x)


def test_scores_are_finite_for_present_sides_and_missing_for_others(config: AnomalySettings) -> None:
    verdict = run(Detectors(config), STREAM)
    for bit, scores in ((1, verdict.payer_anomaly), (2, verdict.payee_anomaly)):
        present = (STREAM["accounts"] & bit != 0) & ~STREAM["skip"]
        assert np.isfinite(scores[present]).all()
        assert np.isnan(scores[~present]).all()


def test_the_same_stream_gives_the_same_verdicts(config: AnomalySettings) -> None:
    same(run(Detectors(config), STREAM), run(Detectors(config), STREAM))


def test_batch_boundaries_do_not_matter(config: AnomalySettings) -> None:
    detectors = Detectors(config)
    pieces = [run(detectors, part(STREAM, slice(a, b))) for a, b in ((0, 1), (1, 80), (80, 80), (80, N))]
    same(
        Verdicts(*(np.concatenate(column) for column in zip(*pieces, strict=True))),
        run(Detectors(config), STREAM),
    )


def test_it_learns_what_was_allowed_and_only_that(config: AnomalySettings) -> None:
    detectors = Detectors(config)
    verdict = run(detectors, STREAM)
    allowed = (verdict.uncapped == Action.ALLOW) & ~STREAM["skip"]
    assert detectors.payer.detector.learned == (allowed & (STREAM["accounts"] & 1 != 0)).sum()
    assert detectors.payee.detector.learned == (allowed & (STREAM["accounts"] & 2 != 0)).sum()
    assert detectors.payer.quantile.observations == detectors.payer.detector.learned - config.window


def test_warming_up_is_reported_until_enough_was_learned(config: AnomalySettings) -> None:
    detectors = Detectors(config)
    assert detectors.payer.warming_up
    verdict = run(detectors, STREAM)
    assert not detectors.payer.warming_up
    warming = verdict.anomaly & 4 != 0
    assert warming[:50][(STREAM["accounts"] & 1 != 0)[:50] & ~STREAM["skip"][:50]].all()
    assert not warming[-20:].any()


def test_a_stored_state_continues_or_a_start_anew_is_said(config: AnomalySettings) -> None:
    whole = run(Detectors(config), STREAM)
    before, behind = Detectors(config), Detectors(config)
    run(before, part(STREAM, slice(0, 90)))
    data = before.dump()
    resumed = behind.load(data)
    if config.detector == "half-space-trees":
        assert resumed.resumed
        same(run(behind, part(STREAM, slice(90, N))), Verdicts(*(column[90:] for column in whole)))
    else:
        assert data is None
        assert not resumed.resumed
        assert f"{config.detector} cannot be stored: it starts anew" in resumed.reason
        assert behind.payer.detector.learned == 0


def test_undo_and_rollback_never_fail(config: AnomalySettings) -> None:
    detectors = Detectors(config)
    detectors.rollback(detectors.undo())
    run(detectors, STREAM)


def test_rivers_trees_through_the_slow_path_are_our_trees() -> None:
    shipped = load_anomaly((MODELS / "anomaly.yaml").read_text(encoding="utf-8"), "anomaly.yaml")
    small = {**shipped.model_dump(), "trees": 5, "height": 4, "window": 30, "warm_up": 50, "quantile": 0.9}
    params = DETECTORS["river.anomaly.HalfSpaceTrees"]
    ours = AnomalySettings.model_validate(small)
    rivers = AnomalySettings.model_validate(
        {**small, "detector": "river.anomaly.HalfSpaceTrees", "params": params}
    )
    same(run(Detectors(ours), STREAM), run(Detectors(rivers), STREAM))
