"""The bank's local days: where midnight lies, which days are free, at which hour people do what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
SECOND_MS = 1_000

Array = npt.NDArray[np.float64]

SHOPPING = np.array([0, 0, 0, 0, 0, 0, 1, 3, 5, 6, 7, 9, 10, 7, 6, 6, 7, 10, 12, 11, 8, 5, 2, 1], float)
"""Weight of each local hour for purchases: lunch and after work."""
ONLINE = np.array([0, 0, 0, 0, 0, 0, 1, 3, 5, 6, 6, 6, 7, 6, 5, 5, 6, 7, 8, 10, 11, 9, 6, 3], float)
"""Weight of each local hour for transfers from a telephone: late evening."""
OFFICE = np.array([0, 0, 0, 0, 0, 0, 0, 0, 4, 10, 10, 9, 4, 6, 10, 10, 9, 5, 1, 0, 0, 0, 0, 0], float)
"""Weight of each local hour for what companies and counters do."""
NIGHT = np.array([8, 9, 8, 5, 3, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8], float)
"""Weight of each local hour for somebody who works at night."""


@dataclass(frozen=True, slots=True)
class Days:
    """Consecutive local days.

    Attributes
    ----------
    midnight
        Epoch milliseconds of each day's local midnight, right across changes of daylight saving.
    weekend, holiday
        Whether nobody works on it.
    month_first
        Indices of the first days of months.
    dates
        The days themselves.
    """

    midnight: npt.NDArray[np.int64]
    weekend: npt.NDArray[np.bool_]
    holiday: npt.NDArray[np.bool_]
    month_first: list[int]
    dates: list[date]

    def __len__(self) -> int:
        return len(self.dates)

    def weights(self, free: float) -> Array:
        """Weight of each day when a free day counts `free` and a working day 1; they sum to 1."""
        weights = np.where(self.weekend | self.holiday, free, 1.0)
        shares: Array = weights / weights.sum()
        return shares

    def working(self, index: int) -> int:
        """The first working day at or after `index`; the last day of all when there is none."""
        while index < len(self) - 1 and (self.weekend[index] or self.holiday[index]):
            index += 1
        return min(index, len(self) - 1)


def local_days(start_ms: int, end_ms: int, zone: ZoneInfo) -> Days:
    """The local days that touch ``[start_ms, end_ms)``.

    Examples
    --------
    >>> days = local_days(0, 3 * DAY_MS, ZoneInfo("Asia/Shanghai"))
    >>> len(days), days.dates[0].isoformat(), int(days.midnight[0])
    (4, '1970-01-01', -28800000)
    """
    first = datetime.fromtimestamp(start_ms / 1000, zone).date()
    last = datetime.fromtimestamp((end_ms - 1) / 1000, zone).date()
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    midnight = [round(datetime.combine(day, time(), zone).timestamp() * 1000) for day in dates]
    return Days(
        midnight=np.array(midnight, np.int64),
        weekend=np.array([day.weekday() >= 5 for day in dates]),
        holiday=np.array([_holiday(day) for day in dates]),
        month_first=[n for n, day in enumerate(dates) if day.day == 1],
        dates=dates,
    )


def _holiday(day: date) -> bool:
    # The fixed ones. The lunar ones move; a simulated bank does without them.
    return (
        (day.month, day.day) == (1, 1)
        or (day.month, day.day <= 3) == (5, True)
        or (day.month == 10 and day.day <= 7)
    )


def times_of_day(count: int, hours: Array, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` times of day in milliseconds since local midnight, after the weights of the 24 hours."""
    hour = rng.choice(24, size=count, p=hours / hours.sum())
    return hour.astype(np.int64) * HOUR_MS + rng.integers(0, HOUR_MS, count)


def local_hour(ts: int, zone: ZoneInfo) -> float:
    """Local hour of `ts` with its fraction.

    Examples
    --------
    >>> local_hour(90 * 60_000, ZoneInfo("Asia/Shanghai"))
    9.5
    """
    local = datetime.fromtimestamp(ts / 1000, zone)
    return local.hour + local.minute / 60 + local.second / 3600


def night_before(ts: int, share: float, zone: ZoneInfo) -> int:
    """A time between 01:00 and 05:00 local in the last night that is over, or so far gone, at `ts`.

    Parameters
    ----------
    ts
        Epoch milliseconds; the result never lies after it.
    share
        Where between the two hours, 0 to 1.

    Examples
    --------
    >>> zone = ZoneInfo("Asia/Shanghai")
    >>> local_hour(night_before(1_700_000_000_000, 0.5, zone), zone)
    3.0
    """
    day = datetime.fromtimestamp(ts / 1000, zone).date()
    while True:
        moment = datetime.combine(day, time(1), zone).timestamp() * 1000 + share * 4 * HOUR_MS
        if moment <= ts:
            return round(moment)
        day -= timedelta(days=1)
