from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest

from stream_guard.backtest.card_days import CardDay, CardPrecision

Payment = tuple[int, int, float, bool]
"""Day, payer, score, fraud."""


def ours(payments: list[Payment], top: int) -> float | None:
    precision = CardPrecision(top)
    for number in sorted({day for day, _, _, _ in payments}):
        today = [one for one in payments if one[0] == number]
        payers = np.array([payer for _, payer, _, _ in today])
        told = [one for one in today if one[2] > 0]
        precision.add(
            np.full(len(told), number),
            np.array([payer for _, payer, _, _ in told], np.int64),
            np.array([score for _, _, score, _ in told]),
        )
        precision.close(number, CardDay(payers, np.array([fraud for *_, fraud in today]), 50))
    return precision.value()


def handbook(payments: list[Payment], top: int) -> float:
    """The Fraud Detection Handbook's card_precision_top_k, with its names."""
    predictions_df = pd.DataFrame(
        payments, columns=["TX_TIME_DAYS", "CUSTOMER_ID", "predictions", "TX_FRAUD"]
    )
    detected: list[int] = []
    per_day = []
    for day in sorted(predictions_df["TX_TIME_DAYS"].unique()):
        df_day = predictions_df[predictions_df["TX_TIME_DAYS"] == day]
        df_day = df_day[["predictions", "CUSTOMER_ID", "TX_FRAUD"]]
        df_day = df_day[~df_day.CUSTOMER_ID.isin(detected)]
        df_day = df_day.groupby("CUSTOMER_ID").max().sort_values(by="predictions", ascending=False)
        df_day = df_day.reset_index(drop=False).head(top)
        found = list(df_day[df_day.TX_FRAUD == 1].CUSTOMER_ID)
        per_day.append(len(found) / top)
        detected.extend(found)
    return float(np.mean(per_day))


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_is_the_handbooks(seed: int) -> None:
    rng = random.Random(seed)
    payments = [
        (day, rng.randrange(40), rng.uniform(0.01, 100), rng.random() < 0.2)
        for day in range(8)
        for _ in range(rng.randrange(1, 60))
    ]
    assert ours(payments, 10) == pytest.approx(handbook(payments, 10))


def test_by_hand_a_detected_card_is_not_looked_at_again() -> None:
    # Top 2. Day 1: cards 1 (80, fraud) and 2 (70): 1/2. Day 2: card 1 is gone, 3 (60, fraud) and 2 (50): 1/2.
    day_1 = [(1, 1, 80.0, True), (1, 2, 70.0, False), (1, 3, 10.0, False)]
    day_2 = [(2, 1, 90.0, True), (2, 3, 60.0, True), (2, 2, 50.0, False)]
    assert ours(day_1 + day_2, 2) == 0.5
    # Were card 1 looked at again, day 2 would find two.
    assert ours(day_2, 2) == 1.0


def test_a_card_counts_as_its_highest_payment_and_as_fraud_by_any_payment() -> None:
    assert ours([(1, 1, 80.0, False), (1, 1, 0.0, True), (1, 2, 70.0, False)], 1) == 1.0


def test_by_hand_ties_count_as_expected_and_are_not_taken_to_be_detected() -> None:
    # Nothing scores: one place among two cards, one of them fraudulent, on both days.
    silent = [(day, card, 0.0, card == 1) for day in (1, 2) for card in (1, 2)]
    assert ours(silent, 1) == 0.5
    # Two places take both: card 1 is detected on day 1, day 2 finds nothing.
    assert ours(silent, 2) == 0.25


def test_places_that_nobody_fills_count_all_the_same() -> None:
    assert ours([(1, 1, 80.0, True)], 100) == 0.01


def test_payers_that_are_no_accounts_are_no_cards() -> None:
    assert ours([(1, -1, 99.0, True), (1, 2, 0.0, False)], 1) == 0.0


def test_no_day_no_figure() -> None:
    assert CardPrecision().value() is None
