"""The fields of an account's row, and how a row that an earlier release stored becomes one of today.

Every stored row carries the number of its layout, and `row_kernels.unpack` puts it into the newest one, so
rows of several releases live side by side in a changelog. A row of a higher number is refused.

To add a field: append a line to `HEADER` (what an account has once) or to `RING` (what each of its last
payments has), with `since` one above the highest number that a release has had. Stored rows get its
default. The test that holds the hashes of all layouts wants a new line too. Lines already there never change
and are never taken out: stored rows are read by them. A field takes whole words of 8 bytes. The length of the
ring and the day buckets cannot be changed in this way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import RING as RING_LENGTH

I8 = npt.NDArray[np.int64]

DAYS: Final = 31
"""Local days with a bucket, today included: one more than the longest window starts in."""

NIGHT_PERIODS: Final = 7
NIGHT_PERIOD_DAYS: Final = 15
"""The largest night payment is kept per period of 15 local days; with the running one they reach 90 days."""

HOPS: Final = 3
"""Payments that tainted money is followed over; see `taint_kernels`."""

MISSING: Final = int(np.iinfo(np.int64).min)
"""A time, day or year that is not known."""

WORD: Final = 8

TAG: Final = np.dtype([("content", "<u4"), ("day", "<u2"), ("flags", "u1"), ("action", "u1")])
"""What one payment in the ring carries beside its numbers; `day` counts local days since 1970."""

BUCKET: Final = np.dtype(
    [("first", "<i8"), ("in_count", "<u4"), ("out_count", "<u4"), ("in_sum", "<f8"), ("out_sum", "<f8")]
)
"""One local day, at ``day % DAYS``. `first` is its earliest payment's time: is the whole day in a window?"""


class Field(NamedTuple):
    """One field of a row.

    Attributes
    ----------
    kind
        NumPy type, little-endian, of 8 bytes.
    default
        Of an account about which nothing is known; of a stored row that does not have the field.
    since
        Number of the first layout that has it.
    length
        Values, where there is more than one.
    """

    name: str
    kind: Any
    default: float = 0
    since: int = 0
    length: int | None = None

    @property
    def words(self) -> I8:
        """The default, in words."""
        return np.full(self.length or 1, self.default, self.kind).view(np.int64)


HEADER: Final = (
    Field("used", "<i8"),  # entries in the ring
    Field("head", "<i8"),  # place of the oldest; 0 until the ring is full
    Field("dropped", "<i8"),  # payments counted that are not in the ring
    Field("newest", "<i8", MISSING),
    Field("newest_out", "<i8", MISSING),  # newest payment the account made: its own next ones may be too old
    Field("first", "<i8", MISSING),
    Field("in_count", "<i8"),
    Field("in_mean", "<f8"),
    Field("in_squares", "<f8"),  # sum of squared distances from the mean (Welford)
    Field("in_max", "<f8"),
    Field("out_count", "<i8"),
    Field("out_mean", "<f8"),
    Field("out_squares", "<f8"),
    Field("out_max", "<f8"),
    Field("opened", "<i8", MISSING),
    Field("opened_at", "<i8", MISSING),  # time of the update that said so; the same for the next two
    Field("birth_year", "<i8", MISSING),
    Field("birth_year_at", "<i8", MISSING),
    Field("kind", "<f8", np.nan),
    Field("kind_at", "<i8", MISSING),
    Field("changed", "<i8", MISSING, length=2),  # newest first
    Field("address_changed", "<i8", MISSING, length=2),
    Field("last_day", "<i8", MISSING),  # newest local day with a bucket
    Field("night_period", "<i8", MISSING),  # newest period with a night payment
    Field("night_max", "<f8", length=NIGHT_PERIODS),  # at period % NIGHT_PERIODS
    Field("tainted", "<f8", since=1, length=HOPS),  # money from listed accounts, by payments since
    Field("taint_led", "<f8", since=1, length=HOPS - 1),  # largest part of it that came in one payment
    Field("taint_at", "<i8", MISSING, since=1),  # time that both are of
    Field("balance_mean", "<f8", since=1),
    Field("balance_span", "<i8", since=1),  # time that the mean is over
    Field("balance_at", "<i8", MISSING, since=1),
    Field("place", "<f8", since=1, length=2),  # latitude, longitude of the newest payment out with a place
    Field("place_at", "<i8", MISSING, since=1),
)
"""What an account has once. The first three stay where they are: they tell how long a stored row is."""

RING: Final = (
    Field("times", "<i8"),  # oldest first from `head` on; equal times by arrival
    Field("amounts", "<f8"),
    Field("counterparties", "<u8"),
    Field("events", "<u8"),
    Field("tags", TAG),
    Field("devices", "<u8", since=1),  # hash of the device it came through; 0: none
)
"""What each of the last payments has: one array a field."""


class Layouts(NamedTuple):
    """All layouts, for the kernels; the last one is today's.

    Attributes
    ----------
    sizes
        int64[layouts, 2]: words of the header, fields of the ring.
    header_from, ring_from
        int64[layouts, words or fields of today]: its place in a stored row, -1 where that does not have it.
    header, ring
        int64[words or fields of today]: defaults.
    """

    sizes: I8
    header_from: I8
    ring_from: I8
    header: I8
    ring: I8

    @property
    def newest(self) -> int:
        """Number of today's layout, which stored rows carry."""
        return len(self.sizes) - 1


def layouts_of(header: Sequence[Field], ring: Sequence[Field]) -> Layouts:
    """Layouts of the fields given, numbered from 0."""
    count = 1 + max(field.since for field in (*header, *ring))
    header_from, ring_from = (
        [_places(fields, number) for number in range(count)] for fields in (header, ring)
    )
    return Layouts(
        np.array([[max(a) + 1, max(b) + 1] for a, b in zip(header_from, ring_from, strict=True)], np.int64),
        np.array(header_from, np.int64),
        np.array(ring_from, np.int64),
        np.concatenate([field.words for field in header]),
        np.concatenate([field.words for field in ring]),
    )


def _places(fields: Sequence[Field], layout: int) -> list[int]:
    places: list[int] = []
    following = 0
    for field in fields:
        for _ in range(field.length or 1):
            places.append(following if field.since <= layout else -1)
            following += field.since <= layout
    return places


def dtype_of(layout: int) -> np.dtype[np.void]:
    """A whole row of one layout."""
    header = [
        (field.name, field.kind) if field.length is None else (field.name, field.kind, (field.length,))
        for field in HEADER
        if field.since <= layout
    ]
    ring = [(field.name, field.kind, (RING_LENGTH,)) for field in RING if field.since <= layout]
    return np.dtype([*header, *ring, ("days", BUCKET, (DAYS,))])


def hash_of(layout: int) -> str:
    """Hash of the shape of a layout's rows."""
    return hashlib.sha256(repr(dtype_of(layout).descr).encode()).hexdigest()[:16]


LAYOUTS: Final = layouts_of(HEADER, RING)
