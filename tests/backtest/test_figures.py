"""Every figure on the story, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stream_guard.alerts import decision_id
from stream_guard.feedback.hit_rate import wilson
from tests.backtest import story
from tests.backtest.story import DAY, HOUR

LENGTH = (3 * DAY + 13 * HOUR + 1 - DAY) / DAY
"""Days from the beginning of day 1 until after the last payment."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return story.tell(tmp_path_factory.mktemp("story")).document


def test_what_was_read_and_judged(found: dict[str, Any]) -> None:
    assert (found["events"], found["judged_events"], found["refused"]) == (8, 7, {})
    assert found["period"] == {
        "from": "2024-01-02T00:00:00Z",
        "until": "2024-01-04T13:00:00.001Z",
        "days": round(LENGTH, 4),
    }
    assert found["events_per_second"] > 0
    assert found["actions"] == {"allow": 3, "confirm": 0, "delay": 4, "hold": 0, "stop": 0}


def test_warnings_and_whom_they_are_about(found: dict[str, Any]) -> None:
    # A and C; B; V; X.
    assert (found["warnings"], found["warned_accounts"]) == (5, 5)
    assert (found["hits"], found["false_positives"]) == (2, 1)
    assert (found["on_victims"], found["on_unlisted"]) == (1, 1)
    assert found["warnings_a_day"] == pytest.approx(5 / LENGTH)


def test_hit_rate_recall_and_false_per_true(found: dict[str, Any]) -> None:
    assert found["hit_rate"] == 2 / 3
    assert found["hit_rate_interval"] == wilson(2, 3)
    assert found["recall"] == 1.0
    assert found["false_per_true"] == 0.5


def test_accounts_by_their_highest_score(found: dict[str, Any]) -> None:
    # A, B and V share 60, C has 55, D and F have 0. A and C are positive.
    accounts = found["accounts"]
    assert (accounts["candidates"], accounts["k"]) == (6, 2)
    assert accounts["hit_at_50"] == 2 / 50
    # Two of the three at 60 are looked at, and one of them is A.
    assert accounts["hit_at_k"] == pytest.approx((2 / 3) / 2)
    assert accounts["recall_at_2k"] == 1.0
    # A above D and F, even with B and V: 3 of 4; C above D and F: 2 of 4.
    assert accounts["auc"] == (3 + 2) / 8


def test_payments_by_their_score(found: dict[str, Any]) -> None:
    # Fraud: e1 60, e4 60, e2 0, e5 0. The others: e3 60, e6 60, e7 0.
    payments = found["transactions"]
    assert payments["auc"] == pytest.approx((2 * (0.5 + 0.5 + 1) + 2 * 0.5) / 12)
    assert payments["average_precision"] == pytest.approx(0.5 * 2 / 4 + 0.5 * 4 / 7)
    # Day 1: A; day 2: V; day 3: C at 0, with room for all: one of 100 places each.
    assert payments["card_precision_at_100"] == pytest.approx(0.01)


def test_amount_intercepted(found: dict[str, Any]) -> None:
    assert found["amount"] == {"fraud": 5_300.0, "intercepted": 4_500.0, "share": 4_500 / 5_300}


def test_lead(found: dict[str, Any]) -> None:
    # A: e2 an hour after e1. C: e5 25 hours after e4.
    assert found["lead"] == {
        "in_time": 2,
        "share": 1.0,
        "median_days": pytest.approx(13 / 24),
        "payments": 2,
        "amount": 800.0,
    }


def test_a_rule_by_itself(found: dict[str, Any]) -> None:
    assert list(found["rules"]) == ["large@1", "second-in@2", "shadowed@1", "anomaly"]
    large = found["rules"]["large@1"]
    assert (large["state"], large["account"], large["fired"], large["not_evaluable"]) == (
        "live",
        "payer",
        4,
        0,
    )
    assert (large["warnings"], large["hits"], large["false_positives"]) == (4, 1, 1)
    assert (large["hit_rate"], large["recall"], large["false_per_true"]) == (0.5, 0.5, 1.0)
    assert large["accounts"]["hit_at_k"] == pytest.approx((2 / 3) / 2)
    # A, and one of C, D and F for the fourth place.
    assert large["accounts"]["recall_at_2k"] == pytest.approx((1 + 1 / 3) / 2)
    assert large["amount"]["intercepted"] == 4_500.0
    assert (large["lead"]["in_time"], large["lead"]["payments"], large["lead"]["amount"]) == (1, 1, 100.0)


def test_a_rule_on_the_payee_by_itself(found: dict[str, Any]) -> None:
    second = found["rules"]["second-in@2"]
    assert (second["account"], second["fired"]) == ("payee", 1)
    assert (second["warnings"], second["hits"], second["hit_rate"]) == (1, 1, 1.0)
    assert second["accounts"]["hit_at_k"] == pytest.approx((1 + 1 / 5) / 2)
    # 55 only confirms, and confirm intercepts nothing.
    assert second["amount"]["intercepted"] == 0.0
    assert second["transactions"]["auc"] == pytest.approx((3 * 1 + 9 * 0.5) / 12)
    assert second["lead"]["amount"] == 700.0


def test_a_shadow_rule_is_shown_by_itself_and_counts_nowhere_else(found: dict[str, Any]) -> None:
    shadowed = found["rules"]["shadowed@1"]
    assert (shadowed["state"], shadowed["fired"], shadowed["warnings"]) == ("shadow", 5, 5)
    assert shadowed["marginal"] is None


def test_the_anomaly_model_by_itself(found: dict[str, Any]) -> None:
    anomaly = found["rules"]["anomaly"]
    assert (anomaly["fired"], anomaly["warnings"], anomaly["hit_rate"]) == (0, 0, None)
    assert anomaly["marginal"]["warnings"] == 0


def test_what_is_lost_without_a_rule(found: dict[str, Any]) -> None:
    marginal = found["rules"]["large@1"]["marginal"]
    assert (marginal["warnings"], marginal["hits"], marginal["false_positives"]) == (4, 1, 1)
    assert marginal["hit_rate"] == pytest.approx(2 / 3 - 1)
    assert marginal["recall"] == 0.5
    assert marginal["hit_at_k"] == pytest.approx((2 / 3) / 2 - (1 + 1 / 5) / 2)
    assert marginal["intercepted"] == 4_500.0
    marginal = found["rules"]["second-in@2"]["marginal"]
    assert (marginal["warnings"], marginal["hits"], marginal["false_positives"]) == (1, 1, 0)
    assert (marginal["intercepted"], marginal["recall"]) == (0.0, 0.5)


def test_typology_labels(found: dict[str, Any]) -> None:
    assert found["scenarios"] == {
        "out": {
            "payments": 3,
            "flagged": 2,
            "amount": 4_600.0,
            "intercepted": 4_500.0,
            "share": 4_500 / 4_600,
            "accounts": 2,
            "warned_accounts": 2,
            "recall": 1.0,
            "payments_after_warning": 1,
        },
        "cash": {
            "payments": 1,
            "flagged": 0,
            "amount": 700.0,
            "intercepted": 0.0,
            "share": 0.0,
            "accounts": 1,
            "warned_accounts": 1,
            "recall": 1.0,
            "payments_after_warning": 1,
        },
    }


def test_only_what_lies_before_until_is_read(tmp_path: Path) -> None:
    found = story.tell(tmp_path, until="2024-01-03").document
    assert (found["events"], found["judged_events"]) == (3, 2)
    # C has no fraud after that yet, but is party to e1.
    assert found["accounts"]["k"] == 2
    assert (found["warnings"], found["period"]["days"]) == (1, 1.0)


def test_without_event_labels_fraud_account_is_the_label(tmp_path: Path) -> None:
    found = story.tell(tmp_path, changed={"is_fraud": None, "fraud_scenario": None}).document
    # A, C and F; E has no payment.
    assert found["accounts"]["k"] == 3
    assert (found["hits"], found["false_positives"]) == (2, 1)
    assert found["amount"] == {"fraud": None, "intercepted": None, "share": None}
    assert found["transactions"]["auc"] is None
    assert found["lead"]["in_time"] is None
    assert found["scenarios"] == {}


def test_without_an_accounts_file_every_party_to_fraud_is_positive(tmp_path: Path) -> None:
    found = story.tell(tmp_path, accounts=None).document
    # A, B, C, V and X are party to fraud; D and F are not.
    assert (found["accounts"]["candidates"], found["accounts"]["k"]) == (7, 5)
    assert (found["hits"], found["false_positives"], found["on_unlisted"]) == (5, 0, 0)


def test_without_any_label_there_is_no_hit_rate(tmp_path: Path) -> None:
    found = story.tell(tmp_path, accounts=None, changed={"is_fraud": None, "fraud_scenario": None}).document
    assert (found["warnings"], found["hits"], found["hit_rate"], found["recall"]) == (5, None, None, None)
    assert found["accounts"]["hit_at_k"] is None


def test_what_happens_in_the_warm_up_opens_no_warning_that_would_hide_a_later_one(tmp_path: Path) -> None:
    # Judged from the start, e0 warns A, and e1 only adds to that warning.
    whole = story.tell(tmp_path, begin=None).document
    assert (whole["judged_events"], whole["warnings"]) == (8, 5)
    assert whole["lead"]["payments"] == 3


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_figure_depends_on_batch_boundaries(found: dict[str, Any], tmp_path: Path, at_once: int) -> None:
    other = story.tell(tmp_path, at_once=at_once).document
    for name in ("seconds", "events_per_second"):
        other[name] = found[name]
    assert other == found


def test_partitions_change_nothing_but_the_anomaly_model(found: dict[str, Any], tmp_path: Path) -> None:
    other = story.tell(tmp_path, where=story.context(partitions=7)).document
    assert other["partitions"] == 7
    for name in ("warnings", "hit_rate", "accounts", "transactions", "amount", "lead", "rules", "scenarios"):
        assert other[name] == found[name]


def test_the_decision_on_every_judged_payment_is_written(tmp_path: Path) -> None:
    file = tmp_path / "decisions.parquet"
    where = story.context(emit_all=True)
    story.tell(tmp_path, where=where, decisions=file)
    rows = pq.read_table(file).to_pylist()
    assert [row["event_id"] for row in rows] == ["e1", "e2", "e4", "e3", "e7", "e5", "e6"]
    first = rows[0]
    assert first["decision_id"] == decision_id("e1", where.pack.pack.hash)
    assert (first["action"], first["score"], first["payer_score"], first["payee_score"]) == (
        "delay",
        60,
        60,
        0,
    )
    assert '"rule":"large"' in first["reasons"]
    assert rows[1]["action"] == "allow"
    assert (rows[2]["payer_score"], rows[2]["payee_score"]) == (60, 55)
