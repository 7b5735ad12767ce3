"""What payments must lead to, computed from the payments alone: plain NumPy, an account at a time.

An account takes part in fewer payments than its ring holds, so that no figure is a floor; the few busy ones
are compared by the figures that have no window.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HOUR = 3_600_000
WINDOWS = {"1h": HOUR, "24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR}

MEASURES = ("count", "sum", "max", "distinct")
PAYER_FIGURES = (
    *(f"payer.out_{measure}_{window}" for measure in MEASURES for window in WINDOWS),
    "payer.out_count", "payer.out_mean", "payer.out_max", "pair.seen_before", "pair.out_count_30d",
)  # fmt: skip
PAYEE_FIGURES = (
    *(f"payee.in_{measure}_{window}" for measure in MEASURES for window in WINDOWS),
    "payee.in_count", "payee.in_mean", "payee.in_max",
)  # fmt: skip
TOTALS = (
    *(f"payer.in_{measure}" for measure in ("count", "mean", "max", "count_30d", "sum_30d", "distinct_30d")),
    *(f"payer.out_{measure}" for measure in ("count", "count_30d", "sum_30d")),
)
FIGURES = tuple(dict.fromkeys((*PAYER_FIGURES, *PAYEE_FIGURES, *TOTALS)))


class Differences(NamedTuple):
    """Where figures are not what they must be.

    Attributes
    ----------
    rows
        For each row compared: whether any of its figures differs.
    sentences
        For each figure that differs anywhere: how often, and the first of them.
    """

    rows: NDArray[np.bool_]
    sentences: list[str]


def of_payers(sent: pd.DataFrame) -> pd.DataFrame:
    """Figures about payments out, in the order sent, which is the order applied."""
    expected = figures(sent, "payer.out", sent["account"], sent["counterparty"])
    seen = sent.groupby(["account", "counterparty"]).cumcount()
    # A late payment does not see the payments to the same payee that lie after it.
    late = sent["ts"] < sent.groupby("account")["ts"].cummax()
    expected["pair.seen_before"] = (seen > 0).astype(float).mask(late, UNKNOWN)
    expected["pair.out_count_30d"] = (seen + 1.0).mask(late, UNKNOWN)
    return expected


UNKNOWN = -1.0
"""Stands for a figure that this reference does not compute; none is negative."""


def of_payees(applied: pd.DataFrame) -> pd.DataFrame:
    """Figures about payments in, of payments in the order in which they were applied."""
    return figures(applied, "payee.in", applied["counterparty"], applied["account"])


def of_totals(sent: pd.DataFrame, accounts: Iterable[str]) -> pd.DataFrame:
    """Both directions of accounts, as a last payment of 1.00 out of each sees them."""
    outs, ins = sent.groupby("account"), sent.groupby("counterparty")
    index = pd.Index(accounts)
    return pd.DataFrame(
        {
            "payer.out_count": outs.size().reindex(index, fill_value=0),
            "payer.in_count": ins.size().reindex(index, fill_value=0),
            "payer.in_mean": ins["amount"].mean().reindex(index),
            "payer.in_max": ins["amount"].max().reindex(index),
            "payer.in_count_30d": ins.size().reindex(index, fill_value=0),
            "payer.in_sum_30d": ins["amount"].sum().reindex(index, fill_value=0.0),
            "payer.in_distinct_30d": ins["account"].nunique().reindex(index, fill_value=0),
            "payer.out_count_30d": outs.size().reindex(index, fill_value=0) + 1,
            "payer.out_sum_30d": outs["amount"].sum().reindex(index, fill_value=0.0) + 1,
        }
    ).astype(float)


def figures(frame: pd.DataFrame, prefix: str, account: pd.Series[str], other: pd.Series[str]) -> pd.DataFrame:
    """Figures of one direction, account by account, in the order of the rows."""
    owner, party = pd.factorize(account)[0], pd.factorize(other)[0]
    order = np.argsort(owner, kind="stable")
    names = [f"{prefix}_{measure}_{window}" for measure in MEASURES for window in WINDOWS]
    names += [f"{prefix}_{measure}" for measure in ("count", "mean", "max")]
    values = np.empty((len(frame), len(names)))
    ts, amount = frame["ts"].to_numpy(), frame["amount"].to_numpy(float)
    for at in np.split(order, np.flatnonzero(np.diff(owner[order])) + 1):
        values[at] = _of_account(ts[at], amount[at], party[at])
    return pd.DataFrame(values, index=frame.index, columns=names)


def _of_account(ts: Any, amount: Any, party: Any) -> Any:
    """Figures of one account's payments in one direction, in the order applied: a row a payment."""
    n = len(ts)
    earlier = np.tri(n, k=-1, dtype=bool) & (ts[None, :] <= ts[:, None])
    itself = np.eye(n, dtype=bool)
    befores = [earlier & (ts[None, :] > ts[:, None] - length) for length in WINDOWS.values()]
    parties = party[:, None] == np.unique(party)
    columns = [(before | itself).sum(1) for before in befores]
    columns += [(before | itself) @ amount for before in befores]
    columns += [np.where(before, amount, -np.inf).max(1) for before in befores]
    columns += [((before | itself).astype(float) @ parties > 0).sum(1) for before in befores]
    whole = np.arange(n)
    columns.append(whole)
    columns.append(np.where(whole > 0, (np.cumsum(amount) - amount) / np.maximum(whole, 1), np.nan))
    columns.append(np.concatenate([[-np.inf], np.maximum.accumulate(amount)[:-1]]))
    table = np.column_stack(columns).astype(float)
    return np.where(np.isinf(table), np.nan, table)


def differences(
    expected: pd.DataFrame, got: pd.DataFrame, names: Iterable[str], crowded: NDArray[np.bool_]
) -> Differences:
    """Compare figures row by row.

    Parameters
    ----------
    expected, got
        The same rows in the same order.
    names
        Figures to compare.
    crowded
        Rows of busy accounts, whose windows are floors.
    """
    rows, sentences = np.zeros(len(got), dtype=np.bool_), []
    for name in names:
        want, have = expected[name].to_numpy(float), got[name].to_numpy(float)
        differs = ~np.isclose(have, want, rtol=1e-9, atol=1e-6, equal_nan=True) & (want != UNKNOWN)
        if name.rpartition("_")[2] in WINDOWS or name.startswith("pair."):
            differs &= ~crowded
        if differs.any():
            first = int(np.flatnonzero(differs)[0])
            sentences.append(
                f"{name} differs for {int(differs.sum())} of {len(got)}: first on "
                f"{got['event_id'].iloc[first]}, {have[first]} where {want[first]} is right"
            )
        rows |= differs
    return Differences(rows, sentences)
