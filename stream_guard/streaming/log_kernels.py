"""Kernels that find keys and values in Kafka's record batches (message format 2), many records at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.kernels import kernel

U1 = NDArray[np.uint8]
I8 = NDArray[np.int64]

NOTHING: Final = -1
"""Start and stop of a key or value that is null."""

ROW, OTHER, AWAY = 0, 1, 2
"""An account's row in whole words; what has a key that begins with a zero byte; anything else."""

_WORD: Final = 8
_LONGEST_VARINT: Final = 10


@kernel
def varint(data: U1, at: int, stop: int) -> tuple[int, int]:
    """Kafka's zigzag varint: value, and where the next byte is; a place behind `stop` if there is none."""
    value = np.int64(0)
    for k in range(_LONGEST_VARINT):
        if at >= stop:
            return 0, stop + 1
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 0x7F) << (7 * k)
        if byte < 0x80:
            return int((value >> 1) ^ -(value & 1)), at
    return 0, stop + 1


@kernel
def locate(data: U1, spans: I8, places: I8, kinds: U1) -> int:
    """Find the records of some batches.

    Parameters
    ----------
    data
        What was fetched.
    spans
        int64[batches, 3]: where the records of each begin and end, and how many there are.
    places
        int64[records, 4], written: start and stop of key and value, or `NOTHING`.
    kinds
        uint8[records], written: `ROW`, `OTHER`, `AWAY`.

    Returns
    -------
    int
        How many were found. Fewer than there should be: what follows is none.
    """
    found = 0
    for b in range(len(spans)):
        at, stop = spans[b, 0], spans[b, 1]
        for _ in range(spans[b, 2]):
            length, at = varint(data, at, stop)
            end = at + length
            if length < 0 or end > stop:
                return found
            at += 1  # attributes, of which there are none
            _, at = varint(data, at, end)  # time
            _, at = varint(data, at, end)  # offset
            for side in range(2):
                length, at = varint(data, at, end)
                if length < NOTHING:
                    return found
                if length == NOTHING:
                    places[found, 2 * side : 2 * side + 2] = NOTHING
                else:
                    places[found, 2 * side] = at
                    at += length
                    places[found, 2 * side + 1] = at
                if at > end:
                    return found
            key, value, value_stop = places[found, 0], places[found, 2], places[found, 3]
            if key < places[found, 1] and data[key] == 0:
                kinds[found] = OTHER
            elif value == NOTHING or (value_stop - value) % _WORD:
                kinds[found] = AWAY
            else:
                kinds[found] = ROW
            found += 1
            at = end  # whatever headers there are
    return found
