"""The curves of the report, as numbers.

- ``by_threshold``: if accounts were warned from a score on: how many a day, how many of them positive, which
  share (victims are neither and left out, as in the hit rate).
- ``by_rank``: positives among the first so many accounts, ranked by their highest score.
- ``by_day``: warnings opened by local day: hits, false positives, others (victims, unlisted accounts).
- ``by_score``: candidates by their highest score, positives apart; an account at 0 never had a reason.
- ``money``: fraudulent amount by day, cumulated: all, intercepted, and after a warning on one of the parties.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import accumulate
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.diary import Diary, Money
from stream_guard.backtest.figures import FIRST, Standing
from stream_guard.backtest.spectrum import Spectrum
from stream_guard.backtest.view import View

I8 = npt.NDArray[np.int64]

POINTS: Final = 200
"""Points of a curve at most: more than a screen shows."""
STEP: Final = 5
"""Width of the score classes."""


def curves(whole: View, diary: Diary, standing: Standing, days: float) -> dict[str, Any]:
    """All curves.

    Parameters
    ----------
    whole, diary
        What the whole pack did.
    days
        Length of the judged period.
    """
    return {
        "by_threshold": _by_threshold(whole, standing, days),
        "by_rank": _by_rank(whole, standing),
        "by_day": _by_day(diary, standing),
        "by_score": _by_score(whole, standing),
        "money": _money(diary),
    }


def _by_threshold(whole: View, standing: Standing, days: float) -> list[dict[str, float]]:
    counted = standing.candidate & ~standing.victim
    spectrum = Spectrum()
    spectrum.add(whole.best[counted], standing.positive[counted])
    scores, wrong, right = spectrum.ranking()
    hits, warned = np.cumsum(right), np.cumsum(right + wrong)
    return [
        {
            "score": float(scores[i]),
            "warned": int(warned[i]),
            "a_day": float(warned[i] / days),
            "hits": int(hits[i]),
            "hit_rate": float(hits[i] / warned[i]),
        }
        for i in _spread(int((scores > 0).sum()))
    ]


def _by_rank(whole: View, standing: Standing) -> list[dict[str, float]]:
    spectrum = Spectrum()
    spectrum.add(whole.best[standing.candidate], standing.positive[standing.candidate])
    last = min(int(standing.candidate.sum()), max(2 * standing.k, 2 * FIRST))
    ranks = {i + 1 for i in _spread(last)} | {rank for rank in (FIRST, standing.k) if 0 < rank <= last}
    return [{"rank": rank, "hits": spectrum.expected_hits(rank)} for rank in sorted(ranks)]


def _by_day(diary: Diary, standing: Standing) -> list[dict[str, Any]]:
    days, rows = diary.opened()
    hit = standing.positive[rows] & ~standing.victim[rows]
    wrong = standing.candidate[rows] & ~standing.positive[rows] & ~standing.victim[rows]
    return [
        {
            "day": _iso(number),
            "hits": int((hit & (days == number)).sum()),
            "false_positives": int((wrong & (days == number)).sum()),
            "others": int((~hit & ~wrong & (days == number)).sum()),
        }
        for number in np.unique(days).tolist()
    ]


def _by_score(whole: View, standing: Standing) -> list[dict[str, float]]:
    best = whole.best[standing.candidate]
    positive = standing.positive[standing.candidate]
    # Class 0 is those without any score; class c holds (5 (c - 1), 5 c].
    which = np.ceil(best / STEP).astype(np.int64)
    classes = 100 // STEP + 1
    counts = [np.bincount(which[part], minlength=classes) for part in (positive, ~positive)]
    return [
        {"over": STEP * max(c - 1, 0), "to": STEP * c, "positives": int(of), "others": int(other)}
        for c, (of, other) in enumerate(zip(*counts, strict=True))
    ]


def _money(diary: Diary) -> list[dict[str, Any]]:
    numbers = sorted(diary.money)
    sums = accumulate(
        (diary.money[number] for number in numbers),
        lambda one, other: Money(*(a + b for a, b in zip(one, other, strict=True))),
    )
    return [{"day": _iso(number), **money._asdict()} for number, money in zip(numbers, sums, strict=True)]


def _spread(n: int) -> list[int]:
    """At most `POINTS` of 0..n-1, close together at the beginning, with both ends."""
    if n <= POINTS:
        return list(range(n))
    points = np.unique(np.geomspace(1, n, POINTS).round()) - 1
    return [int(point) for point in points]


def _iso(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()
