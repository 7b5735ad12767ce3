"""Deciding, as obviously as it can be written: River's own classes, lists and plain Python numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from river import anomaly, stats

from stream_guard.detection.anomaly_settings import AnomalySettings
from stream_guard.detection.features import INDEX
from stream_guard.detection.policy import Policy, RuleMeta
from stream_guard.detection.transforms import Input, Transform
from stream_guard.detection.vocabulary import Action, Side

SIDES = (Side.PAYER, Side.PAYEE)


@dataclass
class Results:
    """What the rules said."""

    fired: Any
    score: Any


def transformed(item: Input, row: Any) -> float:
    """One input of a detector."""
    value = float(row[INDEX[item.feature]])
    other = float(row[INDEX[item.against]]) if item.against else 1.0
    if math.isnan(value) or math.isnan(other):
        return item.missing
    if item.transform is Transform.LINEAR:
        x = (value - item.low) / (item.high - item.low)
    elif item.transform is Transform.LOG:
        x = math.log1p(max(0.0, value)) / math.log1p(item.high)
    elif item.transform is Transform.SHARE:
        if value + other == 0.0:
            return item.missing
        x = value / (value + other)
    else:
        if value == other == 0.0 or value < 0.0 or other < 0.0:
            return item.missing
        if value == 0.0 or other == 0.0:
            x = 0.0 if value == 0.0 else 1.0
        else:
            x = 0.5 + math.log(value / other) / (2.0 * math.log(item.high))
    return min(1.0, max(0.0, x))


def union(scores: list[float]) -> float:
    """100 * (1 - prod(1 - s/100))."""
    product = 1.0
    for s in scores:
        product *= 1.0 - s / 100.0
    return 100.0 * (1.0 - product)


class Reference:
    """Decides one payment at a time."""

    def __init__(self, settings: AnomalySettings, policy: Policy, meta: RuleMeta) -> None:
        self.settings, self.policy, self.meta = settings, policy, meta
        self.trees = [
            anomaly.HalfSpaceTrees(
                settings.trees, settings.height, settings.window, seed=settings.side_seed(side)
            )
            for side in SIDES
        ]
        self.quantiles = [stats.Quantile(settings.quantile) for _ in SIDES]
        self.learned = [0, 0]

    def by_score(self, score: float) -> Action:
        t = self.policy.thresholds
        # A threshold means what it says, whatever binary fractions make of a product.
        if score >= t.hold - 1e-9:
            return Action.HOLD
        if score >= t.delay - 1e-9:
            return Action.DELAY
        return Action.CONFIRM if score >= t.confirm - 1e-9 else Action.ALLOW

    def decide(
        self, row: Any, fired: Any, scores: Any, accounts: int, late: bool, skip: bool
    ) -> dict[str, Any]:
        nothing = {
            "action": 0,
            "uncapped": 0,
            "score": 0.0,
            "sides": [0.0, 0.0],
            "anomaly": [math.nan] * 4,
            "flags": 0,
        }
        if skip:
            return nothing
        figures, flags = [math.nan] * 4, 0
        xs: list[dict[str, float] | None] = [None, None]
        for s, side in enumerate(SIDES):
            if not accounts & (1, 2)[s]:
                continue
            x = {item.name: transformed(item, row) for item in self.settings.inputs(side)}
            xs[s] = x
            figures[2 * s] = float(self.trees[s].score_one(x))
            limit = self.quantiles[s].get()
            figures[2 * s + 1] = math.nan if limit is None else limit
            if self.learned[s] < self.settings.warm_up:
                flags |= (4, 8)[s]
            elif limit is not None and figures[2 * s] > limit:
                flags |= (1, 2)[s]
        counting = [r for r in range(len(fired)) if fired[r] == 1 and self.meta.live[r]]
        listed = row[INDEX["payer.listed"]] > 0 or row[INDEX["payee.listed"]] > 0
        action, sides = Action.ALLOW, []
        for r in counting:
            wanted = Action(int(self.meta.action[r]))
            if wanted is Action.STOP and not (self.meta.police[r] or listed):
                wanted = Action.HOLD
            action = max(action, wanted)
        for s in (0, 1):
            rules = [float(scores[r]) for r in counting if self.meta.side[r] == s]
            score = union(rules + ([self.policy.anomaly_score] if flags & (1, 2)[s] else []))
            by_score = self.by_score(score)
            action = max(action, by_score if rules else min(by_score, Action.CONFIRM))
            sides.append(score)
        if action is Action.ALLOW:
            for s in (0, 1):
                x = xs[s]
                if x is not None:
                    if self.learned[s] >= self.settings.window:
                        self.quantiles[s].update(figures[2 * s])
                    self.trees[s].learn_one(x)
                    self.learned[s] += 1
        return {
            "action": min(action, self.policy.on_late) if late else action,
            "uncapped": action,
            "score": max(sides),
            "sides": sides,
            "anomaly": figures,
            "flags": flags,
        }


def random_stream(seed: int, n: int, rules: int) -> dict[str, Any]:
    """Payments: odd ones, missing values, non-accounts, listed parties, rules that fire now and then."""
    rng = np.random.default_rng(seed)
    matrix = rng.lognormal(3.0, 1.5, (n, len(INDEX)))
    matrix[rng.random(matrix.shape) < 0.1] = np.nan
    matrix[:, INDEX["txn.hour"]] = rng.random(n) * 24
    matrix[:, INDEX["pair.seen_before"]] = rng.random(n) < 0.7
    for name in ("payer.listed", "payee.listed"):
        matrix[:, INDEX[name]] = np.where(rng.random(n) < 0.05, 60.0, 0.0)
    odd = rng.random(n) < 0.05
    matrix[odd] *= 1000.0
    fired = rng.choice(np.array([0, 1, 2], np.uint8), (n, rules), p=[0.9, 0.05, 0.05])
    score = rng.choice([0.0, 5.0, 20.0, 35.5, 50.0, 60.0, 80.0, 100.0], (n, rules))
    return {
        "matrix": matrix,
        "results": Results(fired, score),
        "accounts": rng.choice(np.array([0, 1, 2, 3], np.uint8), n, p=[0.05, 0.15, 0.15, 0.65]),
        "late": rng.random(n) < 0.1,
        "skip": rng.random(n) < 0.1,
    }


def random_meta(seed: int, rules: int) -> RuleMeta:
    """Rules of both sides that ask for anything."""
    rng = np.random.default_rng(seed)
    return RuleMeta(
        rng.integers(0, 2, rules).astype(np.uint8),
        rng.choice(np.array([0, 0, 0, 1, 2, 3, 4], np.uint8), rules),
        rng.random(rules) < 0.8,
        rng.random(rules) < 0.3,
    )


def part(stream: dict[str, Any], rows: slice) -> dict[str, Any]:
    """Some payments of a stream."""
    results = stream["results"]
    cut = {name: value[rows] for name, value in stream.items() if name != "results"}
    return {**cut, "results": Results(results.fired[rows], results.score[rows])}
