from __future__ import annotations

import json
import math
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.anomaly import AnomalyError, AnomalySettings, Detectors, load_anomaly
from stream_guard.detection.decide import Verdicts, decide
from stream_guard.detection.features import FEATURES, INDEX, N
from stream_guard.detection.policy import load_policy
from stream_guard.detection.river_detectors import RiverDetector
from stream_guard.detection.vocabulary import Side
from tests.detection.decide_reference import part, random_meta, random_stream

MODELS = Path(__file__).parents[2] / "models"
TEXT = (MODELS / "anomaly.yaml").read_text(encoding="utf-8")
SHIPPED = load_anomaly(TEXT, "anomaly.yaml")
POLICY = load_policy((MODELS / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")
INPUTS = "version: 1\npayer: [{feature: txn.amount, transform: log, high: 1e6}]\n"
INPUTS += "payee: [{feature: txn.amount, transform: log, high: 1e6}]\n"


def run(detectors: Detectors, stream: dict[str, Any]) -> Verdicts:
    rules = stream["results"].fired.shape[1]
    return decide(meta=random_meta(1, rules), detectors=detectors, policy=POLICY, **stream)


def after(settings_: AnomalySettings, n: int, seed: int = 3) -> Detectors:
    detectors = Detectors(settings_)
    run(detectors, random_stream(seed, n, 3))
    return detectors


def same(a: Verdicts, b: Verdicts) -> None:
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


# --- settings -------------------------------------------------------------------------------------


def test_the_shipped_model_has_the_defaults_of_the_contract() -> None:
    assert (SHIPPED.detector, SHIPPED.trees, SHIPPED.height) == ("half-space-trees", 25, 8)
    assert SHIPPED.quantile == 0.995
    for side in Side:
        assert 8 <= len(SHIPPED.inputs(side)) <= 10
        own = {FEATURES[INDEX[item.feature]].side for item in SHIPPED.inputs(side)}
        assert own <= {side.value, "pair", "txn"}


def test_the_two_sides_have_trees_of_their_own_and_partitions_agree() -> None:
    first, second = Detectors(SHIPPED), Detectors(SHIPPED)
    assert first.payer.trees is not None
    assert first.payee.trees is not None
    assert second.payer.trees is not None
    assert (first.payer.trees.threshold == second.payer.trees.threshold).all()
    assert (first.payer.trees.threshold != first.payee.trees.threshold).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1", r"a.yaml:\d+:\d+: payer: Field required"),
        (INPUTS + "tree: 5", r"a.yaml:\d+:\d+: tree: .*not permitted"),
        (INPUTS + "trees: 0", r"a.yaml:\d+:\d+: trees: "),
        (INPUTS + "quantile: 1", r"a.yaml:\d+:\d+: quantile: "),
        (INPUTS + "warm_up: 100", r"a.yaml:\d+:\d+: warm_up, 100, is below window, 250"),
        (INPUTS + "params: {nu: 0.1}", "params belong to a detector of River"),
        (INPUTS.replace("txn.amount", "txn.sum"), r"a.yaml:\d+:\d+: payer.0: there is no feature txn.sum"),
        (INPUTS.replace("txn.amount", "txn.channel"), r"a.yaml:\d+:\d+: payer.0: txn.channel is a text"),
        (INPUTS.replace("txn.amount", "payee.in_sum_24h"), "payer: payee.in_sum_24h is about the other side"),
        (INPUTS.replace("txn.amount", "txn.ip_listed"), "txn.ip_listed is a risk signal"),
        (
            INPUTS.replace("[{", "[{feature: txn.amount, transform: log, high: 1e6}, {"),
            "txn.amount is given twice",
        ),
        (
            INPUTS + "detector: trees",
            "there is no detector 'trees'; write half-space-trees or river.anomaly.NAME",
        ),
        (
            INPUTS + "detector: river.anomaly.GaussianScorer",
            "cannot be used; river.anomaly offers HalfSpaceTrees, LODA",
        ),
        (INPUTS + "detector: river.anomaly.base", "cannot be used"),
        (INPUTS + "detector: river.cluster.KMeans", "there is no detector"),
        (INPUTS + "detector: os.system", "there is no detector"),
        (INPUTS + "detector: river.anomaly.LODA\nparams: {cuts: 3}", "has no parameter cuts; it has n_bins"),
        (INPUTS + "detector: river.anomaly.LODA\nparams: {n_bins: [3]}", r"a.yaml:\d+:\d+: params.n_bins"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_place_and_cause(text: str, message: str) -> None:
    with pytest.raises(AnomalyError, match=message):
        load_anomaly(text, "a.yaml")


# --- stored state ---------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(n=st.sampled_from([0, 1, 249, 251, 300, 1200, 1500]), seed=st.integers(0, 100))
def test_a_restart_continues_as_if_nothing_had_happened(n: int, seed: int) -> None:
    stream = random_stream(seed, n + 600, 3)
    without = Detectors(SHIPPED)
    expected = run(without, stream)
    before, behind = Detectors(SHIPPED), Detectors(SHIPPED)
    run(before, part(stream, slice(0, n)))
    resumed = behind.load(before.dump())
    assert resumed.resumed
    assert f"{before.payer.detector.learned:,} payers" in resumed.reason
    same(run(behind, part(stream, slice(n, None))), Verdicts(*(column[n:] for column in expected)))
    assert behind.dump() == without.dump()


def test_the_stored_state_is_small_and_made_in_no_time() -> None:
    detectors = after(SHIPPED, 3000)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        data = detectors.dump()
        best = min(best, time.process_time() - start)
    assert data is not None
    assert len(data) < 30_000
    assert best < 0.005


CHANGES = {
    "a parameter": {"trees": 24},
    "the window": {"window": 200},
    "the seed": {"seed": 1},
    "the quantile": {"quantile": 0.99},
    "the list of features": {"payee": SHIPPED.payee[1:]},
    "the order of features": {"payer": SHIPPED.payer[::-1]},
    "a transform": {"payer": (SHIPPED.payer[0].model_copy(update={"high": 2e6}), *SHIPPED.payer[1:])},
    "a neutral value": {"payer": (SHIPPED.payer[0].model_copy(update={"missing": 0.0}), *SHIPPED.payer[1:])},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_starts_the_model_anew_and_says_so(change: str) -> None:
    data = after(SHIPPED, 1500).dump()
    detectors = Detectors(SHIPPED.model_copy(update=CHANGES[change]))
    resumed = detectors.load(data)
    assert not resumed.resumed
    assert (
        "starts anew and warms up again: its inputs, transforms or parameters have changed" in resumed.reason
    )
    assert detectors.payer.detector.learned == 0
    assert detectors.payer.warming_up


@pytest.mark.parametrize("change", [{"version": 9}, {"warm_up": 5000}])
def test_a_change_that_leaves_the_state_valid_keeps_it(change: dict[str, int]) -> None:
    detectors = Detectors(SHIPPED.model_copy(update=change))
    assert detectors.load(after(SHIPPED, 1500).dump()).resumed


def rewritten(data: bytes, change: Any) -> bytes:
    line, _, body = data.partition(b"\n")
    raw = bytearray(zlib.decompress(body))
    change(raw)
    return json.dumps({**json.loads(line), "length": len(raw)}).encode() + b"\n" + zlib.compress(bytes(raw))


def _more(raw: bytearray) -> None:
    raw.extend(b"\0" * 8)


def _one_more_learned(raw: bytearray) -> None:
    raw[0] ^= 1


def _mass(raw: bytearray) -> None:
    raw[8 + 17 * 8] += 1


def _nan(raw: bytearray) -> None:
    raw[8 + 24 : 8 + 32] = np.array([np.nan]).tobytes()


@pytest.mark.parametrize("change", [_more, _one_more_learned, _mass, _nan, lambda raw: raw.clear()])
def test_damaged_content_is_not_used(change: Any) -> None:
    data = after(SHIPPED, 1500).dump()
    assert data is not None
    assert Detectors(SHIPPED).load(rewritten(data, lambda raw: None)).resumed
    detectors = Detectors(SHIPPED)
    resumed = detectors.load(rewritten(data, change))
    assert not resumed.resumed
    assert "starts anew" in resumed.reason
    assert detectors.dump() == Detectors(SHIPPED).dump()


@pytest.mark.parametrize(
    "data",
    [None, b"", b"\n", b"{}\n", b"[1]\nx", b"\xff\xfe", b'{"format": 1}\n', b"null\nabc", b"[" * 100_000],
)
def test_no_state_or_garbage_starts_anew_and_says_so(data: bytes | None) -> None:
    resumed = Detectors(SHIPPED).load(data)
    assert not resumed.resumed
    assert "starts anew" in resumed.reason


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 4000), byte=st.integers(0, 255), end=st.integers(0, 4000))
def test_damaged_bytes_never_raise(at: int, byte: int, end: int) -> None:
    data = bytearray(STORED)
    data[at % len(data)] = byte
    for damaged in (bytes(data), STORED[: end % len(STORED)]):
        Detectors(SHIPPED).load(damaged)


STORED = after(SHIPPED, 400).dump() or b""


def test_rollback_returns_to_the_state_at_undo() -> None:
    detectors, stream = after(SHIPPED, 740), random_stream(8, 60, 3)
    before = detectors.dump()
    token = detectors.undo()
    first = run(detectors, stream)
    assert detectors.dump() != before
    detectors.rollback(token)
    assert detectors.dump() == before
    same(run(detectors, stream), first)


# --- what people read -----------------------------------------------------------------------------


def test_the_reason_names_score_quantile_and_every_feature_read() -> None:
    row = np.full(N, np.nan)
    row[INDEX["txn.amount"]] = 900_000.0
    text, evidence = Detectors(SHIPPED).payer.explain(row, 0.97, 0.95)
    assert text == "unlike the payers seen before: scores 0.9700, 99.5 % score below 0.9500"
    read = {name for item in SHIPPED.payer for name in (item.feature, item.against) if name}
    assert set(evidence) == {"anomaly.score", "anomaly.quantile", *read}
    assert evidence["txn.amount"] == 900_000.0
    assert evidence["payer.out_mean"] is None


def test_status_tells_what_was_learned_and_the_quantile() -> None:
    fresh = Detectors(SHIPPED).status()
    assert [entry[:3] for entry in fresh] == [("payer", 0, True), ("payee", 0, True)]
    assert all(math.isnan(entry[3]) for entry in fresh)
    detectors = after(SHIPPED, 3000)
    for model, (side, learned, warming, quantile) in zip(
        (detectors.payer, detectors.payee), detectors.status(), strict=True
    ):
        assert (side, learned) == (model.side, model.detector.learned)
        assert not warming
        assert 0.0 < quantile < 1.0


# --- detectors of River ---------------------------------------------------------------------------


def test_a_river_detector_that_gives_no_finite_score_scores_nan() -> None:
    detector = RiverDetector("river.anomaly.OneClassSVM", {}, 1)
    detector.learn_one({"x": 1.0})
    assert math.isnan(detector.score_one({"x": math.inf}))
    assert math.isfinite(detector.score_one({"x": 0.5}))


def test_parameters_a_river_detector_refuses_are_a_sentence() -> None:
    with pytest.raises(ValueError, match="OneClassSVM refuses its parameters"):
        RiverDetector("river.anomaly.OneClassSVM", {"nu": "much"}, 1)
