"""What the shipped rule pack costs an event, at the batch sizes of a quiet hour and of a backlog.

Run from the repository's root: ``python tests/benchmarks/bench_rules.py [--pack FILE] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from stream_guard.detection.features import FEATURES, N
from stream_guard.detection.rules import CompiledPack, check_file, compile_pack

ROOT = Path(__file__).parents[2]
BATCHES = (1, 4, 64, 4_000)
SECONDS = 0.5
REPEATS = 7


def matrix(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Rows that give every rule something to compute: sums, counts, flags, one value in ten missing."""
    cells = rng.lognormal(9.0, 2.0, (count, N))
    for column, feature in enumerate(FEATURES):
        if feature.unit in ("count", "level"):
            cells[:, column] = rng.integers(0, 30, count)
        elif feature.kind == "bool":
            cells[:, column] = rng.integers(0, 2, count)
    cells[rng.random((count, N)) < 0.1] = np.nan
    return cells


def microseconds_a_batch(pack: CompiledPack, count: int) -> float:
    """Best of several runs, each of many evaluations of one batch of `count` rows."""
    cells, ts = matrix(count, np.random.default_rng(count)), np.full(count, 1_800_000_000_000, np.int64)
    pack.evaluate(cells, ts)
    started = time.perf_counter()
    pack.evaluate(cells, ts)
    loops = max(1, int(SECONDS / REPEATS / max(time.perf_counter() - started, 1e-6)))
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(loops):
            pack.evaluate(cells, ts)
        best = min(best, (time.perf_counter() - started) / loops)
    return best * 1e6


def main() -> None:
    """Print the table, and write it as JSON where asked."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--pack", type=Path, default=ROOT / "models" / "bank-core.yaml")
    asked.add_argument("--cache", type=Path, default=ROOT / ".cache" / "rules")
    asked.add_argument("--json", type=Path)
    arguments = asked.parse_args()
    loaded = check_file(arguments.pack)
    started = time.perf_counter()
    pack = compile_pack(loaded, arguments.cache)
    ready = time.perf_counter() - started
    rules = len(pack.rules)
    print(f"{loaded.label}: {rules} rules, {N} features, ready in {ready:.2f} s")
    print(f"{'batch':>8} {'us a batch':>12} {'us an event':>12} {'ns a rule':>12}")
    rows = []
    for count in BATCHES:
        cost = microseconds_a_batch(pack, count)
        rows.append({"batch": count, "us_a_batch": cost, "us_an_event": cost / count})
        print(f"{count:>8} {cost:>12.2f} {cost / count:>12.3f} {cost / count / rules * 1000:>12.2f}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"rules": rules, "ready_s": ready, "batches": rows}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
