"""Payments for tests: one by hand, or random streams with everything that is awkward about time."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import REPEAT, Legs, Payments, legs_of, payments, take
from stream_guard.detection.features import DAY, HOUR, INDEX, MINUTE, N
from stream_guard.detection.profiles import SEEN, Profiles

NOON = 1_700_000_000_000 // DAY * DAY + 4 * HOUR
"""A day's noon in Shanghai, in the middle of November 2023."""
NOW = 4_000_000_000_000

Event = dict[str, Any]
NOBODY: Mapping[str, float] = {}


def event(number: int, ts: int = NOON, **fields: Any) -> Event:
    """One validated transaction, A1 to A2 unless `fields` say otherwise."""
    return {
        "event_id": f"e{number}",
        "ts": ts,
        "account": "A1",
        "counterparty": "A2",
        "amount": 100.0,
        "currency": "CNY",
        "type": "unknown",
        "channel": "unknown",
        **fields,
    }


def columns_of(events: list[Event], bank: Bank | None = None) -> Payments:
    """Columns of events that nothing refuses."""
    n = len(events)
    out, refused = payments(events, np.arange(n), np.full(n, -1), None, None, bank or Bank(), NOW)
    assert refused == []
    return out


def some(columns: Payments, start: int, stop: int) -> Payments:
    return take(columns, np.arange(start, stop))


def levels(p: Payments, listed: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Levels of the payers' listings."""
    return np.array([listed.get(account.decode(), 0.0) for account in p.payer_ids], np.float64)


def first_hop(
    profiles: Profiles, p: Payments, listed: Mapping[str, float] = NOBODY
) -> tuple[list[int], Legs]:
    """Statuses, and a leg for every payment that goes on."""
    status, action, block = profiles.payer_hop(p, levels(p, listed))
    flags = np.where(status == SEEN, p.flags | REPEAT, p.flags).astype(np.uint8)
    legs = legs_of(p, 0, action, block, flags)._replace(texts=profiles.paths.leave(p.texts, block))
    return status.tolist(), take(legs, status <= SEEN)


def both_hops(profiles: Profiles, events: list[Event]) -> list[dict[str, float]]:
    """Every feature of every event, one in flight at a time; no event must be refused."""
    out = []
    for one in events:
        status, legs = first_hop(profiles, columns_of([one], profiles.bank))
        matrix = np.zeros((1, N))
        assert status[0] <= SEEN
        profiles.payee_hop(legs, matrix)
        out.append({name: float(matrix[0, column]) for name, column in INDEX.items()})
    return out


def random_stream(seed: int, count: int, accounts: int, step: int, devices: int = 0) -> list[Event]:
    """Payments among few accounts: steps of nothing, of exact windows, of days; late, repeated, in conflict.

    `step` is the longest ordinary distance in ms: short ones overflow rings, long ones empty windows. Of
    several `devices` most payments name one.
    """
    rng, more = random.Random(seed), random.Random(seed + 1)
    t = NOON
    out: list[Event] = []
    for number in range(count):
        t += rng.choice(
            [0, 1, MINUTE, HOUR, 10 * MINUTE, rng.randrange(step), DAY if rng.random() < 0.1 else 1]
        )
        late = rng.choice([1, 1, MINUTE, HOUR, DAY, rng.randrange(40 * DAY)]) if rng.random() < 0.25 else 0
        if out and rng.random() < 0.1:
            one = dict(rng.choice(out[-20:]))
            one["amount"] += rng.choice([0, 0, 1])
        else:
            one = event(
                number,
                t - late,
                account=rng.choice([f"A{rng.randrange(accounts)}"] * 9 + ["EXT_1"]),
                counterparty=rng.choice([f"A{rng.randrange(accounts)}"] * 9 + ["EXT_2"]),
                amount=rng.choice([1.0, 4_999.5, 49_600.25, round(rng.uniform(1, 1000), 2)]),
                payer_balance_before=more.choice([None, None, -1.0, 500.0, 1e5]),
                payee_balance_before=more.choice([None, 0.0, 1e5]),
                latitude=more.choice([None] * 8 + [31.23, -90.0, more.uniform(-90, 90)]),
                longitude=more.choice([121.47, 180.0, -180.0, more.uniform(-180, 180)]),
            )
            if devices:
                one["device_id"] = more.choice([None, *(f"d{number}" for number in range(devices))])
        out.append(one)
    return out
