from __future__ import annotations

import json
import math
from dataclasses import replace

from stream_guard.demo.board import Board, Latency
from stream_guard.demo.scrape import Figures, parse
from stream_guard.demo.summary import Summary, compare, rate_text
from stream_guard.feedback.hit_rate import wilson

SUMMARY = Summary(
    events=1_000,
    decided=991,
    dead_letters=9,
    warnings=40,
    decisions={"allow": 950, "hold": 30, "stop": 11},
    dispositions={"confirmed": 31, "false_positive": 8},
    hit_rate=31 / 39,
    hits=31,
    judged=39,
    amount_intercepted=1_234_567.89,
    latency=Latency(9.0, 16.0, 30.0, 41.5),
    fired={"drain": 3, "anomaly": 9},
    live_rules=("drain", "below-limit"),
)


def test_the_json_has_exactly_the_promised_fields() -> None:
    made = json.loads(json.dumps(SUMMARY.as_json()))
    assert list(made) == [
        "events", "decided", "lost", "dead_letters", "warnings", "decisions", "dispositions", "hit_rate",
        "amount_intercepted", "latency_ms",
    ]  # fmt: skip
    assert made["latency_ms"] == {"p50": 9.0, "p99": 16.0, "p999": 30.0, "max": 41.5}
    assert made["decisions"] == {"allow": 950, "confirm": 0, "delay": 0, "hold": 30, "stop": 11}
    assert made["dispositions"] == {"confirmed": 31, "false_positive": 8, "inconclusive": 0}


def test_lost_is_events_minus_decided_minus_dead_letters() -> None:
    assert SUMMARY.lost == SUMMARY.as_json()["lost"] == 0
    assert replace(SUMMARY, decided=980).lost == 11


def test_what_is_not_known_is_null_in_json_and_never_zero() -> None:
    made = replace(SUMMARY, hit_rate=None, hits=0, judged=0, latency=Latency.of([])).as_json()
    assert made["hit_rate"] is None
    assert made["latency_ms"]["p50"] is None


def test_the_text_says_the_hit_rate_with_its_interval_and_its_denominator() -> None:
    low, high = wilson(31, 39) or (math.nan, math.nan)
    assert rate_text(31, 39) == f"79.5 % (95 %: {low * 100:.1f}-{high * 100:.1f} %), 31 of 39 judged warnings"
    assert any("79.5 %" in line for line in SUMMARY.lines())


def test_the_text_names_live_rules_that_were_silent() -> None:
    assert SUMMARY.silent_rules == ["below-limit"]
    assert any("1 of 2 live rules fired; silent: below-limit" in line for line in SUMMARY.lines())


def test_figures_that_differ_from_what_was_seen_are_told() -> None:
    board = Board()
    board.disposed("confirmed")
    agreeing = Figures(dispositions={"confirmed": 1})
    assert compare(board.snapshot(1.0), agreeing) == []
    assert compare(board.snapshot(1.0), replace(agreeing, intercepted=50_000.0)) == [
        "decisions seen intercept 0.00, the worker counts 50,000.00"
    ]
    assert compare(board.snapshot(1.0), Figures()) == [
        "1 dispositions confirmed were sent, the worker counts 0"
    ]


def test_the_workers_figures_are_read_from_its_metrics_page() -> None:
    page = """# HELP stream_guard_hits Warnings
# TYPE stream_guard_hits gauge
stream_guard_hits{standing="confirmed"} 31.0
stream_guard_hits{standing="false_positive"} 8.0
stream_guard_hits{standing="pending"} 2.0
stream_guard_hits_by_rule{rule="drain@1",standing="confirmed"} 31.0
stream_guard_dispositions{outcome="confirmed"} 31.0
stream_guard_amount_intercepted{part="total"} 1.23456789e+06
stream_guard_amount_intercepted{part="confirmed"} 5.0
stream_guard_events_in_total 12.0
"""
    figures = parse(page)
    assert (figures.hits, figures.judged, figures.open_warnings) == (31, 39, 2)
    assert figures.dispositions == {"confirmed": 31}
    assert figures.intercepted == 1_234_567.89
    assert parse("").hit_rate is None
