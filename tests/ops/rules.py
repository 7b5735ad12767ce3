"""The rules in docker/prometheus as they are, and in fast motion."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from tests.kafka.harness import ROOT

PROMETHEUS = ROOT / "docker" / "prometheus"
RULES = PROMETHEUS / "rules"
UNITS_S = {"s": 1, "m": 60, "h": 3600}
WINDOW = re.compile(r"\[(\d+[smh])\]")
STANDSTILL = re.compile(r"(?<=progress_age_seconds > )30")


def all_rules(folder: Path = RULES) -> list[dict[str, Any]]:
    """Recording and alert rules, in order."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for rule in all_rules() if "alert" in rule]


def in_fast_motion(target: Path, faster: int, *, windows: bool = True, keep: Collection[str] = ()) -> Path:
    """A copy of the rules in which every `for` (and window, if `windows`) is so many times shorter.

    Thresholds stay as they are, but for how long commits may stand still: a third, because a worker gives a
    request up after 40 s. So do comparisons with the day or week before, and the alerts to `keep`.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in RULES.glob("*.yml"):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for rule in (rule for group in document["groups"] for rule in group["rules"]):
            if rule.get("alert") in keep:
                continue
            if windows:
                rule["expr"] = STANDSTILL.sub("10", rule["expr"])
                rule["expr"] = WINDOW.sub(lambda found: f"[{_shorter(found[1], faster)}]", rule["expr"])
            if "for" in rule:
                rule["for"] = _shorter(rule["for"], faster)
        (target / path.name).write_text(yaml.safe_dump(document), encoding="utf-8")
    return target


def _shorter(span: str, faster: int) -> str:
    """A span of time divided, three seconds at the least: three samples."""
    return f"{max(3, int(span[:-1]) * UNITS_S[span[-1]] // faster)}s"
