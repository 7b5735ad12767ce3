from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.rules import parser
from stream_guard.detection.rules.errors import ExpressionError
from stream_guard.detection.rules.expression import (
    And,
    Compare,
    Member,
    Not,
    canonical,
    features_of,
    params_of,
)

PARAMS = ["min_in", "share"]


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("payer.in_sum_24h >= 50_000", "payer.in_sum_24h >= 50000"),
        ("1 < txn.amount <= min_in", "1 < txn.amount and txn.amount <= min_in"),
        ("(txn.night)", "txn.night"),
        (
            "txn.night and (pair.seen_before and not txn.night)",
            "txn.night and pair.seen_before and not txn.night",
        ),
        ("txn.night or pair.seen_before and txn.night", "txn.night or pair.seen_before and txn.night"),
        ("(txn.night or pair.seen_before) and txn.night", "(txn.night or pair.seen_before) and txn.night"),
        ("txn.type=='TRANSFER'", 'txn.type == "TRANSFER"'),
        ("txn.type == 'say \"hello\"'", "txn.type == 'say \"hello\"'"),
        ("txn.type in ('A', 'B')", 'txn.type in ["A", "B"]'),
        ("txn.type not in ['A']", 'not txn.type in ["A"]'),
        ("txn.weekday in (5, 6)", "txn.weekday in [5, 6]"),
        ("txn.hour in (-1, -0)", "txn.hour in [-1, 0]"),
        ("payer.kind == payee.kind", "payer.kind == payee.kind"),
        ("missing(payer.idle_s)", "missing(payer.idle_s)"),
        (
            "missing(payer.kind) or missing(pair.seen_before)",
            "missing(payer.kind) or missing(pair.seen_before)",
        ),
        ("missing(txn.amount / share)", "missing(txn.amount / share)"),
        ("if_missing(payer.out_max, 0) < 1e3", "if_missing(payer.out_max, 0) < 1000"),
        ("txn.amount - (1 - share) > -(2 + share)", "txn.amount - (1 - share) > -(2 + share)"),
        ("(txn.amount * 2) / 3 > 2 * (txn.amount / 3)", "txn.amount * 2 / 3 > 2 * (txn.amount / 3)"),
        (
            "min(txn.amount, share, 1) == max(1, txn.amount)",
            "min(txn.amount, share, 1) == max(1, txn.amount)",
        ),
        ("  txn.amount\n  > 1\n", "txn.amount > 1"),
        ("txn.amount > 0.1", "txn.amount > 0.1"),
    ],
)
def test_the_language_has_one_spelling_for_all_ways_to_write_a_condition(text: str, spelling: str) -> None:
    tree = parser.condition(text, PARAMS)
    assert canonical(tree) == spelling
    assert parser.condition(spelling, PARAMS) == tree


def test_a_chain_of_comparisons_is_a_conjunction() -> None:
    tree = parser.condition("min_in <= txn.amount < 5", PARAMS)
    assert isinstance(tree, And)
    assert [term.operator for term in tree.terms if isinstance(term, Compare)] == ["<=", "<"]
    assert list(features_of(tree)) == ["txn.amount"]
    assert list(params_of(tree)) == ["min_in"]


def test_not_in_is_the_negation_of_in() -> None:
    tree = parser.condition("txn.type not in ['A']", [])
    assert isinstance(tree, Not)
    assert isinstance(tree.of, Member)


REFUSED = [
    # What it is, where, and what the message says.
    (
        "unknown feature",
        "payer.in_sum_25h > 1",
        0,
        "unknown feature 'payer.in_sum_25h'; did you mean 'payer.in_sum_24h'?",
    ),
    ("unknown side", "txn.amount > 1 and bank.limit > 2", 19, "unknown feature 'bank.limit'"),
    ("unknown parameter", "txn.amount > min_im", 13, "unknown parameter 'min_im'; did you mean 'min_in'?"),
    (
        "feature without side",
        "amount > 1",
        0,
        "unknown parameter 'amount'; the feature is named 'txn.amount'",
    ),
    ("function without call", "txn.amount > max", 13, "max is a function: write max(...)"),
    ("unknown function", "txn.amount > eval(1)", 13, "unknown function 'eval'"),
    ("misspelt function", "missin(txn.amount)", 0, "unknown function 'missin'; did you mean 'missing'?"),
    ("method call", "txn.amount.real() > 1", 0, "has more than one point"),
    ("attribute chain", "payer.__class__.__mro__ == 1", 0, "has more than one point"),
    ("dunder", "payer.__class__ == 1", 0, "unknown feature 'payer.__class__'"),
    ("attribute of a value", "('a').join > 1", 5, "a number needs a digit before its point"),
    (
        "amount against text",
        "txn.amount > 'TRANSFER'",
        13,
        "a number (txn.amount) cannot be compared with a text",
    ),
    ("text against amount", "txn.type == 5", 12, "a text (txn.type) cannot be compared with a number"),
    (
        "text against parameter",
        "txn.type == share",
        12,
        "a text (txn.type) cannot be compared with a number (share)",
    ),
    ("order of texts", "txn.type < 'A'", 11, "texts have no order"),
    ("arithmetic with text", "txn.type + 1 > 2", 0, "a number is needed here, but 'txn.type' is a text"),
    ("arithmetic with a flag", "pair.seen_before + 1 > 2", 0, "is a condition"),
    (
        "arithmetic with a condition",
        "(txn.amount > 1) + 1 > 2",
        1,
        "a number is needed here, but this is a condition",
    ),
    (
        "negated condition as number",
        "-(not txn.night) > 1",
        2,
        "a number is needed here, but this is a condition",
    ),
    ("flag compared", "pair.seen_before == 1", 0, "pair.seen_before is a condition itself: write it alone"),
    ("number alone", "txn.amount", 0, "a condition is needed here, but this is a number"),
    ("text alone", "txn.type and txn.night", 0, "a condition is needed here, but this is a text"),
    ("literal alone", "1", 0, "a condition is needed here"),
    ("True", "True", 0, "True is not part of the language"),
    ("None", "txn.amount == None", 14, "None is not part of the language"),
    ("is", "txn.amount is 1", 14, "'is' cannot stand here"),
    ("in a chain", "1 < txn.weekday in (1, 2)", 19, "'in' cannot stand here"),
    ("chain after in", "txn.weekday in (1, 2) > 1", 15, "'in' cannot be part of a chain"),
    ("in a name", "txn.type in share", 12, "'in' needs a list of literals"),
    ("in a text", "txn.type in 'TRANSFER'", 12, "'in' needs a list of literals"),
    ("in nothing", "txn.type in []", 12, "1 to 50 literals, this one has 0"),
    ("in a mixture", "txn.type in ['A', 1]", 12, "a text (txn.type) cannot be looked up among numbers"),
    ("number in texts", "txn.amount in ['A']", 14, "a number (txn.amount) cannot be looked up among texts"),
    ("parameter in a list", "txn.amount in [share]", 15, "holds literals only"),
    ("signed text in a list", "txn.type in [-'A']", 13, "a text has no sign"),
    ("constant before in", "share in (1, 2)", 0, "not a constant"),
    ("constants compared", "share > 1", 8, "two constants are compared"),
    ("texts compared", "'A' == 'A'", 7, "two constants are compared"),
    ("constant never missing", "missing(share)", 8, "a constant is never missing"),
    ("missing of a condition", "missing(txn.amount > 1)", 8, "a number is needed here"),
    ("missing as a number", "missing(txn.amount) > 1", 0, "a number is needed here, but this is a condition"),
    ("too few arguments", "max(txn.amount) > 1", 0, "max(...) takes 2 to 8 arguments, not 1"),
    ("too many arguments", "abs(txn.amount, 1) > 1", 0, "abs(...) takes 1 arguments, not 2"),
    ("keyword argument", "max(txn.amount, 1, key=2) > 1", 22, "a single '=' is no comparison"),
    ("starred argument", "max(*txn.amount, 1) > 1", 0, "takes plain arguments only"),
    ("subscript", "payer.kind[0] == 'A'", 0, "an index is not part of the language"),
    (
        "list elsewhere",
        "[1, 2] == txn.amount",
        0,
        "a list (allowed only after 'in') is not part of the language",
    ),
    ("lambda", "lambda: 1", 6, "':' is not part of the language"),
    ("conditional", "txn.night if txn.night else txn.night", 0, "'if ... else' is not part of the language"),
    ("comprehension", "txn.night for x in (1,)", 10, "not an expression"),
    ("assignment", "txn.amount = 1", 11, "a single '=' is no comparison: write '=='"),
    ("walrus", "(x := 1) > txn.amount", 3, "':' is not part of the language"),
    ("power", "txn.amount ** 9 > 1", 0, "Pow is no operation of the language; it has + - * /"),
    ("floor division", "txn.amount // 9 > 1", 0, "FloorDiv is no operation of the language"),
    ("modulo", "txn.amount % 9 > 1", 11, "'%' is not part of the language"),
    ("bitwise and", "txn.night & txn.night", 10, "'&' is not part of the language: write 'and'"),
    ("exclamation mark", "!txn.night", 0, "'!' is not part of the language: write 'not'"),
    ("unary plus", "+txn.amount > 1", 0, "a plus sign needs a number before it"),
    ("escape", "txn.type == 'a\\x41'", 12, "a text that does not end, holds an escape"),
    ("open text", "txn.type == 'abc", 12, "a text that does not end"),
    ("f-string", "txn.type == f'a'", 13, "a text needs a space"),
    ("bytes", "txn.type == b'a'", 13, "a text needs a space"),
    ("joined texts", "txn.type == 'a' 'b'", 16, "a text needs a space"),
    ("comment", "txn.night # why", 10, "'#' is not part of the language"),
    ("statement", "import os", 0, "not an expression"),
    ("two statements", "txn.night; txn.night", 9, "';' is not part of the language"),
    ("braces", "{1: 2}", 0, "'{' is not part of the language"),
    ("octal", "txn.amount > 0x10", 13, "a number has digits"),
    ("number glued to a word", "txn.amount > 1or txn.night", 13, "a number has digits"),
    ("number without digits", "txn.amount > .5", 13, "a number needs a digit before its point"),
    ("huge number", "txn.amount > 1e16", 13, "numbers go up to 1e+15"),
    ("infinite number", "txn.amount > 1e999", 13, "numbers go up to 1e+15"),
    ("foreign digits", "txn.amount > ٣", 13, "is not part of the language"),
    ("foreign letters", "pаyer.in_sum_24h > 1", 1, "is not part of the language"),
    ("null byte", "txn.night\x00", 9, "is not part of the language"),
    ("empty", "  \n ", 0, "the expression is empty"),
    ("unclosed", "(txn.night", 0, "not an expression: '(' was never closed"),
    ("dangling", "txn.night and", 13, "not an expression"),
    ("too long", "txn.night" + " " * 2000, 0, "has 2009 characters, more than the 2000 allowed"),
    ("too deep", "not " * 30 + "txn.night", 96, "more than 24 operators inside one another"),
    (
        "deep brackets",
        "(" * 300 + "txn.night" + ")" * 300,
        200,
        "not an expression: too many nested parentheses",
    ),
    ("deeper than Python", "-" * 1900 + "txn.amount > 1", None, "more than 24 operators inside one another"),
    (
        "too many parts",
        " and ".join(["max(" + ",".join(["max(1,1,1,1,1,1,1,1)"] * 8) + ") > txn.hour"] * 5),
        None,
        "more than 250 parts",
    ),
]


@pytest.mark.parametrize(("text", "offset", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_what_is_not_in_the_language_is_refused_with_place_and_cause(
    text: str, offset: int | None, message: str
) -> None:
    with pytest.raises(ExpressionError) as refused:
        parser.condition(text, PARAMS)
    assert message in refused.value.message
    if offset is not None:
        assert refused.value.offset == offset


def test_the_place_is_counted_in_characters_not_in_bytes() -> None:
    with pytest.raises(ExpressionError) as refused:
        parser.condition("txn.type == '转账' and txn.amont > 1", [])
    assert refused.value.offset == len("txn.type == '转账' and ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("txn.night", "a number is needed here, but 'txn.night' is a condition"),
        ("txn.amount > 1", "a number is needed here, but this is a condition"),
        ("not txn.night", "a number is needed here, but this is a condition"),
        ("'A'", "is a text"),
        ("base + sapn", "unknown parameter 'sapn'; did you mean 'span'?"),
    ],
)
def test_a_score_is_a_number(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        parser.number(text, ["base", "span"])
    assert message in refused.value.message


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="()[]-+*/<>=!,. '\"abnotrxm10", max_size=120))
def test_any_text_is_accepted_or_refused_with_a_place_inside_it(text: str) -> None:
    refused = None
    try:
        tree = parser.condition(text, PARAMS)
    except ExpressionError as error:
        refused = error
    if refused is None:
        assert parser.condition(canonical(tree), PARAMS) == tree
    else:
        assert refused.message
        assert 0 <= refused.offset <= len(text)
