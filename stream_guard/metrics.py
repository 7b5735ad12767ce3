"""Every Prometheus metric of a worker, in one place.

Two kinds stand side by side. *Process metrics* (counters and histograms) say what this process did since
it started. *State metrics* (gauges) are read from the tallies in the state of the partitions that this
process owns, so a restart does not reset them and a correction may lower them; sum them over processes.

No label ever holds an account, an event or a device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_guard.feedback.tallies import Tallies

# A creation time beside every series doubles the page and tells nothing that a restart does not.
disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCY_BUCKETS_S = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""From 1 ms to 10 s, denser where the goals lie (p99 30 ms, p99.9 50 ms, deadline 1 s)."""

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
FLUSH_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


STANDINGS = ("confirmed", "false_positive", "pending", "inconclusive", "expired")
WINDOWS_D = {"7d": 7, "30d": 30, "365d": 365}


class BatchHistogram(Collector):
    """A histogram that takes a whole array at once; prometheus-client's takes 1 us a value."""

    def __init__(self, name: str, documentation: str, buckets: tuple[float, ...]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(buckets)
        self._counts = np.zeros(len(buckets) + 1, dtype=np.int64)
        self._sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count `values`."""
        places = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """The cumulative form Prometheus wants."""
        cumulative = np.cumsum(self._counts).tolist()
        bounds = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(bounds, cumulative, strict=True)),
            sum_value=self._sum,
        )


class PartitionView(Protocol):
    """What the state metrics need of one owned partition."""

    number: int

    @property
    def tallies(self) -> Tallies:
        """The partition's tallies."""

    @property
    def rows(self) -> int:
        """Accounts in memory."""

    @property
    def today(self) -> int:
        """Bank-local day of its stream time, days since 1970-01-01."""

    def lag(self) -> dict[str, int]:
        """Records not applied yet, by topic."""

    def anomaly(self) -> Iterable[tuple[str, int, bool, float]]:
        """Side, events learned, warming up, running quantile of each detector."""


class StateMetrics(Collector):
    """Gauges over the partitions this process owns."""

    def __init__(self, partitions: Callable[[], Iterable[PartitionView]]) -> None:
        self._partitions = partitions

    def collect(self) -> Iterator[Metric]:
        """Read the partitions as they are now."""
        views = list(self._partitions())
        yield from _partition_gauges(views)
        tallies = Tallies.totals(view.tallies for view in views)
        yield from _warning_gauges(tallies)
        yield from _feedback_gauges(tallies)
        yield _hits_by_window(views)


def _partition_gauges(views: list[PartitionView]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "stream_guard_lag",
        "Records in the log that the state does not hold yet",
        labels=["topic", "partition"],
    )
    rows = GaugeMetricFamily("stream_guard_state_rows", "Accounts in memory", labels=["partition"])
    learned = GaugeMetricFamily(
        "stream_guard_anomaly_learned", "Events a detector learned from", labels=["partition", "side"]
    )
    warming = GaugeMetricFamily(
        "stream_guard_anomaly_warming_up",
        "1 while a detector gives no reasons yet",
        labels=["partition", "side"],
    )
    quantile = GaugeMetricFamily(
        "stream_guard_anomaly_quantile",
        "Running quantile above which an anomaly score is a reason",
        labels=["partition", "side"],
    )
    for view in views:
        number = str(view.number)
        rows.add_metric([number], view.rows)
        for topic, behind in view.lag().items():
            lag.add_metric([topic, number], behind)
        for side, count, warm, value in view.anomaly():
            learned.add_metric([number, side], count)
            warming.add_metric([number, side], float(warm))
            quantile.add_metric([number, side], value)
    yield from (lag, rows, learned, warming, quantile)


def _warning_gauges(tallies: Tallies) -> Iterator[Metric]:
    by_rule = GaugeMetricFamily(
        "stream_guard_warnings_by_rule",
        "Warnings opened, updated, escalated, closed, by rule model; a warning counts for each of its rules",
        labels=["rule", "severity", "event"],
    )
    for count in tallies.warnings_by_rule():
        by_rule.add_metric([count.rule, count.severity, count.what], count.count)
    yield by_rule
    yield _gauge(
        "stream_guard_warnings",
        "Warnings opened, updated, escalated, closed",
        "event",
        tallies.counts("warnings"),
    )
    yield _gauge(
        "stream_guard_state_events",
        "Payments in the state: counted, repeated, late",
        "result",
        tallies.counts("events"),
    )
    yield _gauge(
        "stream_guard_state_decisions", "First decisions in the state", "action", tallies.counts("decisions")
    )
    yield _gauge(
        "stream_guard_state_rejected", "Records refused, in the state", "reason", tallies.counts("rejected")
    )
    results = GaugeMetricFamily(
        "stream_guard_state_rules", "Rule results in the state", labels=["rule", "result"]
    )
    for family in ("evaluated", "fired", "shadow_fired", "not_evaluable"):
        for rule, total in tallies.counts(family).items():
            results.add_metric([rule, family], total)
    yield results


def _feedback_gauges(tallies: Tallies) -> Iterator[Metric]:
    yield _gauge(
        "stream_guard_dispositions", "Dispositions taken in", "outcome", tallies.counts("dispositions")
    )
    overall = tallies.hit_rate()
    standing = {name: getattr(overall, name) for name in STANDINGS}
    yield _gauge(
        "stream_guard_hits", "Warnings by what became of them; each counts once", "standing", standing
    )
    by_rule = GaugeMetricFamily(
        "stream_guard_hits_by_rule",
        "The same by rule model; every live rule on a warning is credited: these do not add up",
        labels=["rule", "standing"],
    )
    for rule, rate in tallies.hit_rates_by_rule().items():
        for name in STANDINGS:
            by_rule.add_metric([rule, name], getattr(rate, name))
    yield by_rule
    rate_gauge = GaugeMetricFamily(
        "stream_guard_hit_rate",
        "Confirmed / (confirmed + false positive) of this process' partitions; over several, divide the sums",
    )
    if overall.value is not None:
        rate_gauge.add_metric([], overall.value)
    yield rate_gauge
    interval = GaugeMetricFamily(
        "stream_guard_hit_rate_interval", "Wilson 95 % interval of the hit rate", labels=["bound"]
    )
    if overall.interval is not None:
        for bound, value in zip(("lower", "upper"), overall.interval, strict=True):
            interval.add_metric([bound], value)
    yield interval
    amount = tallies.intercepted_amount()
    split = {
        "total": amount.total,
        "confirmed": amount.confirmed,
        "released": amount.released,
        "undecided": amount.undecided,
    }
    yield _gauge(
        "stream_guard_amount_intercepted", "Amount delayed, held or stopped, base currency", "part", split
    )


def _hits_by_window(views: list[PartitionView]) -> Metric:
    """The windows come from the days in the state, so no restart and no retention of Prometheus cuts them."""
    family = GaugeMetricFamily(
        "stream_guard_hits_window",
        "Warnings by what became of them in the last 7, 30 and 365 days",
        labels=["window", "standing"],
    )
    today = max((view.today for view in views), default=0)
    for window, days in WINDOWS_D.items():
        rates = [view.tallies.hits_within(today, days) for view in views]
        for name in STANDINGS:
            family.add_metric([window, name], sum(getattr(rate, name) for rate in rates))
    return family


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


class Metrics:
    """The process metrics of one worker, on a registry of its own.

    Parameters
    ----------
    version, pack, pack_hash
        What runs here; shown by ``stream_guard_build_info`` (a split brain shows as two hashes).
    partitions
        The owned partitions, for the state metrics.
    """

    def __init__(
        self,
        version: str,
        pack: str,
        pack_hash: str,
        partitions: Callable[[], Iterable[PartitionView]] = tuple,
    ) -> None:
        registry = self.registry = CollectorRegistry()
        build = Gauge(
            "stream_guard_build_info", "Version and rule pack in force", ["version", "pack", "pack_hash"],
            registry=registry,
        )  # fmt: skip
        build.labels(version, pack, pack_hash).set(1)
        self.events_in = Counter(
            "stream_guard_events_in", "Transactions read, bad ones included", registry=registry
        )
        self.events_decided = Counter("stream_guard_events_decided", "Payments decided", registry=registry)
        self.events_duplicate = Counter(
            "stream_guard_events_duplicate",
            "Resent payments, answered again and not counted",
            registry=registry,
        )
        self.dead_letters = Counter(
            "stream_guard_dead_letters", "Records refused", ["topic", "reason"], registry=registry
        )
        self.decisions = Counter("stream_guard_decisions", "Decisions made", ["action"], registry=registry)
        self.late = Counter(
            "stream_guard_decisions_late", "Decisions made after the deadline", registry=registry
        )
        self.intercepted = Counter(
            "stream_guard_intercepted_base", "Amount delayed, held or stopped here, base currency",
            registry=registry,
        )  # fmt: skip
        self.rules = Counter(
            "stream_guard_rule_results", "Outcomes of rule models", ["rule", "result"], registry=registry
        )
        self.rejoins = Counter(
            "stream_guard_rejoins", "Times this process was assigned anew", registry=registry
        )
        self.leg_repeats = Counter(
            "stream_guard_leg_repeats",
            "Legs that came again after a crash and were skipped",
            registry=registry,
        )
        self.anomaly_restarts = Counter(
            "stream_guard_anomaly_restarts",
            "Detectors started anew on opening a partition",
            registry=registry,
        )
        self.recovery = Gauge(
            "stream_guard_recovery_seconds", "Duration of the last opening of a partition", ["partition"],
            registry=registry,
        )  # fmt: skip
        self.flush = Histogram(
            "stream_guard_flush_seconds", "Duration of a flush of one partition", buckets=FLUSH_BUCKETS_S,
            registry=registry,
        )  # fmt: skip
        self.flushed_rows = Counter("stream_guard_flushed_items", "State items written", registry=registry)
        self.commit_age = Gauge(
            "stream_guard_commit_age_seconds", "Seconds since the last group commit", registry=registry
        )
        self.signals = Gauge("stream_guard_signals", "Risk signals known", ["source"], registry=registry)
        self.latency = BatchHistogram(
            "stream_guard_latency_seconds",
            "Transaction's Kafka timestamp to decision sent",
            LATENCY_BUCKETS_S,
        )
        self.payer_batch = BatchHistogram(
            "stream_guard_payer_batch_events", "Transactions a batch", tuple(map(float, BATCH_BUCKETS))
        )
        self.payee_batch = BatchHistogram(
            "stream_guard_payee_batch_events", "Legs a batch", tuple(map(float, BATCH_BUCKETS))
        )
        for collector in (self.latency, self.payer_batch, self.payee_batch, StateMetrics(partitions)):
            registry.register(collector)
