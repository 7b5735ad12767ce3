"""How well scores tell right from wrong, whatever is scored: payments or accounts.

All figures are of the ranking by score. Where scores are equal the order is random, and a figure is what is
expected of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

MOST_DISTINCT: Final = 200_000
"""More distinct scores than that are rounded to `COARSE`, so that memory does not grow with the payments."""
COARSE: Final = 1e-3
_PENDING: Final = 4_096
"""Scores that wait to be counted; there is a spectrum for every rule, twice."""
_PARTS: Final = 64
"""Arrays of them: a small one takes much more than what it holds."""


class Spectrum:
    """Counts of positives and negatives by score.

    Examples
    --------
    >>> spectrum = Spectrum()
    >>> spectrum.add(np.array([90.0, 60.0, 60.0, 0.0]), np.array([True, True, False, False]))
    >>> spectrum.positives, spectrum.expected_hits(2), spectrum.auc()
    (2, 1.5, 0.875)
    """

    def __init__(self) -> None:
        self._scores: F8 = np.empty(0)
        self._counts: I8 = np.zeros((2, 0), np.int64)
        self._pending: list[tuple[F8, I8]] = []
        self._waiting = 0

    def add(self, scores: F8, positive: Flags) -> None:
        """Count n scores with their labels."""
        if len(scores):
            counts = np.zeros((2, len(scores)), np.int64)
            counts[positive.astype(np.intp), np.arange(len(scores))] = 1
            self._add(scores, counts)

    def add_counts(self, score: float, negatives: int, positives: int) -> None:
        """Count so many at one score."""
        self._add(np.array([score]), np.array([[negatives], [positives]], np.int64))

    def into(self, other: Spectrum) -> None:
        """Add everything counted here to `other`."""
        self._merge()
        other._add(self._scores, self._counts)

    def _add(self, scores: F8, counts: I8) -> None:
        self._pending.append((scores.copy(), counts))
        self._waiting += len(scores)
        if self._waiting > _PENDING or len(self._pending) > _PARTS:
            self._merge()

    def _merge(self) -> None:
        if not self._pending:
            return
        scores = np.concatenate([self._scores, *(scores for scores, _ in self._pending)])
        counts = np.concatenate([self._counts, *(counts for _, counts in self._pending)], axis=1)
        self._pending, self._waiting = [], 0
        self._scores, self._counts = _grouped(scores, counts)
        if len(self._scores) > MOST_DISTINCT:
            self._scores, self._counts = _grouped(np.round(self._scores / COARSE) * COARSE, self._counts)

    @property
    def negatives(self) -> int:
        """How many are negative."""
        self._merge()
        return int(self._counts[0].sum())

    @property
    def positives(self) -> int:
        """How many are positive."""
        self._merge()
        return int(self._counts[1].sum())

    def ranking(self) -> tuple[F8, I8, I8]:
        """Distinct scores from the highest, and how many negatives and positives have each."""
        self._merge()
        negatives, positives = self._counts[:, ::-1]
        return self._scores[::-1], negatives, positives

    def expected_hits(self, top: int) -> float:
        """Positives among the `top` highest scores; of a score only partly among them, their share of it."""
        self._merge()
        size = self._counts.sum(axis=0)[::-1]
        before = np.cumsum(size) - size
        taken = np.clip(top - before, 0, size)
        return float((self._counts[1][::-1] * taken / np.maximum(size, 1)).sum())

    def auc(self) -> float | None:
        """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

        None without positives or without negatives.
        """
        positives, negatives = self.positives, self.negatives
        if not positives or not negatives:
            return None
        negative, positive = self._counts
        below = np.cumsum(negative) - negative
        return float((positive * (below + negative / 2)).sum() / (positives * negatives))

    def average_precision(self) -> float | None:
        """Sum over distinct scores, from the highest, of precision there times recall gained there.

        As scikit-learn's ``average_precision_score``, which the Fraud Detection Handbook uses. None without
        positives.
        """
        positives = self.positives
        if not positives:
            return None
        hits = np.cumsum(self._counts[1][::-1])
        alarms = np.cumsum(self._counts.sum(axis=0)[::-1])
        return float((self._counts[1][::-1] * hits / np.maximum(alarms, 1)).sum() / positives)


def _grouped(scores: F8, counts: I8) -> tuple[F8, I8]:
    distinct, where = np.unique(scores, return_inverse=True)
    summed = [np.bincount(where, weights=row, minlength=len(distinct)) for row in counts]
    return distinct, np.array(summed).astype(np.int64).reshape(2, -1)
