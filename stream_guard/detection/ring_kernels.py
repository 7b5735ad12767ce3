"""Kernels over one account's ring: what it knows of an event, every windowed figure, entering a payment.

The scan goes from the newest entry back. Sums run on from window to window and are written down where a
window ends, so that all windows cost one pass. Equality over the whole ring is counted without a branch,
which the compiler turns into vector instructions; the ring is kept as one array a field for that.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.features import INDEX, PAIR, PAIR_WINDOWS, PAYER, RING, WINDOWS
from stream_guard.detection.kernels import kernel

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

_MASK: Final = RING - 1
_LENGTHS: Final = tuple(WINDOWS.values())
_LAST: Final = len(WINDOWS) - 1
_1H, _7D = list(WINDOWS).index("1h"), list(WINDOWS).index("7d")
_PAIR_LENGTHS: Final = tuple(WINDOWS[window] for window in PAIR_WINDOWS)
_PAIR_WINDOWS: Final = len(PAIR_WINDOWS)
_24H: Final = WINDOWS["24h"]
_5D: Final = WINDOWS["5d"]
_SIMILAR: Final = 0.1
"""Typology 8: near-equal amounts are within 10 %."""


def _column(name: str) -> int:
    return INDEX[f"payer.{name}"] - PAYER.start


def _pair_column(name: str) -> int:
    return INDEX[f"pair.{name}"] - PAIR.start


_IN_COUNT, _IN_SUM, _IN_MAX, _IN_DISTINCT = (
    _column(f"in_{m}_10m") for m in ("count", "sum", "max", "distinct")
)
_OUT_COUNT, _OUT_SUM, _OUT_MAX, _OUT_DISTINCT = (
    _column(f"out_{m}_10m") for m in ("count", "sum", "max", "distinct")
)
_NEAR_30D, _SMALL_1H, _SMALL_7D, _SMALL_SUM_7D = (
    _column(f"out_{m}") for m in ("near_limit_count_30d", "small_count_1h", "small_count_7d", "small_sum_7d")
)
_DEVICE_DISTINCT, _DEVICE_SUM = _column("in_device_distinct_7d"), _column("in_device_sum_7d")
_SEEN_BEFORE, _SIMILAR_5D, _MIN_24H = (
    _pair_column(n) for n in ("seen_before", "out_similar_count_5d", "out_min_24h")
)
_PAIR_OUT_COUNT, _PAIR_OUT_SUM, _PAIR_IN_COUNT, _PAIR_IN_SUM = (
    _pair_column(n) for n in ("out_count_24h", "out_sum_24h", "in_count_24h", "in_sum_24h")
)

# Six counts ride in the bytes of one integer (each is at most 65), so that an entry adds to all at once.
_IN, _OUT, _IN_OTHERS, _OUT_OTHERS, _NEAR, _SMALL = 0, 8, 16, 24, 32, 40
_FLAG_BITS: Final = 31


def _counts_of_flags() -> npt.NDArray[np.int64]:
    """For every combination of flags, what an entry adds to the six counts."""
    counts = np.zeros(_FLAG_BITS + 1, np.int64)
    for flags in range(_FLAG_BITS + 1):
        out, latest = flags & row.OUT, flags & row.LATEST != 0
        counts[flags] = 1 << (_OUT if out else _IN)
        counts[flags] += latest << (_OUT_OTHERS if out else _IN_OTHERS)
        counts[flags] += (flags & row.NEAR_LIMIT != 0) << _NEAR
        counts[flags] += (flags & row.SMALL != 0) << _SMALL
    return counts


_COUNTS: Final = _counts_of_flags()
_IS_OUT: Final = (np.arange(_FLAG_BITS + 1) & row.OUT != 0).astype(np.float64)
_IS_SMALL: Final = (np.arange(_FLAG_BITS + 1) & row.SMALL != 0).astype(np.float64)


@kernel
def place(words: I8, number: int) -> int:
    """Where in the ring's arrays the entry with this number, from the oldest, is."""
    return (int(words[row.HEAD]) + number) & _MASK


@kernel
def count_equal(words: I8, at: int, value: int) -> int:
    """In how many places of the ring's array at word `at` the value stands; unused places hold 0."""
    found = 0
    for j in range(RING):
        found += words[at + j] == value
    return found


@kernel
def find(words: I8, event: int, out: int, content: int) -> int:
    """Place of the newest entry that is this leg of this event, or -1; `content` below 0: any content."""
    if count_equal(words, row.EVENTS, event) == 0:
        return -1
    for number in range(words[row.USED] - 1, -1, -1):
        j = place(words, number)
        tag = words[row.TAGS + j]
        if words[row.EVENTS + j] != event or ((tag >> row.FLAGS_SHIFT) & row.OUT) != out:
            continue
        if content < 0 or (tag & row.CONTENT_MASK) == content:
            return j
    return -1


@kernel
def newest_not_after(words: I8, t: int) -> int:
    """Number of the newest entry not after `t`, or -1."""
    number = int(words[row.USED]) - 1
    while number >= 0 and words[row.TIMES + place(words, number)] > t:
        number -= 1
    return number


@kernel
def supersede(words: I8, after: int, out: int, counterparty: int) -> bool:
    """Settle the mark `LATEST` for an entry to come behind number `after`; whether that one gets it.

    An older entry with the same counterparty and direction loses the mark, a newer one keeps it.
    """
    if count_equal(words, row.COUNTERPARTIES, counterparty) == 0:
        return True
    for number in range(words[row.USED] - 1, -1, -1):
        j = place(words, number)
        flags = words[row.TAGS + j] >> row.FLAGS_SHIFT
        if words[row.COUNTERPARTIES + j] == counterparty and (flags & row.OUT) == out and flags & row.LATEST:
            if number > after:
                return False
            words[row.TAGS + j] &= ~(row.LATEST << row.FLAGS_SHIFT)
            return True
    return True


@kernel
def latest_before(words: I8, after: int, out: int, counterparty: int) -> int:
    """Places, as bits, of entries that would be marked `LATEST` but for entries behind number `after`.

    Not the one that a payment with `counterparty` supersedes. Behind `after` there is nothing for payments in
    order, and little for one that is a little late.
    """
    bits = 0
    for newer in range(after + 1, words[row.USED]):
        j = place(words, newer)
        flags = words[row.TAGS + j] >> row.FLAGS_SHIFT
        other = words[row.COUNTERPARTIES + j]
        way = flags & row.OUT
        if not flags & row.LATEST or (other == counterparty and way == out):
            continue
        if count_equal(words, row.COUNTERPARTIES, other) > 1:
            for number in range(after, -1, -1):
                i = place(words, number)
                same_way = (words[row.TAGS + i] >> row.FLAGS_SHIFT) & row.OUT == way
                if words[row.COUNTERPARTIES + i] == other and same_way:
                    bits |= 1 << i
                    break
    return bits


@kernel
def windows(
    words: I8, floats: F8, t: int, after: int, also_latest: int, amount: float, flags: int, cells: F8
) -> None:
    """Write every windowed figure of an account for a payment that is not yet in its ring.

    Parameters
    ----------
    words, floats
        The account's row, twice; `supersede` was called.
    t, amount, flags
        The payment's; the flags with `LATEST`.
    after
        Number of the newest entry not after `t`.
    also_latest
        What `latest_before` says.
    cells
        float64, the account block.
    """
    counts = _COUNTS[flags]
    sum_out = amount * _IS_OUT[flags]
    sum_in = amount - sum_out
    sum_small = amount * _IS_SMALL[flags]
    max_in = 0.0
    max_out = 0.0
    number = after
    w = 0
    edge = t - _LENGTHS[0]
    while True:
        j = place(words, number)
        ts = words[row.TIMES + j] if number >= 0 else row.MISSING
        while ts <= edge:
            cells[_IN_COUNT + w] = (counts >> _IN) & 0xFF
            cells[_IN_SUM + w] = sum_in
            cells[_IN_MAX + w] = max_in if max_in > 0.0 else np.nan
            cells[_IN_DISTINCT + w] = (counts >> _IN_OTHERS) & 0xFF
            cells[_OUT_COUNT + w] = (counts >> _OUT) & 0xFF
            cells[_OUT_SUM + w] = sum_out
            cells[_OUT_MAX + w] = max_out if max_out > 0.0 else np.nan
            cells[_OUT_DISTINCT + w] = (counts >> _OUT_OTHERS) & 0xFF
            if w == _1H:
                cells[_SMALL_1H] = (counts >> _SMALL) & 0xFF
            elif w == _7D:
                cells[_SMALL_7D] = (counts >> _SMALL) & 0xFF
                cells[_SMALL_SUM_7D] = sum_small
            elif w == _LAST:
                cells[_NEAR_30D] = (counts >> _NEAR) & 0xFF
                return
            w += 1
            edge = t - _LENGTHS[w]
        bits = (words[row.TAGS + j] >> row.FLAGS_SHIFT) & _FLAG_BITS
        bits |= ((also_latest >> j) & 1) * row.LATEST
        a = floats[row.AMOUNTS + j]
        a_out = a * _IS_OUT[bits]
        a_in = a - a_out
        counts += _COUNTS[bits]
        sum_out += a_out
        sum_in += a_in
        sum_small += a * _IS_SMALL[bits]
        max_out = a_out if a_out > max_out else max_out
        max_in = a_in if a_in > max_in else max_in
        number -= 1


@kernel
def pair(words: I8, floats: F8, t: int, after: int, amount: float, counterparty: int, cells: F8) -> None:
    """Write the pair figures of a payment out that is not yet in its ring; `cells` is the pair block."""
    for w in range(_PAIR_WINDOWS):
        cells[_PAIR_OUT_COUNT + w] = 1.0
        cells[_PAIR_OUT_SUM + w] = amount
        cells[_PAIR_IN_COUNT + w] = 0.0
        cells[_PAIR_IN_SUM + w] = 0.0
    similar = 1
    smallest = np.inf
    before = 0.0
    if count_equal(words, row.COUNTERPARTIES, counterparty) > 0:
        margin = _SIMILAR * amount
        for number in range(after, -1, -1):
            j = place(words, number)
            if words[row.COUNTERPARTIES + j] != counterparty:
                continue
            ts = words[row.TIMES + j]
            a = floats[row.AMOUNTS + j]
            out = (words[row.TAGS + j] >> row.FLAGS_SHIFT) & row.OUT
            if out:
                before = 1.0
                if ts > t - _24H:
                    smallest = min(smallest, a)
                if ts > t - _5D and abs(a - amount) <= margin:
                    similar += 1
            for w in range(_PAIR_WINDOWS):
                if ts > t - _PAIR_LENGTHS[w]:
                    cells[(_PAIR_OUT_COUNT if out else _PAIR_IN_COUNT) + w] += 1.0
                    cells[(_PAIR_OUT_SUM if out else _PAIR_IN_SUM) + w] += a
    cells[_SEEN_BEFORE] = before
    cells[_SIMILAR_5D] = similar
    cells[_MIN_24H] = smallest if smallest < np.inf else np.nan


@kernel
def night_in_ring(words: I8, floats: F8, after: int, period: int) -> float:
    """Largest night payment out of one period among the entries up to number `after`; 0 if none."""
    best = 0.0
    for number in range(after + 1):
        j = place(words, number)
        tag = words[row.TAGS + j]
        day = (tag >> row.DAY_SHIFT) & row.DAY_MASK
        if (tag >> row.FLAGS_SHIFT) & row.NIGHT and day // row.NIGHT_PERIOD_DAYS == period:
            best = max(best, floats[row.AMOUNTS + j])
    return best


@kernel
def own_day(words: I8, floats: F8, after: int, day: int, out: int, amount: float) -> tuple[int, float, float]:
    """Counts, packed as in a bucket, and sums in and out of a day: a payment, and entries up to `after`."""
    counts = 1 << (row.OUT_COUNT_SHIFT * out)
    sum_in = 0.0 if out else amount
    sum_out = amount if out else 0.0
    for number in range(after, -1, -1):
        j = place(words, number)
        tag = words[row.TAGS + j]
        if (tag >> row.DAY_SHIFT) & row.DAY_MASK == day:
            way = (tag >> row.FLAGS_SHIFT) & row.OUT
            counts += 1 << (row.OUT_COUNT_SHIFT * way)
            if way:
                sum_out += floats[row.AMOUNTS + j]
            else:
                sum_in += floats[row.AMOUNTS + j]
    return counts, sum_in, sum_out


@kernel
def same_device(
    words: I8,
    floats: F8,
    t: int,
    after: int,
    out: int,
    amount: float,
    counterparty: int,
    device: int,
    cells: F8,
) -> None:
    """Write who paid the account through the device (0: none) of a payment not yet in its ring."""
    if device == 0:
        cells[_DEVICE_DISTINCT] = np.nan
        cells[_DEVICE_SUM] = np.nan
        return
    distinct = 0 if out else 1
    total = 0.0 if out else amount
    if count_equal(words, row.DEVICES, device) > 0:
        for number in range(after, -1, -1):
            j = place(words, number)
            if words[row.TIMES + j] <= t - _LENGTHS[_7D]:
                break
            if not _came_through(words, j, device):
                continue
            total += floats[row.AMOUNTS + j]
            payer = words[row.COUNTERPARTIES + j]
            known = not out and payer == counterparty
            for newer in range(number + 1, after + 1):
                i = place(words, newer)
                known |= words[row.COUNTERPARTIES + i] == payer and _came_through(words, i, device)
            distinct += not known
    cells[_DEVICE_DISTINCT] = distinct
    cells[_DEVICE_SUM] = total


@kernel
def _came_through(words: I8, j: int, device: int) -> bool:
    """Whether the entry at place `j` is a payment in through the device."""
    out = (words[row.TAGS + j] >> row.FLAGS_SHIFT) & row.OUT
    return bool(words[row.DEVICES + j] == device and out == 0)


@kernel
def enter(
    words: I8,
    floats: F8,
    after: int,
    t: int,
    amount: float,
    counterparty: int,
    event: int,
    device: int,
    tag: int,
) -> None:
    """Put a payment into the ring behind entry number `after`; the oldest leaves a full ring.

    Nothing is entered if the ring is full and the payment is older than all of it.
    """
    if words[row.USED] == RING:
        if after < 0:
            return
        words[row.HEAD] = (words[row.HEAD] + 1) & _MASK
        words[row.USED] = RING - 1
        after -= 1
    for number in range(words[row.USED], after + 1, -1):
        to, of = place(words, number), place(words, number - 1)
        words[row.TIMES + to] = words[row.TIMES + of]
        words[row.AMOUNTS + to] = words[row.AMOUNTS + of]
        words[row.COUNTERPARTIES + to] = words[row.COUNTERPARTIES + of]
        words[row.EVENTS + to] = words[row.EVENTS + of]
        words[row.TAGS + to] = words[row.TAGS + of]
        words[row.DEVICES + to] = words[row.DEVICES + of]
    j = place(words, after + 1)
    words[row.TIMES + j] = t
    floats[row.AMOUNTS + j] = amount
    words[row.COUNTERPARTIES + j] = counterparty
    words[row.EVENTS + j] = event
    words[row.TAGS + j] = tag
    words[row.DEVICES + j] = device
    words[row.USED] += 1
