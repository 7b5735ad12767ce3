"""The payments that parameters are fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.passage import Judged
from stream_guard.detection.features import INDEX
from stream_guard.detection.vocabulary import Side

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
I8 = npt.NDArray[np.int64]

MOST = 1_500_000
"""Newest payments that are kept: 0.6 GB for a pack of 90 features, however long the history."""


@dataclass(frozen=True)
class Sample:
    """n payments with what the rules read of them.

    Attributes
    ----------
    features
        f4[n] by name.
    ts
        i8[n], epoch ms.
    rows
        i8[n] a side: numbers of the accounts; -1 for a party that is no account.
    fraud
        bool[n], `is_fraud`.
    accounts
        Number of accounts.
    """

    features: Mapping[str, npt.NDArray[np.float32]]
    ts: I8
    rows: Mapping[Side, I8]
    fraud: Flags
    accounts: int

    def column(self, name: str) -> Floats:
        """Values of a feature, NaN where missing."""
        return self.features[name].astype(np.float64)

    def best(self, side: Side, where: Flags, score: Floats) -> Floats:
        """f8[accounts]: each account's highest score on its own side among the payments `where`; else 0."""
        row = self.rows[side]
        use = where & (row >= 0)
        found = np.zeros(self.accounts)
        np.maximum.at(found, row[use], score[use])
        return found

    def active(self) -> Flags:
        """bool[accounts]: those with a payment."""
        return self._parties(np.ones(len(self.ts), np.bool_))

    def suspects(self) -> Flags:
        """bool[accounts]: party to a payment that is labelled fraud."""
        return self._parties(self.fraud)

    def _parties(self, where: Flags) -> Flags:
        found = np.zeros(self.accounts, np.bool_)
        for row in self.rows.values():
            found[row[where & (row >= 0)]] = True
        return found

    def since(self, ts: int) -> Sample:
        """The payments from a time on."""
        at = int(np.searchsorted(self.ts, ts))
        return Sample(
            {name: column[at:] for name, column in self.features.items()},
            self.ts[at:],
            {side: row[at:] for side, row in self.rows.items()},
            self.fraud[at:],
            self.accounts,
        )


def gather(seen: Iterable[Judged], names: Iterable[str]) -> Sample:
    """Keep what is named of the newest `MOST` payments; of the labels `is_fraud` alone.

    Parameters
    ----------
    seen
        A history, in order.
    names
        Features.
    """
    columns = {name: INDEX[name] for name in names}
    where = np.array(list(columns.values()), np.intp)
    parts: list[_Part] = []
    count = 0
    for one in seen:
        step = one.steps[0]
        use = np.flatnonzero(step.decided)
        # Text codes and sums fit; what is no number of ours becomes infinite and matches nothing.
        with np.errstate(over="ignore"):
            kept = step.matrix[use[:, None], where].astype(np.float32)
        parts.append(
            _Part(kept, one.batch.ts[use], step.payer_rows[use], step.payee_rows[use], one.fraud[use])
        )
        count += len(use)
        while count - len(parts[0].ts) >= MOST:
            count -= len(parts.pop(0).ts)
    if not count:
        empty = np.zeros(0, np.int64)
        parts = [_Part(np.zeros((0, len(where)), np.float32), empty, empty, empty, np.zeros(0, np.bool_))]
    whole = _Part._make(np.concatenate(part) for part in zip(*parts, strict=True))
    accounts = 1 + int(max(whole.payer.max(initial=-1), whole.payee.max(initial=-1)))
    return Sample(
        {name: np.ascontiguousarray(whole.features[:, at]) for at, name in enumerate(columns)},
        whole.ts,
        {Side.PAYER: whole.payer, Side.PAYEE: whole.payee},
        whole.fraud,
        accounts,
    )


class _Part(NamedTuple):
    features: npt.NDArray[np.float32]
    ts: I8
    payer: I8
    payee: I8
    fraud: Flags
