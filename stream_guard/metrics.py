"""Every Prometheus metric of a worker: here what this process did since it started.

The other kind, read from the state of the partitions that this process owns, is in `state_metrics`.

No label ever holds an account, an event or a device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_guard import memory
from stream_guard.alerts import AlertStatus
from stream_guard.detection.vocabulary import Action, Reject
from stream_guard.state_metrics import PartitionView, StateMetrics

# A creation time beside every series doubles the page and tells nothing that a restart does not.
disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCY_BUCKETS_S = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
"""From 1 ms to 10 s, denser where the goals lie (p99 30 ms, p99.9 50 ms, deadline 1 s)."""

BATCH_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
FLUSH_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SCORE_BUCKETS = tuple(map(float, range(10, 101, 10)))
ANOMALY_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 1.0)


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


class Metrics:
    """The process metrics of one worker, on a registry of its own.

    Parameters
    ----------
    version, pack, pack_hash
        What runs here; shown by ``stream_guard_build_info`` (a split brain shows as two hashes).
    partitions
        The owned partitions, for the state metrics.
    roles
        Role of each topic by name (``transactions``, ``legs``), for the lag.
    memory_bound
        Bytes that this process may use.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        version: str,
        pack: str,
        pack_hash: str,
        partitions: Callable[[], Iterable[PartitionView]] = tuple,
        *,
        roles: Mapping[str, str] | None = None,
        memory_bound: int | None = None,
        clock: Callable[[], float] = time.monotonic,
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
        self.alerts = Counter("stream_guard_alerts", "Alerts written", ["status"], registry=registry)
        # A series that begins with its first event hides that event from `rate`.
        for action in Action:
            self.decisions.labels(action.label)
        for status in AlertStatus:
            self.alerts.labels(status.value)
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
        self.sightings = Counter(
            "stream_guard_sightings", "New uses of devices and addresses by day, counted", registry=registry
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
        self.snapshots = Counter(
            "stream_guard_snapshots", "Local snapshots of partitions", ["result"], registry=registry
        )
        self.flush = Histogram(
            "stream_guard_flush_seconds", "Duration of a flush of one partition", buckets=FLUSH_BUCKETS_S,
            registry=registry,
        )  # fmt: skip
        self.flushed_rows = Counter("stream_guard_flushed_items", "State items written", registry=registry)
        self.commit_age = Gauge(
            "stream_guard_commit_age_seconds", "Seconds since the last group commit", registry=registry
        )
        self.progress_age = Gauge(
            "stream_guard_progress_age_seconds",
            "Seconds since a commit moved on, or had nothing to move",
            registry=registry,
        )
        self.broker_errors = Counter(
            "stream_guard_broker_errors", "Warnings and errors of the Kafka client", registry=registry
        )
        self.partitions = Gauge(
            "stream_guard_partitions", "Partitions of the keyed topics", registry=registry
        )
        self.policy = Gauge(
            "stream_guard_policy",
            "Limits that alerts compare with: deadline_seconds, interception_budget, hit_rate_floor; 0: none",
            ["setting"],
            registry=registry,
        )
        self.last_exit = Gauge(
            "stream_guard_last_exit", "1 for how the process before this one ended", ["cause"],
            registry=registry,
        )  # fmt: skip
        Gauge(
            "stream_guard_start_time_seconds", "When this process started, seconds since 1970",
            registry=registry,
        ).set_to_current_time()  # fmt: skip
        used = Gauge(
            "stream_guard_memory_bytes",
            "Memory of this process: resident, and bound, what it may use",
            ["part"],
            registry=registry,
        )
        used.labels("resident").set_function(memory.resident_bytes)
        used.labels("bound").set(memory.bound_bytes() if memory_bound is None else memory_bound)
        self.signal_records = Counter(
            "stream_guard_signal_records",
            "Risk signals read, withdrawals too",
            registry=registry,
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
        self.score = BatchHistogram(
            "stream_guard_score", "Score of payments that have one above 0", SCORE_BUCKETS
        )
        self.anomaly_score = BatchHistogram(
            "stream_guard_anomaly_score", "Anomaly score of either side of a payment", ANOMALY_BUCKETS
        )
        for histogram in (
            self.latency, self.payer_batch, self.payee_batch, self.score, self.anomaly_score,
        ):  # fmt: skip
            registry.register(histogram)
        registry.register(StateMetrics(partitions, roles or {}, clock))

    def expect_dead_letters(self, topics: Iterable[str]) -> None:
        """Show a count of 0 for each topic and reason, so that `rate` sees the first dead letters too."""
        for topic in topics:
            for reason in Reject:
                self.dead_letters.labels(topic, reason.value)
