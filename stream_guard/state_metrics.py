"""Gauges that are read from the tallies in the state of the partitions a process owns.

A restart does not reset them and a correction may lower them; sum them over processes. Windows come from the
days in the state, so neither a restart nor the retention of Prometheus cuts them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_guard.feedback.hit_rate import HitRate
from stream_guard.feedback.tallies import Intercepted, Tallies

STANDINGS = ("confirmed", "false_positive", "pending", "inconclusive", "expired")
WARNING_EVENTS = ("opened", "updated", "escalated", "closed_by_disposition", "closed_by_expiry")
WINDOWS_D = {"1d": 1, "7d": 7, "30d": 30, "365d": 365}
"""Bank-local days, today included."""


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
    def devices(self) -> int:
        """Devices and addresses remembered."""

    @property
    def today(self) -> int:
        """Bank-local day of its stream time, days since 1970-01-01."""

    @property
    def stream_ts(self) -> int:
        """Newest event time, milliseconds since 1970."""

    @property
    def oldest_pending(self) -> int | None:
        """When its oldest pending warning was opened, milliseconds of stream time."""

    def lag(self) -> dict[str, int]:
        """Records not applied yet, by topic."""

    def anomaly(self) -> Iterable[tuple[str, int, bool, float]]:
        """Side, events learned, warming up, running quantile of each detector."""


class StateMetrics(Collector):
    """Gauges over the partitions this process owns.

    Parameters
    ----------
    partitions
        The owned ones.
    roles
        Role of each topic by name; a topic that is not there is told under its own name.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        partitions: Callable[[], Iterable[PartitionView]],
        roles: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._partitions = partitions
        self._roles = roles
        self._bank_time = BankTime(clock)

    def collect(self) -> Iterator[Metric]:
        """Read the partitions as they are now."""
        views = list(self._partitions())
        yield from _partition_gauges(views, self._roles)
        yield self._oldest_pending(views)
        tallies = Tallies.totals(view.tallies for view in views)
        yield from _warning_gauges(tallies)
        yield from _feedback_gauges(tallies)
        yield from _window_gauges(views)

    def _oldest_pending(self, views: list[PartitionView]) -> Metric:
        now = self._bank_time.at(max((view.stream_ts for view in views), default=0))
        opened = [view.oldest_pending for view in views if view.oldest_pending is not None]
        family = GaugeMetricFamily(
            "stream_guard_warnings_oldest_pending_seconds", "Age of the oldest pending warning; 0 without one"
        )
        family.add_metric([], max(0.0, now - min(opened) / 1000) if opened else 0.0)
        return family


class BankTime:
    """What time it is at the bank: the newest payment's, which runs on by the clock while none comes.

    So a warning ages through a night without payments, and a replay of years ago ages its own.

    Examples
    --------
    >>> clock = [50.0]
    >>> time = BankTime(lambda: clock[0])
    >>> time.at(7_000)
    7.0
    >>> clock[0] = 53.0
    >>> time.at(7_000), time.at(9_000)
    (10.0, 9.0)
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._newest = 0
        self._since = clock()

    def at(self, newest: int) -> float:
        """Seconds since 1970, given the newest event time in milliseconds."""
        if newest != self._newest:
            self._newest, self._since = newest, self._clock()
        return newest / 1000 + self._clock() - self._since


def _partition_gauges(views: list[PartitionView], roles: Mapping[str, str]) -> Iterator[Metric]:
    owned = GaugeMetricFamily("stream_guard_partitions_owned", "Partitions this process has open")
    owned.add_metric([], len(views))
    lag = GaugeMetricFamily(
        "stream_guard_lag",
        "Records in the log that the state does not hold yet",
        labels=["role", "topic", "partition"],
    )
    rows = GaugeMetricFamily("stream_guard_state_rows", "Accounts in memory", labels=["partition"])
    devices = GaugeMetricFamily(
        "stream_guard_state_devices", "Devices and addresses remembered", labels=["partition"]
    )
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
        devices.add_metric([number], view.devices)
        for topic, behind in view.lag().items():
            lag.add_metric([roles.get(topic, topic), topic, number], behind)
        for side, count, warm, value in view.anomaly():
            learned.add_metric([number, side], count)
            warming.add_metric([number, side], float(warm))
            quantile.add_metric([number, side], value)
    yield from (owned, lag, rows, devices, learned, warming, quantile)


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
    yield _gauge(
        "stream_guard_hits",
        "Warnings by what became of them; each counts once",
        "standing",
        _standings(overall),
    )
    by_rule = GaugeMetricFamily(
        "stream_guard_hits_by_rule",
        "The same by rule model; every live rule on a warning is credited: these do not add up",
        labels=["rule", "standing"],
    )
    for rule, rate in tallies.hit_rates_by_rule().items():
        for name, count in _standings(rate).items():
            by_rule.add_metric([rule, name], count)
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
    yield _gauge(
        "stream_guard_amount_intercepted",
        "Amount delayed, held or stopped, base currency",
        "part",
        _parts(tallies.intercepted_amount()),
    )


def _window_gauges(views: list[PartitionView]) -> Iterator[Metric]:
    warnings = GaugeMetricFamily(
        "stream_guard_warnings_window",
        "Warnings opened, updated, escalated, closed in the last days",
        labels=["window", "event"],
    )
    hits = GaugeMetricFamily(
        "stream_guard_hits_window",
        "Warnings by what became of them in the last days",
        labels=["window", "standing"],
    )
    by_rule = GaugeMetricFamily(
        "stream_guard_hits_by_rule_window",
        "The same by rule model; these do not add up",
        labels=["window", "rule", "standing"],
    )
    amounts = GaugeMetricFamily(
        "stream_guard_amount_intercepted_window",
        "Amount of the last days' payments delayed, held or stopped, base currency",
        labels=["window", "part"],
    )
    today = max((view.today for view in views), default=0)
    for window, days in WINDOWS_D.items():
        tallies = Tallies.totals(view.tallies.window(today, days) for view in views)
        for event, count in {**dict.fromkeys(WARNING_EVENTS, 0), **tallies.counts("warnings")}.items():
            warnings.add_metric([window, event], count)
        for name, count in _standings(tallies.hit_rate()).items():
            hits.add_metric([window, name], count)
        for rule, rate in tallies.hit_rates_by_rule().items():
            for name, count in _standings(rate).items():
                by_rule.add_metric([window, rule, name], count)
        for part, amount in _parts(tallies.intercepted_amount()).items():
            amounts.add_metric([window, part], amount)
    yield from (warnings, hits, by_rule, amounts)


def _standings(rate: HitRate) -> dict[str, int]:
    return {name: getattr(rate, name) for name in STANDINGS}


def _parts(amount: Intercepted) -> dict[str, float]:
    return {**amount._asdict(), "undecided": amount.undecided}


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
