"""Every PromQL expression that the dashboards and the rules hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.kafka.harness import ROOT
from tests.ops.rules import all_rules

DASHBOARDS = ROOT / "docker" / "grafana" / "dashboards"
ALL_RULES = ".*@.*|anomaly"
METRIC = re.compile(r"(?<![\w:\"])(?:\w+:)?(?:stream_guard|stream_guard:\w+)[\w:]*|\bup\b|\bALERTS\b")


class Expression(NamedTuple):
    """One expression and where it stands."""

    place: str
    text: str
    is_alert: bool = False

    @property
    def metrics(self) -> set[str]:
        """Names of the series it reads."""
        return set(METRIC.findall(self.text))


def pages() -> dict[str, dict[str, Any]]:
    """The dashboards by file name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS.glob("*.json")}


def panels(page: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels without the rows between them."""
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def chosen(text: str, *, window: str = "365d", interval: str = "10s") -> str:
    """An expression as Grafana sends it, with the variables' values in place."""
    for name, value in (("$window", window), ("$rule", ALL_RULES), ("$__rate_interval", interval)):
        text = text.replace(name, value)
    if "$" in text:
        raise ValueError(f"a variable of {text!r} has no value")
    return text


def of_panels() -> Iterator[Expression]:
    """Expressions of all panels and template variables."""
    for name, page in pages().items():
        for panel in panels(page):
            for target in panel["targets"]:
                yield Expression(f"{name}: {panel['title']} ({target['refId']})", chosen(target["expr"]))
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                (series,) = re.findall(r"label_values\((\w+), \w+\)", variable["query"])
                yield Expression(f"{name}: ${variable['name']}", series)


def of_rules() -> Iterator[Expression]:
    """Expressions of recording and alert rules."""
    for rule in all_rules():
        yield Expression(f"rule {rule.get('record') or rule['alert']}", rule["expr"], "alert" in rule)
