"""Card-precision: what investigators find who look at the day's most suspicious accounts.

As the Fraud Detection Handbook defines it (Le Borgne, Siblini, Lebichot, Bontempi, "Reproducible Machine
Learning for Credit Card Fraud Detection", 2022, chapter on performance metrics): an account scores as its
highest payment of the day; of the 100 highest accounts those with a fraudulent payment that day are
*detected* and are not looked at on later days; the day's precision is detected / 100, and the figure is the
mean over the days with payments. A card is the paying account.

Where only some accounts of one score find room among the 100, the expected number counts, and they are not
taken to be detected.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

TOP: Final = 100
"""Accounts that investigators look at a day."""


class CardDay:
    """Who paid on a day, and who of them fraudulently.

    Attributes
    ----------
    paid, fraud
        Row numbers of distinct payers, and of those with a fraudulent payment.
    is_fraud
        bool[rows]: the latter once more, by row.
    """

    def __init__(self, payers: I8, fraud: Flags, rows: int) -> None:
        known = payers >= 0
        self.paid: I8 = np.unique(payers[known])
        self.fraud: I8 = np.unique(payers[known & fraud])
        self.is_fraud: Flags = np.zeros(rows, np.bool_)
        self.is_fraud[self.fraud] = True


class CardPrecision:
    """Precision of one ranking, day by day."""

    def __init__(self, top: int = TOP) -> None:
        self._top = top
        self._told: list[tuple[I8, I8, F8]] = []
        self._detected: Flags = np.zeros(0, np.bool_)
        self._sum = 0.0
        self._days = 0

    def add(self, days: I8, payers: I8, scores: F8) -> None:
        """Scores above 0 of payments: day, payer's row (-1: none), score. Those of 0 need not be told."""
        known = payers >= 0
        if known.any():
            self._told.append((days[known], payers[known], scores[known]))

    def close(self, number: int, day: CardDay) -> None:
        """End day `number`; everything told of it and of earlier days is forgotten."""
        more = len(day.is_fraud) - len(self._detected)
        if more > 0:
            self._detected = np.concatenate([self._detected, np.zeros(more, np.bool_)])
        rows, scores = self._highest(number)
        unseen = ~self._detected[rows]
        rows, scores = rows[unseen], scores[unseen]
        bad = day.is_fraud[rows]
        # All the others score 0.
        others = len(day.paid) - int(self._detected[day.paid].sum()) - len(rows)
        bad_others = len(day.fraud) - int(self._detected[day.fraud].sum()) - int(bad.sum())
        left, hits = self._top, 0.0
        for score in np.unique(scores)[::-1].tolist():
            same = scores == score
            size, found = int(same.sum()), int((same & bad).sum())
            hits += found * min(1.0, left / size)
            if size <= left:
                self._detected[rows[same & bad]] = True
            left = max(0, left - size)
            if not left:
                break
        if left and others:
            hits += bad_others * min(1.0, left / others)
            if others <= left:
                self._detected[day.fraud] = True
        self._sum += hits / self._top
        self._days += 1

    def _highest(self, number: int) -> tuple[I8, F8]:
        """Payers told of with the highest score of the day."""
        if not self._told:
            return np.empty(0, np.int64), np.empty(0)
        days, rows, scores = (np.concatenate(column) for column in zip(*self._told, strict=True))
        later, today = days > number, days == number
        self._told = [(days[later], rows[later], scores[later])] if later.any() else []
        distinct, where = np.unique(rows[today], return_inverse=True)
        highest = np.zeros(len(distinct))
        np.maximum.at(highest, where, scores[today])
        return distinct, highest

    def value(self) -> float | None:
        """Mean over the days; None without any."""
        return self._sum / self._days if self._days else None
