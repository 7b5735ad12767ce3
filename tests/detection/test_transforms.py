from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.features import INDEX, N
from stream_guard.detection.transforms import Input, Transform, plan, transform
from tests.detection.decide_reference import transformed

AMOUNT, MEAN = "txn.amount", "payer.out_mean"


def row(amount: float, mean: float = 1.0) -> np.ndarray:
    out = np.full((1, N), np.nan)
    out[0, INDEX[AMOUNT]], out[0, INDEX[MEAN]] = amount, mean
    return out


def apply(item: Input, amount: float, mean: float = 1.0) -> float:
    return float(transform(row(amount, mean), plan([item]))[0, 0])


LINEAR = Input(feature=AMOUNT, transform=Transform.LINEAR, low=10, high=20, missing=0.25)
LOG = Input(feature=AMOUNT, transform=Transform.LOG, high=999, missing=0.25)
SHARE = Input(feature=AMOUNT, transform=Transform.SHARE, against=MEAN, missing=0.25)
RATIO = Input(feature=AMOUNT, transform=Transform.LOG_RATIO, against=MEAN, high=100, missing=0.25)


@pytest.mark.parametrize(
    ("item", "amount", "mean", "expected"),
    [
        (LINEAR, 10, 1, 0.0),
        (LINEAR, 15, 1, 0.5),
        (LINEAR, 99, 1, 1.0),
        (LINEAR, -99, 1, 0.0),
        (LOG, 0, 1, 0.0),
        (LOG, 999, 1, 1.0),
        (LOG, math.sqrt(1000) - 1, 1, 0.5),
        (LOG, -5, 1, 0.0),
        (SHARE, 30, 10, 0.75),
        (SHARE, 0, 10, 0.0),
        (RATIO, 50, 50, 0.5),
        (RATIO, 500, 50, 0.75),
        (RATIO, 50, 5000, 0.0),
        (RATIO, 0, 5, 0.0),
        (RATIO, 5, 0, 1.0),
    ],
)
def test_a_value_lands_where_the_documentation_says(
    item: Input, amount: float, mean: float, expected: float
) -> None:
    assert apply(item, amount, mean) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("item", [LINEAR, LOG, SHARE, RATIO])
def test_a_missing_value_becomes_the_documented_neutral_one(item: Input) -> None:
    assert apply(item, math.nan) == 0.25
    assert Input(feature=AMOUNT, transform=Transform.LOG, high=10).missing == 0.5


@pytest.mark.parametrize("item", [SHARE, RATIO])
def test_nothing_against_nothing_or_a_missing_habit_is_neutral(item: Input) -> None:
    assert apply(item, 0.0, 0.0) == 0.25
    assert apply(item, 5.0, math.nan) == 0.25


@settings(max_examples=200, deadline=None)
@given(
    item=st.sampled_from([LINEAR, LOG, SHARE, RATIO]),
    amount=st.one_of(st.floats(0.01, 1e15), st.just(0.0), st.just(math.nan)),
    mean=st.one_of(st.floats(0.01, 1e15), st.just(0.0), st.just(math.nan)),
)
def test_every_input_is_in_0_to_1_and_as_the_plain_formula_says(
    item: Input, amount: float, mean: float
) -> None:
    x = apply(item, amount, mean)
    assert 0.0 <= x <= 1.0
    assert x == pytest.approx(transformed(item, row(amount, mean)[0]), abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"feature": "payer.out_sum_25h", "transform": "log", "high": 5},
            "there is no feature payer.out_sum_25h",
        ),
        ({"feature": "txn.type", "transform": "linear"}, "is a text"),
        ({"feature": AMOUNT, "transform": "share"}, "need `against`"),
        ({"feature": AMOUNT, "transform": "log", "high": 5, "against": MEAN}, "other transforms have none"),
        ({"feature": AMOUNT, "transform": "linear", "low": 1, "high": 1}, "high above low"),
        ({"feature": AMOUNT, "transform": "log", "high": 0}, "high above 0"),
        ({"feature": AMOUNT, "transform": "log_ratio", "against": MEAN, "high": 1}, "high above 1"),
        ({"feature": AMOUNT, "transform": "log", "high": 5, "missing": 1.5}, "less than or equal to 1"),
        ({"feature": AMOUNT, "transform": "log", "high": math.nan}, "finite"),
        ({"feature": AMOUNT, "transform": "sqrt"}, "linear"),
    ],
)
def test_an_input_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Input.model_validate(fields)
