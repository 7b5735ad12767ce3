"""A made-up history whose figures can be computed whatever the order in which two hops interleave."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import orjson
import pandas as pd

HOUR = 3_600_000
START = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
SPAN = 20 * 24 * HOUR
"""Well within the 31 days after which a payment is too old."""


class History(NamedTuple):
    """Payments in the order they are sent, and the facts that make some of them remarkable."""

    payments: pd.DataFrame
    elders: list[str]
    police: list[str]
    busy: list[str]

    @property
    def accounts(self) -> list[str]:
        """Every account that takes part."""
        return sorted({*self.payments["account"], *self.payments["counterparty"]})


def made_up(seed: int, payments: int, *, busy: int = 4, busy_payments: int = 400) -> History:
    """A history of 20 days: accounts below the ring, some busy ones, 3 % of the payments up to 2 h late."""
    random = np.random.default_rng(seed)
    quiet = payments - busy * busy_payments
    accounts = [f"62220{number:08d}" for number in range(max(50, quiet // 18))]
    crowd = [f"62229{number:08d}" for number in range(busy)]
    # 20 out and 20 in on average and at most 30 of each; a busy one pays and is paid by everybody.
    sides = [_ends(random, accounts, quiet, most=30) for _ in range(2)]
    half = busy_payments // 2
    hub = np.repeat(crowd, half)
    others = random.choice(accounts, len(hub), replace=False)
    payer = np.concatenate([sides[0], hub, others])
    payee = np.concatenate([sides[1], others, hub])
    while (clashes := np.flatnonzero(payer == payee)).size:  # nobody pays himself here
        for clash in clashes.tolist():
            other = int(random.integers(quiet))
            payee[[clash, other]] = payee[[other, clash]]
    shuffled = random.permutation(len(payer))
    payer, payee = payer[shuffled], payee[shuffled]
    total = len(payer)
    ts = START + np.sort(random.choice(SPAN, total, replace=False))
    sent_at = ts + np.where(random.random(total) < 0.03, random.integers(0, 2 * HOUR, total), 0)
    amount = np.clip(np.round(np.exp(random.normal(6.7, 1.8, total)), 2), 0.01, 900_000)
    balance = np.round(amount * np.where(random.random(total) < 0.1, 1.01, 20.0), 2)
    frame = pd.DataFrame(
        {
            "event_id": [f"e{number:07d}" for number in range(total)],
            "ts": ts,
            "account": payer,
            "counterparty": payee,
            "amount": amount,
            "payer_balance_before": balance,
            "channel": random.choice(["mobile", "counter", "web"], total),
        }
    )
    frame = frame.iloc[np.argsort(sent_at, kind="stable")].reset_index(drop=True)
    return History(frame, accounts[::6], accounts[5::200], crowd)


def _ends(random: np.random.Generator, accounts: list[str], count: int, most: int) -> Any:
    """One end of `count` payments, none of an account more than `most` times."""
    share = random.integers(most // 3, most + 1, len(accounts)).astype(np.int64)
    ends = np.repeat(np.array(accounts), share)
    if len(ends) < count:
        raise ValueError("too few accounts for so many payments")
    return random.permutation(ends)[:count]


def messages(frame: pd.DataFrame) -> list[tuple[str, bytes]]:
    """Key and value of each payment."""
    return [(row["account"], orjson.dumps(row)) for row in frame.to_dict("records")]


def updates(history: History) -> list[tuple[str, bytes]]:
    """Account updates: who is old."""
    return [
        (account, orjson.dumps({"account": account, "ts": START, "holder_birth_year": 1950}))
        for account in history.elders
    ]


def signals(history: History) -> list[tuple[str, bytes]]:
    """Risk signals: who is on the police list."""
    return [
        (
            f"account:{account}",
            orjson.dumps({"kind": "account", "id": account, "level": 90, "source": "police"}),
        )
        for account in history.police
    ]


def probes(history: History) -> pd.DataFrame:
    """A payment of every account to a party that is none, after everything else."""
    accounts = history.accounts
    return pd.DataFrame(
        {
            "event_id": [f"probe-{account}" for account in accounts],
            "ts": START + SPAN + 4 * HOUR,
            "account": accounts,
            "counterparty": "EXT_PROBE",
            "amount": 1.0,
        }
    )
