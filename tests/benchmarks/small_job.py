"""The small job that stream engines are compared on: one account, one ring, nine figures, twelve rules.

Plain Python, one event at a time: what an engineer would write into a stream engine's handler. Our own job
counts both parties, 31 days and River's detectors beside it; this one is the yardstick for the engine alone.
"""

from __future__ import annotations

from bisect import bisect_right
from math import sqrt
from typing import Any

KEPT = 64
"""Payments an account's ring holds."""

TEN_MINUTES, HOUR, DAY = 600_000, 3_600_000, 86_400_000

WEIGHTS = {
    "R01": 40, "R02": 20, "R03": 25, "R04": 20, "R05": 20, "R06": 15,
    "R07": 15, "R08": 10, "R09": 10, "R10": 20, "R11": 15, "R12": 25,
}  # fmt: skip

State = dict[str, Any]
Windows = tuple[int, float, int, float, int, float, int]


def new_account() -> State:
    """An account that has not paid yet: Welford's mean and variance, newest time, ring in event order."""
    return {"n": 0, "mean": 0.0, "m2": 0.0, "last": -1, "ts": [], "amounts": [], "payees": []}


def judge(state: State, payment: dict[str, Any]) -> dict[str, Any] | None:
    """Count a payment; return the alert if a rule fires.

    Examples
    --------
    >>> payment = dict(event_id="e", ts=0, account="a", counterparty="b", amount=3e6)
    >>> judge(new_account(), payment | dict(payer_balance_before=0.0))
    {'event_id': 'e', 'account': 'a', 'rules': ['R01'], 'score': 40}
    """
    ts, amount, payee = payment["ts"], payment["amount"], payment["counterparty"]
    windows = _windows(state, ts, amount, payee)
    known = payee in state["payees"]
    count, mean = state["n"], state["mean"]
    variance = state["m2"] / (count - 1) if count > 1 else 0.0
    idle = ts - state["last"] if state["last"] >= 0 else -1
    _add(state, ts, amount, payee)
    fired = _rules(windows, known, count, mean, variance, idle, amount, payment["payer_balance_before"])
    if not fired:
        return None
    score = min(100, sum(WEIGHTS[rule] for rule in fired))
    return {"event_id": payment["event_id"], "account": payment["account"], "rules": fired, "score": score}


def _windows(state: State, ts: int, amount: float, payee: str) -> Windows:
    """Count and sum over 10 minutes, 1 hour and 24 hours, payees in 24 hours; the payment included."""
    count10 = count1 = count24 = 1
    sum10 = sum1 = sum24 = amount
    payees = {payee}
    times, amounts, ring_payees = state["ts"], state["amounts"], state["payees"]
    for i in range(len(times) - 1, -1, -1):
        age = ts - times[i]
        if age < 0:
            continue
        if age >= DAY:
            break
        count24 += 1
        sum24 += amounts[i]
        payees.add(ring_payees[i])
        if age < HOUR:
            count1 += 1
            sum1 += amounts[i]
            if age < TEN_MINUTES:
                count10 += 1
                sum10 += amounts[i]
    return count10, sum10, count1, sum1, count24, sum24, len(payees)


def _add(state: State, ts: int, amount: float, payee: str) -> None:
    place = bisect_right(state["ts"], ts)
    for name, value in (("ts", ts), ("amounts", amount), ("payees", payee)):
        state[name].insert(place, value)
        if len(state[name]) > KEPT:
            del state[name][0]
    state["n"] += 1
    change = amount - state["mean"]
    state["mean"] += change / state["n"]
    state["m2"] += change * (amount - state["mean"])
    state["last"] = max(state["last"], ts)


def _rules(
    windows: Windows,
    known: bool,
    count: int,
    mean: float,
    variance: float,
    idle: int,
    amount: float,
    balance: float,
) -> list[str]:
    count10, sum10, count1, sum1, count24, sum24, payees = windows
    results = (
        ("R01", amount >= 2_800_000),
        ("R02", not known and count >= 5 and amount >= 2_000_000),
        ("R03", count >= 10 and variance > 0 and amount - mean >= 11 * sqrt(variance)),
        ("R04", count10 >= 11),
        ("R05", count10 >= 2 and sum10 >= 3_000_000),
        ("R06", count1 >= 17),
        ("R07", count1 >= 3 and sum1 >= 3_000_000),
        ("R08", count24 >= 62 and count1 >= 10),
        ("R09", sum24 >= 9_800_000),
        ("R10", payees >= 62 and amount >= 300_000),
        ("R11", idle >= 3 * DAY and not known and amount >= 3 * mean),
        ("R12", not known and count >= 20 and balance > 500_000 and amount >= 0.9 * balance),
    )
    return [rule for rule, fires in results if fires]
