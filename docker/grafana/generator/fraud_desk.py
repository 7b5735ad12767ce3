"""What the fraud team's lead asks: are we right, what is open, what was stopped."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import MONEY, Query, lines, page, ranking, stats, variables

ALL = 'rule="all",window="$window"'


def build() -> Dashboard:
    """The dashboard."""
    return (
        page(
            "stream-guard-fraud-desk",
            "Fraud desk",
            "Hit rate, warnings and amounts. Days are the bank's, today included.",
            "24h",
            variables(windows=True),
        )
        .with_row(Row("Are our warnings right?"))
        .with_panel(
            stats(
                "What share of our warnings is right?",
                "percentunit",
                "Hit rate: confirmed / (confirmed + false positive) over the days chosen above, and the bounds between"
                " which the true rate lies with 95 % certainty (Wilson). Pending, inconclusive and expired warnings"
                " are not part of it.",
                Query(f"rule_window:stream_guard_hit_rate:ratio{{{ALL}}}", "hit rate"),
                Query(f"rule_window:stream_guard_hit_rate:lower{{{ALL}}}", "at least"),
                Query(f"rule_window:stream_guard_hit_rate:upper{{{ALL}}}", "at most"),
                width=9,
            )
        )
        .with_panel(
            stats(
                "The year's warnings, by what became of them",
                "short",
                "Warnings of the last 365 days; each counts once. A corrected disposition moves a warning.",
                Query('rule_window:stream_guard_hits:sum{rule="all",window="365d"}', "{{standing}}"),
                width=10,
            )
        )
        .with_panel(
            stats(
                "False warnings for each true one",
                "short",
                "What an investigator goes through to find one fraud.",
                Query(
                    f'sum(rule_window:stream_guard_hits:sum{{{ALL},standing="false_positive"}})'
                    f' / (sum(rule_window:stream_guard_hits:sum{{{ALL},standing="confirmed"}}) > 0)'
                ),
                width=5,
                marks=[(5, "orange"), (25, "red")],
            )
        )
        .with_panel(
            lines(
                "Hit rate over time",
                "percentunit",
                "The hit rate of the chosen days as it stood at each moment, between its bounds.",
                Query(f"rule_window:stream_guard_hit_rate:ratio{{{ALL}}}", "hit rate"),
                Query(f"rule_window:stream_guard_hit_rate:lower{{{ALL}}}", "at least"),
                Query(f"rule_window:stream_guard_hit_rate:upper{{{ALL}}}", "at most"),
            )
        )
        .with_panel(
            ranking(
                "Which rule models are right?",
                "percentunit",
                "Hit rate by rule model and version. Every rule model on a warning is credited with it, so these do"
                " not add up to the whole; the anomaly model is `anomaly`.",
                Query(
                    'sort_desc(rule_window:stream_guard_hit_rate:ratio{rule!="all",window="$window"})',
                    "{{rule}}",
                ),
            )
        )
        .with_row(Row("What is open?"))
        .with_panel(
            stats(
                "Pending warnings",
                "short",
                "Opened and not yet disposed of, whatever their age.",
                Query('sum(stream_guard_hits{standing="pending"})'),
            )
        )
        .with_panel(
            stats(
                "How long has the oldest one waited?",
                "s",
                "Age of the oldest pending warning. After an hour the desk is alerted.",
                Query("max(stream_guard_warnings_oldest_pending_seconds)"),
                marks=[(1800, "orange"), (3600, "red")],
            )
        )
        .with_panel(
            stats(
                "Warnings opened in these days",
                "short",
                "One warning an account, however many payments are on it.",
                Query('window:stream_guard_warnings:sum{event="opened",window="$window"}'),
            )
        )
        .with_panel(
            stats(
                "Known risk signals, by source",
                "short",
                "Accounts, devices and addresses on a list now: of the police, of the bank, confirmed by"
                " dispositions, or noticed as shared.",
                Query("max by (source) (stream_guard_signals)", "{{source}}"),
            )
        )
        .with_panel(
            lines(
                "Warnings opened and closed within the hour",
                "short",
                "Where more are opened than closed, the desk falls behind.",
                Query(
                    'sum by (status) (increase(stream_guard_alerts_total{status=~"opened|closed"}[1h]))',
                    "{{status}}",
                ),
            )
        )
        .with_panel(
            ranking(
                "Top typologies",
                "short",
                "Rule models by the number of warnings they are on, in the days chosen above.",
                Query(
                    'topk(10, sum by (rule) (rule_window:stream_guard_hits:sum{rule!="all",window="$window"}))',
                    "{{rule}}",
                ),
            )
        )
        .with_row(Row("What was stopped?"))
        .with_panel(
            stats(
                "Amount intercepted",
                MONEY,
                "Payments of the chosen days whose first decision was delay, hold or stop; of these, what"
                " investigators confirmed as fraud, released as false, or have not decided.",
                Query('window:stream_guard_amount_intercepted:sum{window="$window"}', "{{part}}"),
                width=24,
            )
        )
        .with_panel(
            lines(
                "Amount intercepted today, against the budget",
                MONEY,
                "Since midnight at the bank. Above `policy.interception_budget` the desk is alerted; 0: no budget.",
                Query('window:stream_guard_amount_intercepted:sum{part="total",window="1d"}', "intercepted"),
                Query('max(stream_guard_policy{setting="interception_budget"})', "budget"),
            )
        )
        .with_panel(
            lines(
                "Amount intercepted, day by day",
                MONEY,
                "The highest that each day's amount, and the part of it confirmed since, has been.",
                Query(
                    'max_over_time(window:stream_guard_amount_intercepted:sum{part=~"total|confirmed",window="1d"}[1d])',
                    "{{part}}",
                ),
                bars=True,
                interval="1d",
            )
        )
        .with_panel(
            lines(
                "What do we tell core banking?",
                "cps",
                "Decisions a second by action, without the payments that are allowed.",
                Query(
                    'sum by (action) (rate(stream_guard_decisions_total{action!="allow"}[$__rate_interval]))',
                    "{{action}}",
                ),
                width=24,
                stacked=True,
            )
        )
    )
