"""What the report shows beside the figures: curves, and the warnings that were best and worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson

from stream_guard.backtest.curves import curves
from stream_guard.backtest.figures import Standing
from stream_guard.backtest.judge import Judge

SHOWN: Final = 20
"""Best warnings, and worst ones."""


@dataclass(frozen=True)
class Picture:
    """What charts and examples are made of.

    Attributes
    ----------
    curves
        As `curves` gives them.
    best
        Hits, those first after which the account's fraud was largest: what the warning could save. Each is an
        alert message in its newest revision, and ``later``, that amount.
    worst
        False positives, highest score first: what cost investigators most.
    """

    curves: dict[str, Any]
    best: list[dict[str, Any]]
    worst: list[dict[str, Any]]


def picture(judge: Judge, standing: Standing, days: float) -> Picture:
    """Picture of a judge that kept its warnings; an account is shown once, by its first warning."""
    first: dict[int, dict[str, Any]] = {}
    for row, alert in judge.diary.warnings.values():
        if standing.candidate[row] and not standing.victim[row] and row not in first:
            first[row] = {**orjson.loads(alert), "later": float(judge.whole.later[row])}
    hits = [warning for row, warning in first.items() if standing.positive[row]]
    wrong = [warning for row, warning in first.items() if not standing.positive[row]]
    hits.sort(key=lambda warning: (-warning["later"], -warning["score"], warning["opened_at"]))
    wrong.sort(key=lambda warning: (-warning["score"], -warning["amount"], warning["opened_at"]))
    shapes = curves(judge.whole, judge.diary, standing, days)
    return Picture(shapes, hits[:SHOWN], wrong[:SHOWN])
