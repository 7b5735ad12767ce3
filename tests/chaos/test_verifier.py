"""The verifier finds what it is there to find: each kind of harm, done to a right output."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from stream_guard.alerts import warning_id
from tests.chaos import histories, reference
from tests.chaos.verifier import NUMBERS, Sent, Verdict, judge_alerts, judge_decisions

PARTITIONS = 4


@pytest.fixture(scope="module")
def sent() -> Sent:
    history = histories.made_up(3, 800, busy=1, busy_payments=20)
    payments = history.payments.assign(produced=np.arange(800.0))
    return Sent(payments, histories.probes(history), history.busy, PARTITIONS)


@pytest.fixture(scope="module")
def right(sent: Sent) -> pd.DataFrame:
    """Decisions as they would be if every payment were applied at both ends in the order sent."""
    payments = sent.payments
    parts = [
        payments[["event_id", "account", "counterparty", "amount"]],
        reference.of_payers(payments),
        reference.of_payees(payments),
    ]
    first = pd.concat(parts, axis=1).assign(decided_at=payments["produced"] + 5.0)
    probes = sent.probes[["event_id", "account", "counterparty", "amount"]].reset_index(drop=True)
    totals = reference.of_totals(payments, probes["account"]).reset_index(drop=True)
    last = pd.concat([probes, totals], axis=1).assign(decided_at=5_000.0)
    made = pd.concat([first, last], ignore_index=True)
    made["decision_id"] = "of " + made["event_id"]
    made["content"] = np.arange(len(made), dtype=float)
    return made.reindex(columns=["event_id", "account", "counterparty", "decision_id", *NUMBERS,
                                 *reference.FIGURES]).fillna({"repeat": 0.0})  # fmt: skip


def judged(sent: Sent, made: pd.DataFrame) -> Verdict:
    verdict = Verdict()
    judge_decisions(verdict, sent, made)
    return verdict


def with_repeat(made: pd.DataFrame, **changes: Any) -> pd.DataFrame:
    """The tenth decision once more, later."""
    again = made.iloc[[9]].assign(decided_at=6_000.0, **changes)
    return pd.concat([made, again], ignore_index=True)


def test_a_right_run_is_fine(sent: Sent, right: pd.DataFrame) -> None:
    verdict = judged(sent, right)
    verdict.require_fine()
    assert (verdict.decided, verdict.distinct) == (len(right), len(right))
    assert verdict.standstill_s == pytest.approx(0.005)


def test_repeats_are_counted_and_allowed(sent: Sent, right: pd.DataFrame) -> None:
    verdict = judged(sent, with_repeat(right))
    verdict.require_fine()
    assert (verdict.repeated, verdict.changed) == (1, 0)
    verdict = judged(sent, with_repeat(right, content=-1.0))
    verdict.require_fine()
    assert (verdict.repeated, verdict.changed) == (1, 1)


def moved(name: str, by: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def harm(made: pd.DataFrame) -> pd.DataFrame:
        made = made.copy()
        made.loc[made.index[100], name] += by
        return made

    return harm


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda made: made.drop(index=100), "1 without a decision"),
        (lambda made: made.assign(event_id=made["event_id"].replace("e0000100", "x")), "nobody sent"),
        (moved("payer.out_count_24h", 1.0), "payer.out_count_24h differs for 1"),
        (moved("payee.in_count", 1.0), "missed or counted twice"),
        (moved("payee.in_sum_7d", 0.01), "payee.in_sum_7d differs for 1"),
        (moved("amount", 1.0), "name other parties or amounts"),
        (lambda made: made.assign(repeat=(made.index == 7) * 1.0), "were taken for ones sent again"),
    ],
)
def test_harm_is_found(
    sent: Sent, right: pd.DataFrame, harm: Callable[[pd.DataFrame], pd.DataFrame], sentence: str
) -> None:
    verdict = judged(sent, harm(right))
    with pytest.raises(AssertionError, match=sentence):
        verdict.require_fine()


def test_a_wrong_total_at_the_end_is_found(sent: Sent, right: pd.DataFrame) -> None:
    made = right.copy()
    made.loc[made.index[-1], "payer.in_count"] += 1
    verdict = judged(sent, made)
    assert verdict.wrong == 1
    assert "payer.in_count differs for 1" in verdict.sentences[0]


def test_a_partition_that_stood_still_is_told_from_one_that_had_nothing_to_do(
    sent: Sent, right: pd.DataFrame
) -> None:
    made = right.copy()
    later = made.index[(made.index >= 400) & (made.index < 800)]
    made.loc[later, "decided_at"] += 3_000.0
    assert judged(sent, made).standstill_s > 2.9
    waits_for_input = sent.payments.assign(produced=made["decided_at"].iloc[:800] - 5.0)
    assert judged(sent._replace(payments=waits_for_input), made).standstill_s == pytest.approx(0.005)


def alert(revision: int, account: str = "A", event: str = "e1", status: str = "opened") -> Any:
    value = {
        "warning_id": warning_id(account, event), "revision": revision, "account": account, "side": "payer",
        "status": status if revision == 1 else "updated", "severity": "low", "score": 60.0, "reasons": [],
        "event_ids": [event], "amount": 1.0, "opened_at": 1, "updated_at": 1, "closed_by": None,
        "outcome": None, "pack": "p",
    }  # fmt: skip
    return SimpleNamespace(partition=lambda: 0, offset=lambda: revision, value=lambda: orjson.dumps(value))


@pytest.mark.parametrize(
    ("alerts", "twice", "missing"),
    [
        ([alert(1), alert(2)], 0, 0),
        ([alert(1), alert(1), alert(2)], 1, 0),
        ([alert(1), alert(3)], 0, 1),
        ([alert(1), alert(1, event="e2")], 1, 0),
        ([alert(1), alert(1, account="B")], 1, 0),
        ([], 0, 1),
    ],
)
def test_alerts_twice_and_missing_are_counted(alerts: list[Any], twice: int, missing: int) -> None:
    decided = pd.DataFrame(
        {"event_id": ["e1", "e2"], "account": ["A", "C"], "counterparty": ["B", "D"], "repeat": [0.0, 0.0],
         "payer_score": [60.0, 0.0], "payee_score": [0.0, 49.0], "payer_warn": [0.0, 0.0],
         "payee_warn": [0.0, 0.0]}
    )  # fmt: skip
    verdict = Verdict()
    judge_alerts(verdict, alerts, decided)
    assert (verdict.alerts_twice, verdict.alerts_missing) == (twice, missing)
    assert bool(verdict.sentences) == bool(twice or missing)
