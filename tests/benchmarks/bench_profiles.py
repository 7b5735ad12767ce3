"""CPU time of columns and profiles: ``python tests/benchmarks/bench_profiles.py [accounts batch]``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stream_guard.detection.columns import Bank, Payments, legs_of, payments
from stream_guard.detection.features import N
from stream_guard.detection.hashing import murmur2_partitions
from stream_guard.detection.profiles import Profiles

START = 1_700_000_000_000


def history(count: int, accounts: int, seed: int) -> list[dict[str, Any]]:
    """Payments between random accounts, one a second."""
    rng = np.random.default_rng(seed)
    payers, payees = rng.integers(accounts, size=(2, count)).tolist()
    amounts = rng.lognormal(6, 1.5, count).round(2).tolist()
    kinds = rng.choice(["TRANSFER", "CASH_OUT", "DEBIT"], count).tolist()
    return [
        {
            "event_id": f"E{i:09d}",
            "ts": START + i * 1000,
            "account": f"A{payers[i]:07d}",
            "counterparty": f"A{payees[i]:07d}",
            "amount": amounts[i],
            "currency": "CNY",
            "type": kinds[i],
            "channel": "mobile",
            "payer_balance_before": amounts[i] * 3,
            "payee_balance_before": 5.0,
        }
        for i in range(count)
    ]


def best(function: Callable[[], Any], repeats: int = 5) -> float:
    """Shortest of some runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


def run(accounts: int, batch: int) -> None:
    bank = Bank(partitions=12)
    events = history(max(140 * accounts // 2, 40 * batch), accounts, 7)
    warm = Profiles(bank)
    warm.load([])
    print(f"{accounts} accounts, batches of {batch}, {len(events)} payments")
    profiles = Profiles(bank)
    batches: list[Payments] = []
    for at in range(0, len(events) - batch + 1, batch):
        offsets = np.arange(at, at + batch)
        some = events[at : at + batch]
        batches.append(payments(some, offsets, np.full(batch, 2 * START), None, None, bank, 2 * START)[0])
    first: list[float] = []
    second: list[float] = []
    undo: list[float] = []
    matrix = np.empty((batch, N))
    for p in batches:
        start = time.thread_time()
        token = profiles.undo(p.payer_ids)
        undone = time.thread_time()
        _, action, block = profiles.payer_hop(p)
        mid = time.thread_time()
        legs = legs_of(p, 0, action, block)
        legs_made = time.thread_time()
        profiles.payee_hop(legs, matrix)
        end = time.thread_time()
        undo.append(undone - start)
        first.append(mid - undone)
        second.append(end - legs_made)
        del token
    full = len(batches) * 9 // 10  # the rings are full by then
    some = events[-batch:]
    keys = [event["account"].encode() for event in some]
    wanted = murmur2_partitions(keys, 12)
    part = int(wanted[0])
    mine = np.flatnonzero(wanted == part).tolist()
    some, keys = (
        [some[mine[i % len(mine)]] for i in range(batch)],
        [keys[mine[i % len(mine)]] for i in range(batch)],
    )
    produced = np.full(batch, 2 * START)
    offsets = np.arange(batch)
    columns = best(lambda: payments(some, offsets, produced, keys, part, bank, 2 * START))
    start = time.thread_time()
    dirty = profiles.take_dirty()
    flush = time.thread_time() - start
    fresh = Profiles(bank)
    start = time.thread_time()
    fresh.load(dirty)
    load = time.thread_time() - start
    each = 1e6 / batch

    def typical(times: list[float]) -> str:
        return (
            f"{np.median(times[full:]) * each:7.3f} us  (first batches {np.median(times[1:20]) * each:.3f})"
        )

    print(f"  payments()   {columns * each:7.3f} us")
    print(f"  undo         {typical(undo)}")
    print(f"  payer_hop    {typical(first)}")
    print(f"  payee_hop    {typical(second)}")
    width = np.mean([len(value) for _, value in dirty])
    print(f"  take_dirty   {flush / len(dirty) * 1e6:7.3f} us a row of {width:.0f} bytes")
    print(f"  load         {load / len(dirty) * 1e6:7.3f} us a row")


if __name__ == "__main__":
    args = [int(arg) for arg in sys.argv[1:]]
    for accounts, batch in (
        [(args[0], args[1])] if len(args) == 2 else [(2_000, 1_000), (20_000, 1_000), (2_000, 10)]
    ):
        run(accounts, batch)
