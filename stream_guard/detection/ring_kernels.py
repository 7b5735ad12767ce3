"""Kernels over one account's ring: one scan for repeats, place and every windowed figure; entering a payment.

The scan goes from the newest entry back. Sums run on from window to window and are written down where a
window ends, so that all windows cost one pass.
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

SEEN_SLOTS: Final = 256
"""Slots a direction of the table that counts distinct counterparties for late payments; 4 times the ring."""

_MASK: Final = RING - 1
_LENGTHS: Final = tuple(WINDOWS.values())
_WINDOWS: Final = len(WINDOWS)
_PAIR_PLACE: Final = tuple(PAIR_WINDOWS.index(w) if w in PAIR_WINDOWS else -1 for w in WINDOWS)
_1H, _24H, _5D, _7D, _30D = (list(WINDOWS).index(w) for w in ("1h", "24h", "5d", "7d", "30d"))
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
_SEEN_BEFORE, _SIMILAR_5D, _MIN_24H = (
    _pair_column(n) for n in ("seen_before", "out_similar_count_5d", "out_min_24h")
)
_PAIR_OUT_COUNT, _PAIR_OUT_SUM, _PAIR_IN_COUNT, _PAIR_IN_SUM = (
    _pair_column(n) for n in ("out_count_24h", "out_sum_24h", "in_count_24h", "in_sum_24h")
)


@kernel
def unseen(keys: I8, stamps: I8, generation: int, key: int) -> int:
    """1 if `key` was not met in this generation, else 0; remembers it. `SEEN_SLOTS` are never all in use."""
    slot = key & (SEEN_SLOTS - 1)
    while stamps[slot] == generation:
        if keys[slot] == key:
            return 0
        slot = (slot + 1) & (SEEN_SLOTS - 1)
    stamps[slot] = generation
    keys[slot] = key
    return 1


@kernel
def scan(
    words: I8,
    floats: F8,
    t: int,
    out: int,
    amount: float,
    counterparty: int,
    event: int,
    content: int,
    strict: bool,
    flags: int,
    period: int,
    cells: F8,
    base: int,
    pair: int,
    seen_keys: I8,
    seen_stamps: I8,
    generation: int,
) -> tuple[int, int, int, bool, int, float]:
    """Windowed figures of a payment at `t` that is not yet in the ring.

    Parameters
    ----------
    words, floats
        The account's row, twice.
    t, out, amount, counterparty, event, content
        The payment: `out` 1 if the account pays, 0 if it is paid.
    strict
        Whether the same event with another content is a twin too.
    flags
        Of the payment, as its entry will carry them.
    period
        Night period of `t`.
    cells
        float64, one row of the feature matrix; written from `base` on (the account block) and, unless it is
        negative, from `pair` on.
    seen_keys, seen_stamps, generation
        Scratch for `unseen`, int64[2, SEEN_SLOTS]; the generation was not used before.

    Returns
    -------
    twin
        Word of the entry that is the same leg of the same event, or -1. Then nothing written is of any use.
    after
        Number in the ring, from the oldest, of the newest entry not after `t`; -1: none.
    same
        Word of the newest entry not after `t` with the same counterparty and direction, or -1.
    newer_same
        Whether such an entry exists after `t`.
    active
        Time of the newest entry not after `t`, or `MISSING`.
    night
        For a late payment: largest night payment out of its own period not after `t`; else 0.
    """
    head = words[row.HEAD]
    used = words[row.USED]
    k = used - 1
    newer_same = False
    while k >= 0:
        e = row.RING_AT + ((head + k) & _MASK) * row.ENTRY_WORDS
        if words[e] <= t:
            break
        tag = words[e + row.TAG]
        if ((tag >> row.FLAGS_SHIFT) & row.OUT) == out:
            if words[e + row.EVENT] == event and (strict or (tag & 0xFFFFFFFF) == content):
                return e, 0, 0, False, 0, 0.0
            if words[e + row.COUNTERPARTY] == counterparty:
                newer_same = True
        k -= 1
    late = k < used - 1
    after = k
    active = row.MISSING
    if k >= 0:
        active = words[row.RING_AT + ((head + k) & _MASK) * row.ENTRY_WORDS]
    if late:
        unseen(seen_keys[out], seen_stamps[out], generation, counterparty)

    in_count, in_sum, in_max, in_distinct = 1 - out, amount * (1 - out), 0.0, 1 - out
    out_count, out_sum, out_max, out_distinct = out, amount * out, 0.0, out
    near = 1 if flags & row.NEAR_LIMIT else 0
    small = 1 if flags & row.SMALL else 0
    small_sum = amount * small
    pair_out_count, pair_out_sum, pair_in_count, pair_in_sum = 1, amount, 0, 0.0
    similar, smallest, before = 1, np.inf, 0.0
    same, night = -1, 0.0
    margin = _SIMILAR * amount
    w = 0
    while True:
        e = row.RING_AT + ((head + k) & _MASK) * row.ENTRY_WORDS
        ts = words[e] if k >= 0 else row.MISSING
        while w < _WINDOWS and ts <= t - _LENGTHS[w]:
            cells[base + _IN_COUNT + w] = in_count
            cells[base + _IN_SUM + w] = in_sum
            cells[base + _IN_MAX + w] = in_max if in_max > 0.0 else np.nan
            cells[base + _IN_DISTINCT + w] = in_distinct
            cells[base + _OUT_COUNT + w] = out_count
            cells[base + _OUT_SUM + w] = out_sum
            cells[base + _OUT_MAX + w] = out_max if out_max > 0.0 else np.nan
            cells[base + _OUT_DISTINCT + w] = out_distinct
            if w == _1H:
                cells[base + _SMALL_1H] = small
            elif w == _7D:
                cells[base + _SMALL_7D] = small
                cells[base + _SMALL_SUM_7D] = small_sum
            elif w == _30D:
                cells[base + _NEAR_30D] = near
            place = _PAIR_PLACE[w]
            if pair >= 0 and place >= 0:
                cells[pair + _PAIR_OUT_COUNT + place] = pair_out_count
                cells[pair + _PAIR_OUT_SUM + place] = pair_out_sum
                cells[pair + _PAIR_IN_COUNT + place] = pair_in_count
                cells[pair + _PAIR_IN_SUM + place] = pair_in_sum
                if w == _24H:
                    cells[pair + _MIN_24H] = smallest if smallest < np.inf else np.nan
                elif w == _5D:
                    cells[pair + _SIMILAR_5D] = similar
            w += 1
        if k < 0 or w == _WINDOWS:
            break
        tag = words[e + row.TAG]
        bits = tag >> row.FLAGS_SHIFT
        o = bits & row.OUT
        if words[e + row.EVENT] == event and o == out and (strict or (tag & 0xFFFFFFFF) == content):
            return e, 0, 0, False, 0, 0.0
        a = floats[e + row.AMOUNT]
        fresh = 1 if bits & row.LATEST else 0
        if late:
            fresh = unseen(seen_keys[o], seen_stamps[o], generation, words[e + row.COUNTERPARTY])
            if (bits & row.NIGHT) != 0 and (
                (tag >> row.DAY_SHIFT) & 0xFFFF
            ) // row.NIGHT_PERIOD_DAYS == period:
                night = max(night, a)
        if words[e + row.COUNTERPARTY] == counterparty:
            if o == out:
                fresh = 0
                if same < 0:
                    same = e
            if o == row.OUT:
                pair_out_count += 1
                pair_out_sum += a
                smallest = min(smallest, a)
                before = 1.0
                if abs(a - amount) <= margin:
                    similar += 1
            else:
                pair_in_count += 1
                pair_in_sum += a
        in_count += 1 - o
        in_sum += a * (1 - o)
        in_max = max(in_max, a * (1 - o))
        in_distinct += fresh * (1 - o)
        out_count += o
        out_sum += a * o
        out_max = max(out_max, a * o)
        out_distinct += fresh * o
        near += 1 if bits & row.NEAR_LIMIT else 0
        is_small = 1 if bits & row.SMALL else 0
        small += is_small
        small_sum += a * is_small
        k -= 1

    # Beyond the longest window only a repeat and an earlier payment with the same party still matter.
    while k >= 0:
        e = row.RING_AT + ((head + k) & _MASK) * row.ENTRY_WORDS
        tag = words[e + row.TAG]
        o = (tag >> row.FLAGS_SHIFT) & row.OUT
        if o == out and words[e + row.EVENT] == event and (strict or (tag & 0xFFFFFFFF) == content):
            return e, 0, 0, False, 0, 0.0
        if words[e + row.COUNTERPARTY] == counterparty:
            if o == out and same < 0:
                same = e
            if o == row.OUT:
                before = 1.0
        k -= 1
    if pair >= 0:
        cells[pair + _SEEN_BEFORE] = before
    return -1, after, same, newer_same, active, night


@kernel
def enter(
    words: I8,
    floats: F8,
    after: int,
    same: int,
    t: int,
    amount: float,
    counterparty: int,
    event: int,
    tag: int,
) -> bool:
    """Put a payment into the ring behind entry number `after`; the oldest leaves a full ring.

    Nothing is entered, and False returned, if the ring is full and the payment is older than all of it.
    `same` is the word of the entry that is no longer the latest with its counterparty, or -1.
    """
    if same >= 0:
        words[same + row.TAG] &= ~(row.LATEST << row.FLAGS_SHIFT)
    if words[row.USED] == RING:
        if after < 0:
            return False
        words[row.HEAD] = (words[row.HEAD] + 1) & _MASK
        words[row.USED] = RING - 1
        after -= 1
    head = words[row.HEAD]
    place = words[row.USED]
    while place > after + 1:
        to = row.RING_AT + ((head + place) & _MASK) * row.ENTRY_WORDS
        of = row.RING_AT + ((head + place - 1) & _MASK) * row.ENTRY_WORDS
        for i in range(row.ENTRY_WORDS):
            words[to + i] = words[of + i]
        place -= 1
    e = row.RING_AT + ((head + place) & _MASK) * row.ENTRY_WORDS
    words[e] = t
    floats[e + row.AMOUNT] = amount
    words[e + row.COUNTERPARTY] = counterparty
    words[e + row.EVENT] = event
    words[e + row.TAG] = tag
    words[row.USED] += 1
    return True


@kernel
def find(words: I8, event: int, out: int) -> int:
    """Word of the newest entry that is this leg of this event, or -1."""
    head = words[row.HEAD]
    k = words[row.USED] - 1
    while k >= 0:
        e = row.RING_AT + ((head + k) & _MASK) * row.ENTRY_WORDS
        if words[e + row.EVENT] == event and ((words[e + row.TAG] >> row.FLAGS_SHIFT) & row.OUT) == out:
            return int(e)
        k -= 1
    return -1
