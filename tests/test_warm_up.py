"""After the warm-up nothing is compiled any more, whatever comes.

In a process of its own, because the other tests compile most kernels for all kinds of arguments.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def test_a_warm_worker_compiles_nothing_when_the_first_payments_come() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.test_warm_up"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    late: dict[str, list[str]] = json.loads(run.stdout)
    assert late == {}, "these kernels were compiled, or read from the disk, only when payments came"


def specialisations() -> dict[str, set[str]]:
    """Argument types that each kernel is ready for."""
    from numba.core.dispatcher import Dispatcher

    found: dict[str, set[str]] = {}
    for thing in gc.get_objects():
        if isinstance(thing, Dispatcher) and thing.py_func.__module__.startswith("stream_guard"):
            name = f"{thing.py_func.__module__}.{thing.py_func.__name__}"
            found.setdefault(name, set()).update(map(str, thing.overloads))
    return found


def payment(source: random.Random, number: int) -> dict[str, Any]:
    """Of all kinds: parties that are no accounts, listed ones, foreign money, optional fields, repeats."""
    amount = source.choice([1.0, 30_000.5, 200_000.0])
    value = {
        "event_id": f"e{number // 2 * 2}",
        "ts": 1_767_225_700_000 + number,
        "account": f"A{source.randrange(9)}",
        "counterparty": source.choice(["EXT_1", "POL", f"B{source.randrange(9)}"]),
        "amount": amount,
        "currency": source.choice(["CNY", "CNY", "CNY", "XXX"]),
    }
    if source.random() < 0.2:
        value |= {"payee_kind": "merchant", "device_id": "d1", "ip": "203.0.113.7", "latitude": 31.0}
    if source.random() < 0.2:
        value["payer_balance_before"] = amount
    return value


def main() -> None:
    from stream_guard.detection import pipeline
    from stream_guard.detection.batches import take
    from stream_guard.detection.columns import payments
    from stream_guard.detection.hashing import murmur2_partition
    from stream_guard.detection.state import PartitionState
    from stream_guard.events import parse_transactions
    from stream_guard.streaming import legs as frames
    from stream_guard.streaming.partition import Partition
    from stream_guard.warm_up import warm_up
    from tests.detection.builders import context, list_account

    where = context(partitions=3)
    warm_up(where)
    before = specialisations()
    list_account(where, "POL")
    state, source, acted = PartitionState(where), random.Random(1), 0
    for count in (1, 1, 2, 40, 3, 700):
        values = [json.dumps(payment(source, number)).encode() for number in range(count)]
        events, _, _ = parse_transactions(values)
        keys = [event["account"].encode() for event in events]
        partition = murmur2_partition(keys[0], 3)
        moments = range(1_767_225_700_000, 1_767_225_700_000 + count)
        columns, _ = payments(events, range(count), moments, keys, partition, where.bank, 1_767_225_800_000)
        legs, _ = pipeline.payer_leg(columns, partition, state)
        targets = columns.partition[: len(legs.keys)]
        chain = Partition(0, 3, state, "", "sightings", "")
        legs = chain.chain(legs, targets)
        sent = [frame for _, frame in frames.encode_by_target(legs, targets, where.first_hop_columns)]
        for received in (sent[:1], sent[1:]):
            decoded = frames.decode(received)
            if decoded is None:
                continue
            chain.fresh_legs(decoded)
            decided = pipeline.payee_leg(decoded, state, 1_767_225_800_000)
            acted += int((decided.action > 0).sum())
            pipeline.payee_leg(take(decoded, decoded.ts > 0), PartitionState(where), 1_767_225_800_000)
            for case in decided.cases:
                pipeline.apply_case(getattr(case, "finding", case), state)
    assert acted, "no payment was decided above allow: the test looks at too little"
    after = specialisations()
    late = {name: sorted(after[name] - before.get(name, set())) for name in sorted(after)}
    print(json.dumps({name: types for name, types in late.items() if types}))


if __name__ == "__main__":
    main()
