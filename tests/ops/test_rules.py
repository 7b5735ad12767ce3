"""The rules: valid, tested for firing and for not firing, and each alert with its entry in the runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kafka.harness import ROOT
from tests.ops.prometheus import amtool, promtool
from tests.ops.rules import PROMETHEUS, alerts

DOCKER = ROOT / "docker"
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = {alert["alert"]: alert for alert in alerts()}


def test_the_configuration_and_the_rules_are_valid() -> None:
    checked = promtool("check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    example = amtool("check-config", DOCKER / "alertmanager" / "alertmanager.yml")
    assert example.returncode == 0, example.stdout + example.stderr


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    result = promtool("test", "rules", path)
    assert result.returncode == 0, result.stdout + result.stderr


def expectations() -> list[tuple[str, bool]]:
    """Expression and whether something is expected of it, of every unit test."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in UNIT_TESTS]
    tests = [test for document in documents for test in document["tests"]]
    return [(one["expr"], bool(one["exp_samples"])) for test in tests for one in test["promql_expr_test"]]


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tried_both_ways(name: str) -> None:
    found = {expected for expression, expected in expectations() if name in expression}
    assert found == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_who_is_meant_how_urgent_it_is_and_what_to_read(name: str) -> None:
    alert: dict[str, Any] = ALERTS[name]
    assert set(alert["labels"]) == {"severity", "audience"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["labels"]["audience"] in {"ops", "fraud-desk"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == f"docker/RUNBOOK.md#{name.lower()}"


def test_the_runbook_has_an_entry_of_four_parts_for_every_alert_and_for_no_other() -> None:
    text = (DOCKER / "RUNBOOK.md").read_text(encoding="utf-8")
    (part,) = re.findall(r"^## Alerts\n(.*?)(?=^## )", text + "\n## ", re.M | re.S)
    entries = dict(re.findall(r"^### (\w+)\n(.*?)(?=^###? |\Z)", part, re.M | re.S))
    table = set(re.findall(r"\w+", " ".join(re.findall(r"^\| ([^|]+) \|", text, re.M))))
    assert set(ALERTS) <= table, "the table says of each alert how it has been seen firing"
    assert sorted(entries) == sorted(ALERTS)
    for name, entry in entries.items():
        parts = re.findall(r"^\*\*([\w ]+)\.\*\* \S", entry, re.M)
        assert parts == ["Means", "Look at", "Do", "Over when"], name
