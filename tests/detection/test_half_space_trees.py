from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import anomaly

from stream_guard.detection.half_space_trees import HalfSpaceTrees


@settings(max_examples=25, deadline=None)
@given(
    trees=st.integers(1, 6),
    height=st.integers(1, 7),
    window=st.sampled_from([1, 2, 7, 20, 50]),
    columns=st.integers(1, 6),
    seed=st.integers(0, 2**31),
    missing=st.booleans(),
)
def test_scores_are_rivers_over_windows_and_size_limits(
    trees: int, height: int, window: int, columns: int, seed: int, missing: bool
) -> None:
    rng = random.Random(seed)
    names = [f"f{j}" for j in range(columns)]
    rng.shuffle(names)
    rivers = anomaly.HalfSpaceTrees(trees, height, window, seed=seed)
    given_names = HalfSpaceTrees(trees, height, window, seed=seed, features=names)
    by_first = HalfSpaceTrees(trees, height, window, seed=seed)
    for i in range(3 * window + 30):
        x = {name: rng.choice([rng.betavariate(0.5, 2.0), 0.0, 0.5, 1.0]) for name in names}
        if missing and i and columns > 1 and rng.random() < 0.3:
            del x[rng.choice(names)]
        expected = rivers.score_one(x)
        assert given_names.score_one(x) == expected
        assert by_first.score_one(x) == expected
        for detector in (rivers, given_names, by_first):
            detector.learn_one(x)


def test_shipped_size_scores_like_river_through_windows() -> None:
    rng = np.random.default_rng(3)
    names = [f"f{j}" for j in range(9)]
    matrix = rng.beta(0.5, 2.0, (900, 9))
    rivers = anomaly.HalfSpaceTrees(25, 8, 250, seed=20)
    ours = HalfSpaceTrees(25, 8, 250, seed=20, features=names)
    for at in range(0, 900, 100):
        block = matrix[at : at + 100]
        scores = ours.score_many(block)
        assert scores.tolist() == [rivers.score_one(dict(zip(names, row, strict=True))) for row in block]
        ours.learn_many(block)
        for row in block:
            rivers.learn_one(dict(zip(names, row, strict=True)))


def test_columns_may_come_in_any_order() -> None:
    rng = np.random.default_rng(4)
    matrix = rng.random((200, 3))
    straight = HalfSpaceTrees(5, 4, 50, seed=1, features=["a", "b", "c"])
    turned = HalfSpaceTrees(5, 4, 50, seed=1, features=["c", "a", "b"])
    straight.learn_many(matrix)
    turned.learn_many(np.ascontiguousarray(matrix[:, [2, 0, 1]]))
    assert (
        straight.score_many(matrix) == turned.score_many(np.ascontiguousarray(matrix[:, [2, 0, 1]]))
    ).all()


def test_limits_of_a_feature_are_rivers() -> None:
    limits = {"x": (-10.0, 10.0)}
    rivers = anomaly.HalfSpaceTrees(5, 4, 10, limits=limits, seed=3)
    ours = HalfSpaceTrees(5, 4, 10, limits=limits, seed=3)
    rng = random.Random(0)
    for _ in range(40):
        x = {"x": rng.gauss(0, 3), "y": rng.random()}
        assert ours.score_one(x) == rivers.score_one(x)
        ours.learn_one(x)
        rivers.learn_one(x)


def test_the_first_window_scores_0_and_the_next_payment_does_not() -> None:
    trees = HalfSpaceTrees(5, 4, 10, seed=3, features=["x"])
    for i in range(10):
        assert trees.score_one({"x": 0.9}) == 0.0
        assert trees.score_many(np.array([[0.9]])).tolist() == [0.0]
        assert trees.learned == i
        trees.learn_one({"x": 0.1})
    assert trees.score_one({"x": 0.9}) > trees.score_one({"x": 0.1})


def test_without_a_seed_two_detectors_differ() -> None:
    a, b = HalfSpaceTrees(features=["x", "y"]), HalfSpaceTrees(features=["x", "y"])
    assert (a.threshold != b.threshold).any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_trees": 0}, "n_trees"),
        ({"height": 0}, "height"),
        ({"height": 13}, "height"),
        ({"window_size": 0}, "window_size"),
        ({"window_size": 65_536}, "window_size"),
        ({"features": []}, "features"),
        ({"features": ["x", "x"]}, "features"),
    ],
)
def test_parameters_out_of_bounds_are_refused(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HalfSpaceTrees(**parameters)  # type: ignore[arg-type]


def test_a_matrix_needs_named_columns_and_their_number() -> None:
    with pytest.raises(ValueError, match="names of the columns"):
        HalfSpaceTrees().learn_many(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="2 columns"):
        HalfSpaceTrees(features=["x", "y"]).score_many(np.zeros((1, 3)))
