"""Counts of the last so many days, kept current: a year of days is not added up anew each time it is read."""

from __future__ import annotations

from collections.abc import Mapping

Counts = dict[str, dict[str, int]]
"""Family, then name, then count. No count is zero and no family empty, so equal figures are equal dicts."""


def bump(counts: Counts, family: str, name: str, count: int) -> None:
    """Add to one count."""
    names = counts.setdefault(family, {})
    value = names.get(name, 0) + count
    if value:
        names[name] = value
        return
    del names[name]
    if not names:
        del counts[family]


def add_counts(into: Counts, counts: Counts, sign: int = 1) -> None:
    """Add all counts, or with `sign` -1 take them back."""
    for family, names in counts.items():
        for name, count in names.items():
            bump(into, family, name, sign * count)


class RollingSum:
    """Sum of the buckets of the last `days` days.

    Examples
    --------
    >>> buckets = {10: {"hits": {"confirmed": 2}}, 12: {"hits": {"confirmed": 1}}}
    >>> week = RollingSum(7)
    >>> week.move(16, buckets), week.counts
    (None, {'hits': {'confirmed': 3}})
    >>> week.move(17, buckets), week.counts
    (None, {'hits': {'confirmed': 1}})
    """

    def __init__(self, days: int) -> None:
        self._days = days
        self._today: int | None = None
        self.counts: Counts = {}

    def move(self, today: int, buckets: Mapping[int, Counts]) -> None:
        """Let `today` be the last day; `buckets` are those the sum was told of."""
        before, self._today = self._today, today
        if before == today:
            return
        if before is None or not 0 < today - before < self._days:
            self.counts = {}
            for day, counts in buckets.items():
                self.add(day, counts)
            return
        for day in range(before - self._days + 1, today - self._days + 1):
            add_counts(self.counts, buckets.get(day, {}), -1)
        for day in range(before + 1, today + 1):
            add_counts(self.counts, buckets.get(day, {}))

    def add(self, day: int, counts: Counts, sign: int = 1) -> None:
        """A day's bucket has grown by `counts`, or with `sign` -1 shrunk."""
        if self._today is not None and self._today - self._days < day <= self._today:
            add_counts(self.counts, counts, sign)
