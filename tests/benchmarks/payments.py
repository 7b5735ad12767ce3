"""Payments to measure on: made up from a seed, or recorded; both have the shape of a mobile-money log."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson

START_MS = 1_704_067_200_000
DAY_MS = 86_400_000
A_DAY = 31_000
"""Payments a day, as in the recorded mix: 463,692 of 24,142 accounts in 15 days."""

QUIET, BUSY, MERCHANTS = 20_000, 4_150, 1_000
BY_HOUR = (17, 9, 6, 5, 5, 5, 5, 5, 5, 5, 6, 8, 11, 16, 19, 20, 26, 30, 43, 53, 52, 43, 37, 30)
"""Payments by hour, an evening peak."""

CHANNELS = ("mobile", "web", "counter", "atm")

Payment = dict[str, Any]


def made_up(count: int, seed: int) -> Iterator[Payment]:
    """`count` payments of made-up accounts in event order.

    A quarter is among 20,000 accounts that pay six times in 15 days, a few hundred each time; the rest is of
    4,150 accounts paying 80 times, mostly merchants, amounts over five orders of magnitude. The busiest
    hundredth of the accounts pays a sixth of all.
    """
    rng = np.random.default_rng(seed)
    weight = np.exp(0.85 * rng.standard_normal(BUSY))
    weight /= weight.sum()
    shop = np.exp(0.5 * rng.standard_normal(MERCHANTS))
    shop /= shop.sum()
    hours = np.array(BY_HOUR) / sum(BY_HOUR)
    devices = [f"dev-{value:016x}" for value in rng.integers(2**63, size=QUIET + BUSY).tolist()]
    made = 0
    for day in range(-(-count // A_DAY)):
        n = min(A_DAY, count - made)
        clock = rng.choice(24, n, p=hours) * 3_600_000 + rng.integers(3_600_000, size=n)
        clock.sort()
        quiet = rng.random(n) < 0.26
        payer = np.where(quiet, rng.integers(QUIET, size=n), QUIET + rng.choice(BUSY, n, p=weight))
        to_shop = ~quiet & (rng.random(n) < 0.87)
        friend = np.where(quiet, rng.integers(QUIET, size=n), QUIET + rng.integers(BUSY, size=n))
        payee = np.where(to_shop, rng.choice(MERCHANTS, n, p=shop), friend)
        amount = np.exp(np.where(quiet, rng.normal(5.5, 0.7, n), rng.normal(10.5, 1.55, n)))
        amount = np.clip(amount, 0.05, 1.5e7).round(2)
        balance = np.where(quiet, 1_000.0, np.exp(rng.normal(15.2, 0.35, n)).round(2))
        kind = rng.choice(3, n, p=(0.47, 0.48, 0.05))
        rows = zip(
            (START_MS + day * DAY_MS + clock).tolist(), payer.tolist(), payee.tolist(), to_shop.tolist(),
            amount.tolist(), balance.tolist(), kind.tolist(), strict=True,
        )  # fmt: skip
        for number, (ts, one, other, shopping, money, owned, what) in enumerate(rows, start=made):
            shop_kind = ("cash_out", "payment", "debit")[what] if shopping else "transfer"
            yield {
                "event_id": f"evt-{number:032d}",
                "ts": ts,
                "account": f"ACCT-0086-A{one:07d}",
                "counterparty": f"ACCT-0086-{'M' if shopping else 'A'}{other:07d}",
                "amount": money,
                "currency": "CNY",
                "channel": CHANNELS[len(shop_kind) % 4],
                "type": shop_kind,
                "device_id": devices[one],
                "payer_balance_before": owned,
            }
        made += n


def recorded(folder: Path, count: int) -> Iterator[Payment]:
    """`count` recorded payments: PaySim without cash-in, merged by time with AMLSim's at ten times its speed.

    Where `count` is more than there are, they come again with their time moved on.

    Parameters
    ----------
    folder
        Holds ``paysim-v2-seed2024`` and ``amlsim-ibm-sample-20k``, each with a ``transactions.parquet``.
    """
    rows = _rows(folder)
    span = rows[-1][0] - rows[0][0] + 60_000
    bits = random.Random(7)
    devices: defaultdict[str, str] = defaultdict(lambda: f"dev-{bits.getrandbits(64):016x}")
    for number in range(count):
        turn, place = divmod(number, len(rows))
        ts, payer, payee, amount, kind, balance = rows[place]
        yield {
            "event_id": f"evt-{number:032d}",
            "ts": ts + turn * span,
            "account": f"ACCT-0086-{payer}",
            "counterparty": f"ACCT-0086-{payee}",
            "amount": amount,
            "currency": "CNY",
            "channel": CHANNELS[len(kind) % 4],
            "type": kind,
            "device_id": devices[payer],
            "payer_balance_before": balance,
        }


def _rows(folder: Path) -> list[tuple[int, str, str, float, str, float]]:
    import pyarrow.parquet as pq

    paysim = pq.read_table(folder / "paysim-v2-seed2024" / "transactions.parquet")
    amlsim = pq.read_table(folder / "amlsim-ibm-sample-20k" / "transactions.parquet")
    names = ("account", "counterparty", "amount", "type", "payer_balance_before")
    first = paysim["ts"].cast("int64").to_pylist()
    rows = [
        (ts, f"P{payer}", f"P{payee}", amount, kind.lower(), balance)
        for ts, payer, payee, amount, kind, balance in zip(
            first, *(paysim[name].to_pylist() for name in names), strict=True
        )
        if kind != "CASH_IN"
    ]
    second = amlsim["ts"].cast("int64").to_pylist()
    rows += [
        (first[0] + (ts - second[0]) // 10, f"I{payer}", f"I{payee}", amount, "transfer", 1_000.0)
        for ts, payer, payee, amount in zip(
            second, *(amlsim[name].to_pylist() for name in names[:3]), strict=True
        )
    ]
    rows.sort(key=lambda row: row[0])
    return rows


def history(folder: Path | None, count: int, seed: int) -> Iterator[Payment]:
    """Recorded payments of `folder`, made-up ones without."""
    return made_up(count, seed) if folder is None else recorded(folder, count)


def encoded(payments: Iterator[Payment], skip: int = 0, **changes: Any) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each payment's record, fields replaced by `changes`."""
    for payment in islice(payments, skip, None):
        if changes:
            payment.update(changes)
        yield payment["account"].encode(), orjson.dumps(payment)
