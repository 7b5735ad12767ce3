"""Kernels that move whole rows out, for storage or for a way back, and in again; and actions into entries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.features import RING
from stream_guard.detection.kernels import kernel
from stream_guard.detection.profile_kernels import mark_dirty
from stream_guard.detection.ring_kernels import find

I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]


@kernel
def stored_words(words: I8) -> int:
    """Words of a row that storage needs: up to the last used entry, or all once payments were dropped."""
    used: int = words[row.USED]
    return row.ROW_WORDS if words[row.DROPPED] > 0 else row.RING_AT + used * row.ENTRY_WORDS


@kernel
def row_ends(words: I8, rows: I8, ends: I8) -> None:
    """Where each of the rows ends (in words) when `pack` puts one behind the other."""
    end = 0
    for i in range(rows.size):
        end += stored_words(words[rows[i]])
        ends[i] = end


@kernel
def pack(words: I8, rows: I8, ends: I8, out: I8) -> None:
    """Copy what storage needs of the rows into `out`, row i up to ``ends[i]``."""
    at = 0
    for i in range(rows.size):
        r = rows[i]
        for k in range(ends[i] - at):
            out[at + k] = words[r, k]
        at = ends[i]


@kernel
def unpack(words: I8, rows: I8, ends: I8, packed: I8) -> int:
    """Put packed rows back, zeros behind them. Returns the number of the first that is no row, or -1."""
    at = 0
    for i in range(rows.size):
        r = rows[i]
        size = ends[i] - at
        if size < row.RING_AT or size > row.ROW_WORDS:
            return i
        used = packed[at + row.USED]
        dropped = packed[at + row.DROPPED]
        head = packed[at + row.HEAD]
        if used < 0 or used > RING or head < 0 or head >= RING or dropped < 0:
            return i
        if stored_words(packed[at : at + row.RING_AT]) != size:
            return i
        for k in range(size):
            words[r, k] = packed[at + k]
        for k in range(size, row.ROW_WORDS):
            words[r, k] = 0
        at = ends[i]
    return -1


@kernel
def newest_of(words: I8, rows: I8) -> int:
    """Newest time counted in any of the rows, or `MISSING`."""
    newest = row.MISSING
    for r in rows:
        newest = max(newest, words[r, row.NEWEST])
    return newest


@kernel
def set_actions(
    words: I8, dirty: U1, dirty_rows: I8, counters: I8, rows: I8, events: I8, actions: U1
) -> None:
    """Store each action with its event's entries, if the ring has them; unknown rows (-1) are skipped."""
    for i in range(rows.size):
        r = rows[i]
        if r < 0:
            continue
        for out in range(2):
            e = find(words[r], events[i], out)
            if e >= 0:
                tag = words[r, e + row.TAG]
                with_action = (tag & ((1 << row.ACTION_SHIFT) - 1)) | (
                    np.int64(actions[i]) << row.ACTION_SHIFT
                )
                if with_action != tag:
                    words[r, e + row.TAG] = with_action
                    mark_dirty(r, dirty, dirty_rows, counters)
