"""Local time of a bank for whole columns of times, without a Python call an event."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import DAY, HOUR

FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2100
"""Years for which changes of the UTC offset are looked up; outside, the nearest offset holds."""


def _offset_s(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


@lru_cache(maxsize=16)
def offsets(timezone: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """When the zone's UTC offset changes, and to what.

    Parameters
    ----------
    timezone
        IANA name.

    Returns
    -------
    (int64[k], int64[k])
        Epoch milliseconds from which an offset holds (the first: the smallest int64), and the offsets in ms.

    Raises
    ------
    ValueError
        If no such zone is known.

    Examples
    --------
    >>> offsets("UTC")[1].tolist()
    [0]
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone {timezone!r}; give an IANA name such as Asia/Shanghai") from error
    day = DAY // 1000
    first = int(datetime(FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    last = int(datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC).timestamp())
    starts = [int(np.iinfo(np.int64).min)]
    values = [_offset_s(zone, first)]
    for second in range(first, last, day):
        after = _offset_s(zone, second + day)
        if after != values[-1]:
            seconds = range(second, second + day + 1)
            change = seconds[bisect_right(seconds, 0, key=lambda s: int(_offset_s(zone, s) != values[-1]))]
            starts.append(change * 1000)
            values.append(after)
    return np.array(starts, np.int64), np.array(values, np.int64) * 1000


def local_ms(ts: npt.NDArray[np.int64], timezone: str) -> npt.NDArray[np.int64]:
    """Times shifted by the zone's UTC offset, so that day and hour follow by division.

    Parameters
    ----------
    ts
        Epoch milliseconds.
    timezone
        IANA name.

    Examples
    --------
    >>> noon_utc = np.array([1_700_000_000_000 // DAY * DAY + 12 * HOUR])
    >>> (local_ms(noon_utc, "Asia/Shanghai") - noon_utc).tolist() == [8 * HOUR]
    True
    """
    starts, values = offsets(timezone)
    shift = values if len(values) == 1 else values[np.searchsorted(starts, ts, side="right") - 1]
    local: npt.NDArray[np.int64] = ts + shift
    return local


def midnights(timezone: str) -> Callable[[int], int]:
    """Function from a local day (days since 1970-01-01) to the epoch ms at which it begins.

    Examples
    --------
    >>> midnights("Asia/Shanghai")(1) == DAY - 8 * HOUR
    True
    """
    zone = ZoneInfo(timezone)
    epoch = date(1970, 1, 1).toordinal()

    def midnight(day: int) -> int:
        return int(datetime.combine(date.fromordinal(epoch + day), time(), zone).timestamp()) * 1000

    return midnight


def hour_of(local: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Time of day in hours with fraction, 0 to below 24."""
    hour: npt.NDArray[np.float64] = (local % DAY) / HOUR
    return hour


def weekday_of(local: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Day of the week, Monday = 0 (the epoch's first day was a Thursday)."""
    return (local // DAY + 3) % 7
