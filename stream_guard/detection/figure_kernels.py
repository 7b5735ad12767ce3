"""Kernels for what a row keeps beside its ring: totals, balance, place, day buckets, nights, facts."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.features import DAY, HOUR, INDEX, PAYER, WINDOWS
from stream_guard.detection.kernels import kernel

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

_LENGTHS: Final = tuple(WINDOWS.values())
_LONG: Final = list(WINDOWS).index("3d")
"""From this window on the day buckets help."""
_WINDOWS: Final = len(WINDOWS)
_EARTH_KM: Final = 6_371.0088
"""Mean radius (IUGG)."""


def _column(name: str) -> int:
    return INDEX[f"payer.{name}"] - PAYER.start


_IN_COUNT, _IN_SUM, _OUT_COUNT, _OUT_SUM = (
    _column(n) for n in ("in_count_10m", "in_sum_10m", "out_count_10m", "out_sum_10m")
)
_IDLE, _FIRST_SEEN, _AGE, _HOLDER, _KIND = (
    _column(n) for n in ("idle_s", "first_seen_s", "account_age_d", "holder_age_y", "kind")
)
_CHANGED, _ADDRESS = _column("changed_s"), _column("address_changed_s")


@kernel
def _year(day: int) -> int:
    """Calendar year of a day since 1970 (`civil_from_days` of H. Hinnant's date algorithms)."""
    z = day + 719_468
    era = z // 146_097
    doe = z - era * 146_097
    yoe = (doe - doe // 1_460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    return yoe + era * 400 + (1 if doy >= 306 else 0)


@kernel
def _since(words: I8, at: int, t: int) -> float:
    """Seconds since the newest of two times that is not after `t`."""
    for i in range(2):
        if words[at + i] != row.MISSING and words[at + i] <= t:
            return float(t - words[at + i]) / 1000.0
    return np.nan


@kernel
def totals(words: I8, floats: F8, at: int, amount: float, cells: F8, column: int) -> None:
    """Write the all-time figures of one direction; then, if there is an amount, count it."""
    n = words[at]
    cells[column] = floats[at + 1] if n > 0 else np.nan
    cells[column + 1] = np.sqrt(floats[at + 2] / (n - 1)) if n > 1 else np.nan
    cells[column + 2] = floats[at + 3] if n > 0 else np.nan
    cells[column + 3] = n
    if amount > 0.0:
        words[at] = n + 1
        distance = amount - floats[at + 1]
        floats[at + 1] += distance / (n + 1)
        floats[at + 2] += distance * (amount - floats[at + 1])
        floats[at + 3] = max(floats[at + 3], amount)


@kernel
def balance_mean(words: I8, floats: F8, t: int, balance: float) -> float:
    """Count a balance before a payment (NaN: not given) and return the mean over time so far.

    It stood since the last payment that gave one. A payment that is not newer than that one adds nothing.
    """
    since = words[row.BALANCE_AT]
    if not np.isnan(balance) and (since == row.MISSING or t > since):
        if since != row.MISSING:
            words[row.BALANCE_SPAN] += t - since
            part = (t - since) / words[row.BALANCE_SPAN]
            floats[row.BALANCE_MEAN] += part * (balance - floats[row.BALANCE_MEAN])
        words[row.BALANCE_AT] = t
    return floats[row.BALANCE_MEAN] if words[row.BALANCE_SPAN] > 0 else np.nan


@kernel
def travel(words: I8, floats: F8, t: int, latitude: float, longitude: float) -> tuple[float, float]:
    """Distance in km from the account's last place, and the speed in km/h that it needs; keep the new place.

    NaN where either place is not given. Less than a second counts as one: a speed has to be finite.
    Great circle by the haversine formula (R. W. Sinnott, "Virtues of the Haversine", 1984).
    """
    if np.isnan(latitude) or np.isnan(longitude):
        return np.nan, np.nan
    at = words[row.PLACE_AT]
    km, kmh = np.nan, np.nan
    if at != row.MISSING:
        here, there = np.radians(latitude), np.radians(floats[row.PLACE])
        north, east = here - there, np.radians(longitude - floats[row.PLACE + 1])
        h = np.sin(north / 2.0) ** 2 + np.cos(here) * np.cos(there) * np.sin(east / 2.0) ** 2
        km = 2.0 * _EARTH_KM * np.arcsin(min(1.0, np.sqrt(h)))
        kmh = km / (max(abs(t - at), 1_000) / HOUR)
    if at == row.MISSING or t >= at:
        words[row.PLACE_AT] = t
        floats[row.PLACE] = latitude
        floats[row.PLACE + 1] = longitude
    return km, kmh


@kernel
def add_to_day(words: I8, floats: F8, day: int, t: int, out: int, amount: float) -> None:
    """Count a payment in its local day's bucket, if the buckets still reach it."""
    last = words[row.LAST_DAY]
    if last == row.MISSING or day > last:
        first = day if last == row.MISSING else max(last + 1, day - row.DAYS + 1)
        for d in range(first, day + 1):
            b = row.DAYS_AT + (d % row.DAYS) * row.BUCKET_WORDS
            for i in range(row.BUCKET_WORDS):
                words[b + i] = 0
        words[row.LAST_DAY] = day
    elif day <= last - row.DAYS:
        return
    b = row.DAYS_AT + (day % row.DAYS) * row.BUCKET_WORDS
    if words[b + row.BUCKET_COUNTS] == 0:
        words[b] = t
    words[b] = min(words[b], t)
    words[b + row.BUCKET_COUNTS] += 1 << (row.OUT_COUNT_SHIFT * out)
    floats[b + row.BUCKET_SUMS + out] += amount


@kernel
def raise_to_days(
    words: I8,
    floats: F8,
    t: int,
    day: int,
    oldest: int,
    own_counts: int,
    own_in: float,
    own_out: float,
    cells: F8,
) -> None:
    """Raise windows that begin before the ring's oldest entry to what the days inside them add up to.

    Parameters
    ----------
    t, day
        Of the payment.
    oldest
        Time of the ring's oldest entry when it was scanned.
    own_counts, own_in, own_out
        For a late payment: what the ring knows of its own day up to `t`, counts packed as in a bucket; its
        bucket knows later payments too and is left out. For others `own_counts` is 0.
    cells
        The account block, with the ring's figures.
    """
    last = words[row.LAST_DAY]
    stop = day if own_counts > 0 else last + 1
    for w in range(_LONG, _WINDOWS):
        edge = t - _LENGTHS[w]
        if oldest <= edge:
            continue
        counts = own_counts
        sum_in = own_in
        sum_out = own_out
        for d in range(last - row.DAYS + 1, stop):
            b = row.DAYS_AT + (d % row.DAYS) * row.BUCKET_WORDS
            if words[b + row.BUCKET_COUNTS] != 0 and words[b] > edge:
                counts += words[b + row.BUCKET_COUNTS]
                sum_in += floats[b + row.BUCKET_SUMS]
                sum_out += floats[b + row.BUCKET_SUMS + 1]
        cells[_IN_COUNT + w] = max(cells[_IN_COUNT + w], float(counts & row.IN_COUNT_MASK))
        cells[_OUT_COUNT + w] = max(cells[_OUT_COUNT + w], float(counts >> row.OUT_COUNT_SHIFT))
        cells[_IN_SUM + w] = max(cells[_IN_SUM + w], sum_in)
        cells[_OUT_SUM + w] = max(cells[_OUT_SUM + w], sum_out)


@kernel
def night_max(words: I8, floats: F8, period: int, late: bool, own: float) -> float:
    """Largest night payment of the periods up to this one; for a late payment `own` stands for its own."""
    newest = words[row.NIGHT_PERIOD]
    best = own
    if newest != row.MISSING:
        first = max(period, newest) - row.NIGHT_PERIODS + 1
        last = min(period - 1 if late else period, newest)
        for p in range(first, last + 1):
            best = max(best, floats[row.NIGHT_MAX + p % row.NIGHT_PERIODS])
    return best


@kernel
def add_to_night(words: I8, floats: F8, period: int, amount: float) -> None:
    """Count a night payment out in its period, if the periods still reach it."""
    newest = words[row.NIGHT_PERIOD]
    if newest == row.MISSING or period > newest:
        first = period if newest == row.MISSING else max(newest + 1, period - row.NIGHT_PERIODS + 1)
        for p in range(first, period + 1):
            floats[row.NIGHT_MAX + p % row.NIGHT_PERIODS] = 0.0
        words[row.NIGHT_PERIOD] = period
    elif period <= newest - row.NIGHT_PERIODS:
        return
    slot = row.NIGHT_MAX + period % row.NIGHT_PERIODS
    floats[slot] = max(floats[slot], amount)


@kernel
def facts(words: I8, floats: F8, t: int, day: int, active: int, cells: F8) -> None:
    """Write what is known of the account at `t`; `active` is the time of its last payment, or `MISSING`."""
    first = words[row.FIRST_TS]
    opened = words[row.OPENED]
    born = words[row.BIRTH_YEAR]
    cells[_IDLE] = (t - active) / 1000.0 if active != row.MISSING else np.nan
    cells[_FIRST_SEEN] = (t - first) / 1000.0 if first != row.MISSING and first <= t else np.nan
    cells[_AGE] = (t - opened) / DAY if opened != row.MISSING and opened <= t else np.nan
    cells[_HOLDER] = float(_year(day) - born) if born != row.MISSING else np.nan
    cells[_KIND] = floats[row.KIND]
    cells[_CHANGED] = _since(words, row.CHANGED, t)
    cells[_ADDRESS] = _since(words, row.ADDRESS_CHANGED, t)
