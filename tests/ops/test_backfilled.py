"""Alerts that compare with last week, on eight days of history that promtool puts under a real Prometheus."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.kafka.bank import wait_until
from tests.ops.prometheus import Prometheus, promtool
from tests.ops.rules import RULES, alerts, all_rules, in_fast_motion

HOUR, DAY = 3_600, 86_400
WEEKLY = ("WarningsSurge", "WarningsSilent")


def openmetrics(path: Path, now: int, usual: float, lately: float) -> None:
    """Warnings opened: so many an hour for eight days, and so many in the last two hours."""
    total = 0.0
    lines = ["# TYPE stream_guard_alerts counter"]
    # Prometheus records nothing that is older than a block ends.
    for at in range(now - 8 * DAY, now - 30, 60):
        total += (usual if at < now - 2 * HOUR else lately) / 60
        series = 'stream_guard_alerts_total{job="stream-guard",instance="a",status="opened"}'
        lines.append(f"{series} {total} {at}")
    path.write_text("\n".join([*lines, "# EOF\n"]), encoding="utf-8")


def moved(blocks: Path, data: Path) -> None:
    """Put the blocks that promtool made where Prometheus finds them at its start."""
    for block in blocks.iterdir():
        if block.is_dir() and (block / "meta.json").exists():
            block.rename(data / block.name)


@pytest.mark.parametrize(
    ("usual", "lately", "wanted"),
    [(60, 200, "WarningsSurge"), (60, 3, "WarningsSilent"), (60, 100, None), (60, 20, None), (8, 0, None)],
)
def test_warnings_against_the_same_hour_of_last_week(
    tmp_path: Path, usual: float, lately: float, wanted: str | None
) -> None:
    now = int(time.time())
    history, data = tmp_path / "history.om", tmp_path / "prometheus" / "data"
    openmetrics(history, now, usual, lately)
    made = promtool("tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=24h", history, data)
    assert made.returncode == 0, made.stderr
    # Windows as they are; only what must hold for ten minutes holds for three seconds.
    rules = in_fast_motion(tmp_path / "rules", 600, windows=False)
    with Prometheus(tmp_path / "prometheus", rules=rules) as prometheus:
        week = now - 7 * DAY
        span = (f"--start={week - HOUR}", f"--end={week + HOUR}", "--eval-interval=1m")
        where = (f"--url={prometheus.url}", f"--output-dir={tmp_path / 'recorded'}")
        recorded = promtool("tsdb", "create-blocks-from", "rules", *where, *span, RULES / "recording.yml")
        assert recorded.returncode == 0, recorded.stderr
    moved(tmp_path / "recorded", data)
    with Prometheus(tmp_path / "prometheus", rules=rules) as prometheus:
        opened = "stream_guard:warnings_opened:increase1h"
        wait_until(
            lambda: bool(prometheus.query(f"{opened} and {opened} offset 1w")), "both weeks are recorded"
        )
        (last_week,) = prometheus.query(f"{opened} offset 1w")
        assert last_week.value == pytest.approx(usual, rel=0.02)
        if wanted is None:
            time.sleep(6)
            assert not set(WEEKLY) & set(prometheus.firing())
        else:
            wait_until(lambda: wanted in prometheus.firing(), f"{wanted} fires")
            assert len(set(WEEKLY) & set(prometheus.firing())) == 1


def test_no_other_alert_needs_weeks() -> None:
    named = {alert["alert"] for alert in alerts() if "offset 1w" in alert["expr"]}
    assert named == set(WEEKLY)
    assert not [rule for rule in all_rules() if "record" in rule and "offset 1w" in rule["expr"]]
