"""Named counts, for all time and by day, that a state can carry piece by piece and restore exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from stream_guard.feedback.rolling import Counts, RollingSum, add_counts, bump
from stream_guard.versions import upgraded

DAYS_KEPT = 400
"""Day buckets kept: the longest window is a year. Days without anything to count take no bucket."""
COUNTS_VERSION = 1
COUNTS_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Steps of `upgraded`."""

TOTAL_KEY = b"total"
DAY_PREFIX = b"day:"


class DayCounts:
    """Counts by family and name.

    Examples
    --------
    >>> counts = DayCounts()
    >>> counts.add("hits", "confirmed", 2, day=20_000)
    >>> counts.add("hits", "confirmed", -1, day=20_000)
    >>> counts.of("hits"), counts.window(20_006, 7).of("hits"), counts.window(20_007, 7).of("hits")
    ({'confirmed': 1}, {'confirmed': 1}, {})
    """

    def __init__(self) -> None:
        self._total: Counts = {}
        self._days: dict[int, Counts] = {}
        self._total_dirty = False
        self._dirty_days: dict[int, None] = {}
        self._rolling: dict[int, RollingSum] = {}

    def of(self, family: str) -> dict[str, int]:
        """Counts of a family by name, for all time."""
        return dict(self._total.get(family, {}))

    @property
    def days(self) -> list[int]:
        """Days that have a bucket, oldest first."""
        return sorted(self._days)

    def add(self, family: str, name: str, count: int, day: int | None = None) -> None:
        """Add to a count, and to its day's bucket where a day is given.

        A negative count takes back an earlier one; where its day has been dropped, only the total changes.
        """
        if count == 0:
            return
        bump(self._total, family, name, count)
        self._total_dirty = True
        if day is None:
            return
        if day not in self._days:
            if count < 0:
                return
            self._days[day] = {}
        bucket = self._days[day]
        bump(bucket, family, name, count)
        self._dirty_days[day] = None
        for rolling in self._rolling.values():
            rolling.add(day, {family: {name: count}})
        if not bucket:
            del self._days[day]
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        # By number of buckets and not by age: one date in the far future must not wipe out a year.
        while len(self._days) > DAYS_KEPT:
            oldest = min(self._days)
            for rolling in self._rolling.values():
                rolling.add(oldest, self._days[oldest], -1)
            del self._days[oldest]
            self._dirty_days[oldest] = None

    def window(self, today: int, days: int) -> DayCounts:
        """Totals over the last `days` days, `today` included, of what was counted with a day.

        Cheap where it is asked again for the same number of days: the sum is kept and moved on.
        """
        rolling = self._rolling.get(days)
        if rolling is None:
            rolling = self._rolling[days] = RollingSum(days)
        rolling.move(today, self._days)
        result = DayCounts()
        add_counts(result._total, rolling.counts)
        return result

    def merge_totals(self, other: DayCounts) -> None:
        """Add what another partition has counted for all time, and none of its days."""
        add_counts(self._total, other._total)
        self._total_dirty = True

    def merge(self, other: DayCounts) -> None:
        """Add another partition's counts to these."""
        self.merge_totals(other)
        self._rolling.clear()
        for day, counts in other._days.items():
            add_counts(self._days.setdefault(day, {}), counts)
            self._dirty_days[day] = None
        self._drop_oldest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DayCounts):
            return NotImplemented
        return self._total == other._total and self._days == other._days

    __hash__ = None  # type: ignore[assignment]

    def take_dirty(self) -> list[tuple[bytes, bytes | None]]:
        """What changed since the last call: the totals, and each changed day by itself (None: dropped).

        A flush so carries a day or two, not a year.
        """
        taken: list[tuple[bytes, bytes | None]] = []
        if self._total_dirty:
            taken.append((TOTAL_KEY, _encode(self._total)))
        for day in self._dirty_days:
            counts = self._days.get(day)
            taken.append((DAY_PREFIX + str(day).encode(), None if counts is None else _encode(counts)))
        self._total_dirty = False
        self._dirty_days.clear()
        return taken

    def stored(self, days: Iterable[int | None]) -> list[tuple[bytes, bytes]]:
        """Records of some days and (None) of the totals, as `take_dirty` gives them."""
        total = [(TOTAL_KEY, _encode(self._total)) for day in days if day is None]
        return total + [
            (DAY_PREFIX + str(day).encode(), _encode(self._days[day])) for day in days if day in self._days
        ]

    def load(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take in what `take_dirty` gave; the newest value of a key wins.

        Raises
        ------
        ValueError
            If a record is none of ours, or a later release's.
        """
        self._rolling.clear()
        for key, value in items:
            counts: Counts = {} if value is None else _decode(value)["counts"]
            if key == TOTAL_KEY:
                self._total = counts
                continue
            day = key.removeprefix(DAY_PREFIX)
            if day == key or not day.removeprefix(b"-").isdigit():
                raise ValueError(
                    f"tallies have no record {key!r}: another version of the program wrote the state"
                )
            if counts:
                self._days[int(day)] = counts
            else:
                self._days.pop(int(day), None)

    def to_bytes(self) -> bytes:
        """Everything in one JSON record."""
        days = {str(day): counts for day, counts in sorted(self._days.items())}
        return orjson.dumps({"v": COUNTS_VERSION, "total": self._total, "days": days})

    @classmethod
    def from_bytes(cls, data: bytes) -> DayCounts:
        """Counts of `to_bytes`; nothing is dirty.

        Raises
        ------
        ValueError
            If the record is a later release's.
        """
        record = _decode(data)
        result = cls()
        result._total = record["total"]
        result._days = {int(day): counts for day, counts in record["days"].items()}
        return result


def _encode(counts: Counts) -> bytes:
    return orjson.dumps({"v": COUNTS_VERSION, "counts": counts})


def _decode(data: bytes) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(data)
    return upgraded(record, record.get("v"), COUNTS_VERSION, COUNTS_UPGRADES, "tallies")
