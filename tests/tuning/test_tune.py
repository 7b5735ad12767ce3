"""A grid on the story, worked out by hand, and against a backtest for every value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_guard.backtest import PeriodError
from stream_guard.detection.state import Context
from stream_guard.tuning.choice import choose
from stream_guard.tuning.grid import axis, points
from stream_guard.tuning.pack_text import with_values
from stream_guard.tuning.tune import Tried, Tuned, tune
from tests.backtest import story
from tests.backtest.test_figures import LENGTH
from tests.detection.builders import KERNELS

VALUES = [500.0, 800.0, 1_000.0, 1_100.0, 1_400.0, 1_700.0, 2_000.0]


def where(text: str = story.TUNABLE) -> Context:
    return story.context(pack=story.pack(text))


def tried(folder: Path, *, text: str = story.TUNABLE, **options: Any) -> Tuned:
    context = where(text)
    rule = context.pack.pack.rule("large")
    grid = points(rule, [axis("least=500:2000:6")])
    return tune(story.inputs(folder, **options), context, rule, grid, KERNELS, at_once=3)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tried(tmp_path_factory.mktemp("tune"))


def of(one: Tried, name: str) -> tuple[Any, Any]:
    return one.alone[name], one.pack[name]


def test_the_grid_by_hand(tuned: Tuned) -> None:
    assert [one.values["least"] for one in tuned.tried] == VALUES
    assert [one.now for one in tuned.tried] == [value == 1_000.0 for value in VALUES]
    assert (tuned.events, tuned.judged_events) == (8, 7)
    # From 500 on A, V, B, C and X are warned; from 800 on without C; from 1,400 without B; then without A.
    assert [one.alone["warnings"] for one in tuned.tried] == [5, 4, 4, 4, 3, 2, 2]
    assert [one.alone["hits"] for one in tuned.tried] == [2, 1, 1, 1, 1, 0, 0]
    assert [one.alone["false_positives"] for one in tuned.tried] == [1, 1, 1, 1, 0, 0, 0]
    assert [one.alone["recall"] for one in tuned.tried] == [1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    assert tuned.tried[4].alone["warnings_a_day"] == pytest.approx(3 / LENGTH)
    # second-in warns C all the same.
    assert [one.pack["warnings"] for one in tuned.tried] == [5, 5, 5, 5, 4, 3, 3]
    assert [one.pack["hits"] for one in tuned.tried] == [2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("value", [500.0, 1_400.0])
def test_a_point_is_what_a_backtest_with_its_value_finds(tuned: Tuned, tmp_path: Path, value: float) -> None:
    text = with_values(story.TUNABLE, "story.yaml", {("large", "least"): value})
    found = story.tell(tmp_path, where=where(text)).document
    one = tuned.tried[VALUES.index(value)]
    alone = found["rules"]["large@2"]
    assert one.alone == {name: alone[name] for name in one.alone}
    assert one.pack == {name: found[name] for name in one.pack}


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = story.note_counts(monkeypatch)
    tried(tmp_path)
    assert sum(counted) == len(story.EVENTS)


@pytest.mark.parametrize("state", ["shadow", "off"])
def test_a_rule_that_does_not_count_yet_is_tuned_as_if_it_did(
    tuned: Tuned, tmp_path: Path, state: str
) -> None:
    text = story.TUNABLE.replace("    params:", f"    state: {state}\n    params:", 1)
    found = tried(tmp_path, text=text)
    assert [one.alone for one in found.tried] == [one.alone for one in tuned.tried]
    assert [one.pack for one in found.tried] == [one.pack for one in tuned.tried]


def test_within_the_budget_most_fraud_is_reached_and_then_the_hit_rate_decides(tuned: Tuned) -> None:
    choice = choose(tuned, budget=1.6)
    assert choice.tried is not None
    assert choice.tried.values == {"least": 1_400.0}
    assert choice.why == (
        "6 of 7 values open at most 1.6 warnings a day; of these least = 1_400 reaches most fraud accounts:"
        " recall 50.0%, hit rate 100.0%, 1.18 warnings a day. 3 others reach as many, at no higher hit rate."
        " More would take least = 500: recall 100.0%, hit rate 66.7%, 1.97 warnings a day. In force is"
        " least = 1_000: recall 50.0%, hit rate 50.0%, 1.57 warnings a day."
    )


def test_a_larger_budget_reaches_more(tuned: Tuned) -> None:
    choice = choose(tuned, budget=10)
    assert choice.tried is not None
    assert choice.tried.values == {"least": 500.0}
    assert "More would take" not in choice.why


def test_of_equals_the_values_in_force_stay(tmp_path: Path) -> None:
    context = where()
    rule = context.pack.pack.rule("large")
    equals = tune(story.inputs(tmp_path), context, rule, points(rule, [axis("least=800:1100:2")]), KERNELS)
    choice = choose(equals, budget=10)
    assert choice.tried is not None
    assert choice.tried.now
    assert choice.why.endswith("These values are in force.")


def test_where_nothing_can_be_chosen_it_is_said_why(tuned: Tuned, tmp_path: Path) -> None:
    assert choose(tuned, 0.5).tried is None
    assert "the fewest are 0.79, with least = 1_700" in choose(tuned, 0.5).why
    assert "reaches a fraud account" in choose(tuned, 1.0).why
    blind = tried(tmp_path, accounts=None, changed={"is_fraud": None, "fraud_scenario": None})
    assert choose(blind, 10).tried is None
    assert "does not say what was fraud" in choose(blind, 10).why


def test_a_period_without_payments_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(PeriodError, match="there is none in that time"):
        tried(tmp_path, begin="2024-01-03T10:00:00Z", until="2024-01-03T11:00:00Z")
