from __future__ import annotations

import math
from typing import Any

import pytest

from stream_guard.detection.hashing import text_code
from stream_guard.detection.rules import parser
from stream_guard.detection.rules.evaluator import terms, truth, value

NAN = math.nan
T, F, U = True, False, None
AND = {(T, T): T, (T, F): F, (T, U): U, (F, T): F, (F, F): F, (F, U): F, (U, T): U, (U, F): F, (U, U): U}
OR = {(T, T): T, (T, F): T, (T, U): T, (F, T): T, (F, F): F, (F, U): U, (U, T): T, (U, F): U, (U, U): U}
CODE = {T: 1.0, F: 0.0, U: NAN}


@pytest.mark.parametrize(("pair", "result"), AND.items())
def test_and_is_kleenes(row: Any, pair: tuple[bool | None, bool | None], result: bool | None) -> None:
    tree = parser.condition("txn.night and pair.seen_before", [])
    assert truth(tree, row(txn__night=CODE[pair[0]], pair__seen_before=CODE[pair[1]]), {}) is result


@pytest.mark.parametrize(("pair", "result"), OR.items())
def test_or_is_kleenes(row: Any, pair: tuple[bool | None, bool | None], result: bool | None) -> None:
    tree = parser.condition("txn.night or pair.seen_before", [])
    assert truth(tree, row(txn__night=CODE[pair[0]], pair__seen_before=CODE[pair[1]]), {}) is result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("not txn.night", U),
        ("txn.amount > 1", U),
        ("txn.amount != 1", U),
        ("txn.amount == txn.amount", U),
        ("txn.type == 'A'", U),
        ("txn.type != 'A'", U),
        ("txn.type in ['A']", U),
        ("txn.type not in ['A']", U),
        ("txn.amount * 0 == 0", U),
        ("min(txn.amount, 1) <= 1", U),
        ("max(1, txn.amount) >= 1", U),
        ("missing(txn.amount)", T),
        ("not missing(txn.amount)", F),
        ("missing(txn.type)", T),
        ("missing(txn.night)", T),
        ("missing(txn.amount + 1)", T),
        ("if_missing(txn.amount, 7) == 7", T),
        ("txn.amount > 1 or missing(txn.amount)", T),
        ("txn.amount > 1 and not missing(txn.amount)", F),
    ],
)
def test_a_missing_value_is_a_missing_value_and_never_0(row: Any, text: str, result: bool | None) -> None:
    assert truth(parser.condition(text, []), row(), {}) is result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("txn.amount / zero", NAN),
        ("zero / txn.amount", 0.0),
        ("txn.amount / -two", -3.0),
        ("ratio(txn.amount, two)", 3.0),
        ("ratio(txn.amount, zero)", NAN),
        ("ratio(txn.amount, -two)", NAN),
        ("abs(-txn.amount)", 6.0),
        ("min(txn.amount, 9, two)", 2.0),
        ("max(txn.amount, 9, two)", 9.0),
        ("txn.amount - 2 - 1", 3.0),
        ("txn.amount - (2 - 1)", 5.0),
        ("2 + txn.amount * 2", 14.0),
        ("-txn.amount * 2", -12.0),
    ],
)
def test_arithmetic(row: Any, text: str, expected: float) -> None:
    tree = parser.number(text, ["zero", "two"])
    assert value(tree, row(txn__amount=6), {"zero": 0.0, "two": 2.0}) == pytest.approx(expected, nan_ok=True)


def test_texts_are_compared_by_their_code_and_case_matters(row: Any) -> None:
    here = row(txn__type=text_code("TRANSFER"))
    says = {
        text: truth(parser.condition(text, []), here, {})
        for text in (
            "txn.type == 'TRANSFER'",
            "txn.type == 'transfer'",
            "txn.type in ['A', 'TRANSFER']",
            "txn.type != 'A'",
        )
    }
    assert list(says.values()) == [True, False, True, True]


def test_an_explanation_lists_every_term_with_its_values(row: Any) -> None:
    tree = parser.condition("txn.amount > low and (txn.night or not missing(payer.idle_s))", ["low"])
    found = terms(tree, row(txn__amount=5, txn__night=0), {"low": 3.0})
    assert [(term.depth, term.text, term.result) for term in found] == [
        (0, "and", False),
        (1, "txn.amount > low", True),
        (1, "or", False),
        (2, "txn.night", False),
        (2, "not", False),
        (3, "missing(payer.idle_s)", True),
    ]
    assert found[1].values == {"txn.amount": 5.0, "low": 3.0}
    assert found[5].values == {"payer.idle_s": None}
