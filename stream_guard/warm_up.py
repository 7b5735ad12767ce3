"""Compile every kernel before the first payment waits for it."""

from __future__ import annotations

import json

import numpy as np

from stream_guard.detection import pipeline
from stream_guard.detection.columns import payments
from stream_guard.detection.features import N
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.signals import Signal, Signals
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Action, SignalKind, SignalSource
from stream_guard.events import parse_transactions
from stream_guard.streaming import legs as frames
from stream_guard.streaming.partition import Partition

_SOME_TIME_MS = 1_767_225_600_000
"""Within the bounds of event times: a payment that is refused compiles nothing."""

_PAYER, _PAYEE = b"warm-up-a", b"warm-up-b"


def warm_up(context: Context) -> None:
    """Send a few made-up payments through both hops of a throw-away state.

    The first run of an installation compiles (about a minute), later ones read compiled code back from the
    disk (a few seconds). Nothing of it is kept.

    Raises
    ------
    RuntimeError
        The made-up payments were refused: the first real ones would compile, and everything would wait.
    """
    state = PartitionState(context)
    partition = Partition(0, context.bank.partitions, state, context.bank.routing_hash(), "sightings", "")
    values = [
        json.dumps(
            {
                "event_id": f"warm-up-{number}",
                "ts": _SOME_TIME_MS + number,
                "account": _PAYER.decode(),
                "counterparty": _PAYEE.decode() if number else "EXT_WARM_UP",
                "amount": 1.0 + number,
                "device_id": "warm-up-d",
                # A column with gaps takes another way than a full one.
                "ip": "warm-up-i" if number else None,
            }
        ).encode()
        for number in range(3)
    ]
    events, _, _ = parse_transactions(values, context.bank.base_currency)
    home = murmur2_partition(_PAYER, context.bank.partitions)
    now = [_SOME_TIME_MS] * 3
    columns, _ = payments(events, [0, 1, 2], now, [_PAYER] * 3, home, context.bank, _SOME_TIME_MS)
    legs, _ = pipeline.payer_leg(columns, home, state)
    legs = partition.chain(legs, columns.partition)
    decoded = frames.decode([frames.encode(legs, context.first_hop_columns)])
    if decoded is None or len(partition.fresh_legs(decoded)) != len(values):
        raise RuntimeError("the made-up payments of the warm-up were refused")
    decided = pipeline.payee_leg(decoded, state, _SOME_TIME_MS)
    # None of them need be decided above allow, which is what is remembered.
    acted = np.full(len(values), Action.CONFIRM, np.uint8)
    state.profiles.set_actions([_PAYEE] * 3, decided.legs.event, acted)
    signals = Signals()
    signals.put("account:x", Signal(SignalKind.ACCOUNT, "x", 1, SignalSource.BANK, 0, None))
    signals.fill(decided.legs, np.empty((len(values), N)))
    state.profiles.update_facts(_PAYER, _SOME_TIME_MS, _SOME_TIME_MS, 1970, "person", "phone")
    restored = PartitionState(context)
    restored.profiles.load(state.profiles.take_dirty())
    restored.detectors.load(state.detectors.dump())
