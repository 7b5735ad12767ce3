from __future__ import annotations

import pytest

from stream_guard.tuning.grid import Axis, GridError, axis, points
from tests.backtest import story

LARGE = story.pack(story.TUNABLE).pack.rule("large")


def test_both_ends_are_tried_and_steps_are_round() -> None:
    assert axis("share=0.1:0.4:4") == Axis("share", (0.1, 0.2, 0.3, 0.4))
    assert axis("n=-2:2:3").values == (-2.0, 0.0, 2.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("least", "write NAME=lo:hi:steps"),
        ("least=1:2", "write NAME=lo:hi:steps"),
        ("least=1:nan:3", "write NAME=lo:hi:steps"),
        ("least=2:1:3", "lo must lie below hi"),
        ("least=1:2:1", "two steps or more"),
        ("least=1:2:101", "more than 100"),
        ("least=1e308:-1e308:3", "lo must lie below hi"),
    ],
)
def test_an_axis_that_cannot_be_meant_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(GridError, match=sentence):
        axis(text)


def test_all_combinations_are_tried_and_what_is_in_force() -> None:
    grid = points(LARGE, [axis("least=500:2000:2"), axis("score=50:70:2")])
    assert grid == [
        {"least": 500.0, "score": 50.0},
        {"least": 500.0, "score": 70.0},
        {"least": 1_000.0, "score": 60.0},
        {"least": 2_000.0, "score": 50.0},
        {"least": 2_000.0, "score": 70.0},
    ]
    assert points(LARGE, [axis("least=0:2000:3")]) == [{"least": 0.0}, {"least": 1_000.0}, {"least": 2_000.0}]


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        (["leest=1:2:2"], "large@1 has no parameter 'leest'.*least.*it has least, score"),
        (["least=1:2:2", "least=3:4:2"], "names least twice"),
        (["score=50:150:2"], "A score lies from 0 to 100"),
        (["least=1:100:100", "score=1:2:2"], "201 points"),
    ],
)
def test_what_the_rule_does_not_allow_is_refused(axes: list[str], sentence: str) -> None:
    with pytest.raises(GridError, match=sentence):
        points(LARGE, [axis(text) for text in axes])
