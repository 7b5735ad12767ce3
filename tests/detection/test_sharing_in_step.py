"""In step, a payment sees of shared devices what it would see live when all before it has gone round."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stream_guard.detection import pipeline
from stream_guard.detection.batches import part_of, size
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.in_step import InStep
from stream_guard.detection.state import Context, PartitionState
from stream_guard.streaming import legs as frames
from tests.detection.builders import DAY, EAGER_ANOMALY, HOUR, NOON, Event, context, event
from tests.detection.test_in_step import PARTITIONS, columns_of, decisions, timeless

FIGURES = ("payer.listed_sharing", "payee.listed_sharing", "txn.device_shared", "txn.ip_shared")


def shared_stream(seed: int, count: int = 260) -> list[Event]:
    """Payments of few accounts through few devices and addresses, some late, some sent again."""
    rng = random.Random(seed)
    stream: list[Event] = []
    for number in range(count):
        ts = NOON + number * 3 * HOUR - rng.choice([0, 0, 0, 2 * DAY, 9 * DAY])
        one = event(
            number, ts, account=f"A{rng.randrange(12)}", counterparty=f"A{rng.randrange(12)}", amount=6_000.0
        )
        for name, pool in (("device_id", 4), ("ip", 6)):
            if rng.random() < 0.7:
                one[name] = f"x{rng.randrange(pool)}"
        stream.append(dict(rng.choice(stream[-5:])) if stream and rng.random() < 0.05 else one)
    return stream


def facts() -> dict[str, int]:
    """When the accounts were opened: half of them while the stream runs."""
    return {f"A{i}": NOON + (i * 4 - 2 if i < 6 else -900 * i) * DAY for i in range(12)}


def new() -> Context:
    return context(partitions=PARTITIONS, anomaly=EAGER_ANOMALY, audit=True)


def live(stream: list[Event]) -> list[Event]:
    """Workers of all partitions; sightings and signals go round before the next payment."""
    where = new()
    batch = columns_of(stream, where)
    states = [PartitionState(where) for _ in range(PARTITIONS)]
    for name, opened in facts().items():
        home = murmur2_partition(name.encode(), PARTITIONS)
        states[home].profiles.update_facts(name.encode(), NOON - 999 * DAY, opened, None, None, None)
    out = []
    for i, one in enumerate(stream):
        payment = part_of(batch, i, i + 1)
        home = murmur2_partition(one["account"].encode(), PARTITIONS)
        legs, refused = pipeline.payer_leg(payment, home, states[home])
        if refused:
            continue
        sent = frames.decode([frames.encode(legs, where.first_hop_columns)])
        assert sent is not None
        decided = pipeline.payee_leg(sent, states[int(payment.partition[0])], int(payment.ts[0]))
        out += [value for _, value in decided.decisions]
        for finding in decided.cases:
            pipeline.apply_case(finding, states[home])
        for sighting in pipeline.sightings([one], legs, states[home]):
            owner = states[murmur2_partition(sighting.key.encode(), PARTITIONS)].sharing
            for raised in owner.see(sighting):
                if raised.signal is None:
                    where.signals.withdraw(raised.key)
                else:
                    where.signals.put(raised.key, raised.signal)
    return [timeless(json.loads(value)) for value in out]


def in_step(stream: list[Event], cuts: list[int]) -> list[Event]:
    where = new()
    bank = InStep(where)
    for name, opened in facts().items():
        bank.update_facts(name, NOON - 999 * DAY, opened, None, None)
    batch = columns_of(stream, where)
    edges = sorted({0, size(batch), *cuts})
    return decisions([bank.run(part_of(batch, a, b)) for a, b in pairwise(edges)])


@pytest.mark.parametrize("seed", [1])
def test_in_step_is_live_when_all_before_has_gone_round(seed: int) -> None:
    stream = shared_stream(seed)
    expected = live(stream)
    assert in_step(stream, [7, 200]) == expected
    # It must have been worth the comparison.
    levels: dict[str, Any] = {name: {one["features"][name] for one in expected} for name in FIGURES}
    assert all(len(found) > 2 and 0 in found for found in levels.values()), levels
    rules = {reason["rule"] for one in expected for reason in one["reasons"]}
    assert {"shared-device", "frequent-opening", "frequent-opening-payee"} <= rules


def test_what_is_shared_does_not_depend_on_batch_boundaries() -> None:
    stream = shared_stream(5)
    assert in_step(stream, list(range(1, 260, 13))) == in_step(stream, [])


def test_without_devices_nothing_is_looked_up() -> None:
    stream = [{k: v for k, v in one.items() if k not in ("device_id", "ip")} for one in shared_stream(1, 50)]
    bank = InStep(new())
    batch = columns_of(stream, bank.context)
    assert bank._sharing.levels(batch, np.ones(size(batch), bool), np.full(size(batch), np.nan)) is None
