"""A history small enough to be judged by hand, with a pack of three rules.

Day 0 warms. `large` (live, payer) fires from 1,000 with score 60, which delays; `second-in` (live, payee) at
the second payment in within 24 h with score 55, which confirms; `shadowed` from 500, and never counts.

====  =====  =======  ======  ======  ======  =======================================================
event  day   payer    payee   amount  label   what happens
====  =====  =======  ======  ======  ======  =======================================================
e0    0      A        B       2,000           warms: no warning, no figure
e1    1      A        C       1,500   out     large: A is warned, delayed
e2    1      A        B         100   out     nothing; after A's warning
e4    2      V        C       3,000   out     large: V is warned; second-in: C is warned; delayed
e3    2      B        D       1,200           large: B is warned
e7    2      F        B          10           nothing
e5    3      C        X         700   cash    shadowed alone; after C's warning
e6    3      X        D       5,000           large: X is warned
====  =====  =======  ======  ======  ======  =======================================================

A and C are positive. B and D are not, V is a victim, F is a fraud account without fraud in the period, E one
without a payment, X stands in no file.
"""

from __future__ import annotations

import os
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_guard.backtest import Inputs, Result, account_labels, period, run
from stream_guard.detection.bank import Bank
from stream_guard.detection.batches import Payments, size
from stream_guard.detection.in_step import Counted, InStep
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import CompiledPack, compile_pack, load_pack
from stream_guard.detection.state import Context
from stream_guard.history import History, account_updates
from tests.detection.builders import KERNELS, POLICY_TEXT, SHIPPED_ANOMALY

T0 = 1_704_067_200_000
"""2024-01-01T00:00:00Z."""
HOUR, DAY = 3_600_000, 86_400_000

PACK = """
pack: story
version: "1"
rules:
  - id: large
    version: 1
    name: {en: large, zh: 大额}
    account: payer
    when: txn.amount >= 1000
    score: 60
    reason: "{txn.amount:,.0f}"
  - id: second-in
    version: 2
    name: {en: second in, zh: 第二笔}
    account: payee
    when: payee.in_count_24h >= 2
    score: 55
    reason: "{payee.in_count_24h:,.0f} in 24 h"
  - id: shadowed
    version: 1
    name: {en: shadowed, zh: 影子}
    account: payer
    when: txn.amount >= 500
    score: 90
    state: shadow
    reason: "{txn.amount:,.0f}"
"""

EVENTS: list[tuple[str, int, str, str, float, int, str]] = [
    ("e0", 6 * HOUR, "A", "B", 2_000.0, 0, ""),
    ("e1", DAY + 10 * HOUR, "A", "C", 1_500.0, 1, "out"),
    ("e2", DAY + 11 * HOUR, "A", "B", 100.0, 1, "out"),
    ("e4", 2 * DAY + 9 * HOUR, "V", "C", 3_000.0, 1, "out"),
    ("e3", 2 * DAY + 12 * HOUR, "B", "D", 1_200.0, 0, ""),
    ("e7", 2 * DAY + 20 * HOUR, "F", "B", 10.0, 0, ""),
    ("e5", 3 * DAY + 10 * HOUR, "C", "X", 700.0, 1, "cash"),
    ("e6", 3 * DAY + 13 * HOUR, "X", "D", 5_000.0, 0, ""),
]
ACCOUNTS = (
    "account,fraud_account,role\nA,1,mule\nB,0,normal\nC,1,mule\nD,0,normal\nE,1,mule\nF,1,mule\nV,0,victim\n"
)


TUNABLE = PACK.replace("txn.amount >= 1000\n", "txn.amount >= least\n    params: {least: 1_000}\n", 1)
"""The same, with a parameter."""


@cache
def pack(text: str = PACK) -> CompiledPack:
    return compile_pack(load_pack(text, "story.yaml"), KERNELS)


def context(partitions: int = 2, **changed: Any) -> Context:
    return Context(
        **{
            "bank": Bank(partitions=partitions, timezone="UTC"),
            "pack": pack(),
            "policy": load_policy(POLICY_TEXT, "policy.yaml", deadline_ms=0),
            "anomaly": SHIPPED_ANOMALY,
            **changed,
        }
    )


def table(**changed: Any) -> dict[str, Any]:
    columns = {
        "event_id": [event[0] for event in EVENTS],
        "ts": pa.array([T0 + event[1] for event in EVENTS], pa.timestamp("ms", "UTC")),
        "account": [event[2] for event in EVENTS],
        "counterparty": [event[3] for event in EVENTS],
        "amount": [event[4] for event in EVENTS],
        "is_fraud": pa.array([event[5] for event in EVENTS], pa.int8()),
        "fraud_scenario": [event[6] for event in EVENTS],
        **changed,
    }
    return {name: values for name, values in columns.items() if values is not None}


def write(folder: Path, *, accounts: str | None = ACCOUNTS, **changed: Any) -> tuple[Path, Path | None]:
    """The history and the accounts file; a column changed to None is left out."""
    history = folder / "history.parquet"
    pq.write_table(pa.table(table(**changed)), history)
    if accounts is None:
        return history, None
    beside = folder / "accounts.csv"
    beside.write_text(accounts)
    return history, beside


def inputs(
    folder: Path,
    *,
    accounts: str | None = ACCOUNTS,
    begin: str | None = "2024-01-02",
    until: str | None = None,
    columns: dict[str, str] | None = None,
    changed: dict[str, Any] | None = None,
) -> Inputs:
    """What is read of the story."""
    path, beside = write(folder, accounts=accounts, **(changed or {}))
    history = History(path, columns)
    first, last = history.first_ts(), history.last_ts()
    assert first is not None
    assert last is not None
    return Inputs(
        history,
        period(first, last, UTC, begin=begin, until=until),
        tuple(account_updates(beside, first)) if beside else (),
        account_labels(beside) if beside else None,
    )


READ = ("accounts", "begin", "until", "columns", "changed")


def tell(folder: Path, *, where: Context | None = None, **options: Any) -> Result:
    """Backtest of the story; options as of `inputs` and of `run`."""
    read = {name: options.pop(name) for name in READ if name in options}
    return run(inputs(folder, **read), where or context(), **options)


def settle_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of commands that read the story, whatever the environment says."""
    for name in list(os.environ):
        if name.startswith("STREAM_GUARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STREAM_GUARD_BANK__TIMEZONE", "UTC")
    # Compiled code of the story's pack and of the shipped one is kept over test runs.
    monkeypatch.setenv("STREAM_GUARD_DATA_DIR", str(Path(__file__).parents[2] / ".cache" / "backtest"))


def note_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that takes down how many payments each call counts in rows."""
    counted: list[int] = []
    count = InStep.count

    def noted(bank: InStep, batch: Payments) -> Counted:
        counted.append(size(batch))
        return count(bank, batch)

    monkeypatch.setattr(InStep, "count", noted)
    return counted
