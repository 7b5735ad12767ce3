from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.detection.features import FEATURES, INDEX, RING, N
from stream_guard.detection.rules.errors import ExpressionError
from stream_guard.detection.rules.reasons import floor_columns, template


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{payer.out_sum_24h:,.0f} of {payer.in_sum_24h:,.0f}", "47,500 of 50,000"),
        ("{payer.out_sum_24h}", "47,500"),
        ("{txn.amount}", "12.35"),
        ("{txn.amount:.1f} {txn.amount:,.2f}", "12.3 12.35"),
        ("{share:.0%} and {share}", "90% and 0.90"),
        ("at {txn.hour:clock}", "at 02:30"),
        ("{payer.idle_s:days}, {payer.changed_s:hours}, {window:minutes}", "183 days, 1.5 hours, 10 minutes"),
        ("{pair.seen_before} {txn.night}", "no yes"),
        ("{payee.in_sum_7d:,.0f} {payee.in_distinct_7d:.0f}", "unknown unknown"),
        ("no figure at all", "no figure at all"),
    ],
)
def test_a_reason_is_filled_with_the_payments_figures(row: Any, text: str, sentence: str) -> None:
    here = row(
        payer__out_sum_24h=47_500,
        payer__in_sum_24h=50_000,
        txn__amount=12.345,
        txn__hour=2.5,
        payer__idle_s=183 * 86_400,
        payer__changed_s=5_400,
        pair__seen_before=0,
        txn__night=1,
    )
    made = template(text, ["share", "window"], {"window": "seconds"})
    assert made.render(here, {"share": 0.9, "window": 600.0}) == sentence


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        (
            "{payer.in_sum_25h}",
            0,
            "unknown feature or parameter 'payer.in_sum_25h'; did you mean 'payer.in_sum_24h'?",
        ),
        ("a {shar}", 2, "unknown feature or parameter 'shar'; did you mean 'share'?"),
        ("{}", 0, "unknown feature or parameter ''"),
        ("{0}", 0, "unknown feature or parameter '0'"),
        ("{payer.__class__}", 0, "unknown feature or parameter"),
        ("{txn.amount!r}", 0, "unknown feature or parameter"),
        ("{txn.amount.real}", 0, "unknown feature or parameter"),
        ("{share[0]}", 0, "unknown feature or parameter"),
        ("{ txn.amount }", 0, "unknown feature or parameter"),
        ("{txn.type}", 0, "txn.type is a text, of which only a code is kept"),
        ("{txn.amount:>1000000000}", 0, "is not allowed"),
        ("{txn.amount:{share}}", 0, "a brace that is no place"),
        ("{txn.amount:.9f}", 0, "is not allowed"),
        ("{txn.amount:d}", 0, "is not allowed"),
        ("{txn.amount:x}", 0, "is not allowed"),
        ("{txn.amount:}", 0, "is not allowed"),
        ("{txn.amount:clock}", 0, "format 'clock' needs a value in hours"),
        ("{txn.amount:days}", 0, "format 'days' needs a value in seconds"),
        ("{share:days}", 0, "format 'days' needs a value in seconds"),
        ("{txn.night:.0f}", 0, "a yes/no feature takes no format"),
        ("{{txn.amount}}", 0, "a brace that is no place"),
        ("open {txn.amount", 5, "a brace that is no place"),
        ("close } here", 6, "a brace that is no place"),
        ("turned \u202e around", 7, "invisible character '\\u202e'"),
        ("two\nlines", 3, "invisible character '\\n'"),
        ("  ", 0, "the reason is empty"),
        ("x" * 301, 0, "the reason has 301 characters, more than the 300 allowed"),
    ],
)
def test_a_template_that_could_fail_or_deceive_is_refused(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        template(text, ["share"])
    assert message in refused.value.message
    assert refused.value.offset == offset


def test_a_figure_that_is_only_a_floor_says_so(row: Any) -> None:
    made = template(
        "{payer.out_sum_24h:,.0f} {payer.out_sum_1h:,.0f} {pair.out_count_24h:.0f} {payer.out_count}", []
    )
    here = row(
        payer__out_sum_24h=9_000,
        payer__out_sum_1h=10,
        pair__out_count_24h=3,
        payer__out_count=900,
        payer__in_count_24h=RING - 40,
        payer__out_count_24h=40,
        payer__in_count_1h=0,
        payer__out_count_1h=1,
    )
    assert made.render(here, {}) == "at least 9,000 10 at least 3 900"


def test_only_windowed_figures_of_accounts_can_be_floors() -> None:
    may = {feature.name for feature in FEATURES if floor_columns(feature) is not None}
    assert {"payer.in_count_10m", "payee.out_max_30d", "pair.in_sum_7d", "payer.out_small_sum_7d"} <= may
    assert not may & {
        "pair.out_min_24h",
        "payer.out_mean",
        "payee.out_night_max_90d",
        "txn.amount",
        "payer.listed",
    }


@given(st.text(max_size=40) | st.text(alphabet="{}:.,%fabtxn mount0", max_size=40))
def test_an_accepted_template_renders_on_any_row(text: str) -> None:
    try:
        made = template(text, ["b"])
    except ExpressionError:
        return
    nothing = [float("nan")] * N
    assert isinstance(made.render(nothing, {"b": 1.0}), str)
    filled = list(nothing)
    filled[INDEX["txn.amount"]] = 1e15
    assert isinstance(made.render(filled, {"b": -1e15}), str)


def test_the_path_of_tainted_money_is_words() -> None:
    made = template("came by {txn.taint_path}", [])
    assert (made.features, made.params) == ({}, {})
    assert made.render([], {}, {"txn.taint_path": "M > A > B"}) == "came by M > A > B"
    assert made.render([], {}) == "came by unknown"
    with pytest.raises(ExpressionError, match="is words and takes no format"):
        template("{txn.taint_path:.2f}", [])
