"""The shape of an account's row, and where rows live.

A row is one packed record: facts and running figures, then the ring of the last payments as one array a
field, then day buckets. The buckets are only in use once the ring has dropped a payment; until then the ring
knows all they could, and a row is stored without them and without the ring's unused places.

Kernels see rows twice, as int64 and as float64 words of the same memory, and find fields by the word numbers
below. All is little-endian.
"""

from __future__ import annotations

import mmap
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection.row_layouts import (
    BUCKET,
    DAYS,
    HOPS,
    LAYOUTS,
    MISSING,
    NIGHT_PERIOD_DAYS,
    NIGHT_PERIODS,
    RING,
    TAG,
    WORD,
    dtype_of,
)

__all__ = ["BUCKET", "DAYS", "HOPS", "MISSING", "NIGHT_PERIODS", "NIGHT_PERIOD_DAYS", "TAG", "WORD"]

ROW: Final = dtype_of(LAYOUTS.newest)
"""One account, in memory."""


def _word(dtype: np.dtype[np.void], field: str) -> int:
    fields = dtype.fields
    if fields is None:
        raise TypeError(f"{dtype} has no fields")
    return int(fields[field][1]) // WORD


USED: Final = _word(ROW, "used")
HEAD: Final = _word(ROW, "head")
DROPPED: Final = _word(ROW, "dropped")
NEWEST: Final = _word(ROW, "newest")
NEWEST_OUT: Final = _word(ROW, "newest_out")
FIRST_TS: Final = _word(ROW, "first")
IN_TOTALS: Final = _word(ROW, "in_count")
OUT_TOTALS: Final = _word(ROW, "out_count")
"""First of four words: count, mean, squares, max."""
OPENED: Final = _word(ROW, "opened")
BIRTH_YEAR: Final = _word(ROW, "birth_year")
KIND: Final = _word(ROW, "kind")
"""First of two words: the fact, and the time of the update that said so."""
CHANGED: Final = _word(ROW, "changed")
ADDRESS_CHANGED: Final = _word(ROW, "address_changed")
LAST_DAY: Final = _word(ROW, "last_day")
NIGHT_PERIOD: Final = _word(ROW, "night_period")
NIGHT_MAX: Final = _word(ROW, "night_max")
TAINTED: Final = _word(ROW, "tainted")
TAINT_LED: Final = _word(ROW, "taint_led")
"""First of a word a hop."""
TAINT_AT: Final = _word(ROW, "taint_at")
BALANCE_MEAN: Final = _word(ROW, "balance_mean")
BALANCE_SPAN: Final = _word(ROW, "balance_span")
BALANCE_AT: Final = _word(ROW, "balance_at")
PLACE: Final = _word(ROW, "place")
"""First of two words: latitude, longitude."""
PLACE_AT: Final = _word(ROW, "place_at")
TIMES: Final = _word(ROW, "times")
AMOUNTS: Final = _word(ROW, "amounts")
COUNTERPARTIES: Final = _word(ROW, "counterparties")
EVENTS: Final = _word(ROW, "events")
TAGS: Final = _word(ROW, "tags")
DEVICES: Final = _word(ROW, "devices")
DAYS_AT: Final = _word(ROW, "days")
ROW_WORDS: Final = ROW.itemsize // WORD
HEADER_WORDS: Final = TIMES
RING_FIELDS: Final = len(RING)
"""Arrays of the ring, each with a word a place, from `TIMES` on."""

LAYOUT_SHIFT: Final = 32
USED_MASK: Final = 0xFFFFFFFF
"""A stored row has the number of its layout above `used`, in one word."""

CONTENT_MASK: Final = 0xFFFFFFFF
DAY_SHIFT: Final = 32
DAY_MASK: Final = 0xFFFF
FLAGS_SHIFT: Final = 48
ACTION_SHIFT: Final = 56
"""Where a tag's word has its parts."""

BUCKET_WORDS: Final = BUCKET.itemsize // WORD
BUCKET_COUNTS: Final = _word(BUCKET, "in_count")
"""Word of the count in (bits 0-31) and out (32-63)."""
OUT_COUNT_SHIFT: Final = 32
IN_COUNT_MASK: Final = 0xFFFFFFFF
BUCKET_SUMS: Final = _word(BUCKET, "in_sum")
"""First of two words: in, out."""

OUT: Final = 1
NEAR_LIMIT: Final = 2
SMALL: Final = 4
NIGHT: Final = 8
LATEST: Final = 16
"""Bits of a tag's flags. `LATEST`: no newer entry has the same counterparty and direction. Distinct
counterparties are then counted by adding these up."""


NEWEST_COUNTED: Final = 0
DIRTY: Final = 1
"""Counters of a store of rows: newest time counted in any of them, and how many are dirty."""


BLANK: Final = LAYOUTS.header
"""Words of an account about which nothing is known, up to the ring."""


def _zeros(size: int) -> mmap.mmap:
    # Private: a shared anonymous mapping cannot be grown (its new part has nothing behind it, SIGBUS).
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class RowMemory:
    """Memory for rows that grows in place: row numbers stay, nothing is copied where the system can remap.

    Parameters
    ----------
    capacity
        Rows to begin with.

    Attributes
    ----------
    words, floats
        int64 and float64[capacity, ROW_WORDS], the same memory; zero where nothing was written. Valid until
        the next `grow`.
    """

    def __init__(self, capacity: int) -> None:
        self.words: npt.NDArray[np.int64]
        self.floats: npt.NDArray[np.float64]
        self._map = _zeros(max(1, capacity) * ROW.itemsize)
        self._attach()

    def _attach(self) -> None:
        self.words = np.frombuffer(self._map, np.int64).reshape(-1, ROW_WORDS)
        self.floats = self.words.view(np.float64)

    @property
    def capacity(self) -> int:
        """Rows there is memory for."""
        return len(self.words)

    def grow(self, capacity: int) -> None:
        """Make room for at least `capacity` rows. Views taken before no longer show the rows."""
        if capacity <= self.capacity:
            return
        size = max(capacity, 2 * self.capacity) * ROW.itemsize
        del self.words, self.floats
        try:
            self._map.resize(size)
        except (BufferError, SystemError, OSError):  # a view is still held, or there is no mremap: copy
            old = np.frombuffer(self._map, np.int64)
            self._map = _zeros(size)
            np.frombuffer(self._map, np.int64)[: len(old)] = old
        self._attach()

    def structured(self) -> npt.NDArray[np.void]:
        """All rows as records of dtype `ROW`."""
        return self.words.view(ROW).reshape(-1)
