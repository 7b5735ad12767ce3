"""What operations asks: does it run, is it in time, what is wrong."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from panels import Query, heat, lines, listing, page, stats, variables


def build() -> Dashboard:
    """The dashboard."""
    return (
        page(
            "stream-guard-service-health",
            "Service health",
            "Whether payments are decided, in time, by workers that are well.",
            "3h",
            variables(),
        )
        .with_row(Row("Is every payment decided in time?"))
        .with_panel(
            lines(
                "Payments in and decided",
                "cps",
                "A second, over all workers. Decided follows in, but for dead letters; repeats are answered again.",
                Query("sum(rate(stream_guard_events_in_total[$__rate_interval]))", "in"),
                Query("sum(rate(stream_guard_events_decided_total[$__rate_interval]))", "decided"),
            )
        )
        .with_panel(
            lines(
                "Does a decision take longer than the deadline?",
                "s",
                "From the payment's record in Kafka to its decision: half of them, 99 of 100 and 999 of 1,000 are"
                " faster than this; and `policy.deadline_ms`.",
                Query("stream_guard:latency_seconds:p50", "p50"),
                Query("stream_guard:latency_seconds:p99", "p99"),
                Query("stream_guard:latency_seconds:p999", "p99.9"),
                Query("stream_guard:deadline_seconds:max", "deadline"),
            )
        )
        .with_panel(
            heat(
                "How long do decisions take?",
                "s",
                "How many decisions fell into which time. Two bands: one worker is slower than the others.",
                Query("sum by (le) (rate(stream_guard_latency_seconds_bucket[$__rate_interval]))", "{{le}}"),
            )
        )
        .with_panel(
            lines(
                "What waits, by partition",
                "short",
                "Records in the log that are not in the state yet. One partition alone: a hot account, or a worker"
                " that hangs.",
                Query("sum by (partition) (stream_guard_lag)", "{{partition}}"),
            )
        )
        .with_panel(
            stats(
                "How long does the backlog take?",
                "s",
                "At the present pace. Beyond the deadline, decisions are late.",
                Query("stream_guard:backlog_seconds:sum"),
                marks=[(1, "red")],
            )
        )
        .with_panel(
            lines(
                "Late and repeated payments",
                "cps",
                "Decided after the deadline; sent again by core banking and answered with the stored action; legs that"
                " came again after a crash and were skipped.",
                Query("sum(rate(stream_guard_decisions_late_total[$__rate_interval]))", "late"),
                Query("sum(rate(stream_guard_events_duplicate_total[$__rate_interval]))", "repeated"),
                Query("sum(rate(stream_guard_leg_repeats_total[$__rate_interval]))", "legs skipped"),
                width=9,
            )
        )
        .with_panel(
            lines(
                "Dead letters, by reason",
                "cps",
                "Records refused, a second.",
                Query(
                    "sum by (reason) (rate(stream_guard_dead_letters_total[$__rate_interval]))", "{{reason}}"
                ),
                width=9,
                stacked=True,
            )
        )
        .with_row(Row("Is the state safe?"))
        .with_panel(
            lines(
                "Age of the last commit",
                "s",
                "By worker; about a second. After ten a worker stops sending, after thirty it counts as stalled.",
                Query("max by (instance) (stream_guard_commit_age_seconds)", "{{instance}}"),
            )
        )
        .with_panel(
            lines(
                "How long does a flush take?",
                "s",
                "One transaction with rows, warnings and offsets of a partition: half of them, 99 of 100.",
                Query(
                    "histogram_quantile(0.5, sum by (le) (rate(stream_guard_flush_seconds_bucket[$__rate_interval])))",
                    "p50",
                ),
                Query(
                    "histogram_quantile(0.99, sum by (le) (rate(stream_guard_flush_seconds_bucket[$__rate_interval])))",
                    "p99",
                ),
            )
        )
        .with_panel(
            lines(
                "Partitions, by worker",
                "short",
                "They add up to all of them; what is missing waits.",
                Query("sum by (instance) (stream_guard_partitions_owned)", "{{instance}}"),
                Query("max(stream_guard_partitions)", "all"),
            )
        )
        .with_panel(
            lines(
                "How long did recovery take?",
                "s",
                "To open a partition the last time: its whole changelog is read.",
                Query("max by (partition) (stream_guard_recovery_seconds)", "{{partition}}"),
            )
        )
        .with_row(Row("Are the workers well?"))
        .with_panel(
            lines(
                "Memory, by worker",
                "bytes",
                "What each has and what it may have. At 85 % ops is alerted.",
                Query("sum by (instance, part) (stream_guard_memory_bytes)", "{{instance}} {{part}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                "Accounts in memory, by worker",
                "short",
                "A row each.",
                Query("sum by (instance) (stream_guard_state_rows)", "{{instance}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                "Restarts within the hour",
                "short",
                "By worker.",
                Query("changes(stream_guard_start_time_seconds[1h])", "{{instance}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                "Broker errors",
                "cps",
                "What the Kafka client complains about, a second: lost connections, refused requests, missed heartbeats.",
                Query(
                    "sum by (instance) (rate(stream_guard_broker_errors_total[$__rate_interval]))",
                    "{{instance}}",
                ),
                width=8,
            )
        )
        .with_panel(
            listing(
                "How did the workers before these end?",
                "short",
                "stopped: in order. killed: no time to say. fenced, refused, failed: the log's last line says why.",
                Query("stream_guard_last_exit == 1"),
                by="instance",
                columns=["is so"],
                width=8,
            )
        )
        .with_panel(
            listing(
                "Which alerts fire?",
                "short",
                "What docker/RUNBOOK.md has an entry for.",
                Query('count by (alertname, audience, severity) (ALERTS{alertstate="firing"})'),
                by="alertname",
                columns=["firing"],
                width=8,
            )
        )
    )
