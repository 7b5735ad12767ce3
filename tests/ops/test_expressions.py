"""Every expression of every panel and rule, evaluated on a real Prometheus that watches a bank at work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kafka.harness import Kafka
from tests.ops.expressions import Expression, of_panels, of_rules
from tests.ops.scene import Scene, bank_at_work

MAY_BE_EMPTY = {
    "service-health: Which alerts fire? (A)": "no alert fires",
    "rule rule:stream_guard_hit_rate_last30:upper": "few have 30 dispositions after a minute",
}
"""Expressions that may have nothing to show in health, and why. Alerts must: what they read is looked at."""


@pytest.fixture(scope="module")
def scene(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    with bank_at_work(kafka, folder, days=20, seconds=30) as running:
        running.shows('stream_guard_hits{standing="confirmed"}', "a warning is confirmed")
        running.shows('sum(stream_guard_hits{standing="false_positive"})', "a warning was false")
        # Rates look back over ten seconds, and quantiles rest on recorded ones.
        running.shows("stream_guard:latency_seconds:p999", "rules are evaluated")
        yield running


def test_every_expression_parses_and_returns_data(scene: Scene) -> None:
    problems = []
    everything: list[Expression] = [*of_panels(), *of_rules()]
    assert len(everything) > 100
    for one in everything:
        found = scene.prometheus.query(one.text)
        if one.is_alert and found:
            problems.append(f"{one.place} has data in health: {found}")
        elif not found and not one.is_alert and one.place not in MAY_BE_EMPTY:
            problems.append(f"{one.place} has no data: {one.text}")
    assert not problems, "\n".join(problems)
    assert set(MAY_BE_EMPTY) <= {one.place for one in everything}


def test_every_series_that_an_alert_reads_is_there(scene: Scene) -> None:
    missing = {
        (one.place, metric)
        for one in of_rules()
        if one.is_alert
        for metric in one.metrics - {"rule:stream_guard_hit_rate_last30:upper"}
        if not scene.prometheus.query(metric)
    }
    assert not missing


def test_no_rule_fails_and_no_alert_fires(scene: Scene) -> None:
    assert scene.prometheus.failed_rules() == []
    assert scene.prometheus.firing() == {}


def test_what_two_workers_tell_adds_up_to_what_their_partitions_hold(scene: Scene) -> None:
    """Hits by window over both, as recorded, are those of all time: everything was disposed of today."""
    query = scene.prometheus.query
    (recorded,) = query(
        'sum(rule_window:stream_guard_hits:sum{rule="all",window="365d",standing=~"confirmed|false_positive"})'
    )
    (told,) = query('sum(stream_guard_hits{standing=~"confirmed|false_positive"})')
    assert recorded.value == told.value > 0
    assert len(query("stream_guard_partitions_owned > 0")) == 2
