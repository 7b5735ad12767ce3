"""The rules in docker/prometheus as they are, and in fast motion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.kafka.harness import ROOT

PROMETHEUS = ROOT / "docker" / "prometheus"
RULES = PROMETHEUS / "rules"
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def all_rules(folder: Path = RULES) -> list[dict[str, Any]]:
    """Recording and alert rules, in order."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yml"))]
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for rule in all_rules() if "alert" in rule]


def in_fast_motion(target: Path, faster: int) -> Path:
    """A copy of the rules in which every window and every `for` is so many times shorter.

    Thresholds stay as they are, and so do comparisons with the day or the week before.
    """

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[2]) * UNITS_S[match[3]]
        return f"{match[1]}{max(3, seconds // faster)}s{match[4]}"

    target.mkdir(parents=True, exist_ok=True)
    for path in RULES.glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(\[)(\d+)([smh])(\])", shorter, text)
        text = re.sub(r"(for: )(\d+)([smh])()", shorter, text)
        (target / path.name).write_text(text, encoding="utf-8")
    return target
