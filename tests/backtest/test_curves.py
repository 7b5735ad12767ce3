"""The curves on the story, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream_guard.backtest.picture import Picture
from tests.backtest import story
from tests.backtest.test_figures import LENGTH


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Picture, dict[str, Any]]:
    result = story.tell(tmp_path_factory.mktemp("curves"), keep_picture=True)
    assert result.picture is not None
    return result.picture, result.document


def test_hit_rate_by_threshold(told: tuple[Picture, dict[str, Any]]) -> None:
    # A and B have 60, C has 55; V is a victim, X in no file, D and F never had a reason.
    assert told[0].curves["by_threshold"] == [
        {"score": 60.0, "warned": 2, "a_day": pytest.approx(2 / LENGTH), "hits": 1, "hit_rate": 0.5},
        {"score": 55.0, "warned": 3, "a_day": pytest.approx(3 / LENGTH), "hits": 2, "hit_rate": 2 / 3},
    ]


def test_hits_by_rank_pass_through_the_figures(told: tuple[Picture, dict[str, Any]]) -> None:
    # A, B and V share the first three places, C has the fourth.
    hits = {point["rank"]: point["hits"] for point in told[0].curves["by_rank"]}
    assert hits == pytest.approx({1: 1 / 3, 2: 2 / 3, 3: 1.0, 4: 2.0, 5: 2.0, 6: 2.0})
    assert hits[2] / 2 == told[1]["accounts"]["hit_at_k"]
    assert hits[4] / 2 == told[1]["accounts"]["recall_at_2k"]


def test_warnings_by_day(told: tuple[Picture, dict[str, Any]]) -> None:
    # A; C and B and the victim V; X, which stands in no file.
    assert told[0].curves["by_day"] == [
        {"day": "2024-01-02", "hits": 1, "false_positives": 0, "others": 0},
        {"day": "2024-01-03", "hits": 1, "false_positives": 1, "others": 1},
        {"day": "2024-01-04", "hits": 0, "false_positives": 0, "others": 1},
    ]


def test_accounts_by_score(told: tuple[Picture, dict[str, Any]]) -> None:
    classes = {one["to"]: (one["positives"], one["others"]) for one in told[0].curves["by_score"]}
    assert {to: counts for to, counts in classes.items() if counts != (0, 0)} == {
        0: (0, 2),
        55: (1, 0),
        60: (1, 2),
    }
    assert sum(map(sum, classes.values())) == told[1]["accounts"]["candidates"]


def test_money_by_day_ends_at_the_figures(told: tuple[Picture, dict[str, Any]]) -> None:
    days, document = told[0].curves["money"], told[1]
    assert days == [
        {"day": "2024-01-02", "fraud": 1_600.0, "intercepted": 1_500.0, "after_warning": 100.0},
        {"day": "2024-01-03", "fraud": 4_600.0, "intercepted": 4_500.0, "after_warning": 100.0},
        {"day": "2024-01-04", "fraud": 5_300.0, "intercepted": 4_500.0, "after_warning": 800.0},
    ]
    assert days[-1]["fraud"] == document["amount"]["fraud"]
    assert days[-1]["intercepted"] == document["amount"]["intercepted"]
    assert days[-1]["after_warning"] == document["lead"]["amount"]


def test_best_and_worst_warnings(told: tuple[Picture, dict[str, Any]]) -> None:
    picture, _ = told
    assert [(warning["account"], warning["later"]) for warning in picture.best] == [
        ("C", 700.0),
        ("A", 100.0),
    ]
    # Neither the victim V nor X, which stands in no file.
    assert [(warning["account"], warning["score"]) for warning in picture.worst] == [("B", 60.0)]


def test_a_warning_is_shown_as_it_stood_in_the_end(tmp_path: Path) -> None:
    # Judged from the start e0 warns A, and e1 joins that warning.
    picture = story.tell(tmp_path, begin=None, keep_picture=True).picture
    assert picture is not None
    shown = {warning["account"]: warning for warning in picture.best}
    assert shown["A"]["opened_at"] == story.T0 + 6 * story.HOUR
    assert shown["A"]["later"] == 1_600.0


def test_a_picture_is_made_only_where_it_is_asked_for(tmp_path: Path) -> None:
    assert story.tell(tmp_path).picture is None


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_curve_depends_on_batch_boundaries(
    told: tuple[Picture, dict[str, Any]], tmp_path: Path, at_once: int
) -> None:
    assert story.tell(tmp_path, keep_picture=True, at_once=at_once).picture == told[0]
