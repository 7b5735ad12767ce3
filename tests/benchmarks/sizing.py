"""What a worker takes: memory by account, changelog bytes by payment. ``python -m tests.benchmarks.sizing``.

No broker: rows and flushes are made as a worker makes them, and what a flush would write is counted. A record
costs Kafka about 20 bytes beside its key and value, and nothing is compressed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

from stream_guard.context import load_context
from stream_guard.detection import pipeline
from stream_guard.detection.columns import payments
from stream_guard.detection.rows import ROW
from stream_guard.detection.state import PartitionState
from stream_guard.settings import Settings, load_settings
from stream_guard.streaming.partition import Partition
from stream_guard.warm_up import warm_up
from tests.benchmarks.bench_profiles import START, history

RECORD_BYTES = 20
BATCH = 1_000


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(settings: Settings, accounts: int, each: int, rate: int) -> dict[str, float]:
    """Figures of one partition.

    Parameters
    ----------
    accounts
        Accounts that pay each other at random.
    each
        Payments of an account, paid or received, on average.
    rate
        Payments of the partition between two flushes.
    """
    context = load_context(settings, 1)
    warm_up(context)
    state = PartitionState(context)
    partition = Partition(0, 1, state, context.bank.routing_hash(), "sightings", "sizing")
    before = resident()
    count = accounts * each // 2
    written = flushed = 0
    for at in range(0, count, rate):
        events = history(min(rate, count - at), accounts, at)
        for number, event in enumerate(events):
            event["event_id"] = f"E{at + number:09d}"
            event["ts"] = START + (at + number) * 1000
        n = len(events)
        offsets = list(range(at, at + n))
        keys: list[bytes | None] = [event["account"].encode() for event in events]
        columns, _ = payments(events, offsets, [events[-1]["ts"]] * n, keys, 0, context.bank, 2 * START)
        legs, _ = pipeline.payer_leg(columns, 0, state)
        pipeline.payee_leg(partition.chain(legs, columns.partition), state, 0)
        items = partition.take().items
        if at + n > count - count // 10:
            written += sum(len(key) + len(value or b"") + RECORD_BYTES for key, value in items)
            flushed += n
    return {
        "process_mb": before / 1e6,
        "accounts": accounts,
        "payments_each": each,
        "memory_gb_per_million_accounts": (resident() - before) / partition.rows / 1000,
        "changelog_bytes_per_payment": written / flushed,
    }


def main() -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.sizing", description=main.__doc__)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--rate", type=int, default=BATCH)
    options = parser.parse_args()
    settings = load_settings(Path(__file__).parents[2] / "configs" / "production.yaml", {})
    figures = measure(settings, options.accounts, options.each, options.rate)
    print(json.dumps({"row_bytes": ROW.itemsize, **{k: round(v, 2) for k, v in figures.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
