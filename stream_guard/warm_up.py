"""Compile every kernel before the first payment waits for it."""

from __future__ import annotations

import json

from stream_guard.detection import pipeline
from stream_guard.detection.columns import payments
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.state import Context, PartitionState
from stream_guard.events import parse_transactions
from stream_guard.streaming import legs as frames

_DAY_MS = 86_400_000


def warm_up(context: Context) -> None:
    """Send a few made-up payments through both hops of a throw-away state.

    The first run of an installation compiles (about a minute), later ones read compiled code back from the
    disk (a few seconds). Nothing of it is kept.
    """
    state = PartitionState(context)
    values = [
        json.dumps(
            {
                "event_id": f"warm-up-{number}",
                "ts": _DAY_MS + number,
                "account": "warm-up-a",
                "counterparty": "warm-up-b" if number else "EXT_WARM_UP",
                "amount": 1.0 + number,
            }
        ).encode()
        for number in range(3)
    ]
    events, _, _ = parse_transactions(values, context.bank.base_currency)
    home = murmur2_partition(b"warm-up-a", context.bank.partitions)
    columns, _ = payments(events, [0, 1, 2], [0, 1, 2], [b"warm-up-a"] * 3, home, context.bank, _DAY_MS * 2)
    legs, _ = pipeline.payer_leg(columns, home, state)
    decoded = frames.decode([frames.encode(legs, context.first_hop_columns)])
    if decoded is None:
        raise RuntimeError("the made-up payments of the warm-up were refused")
    pipeline.payee_leg(decoded, state, _DAY_MS * 2)
    state.profiles.update_facts(b"warm-up-a", _DAY_MS, _DAY_MS, 1970, "person", "phone")
    PartitionState(context).profiles.load(state.profiles.take_dirty())
