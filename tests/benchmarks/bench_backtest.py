"""What a backtest costs: payments a second on one core, with the whole shipped pack and the anomaly model.

Run as ``python -m tests.benchmarks.bench_backtest [HISTORY.parquet [ACCOUNTS]] [--json FILE]``. Without a
history, 400,000 made-up payments among 20,000 accounts. CPU time counts, so that a busy machine does not: the
figure is that of one core for itself. The second run is measured, the first one compiles. Not a timed test.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stream_guard.backtest import Inputs, account_labels, period, run
from stream_guard.context import load_context
from stream_guard.history import History, account_updates
from stream_guard.settings import load_settings

PAYMENTS, ACCOUNTS = 400_000, 20_000
GOAL = 50_000


def made_up(folder: Path) -> Path:
    """Payments of 120 days among accounts of very different size, one in a thousand labelled."""
    rng = np.random.default_rng(1)
    ts = np.sort(rng.integers(1_700_000_000_000, 1_700_000_000_000 + 120 * 86_400_000, PAYMENTS))
    payer = (rng.random(PAYMENTS) ** 2 * ACCOUNTS).astype(int)
    payee = (rng.random(PAYMENTS) ** 2 * ACCOUNTS).astype(int)
    table = {
        "event_id": [f"e{i:07d}" for i in range(PAYMENTS)],
        "ts": pa.array(ts, pa.timestamp("ms", "UTC")),
        "account": [f"A{i:06d}" for i in payer],
        "counterparty": [f"A{i:06d}" if i % 3 else f"EXT_{i}" for i in payee],
        "amount": np.round(rng.lognormal(5, 2, PAYMENTS), 2) + 0.01,
        "is_fraud": pa.array(rng.random(PAYMENTS) < 0.001, pa.int8()),
    }
    path = folder / "history.parquet"
    pq.write_table(pa.table(table), path)
    return path


def measure(history: Path, accounts: Path | None) -> dict[str, Any]:
    """CPU seconds of the second of two runs, and what they found."""
    settings = load_settings(None, {})
    with tempfile.TemporaryDirectory() as folder:
        settings = settings.model_copy(update={"data_dir": Path(folder)})
        context = load_context(settings, 1)
    timeless = context.policy.model_copy(update={"deadline_ms": 0})
    context = replace(context, policy=timeless)
    source = History(history)
    first, last = source.first_ts(), source.last_ts()
    if first is None or last is None:
        raise SystemExit(f"{history} holds no payment.")
    inputs = Inputs(
        source,
        period(first, last, UTC),
        tuple(account_updates(accounts, first)) if accounts else (),
        account_labels(accounts) if accounts else None,
    )
    cpu = 0.0
    document: dict[str, Any] = {}
    for _ in range(2):
        start = time.process_time()
        document = run(inputs, context, clock=time.process_time).document
        cpu = time.process_time() - start
    return {
        "events": document["events"],
        "cpu_seconds": round(cpu, 3),
        "events_per_cpu_second": round(document["events"] / cpu),
        "warnings": document["warnings"],
        "rules": len(document["rules"]),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "goal": GOAL,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("history", type=Path, nargs="?")
    parser.add_argument("accounts", type=Path, nargs="?")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.history or made_up(Path(folder)), arguments.accounts)
    print(json.dumps(found, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
