"""What deciding costs: CPU microseconds a payment, both sides scored and learned.

Run as ``python tests/benchmarks/bench_decide.py [--json FILE]``. Not a timed test.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.detection.anomaly import AnomalySettings, Detectors, load_anomaly
from stream_guard.detection.decide import decide
from stream_guard.detection.features import INDEX, N
from stream_guard.detection.policy import RuleMeta, load_policy

MODELS = Path(__file__).parents[2] / "models"
RULES = 24


class Results:
    """Rules that fire once in a thousand."""

    def __init__(self, fired: Any, score: Any) -> None:
        self.fired, self.score = fired, score


def payments(n: int) -> dict[str, Any]:
    """Payments of all kinds, both parties accounts."""
    rng = np.random.default_rng(1)
    matrix = rng.lognormal(3.0, 2.0, (n, N))
    for name in ("payer.listed", "payee.listed"):
        matrix[:, INDEX[name]] = 0.0
    matrix[:, INDEX["txn.hour"]] = rng.random(n) * 24
    return {
        "matrix": matrix,
        "results": Results((rng.random((n, RULES)) < 0.001).astype(np.uint8), np.full((n, RULES), 60.0)),
        "meta": RuleMeta(
            np.arange(RULES, dtype=np.uint8) % 2,
            np.ones(RULES, np.uint8),
            np.ones(RULES, np.bool_),
            np.zeros(RULES, np.bool_),
        ),
        "accounts": np.full(n, 3, np.uint8),
        "late": np.zeros(n, np.bool_),
        "skip": np.zeros(n, np.bool_),
    }


def cut(stream: dict[str, Any], a: int, b: int) -> dict[str, Any]:
    """Some of the payments."""
    out = {name: value[a:b] for name, value in stream.items() if name not in ("results", "meta")}
    results = stream["results"]
    return {**out, "results": Results(results.fired[a:b], results.score[a:b]), "meta": stream["meta"]}


def cpu(task: Callable[[], object], repeats: int = 3) -> float:
    """Lowest CPU seconds of some runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        task()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = load_anomaly((MODELS / "anomaly.yaml").read_text(encoding="utf-8"), "anomaly.yaml")
    policy = load_policy((MODELS / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")
    n = 100_000
    stream = payments(n)
    detectors = Detectors(settings)
    figures: dict[str, float] = {}

    start = time.perf_counter()
    decide(detectors=detectors, policy=policy, **cut(stream, 0, 0))
    figures["first call, ms (compiles, or loads what was)"] = 1e3 * (time.perf_counter() - start)
    for size in (n, 500, 50, 1):
        few = min(n, 3000 * size)

        def batches(size: int = size, few: int = few) -> None:
            for at in range(0, few, size):
                decide(detectors=detectors, policy=policy, **cut(stream, at, at + size))

        figures[f"us a payment, batches of {size:,}"] = 1e6 * cpu(batches) / few
    data = detectors.dump() or b""
    figures["dump, ms"] = 1e3 * cpu(detectors.dump, 20)
    figures["dump, bytes"] = len(data)
    figures["load, ms"] = 1e3 * cpu(lambda: detectors.load(data), 5)
    figures["undo, us"] = 1e6 * cpu(detectors.undo, 20)
    for name, params in (("HalfSpaceTrees", {"n_trees": 25}), ("LODA", {}), ("OneClassSVM", {})):
        change = {"detector": f"river.anomaly.{name}", "params": params}
        slow = Detectors(AnomalySettings.model_validate({**settings.model_dump(), **change}))
        few = cut(stream, 0, 1500)
        figures[f"us a payment, river.anomaly.{name}"] = (
            1e6 * cpu(lambda s=slow, f=few: decide(detectors=s, policy=policy, **f), 1) / 1500
        )
    for name, value in figures.items():
        print(f"{name:48} {value:12,.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
