from __future__ import annotations

from typing import Any

from stream_guard.detection.features import RING
from stream_guard.detection.hashing import text_code
from stream_guard.detection.rules import compile_pack, explain, judge, load_pack, render_reason
from stream_guard.detection.rules.pack import EXAMPLE

NOW = 1_800_000_000_000


def rule(**changes: str) -> Any:
    text = EXAMPLE
    for field, value in changes.items():
        line = next(line for line in EXAMPLE.splitlines() if line.strip().startswith(f"{field}:"))
        text = text.replace(line, f"    {field}: {value}")
    return load_pack(text, "x").rules[0]


def test_a_reason_carries_the_figures_that_made_the_rule_fire(row: Any) -> None:
    here = row(payer__in_sum_24h=60_000, payer__out_sum_24h=57_500)
    text, evidence = render_reason(rule(), here)
    assert text == "57,500 of 60,000 received in 24 h has left again"
    assert evidence == {
        "payer.in_sum_24h": 60_000.0,
        "payer.out_sum_24h": 57_500.0,
        "min_in": 50_000.0,
        "share": 0.9,
    }


def test_features_of_the_reason_are_evidence_and_parameters_of_the_score_alone_are_not(row: Any) -> None:
    made = rule(
        score="base + txn.hour",
        params="{min_in: 50_000, share: 0.9, base: 5}",
        reason='"{txn.amount} and {min_in}"',
    )
    text, evidence = render_reason(made, row(payer__in_sum_24h=60_000, payer__out_sum_24h=57_500))
    assert text == "unknown and 50,000"
    assert set(evidence) == {"payer.in_sum_24h", "payer.out_sum_24h", "txn.amount", "min_in", "share"}
    assert evidence["txn.amount"] is None


def test_evidence_says_that_a_figure_is_a_floor(row: Any) -> None:
    busy = row(
        payer__in_sum_24h=60_000,
        payer__out_sum_24h=57_500,
        payer__in_count_24h=RING - 1,
        payer__out_count_24h=1,
    )
    text, evidence = render_reason(rule(), busy)
    assert text == "at least 57,500 of at least 60,000 received in 24 h has left again"
    assert evidence["floor"] == 1.0


def test_what_a_row_must_hold_includes_the_counts_that_tell_floors() -> None:
    assert compile_pack(load_pack(EXAMPLE, "x"), None).features == {
        "payer.in_sum_24h",
        "payer.out_sum_24h",
        "payer.in_count_24h",
        "payer.out_count_24h",
    }


def test_a_reason_is_rendered_with_the_parameters_it_was_judged_with(row: Any) -> None:
    made = rule(reason='"{share:.0%} of {min_in:,.0f}"')
    text, evidence = render_reason(made, row(), {"min_in": 1_000.0, "share": 0.5})
    assert text == "50% of 1,000"
    assert evidence["min_in"] == 1_000.0


def test_an_explanation_says_term_by_term_why_a_rule_does_not_fire(row: Any) -> None:
    made = rule(
        when="payer.in_sum_24h >= min_in and (payer.out_sum_24h >= share or txn.type in ['A'] or txn.night)"
    )
    here = row(payer__in_sum_24h=60_000, payer__out_sum_24h=0.5, txn__type=text_code("B"), txn__night=0)
    said = str(explain(made, here, NOW)).splitlines()
    assert said[:3] == [
        "rapid-in-out@3 does not fire",
        "  false   and",
        "  true      payer.in_sum_24h >= min_in   [payer.in_sum_24h = 60000, min_in = 50000]",
    ]
    assert said[4:5] == ["  false       payer.out_sum_24h >= share   [payer.out_sum_24h = 0.5, share = 0.9]"]
    assert said[5].startswith('  false       txn.type in ["A"]   [txn.type = code ')
    assert said[6] == "  false       txn.night   [txn.night = no]"


def test_an_explanation_says_that_a_rule_fires_is_not_evaluable_or_not_valid(row: Any) -> None:
    fires = row(payer__in_sum_24h=60_000, payer__out_sum_24h=57_500)
    assert str(explain(rule(), fires, NOW)).startswith("rapid-in-out@3 fires with score 60.0\n")
    assert str(explain(rule(), row(), NOW)).startswith("rapid-in-out@3 is not evaluable\n  unknown and\n")
    assert str(explain(rule(), fires, 0)).startswith("rapid-in-out@3 is not valid at that time\n")
    assert explain(rule(), fires, NOW).verdict == judge(rule(), fires, NOW)
