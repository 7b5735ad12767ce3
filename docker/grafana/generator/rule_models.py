"""What model owners ask: what does each rule model do, and is it worth it."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import Query, lines, listing, page, ranking, variables

RULES = 'rule=~"$rule"'


def build() -> Dashboard:
    """The dashboard."""
    return (
        page(
            "stream-guard-models",
            "Models",
            "Rule models and the anomaly model: how often, how right, how warm.",
            "24h",
            variables(windows=True, rules=True),
        )
        .with_row(Row("What does each rule model do?"))
        .with_panel(
            listing(
                "Each rule model",
                "short",
                "Payments evaluated, those it fired on, as a shadow or live, and those where a value was missing; its"
                " warnings and how many of the disposed ones were right, in the days chosen above.",
                Query(f'sum by (rule) (stream_guard_state_rules{{result="evaluated",{RULES}}})'),
                Query(f'sum by (rule) (stream_guard_state_rules{{result="fired",{RULES}}})'),
                Query(f'sum by (rule) (stream_guard_state_rules{{result="shadow_fired",{RULES}}})'),
                Query(f'sum by (rule) (stream_guard_state_rules{{result="not_evaluable",{RULES}}})'),
                Query(f'sum by (rule) (rule_window:stream_guard_hits:sum{{window="$window",{RULES}}})'),
                Query(f'sum by (rule) (rule_window:stream_guard_disposed:sum{{window="$window",{RULES}}})'),
                Query(f'sum by (rule) (rule_window:stream_guard_hit_rate:ratio{{window="$window",{RULES}}})'),
                by="rule",
                columns=[
                    "evaluated",
                    "fired",
                    "fired as a shadow",
                    "not evaluable",
                    "warnings",
                    "disposed",
                    "hit rate",
                ],
                units={"hit rate": "percentunit"},
            )
        )
        .with_panel(
            lines(
                "How often does each rule model fire?",
                "cps",
                "Payments a second on which it fired, live or as a shadow.",
                Query(
                    f'sum by (rule) (rate(stream_guard_rule_results_total{{result="fired",{RULES}}}[$__rate_interval]))',
                    "{{rule}}",
                ),
            )
        )
        .with_panel(
            lines(
                "What could not be evaluated?",
                "percentunit",
                "Share of payments on which a value that the rule model needs was missing. A sudden rise: a source has"
                " stopped to fill a field.",
                Query(
                    f'sum by (rule) (rate(stream_guard_rule_results_total{{result="not_evaluable",{RULES}}}'
                    "[$__rate_interval])) / on () group_left () (sum(rate("
                    "stream_guard_events_decided_total[$__rate_interval])) > 0)",
                    "{{rule}}",
                ),
            )
        )
        .with_panel(
            lines(
                "Hit rate of each rule model",
                "percentunit",
                "Over the days chosen above, as it stood at each moment. Few dispositions make it jump.",
                Query(f'rule_window:stream_guard_hit_rate:ratio{{window="$window",{RULES}}}', "{{rule}}"),
            )
        )
        .with_panel(
            ranking(
                "Shadow against live",
                "percentunit",
                "Share of the payments evaluated on which each rule model fired. A shadow rule that fires like a live"
                " one would make as many warnings.",
                Query(
                    f'sort_desc(sum by (rule, result) (stream_guard_state_rules{{result=~"fired|shadow_fired",{RULES}}})'
                    " / on (rule) group_left () sum by (rule)"
                    f' (stream_guard_state_rules{{result="evaluated",{RULES}}}))',
                    "{{rule}} {{result}}",
                ),
            )
        )
        .with_row(Row("Scores and the anomaly model"))
        .with_panel(
            lines(
                "Scores of payments that have one",
                "short",
                "Of the payments with a score above 0: half, 90 of 100 and 99 of 100 are below this. Warnings begin at"
                " `policy.warn_at`, 50 where nothing else is set.",
                *(
                    Query(
                        f"histogram_quantile({share},"
                        " sum by (le) (rate(stream_guard_score_bucket[$__rate_interval])))",
                        name,
                    )
                    for share, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"))
                ),
            )
        )
        .with_panel(
            lines(
                "Anomaly scores, and from where on they are a reason",
                "percentunit",
                "Of both sides: half and 99 of 100 are below this. A score above the running quantile of its side and"
                " partition is a reason.",
                *(
                    Query(
                        f"histogram_quantile({share},"
                        " sum by (le) (rate(stream_guard_anomaly_score_bucket[$__rate_interval])))",
                        name,
                    )
                    for share, name in ((0.5, "p50"), (0.99, "p99"))
                ),
                Query("avg by (side) (stream_guard_anomaly_quantile)", "reason from, {{side}}"),
            )
        )
        .with_panel(
            lines(
                "How many anomaly models are still cold?",
                "short",
                "Partitions whose detector warms up and gives no reasons yet, by side.",
                Query("sum by (side) (stream_guard_anomaly_warming_up)", "{{side}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                "Payments the anomaly models have learned",
                "short",
                "Of the coldest partition, by side. It learns only from payments that were allowed.",
                Query("min by (side) (stream_guard_anomaly_learned)", "{{side}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                "Anomaly models that started anew",
                "short",
                "When a partition was opened, within the hour: its settings have changed.",
                Query("sum(increase(stream_guard_anomaly_restarts_total[1h]))", "started anew"),
                width=8,
            )
        )
        .with_row(Row("What decides?"))
        .with_panel(
            listing(
                "Rule pack in force, by worker",
                "short",
                "Two packs or versions at once are a rollout, or a split brain.",
                Query("max by (instance, version, pack, pack_hash) (stream_guard_build_info)"),
                by="instance",
                columns=["runs"],
            )
        )
    )
