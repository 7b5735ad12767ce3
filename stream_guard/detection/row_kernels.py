"""Kernels that move whole rows out, for storage or for a way back, and in again; and actions into entries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.features import RING
from stream_guard.detection.kernels import kernel
from stream_guard.detection.ring_kernels import find
from stream_guard.detection.row_layouts import Layouts

I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]


@kernel
def mark_dirty(r: int, dirty: U1, dirty_rows: I8, counters: I8) -> None:
    """Remember that row `r` changed since the last flush."""
    if dirty[r] == 0:
        dirty[r] = 1
        dirty_rows[counters[row.DIRTY]] = r
        counters[row.DIRTY] += 1


@kernel
def stored_words(words: I8) -> int:
    """Words that storage needs: header and used places of the ring, or all once payments were dropped."""
    used: int = words[row.USED]
    return row.ROW_WORDS if words[row.DROPPED] > 0 else row.HEADER_WORDS + used * row.RING_FIELDS


@kernel
def row_ends(words: I8, rows: I8, ends: I8) -> None:
    """Where each of the rows ends (in words) when `pack` puts one behind the other."""
    end = 0
    for i in range(rows.size):
        end += stored_words(words[rows[i]])
        ends[i] = end


@kernel
def pack(words: I8, rows: I8, ends: I8, layout: int, out: I8) -> None:
    """Copy what storage needs of the rows into `out`, row i up to ``ends[i]``, with the layout's number."""
    at = 0
    for i in range(rows.size):
        r = rows[i]
        if ends[i] - at == row.ROW_WORDS:
            out[at : ends[i]] = words[r]
        else:
            out[at : at + row.HEADER_WORDS] = words[r, : row.HEADER_WORDS]
            used = words[r, row.USED]
            to = at + row.HEADER_WORDS
            for field in range(row.RING_FIELDS):
                of = row.TIMES + field * RING
                for k in range(used):
                    out[to + k] = words[r, of + k]
                to += used
        out[at + row.USED] |= layout << row.LAYOUT_SHIFT
        at = ends[i]


@kernel
def longest_row(layouts: Layouts) -> int:
    """Words of the longest stored row of any layout."""
    longest = 0
    for layout in range(len(layouts.sizes)):
        ring = RING * layouts.sizes[layout, 1]
        longest = max(longest, layouts.sizes[layout, 0] + ring + row.ROW_WORDS - row.DAYS_AT)
    return longest


@kernel
def unpack(words: I8, rows: I8, data: U1, places: I8, layouts: Layouts, counters: I8) -> int:
    """Put stored rows of any layout back: zeros where they have nothing, defaults for what they did not know.

    Parameters
    ----------
    data, places
        Bytes, and int64[n, 2]: where each row starts and stops in them.

    Returns
    -------
    int
        Position of the first that is no row, or of a layout unknown here; -1: none.
    """
    # One row after the other through this: it stays in the nearest cache, and rows may lie at odd addresses.
    packed = np.empty(longest_row(layouts), np.int64)
    for i in range(rows.size):
        start, stop = places[i]
        size = (stop - start) // row.WORD
        if size <= row.DROPPED or size > packed.size or size * row.WORD != stop - start:
            return i
        packed.view(np.uint8)[: stop - start] = data[start:stop]
        if not put(words[rows[i]], packed[:size], layouts):
            return i
        counters[row.NEWEST_COUNTED] = max(counters[row.NEWEST_COUNTED], words[rows[i], row.NEWEST])
    return -1


@kernel
def put(target: I8, packed: I8, layouts: Layouts) -> bool:
    """`unpack` of one row, in words; whether it is one."""
    layout = packed[row.USED] >> row.LAYOUT_SHIFT
    used = packed[row.USED] & row.USED_MASK
    head = packed[row.HEAD]
    dropped = packed[row.DROPPED]
    if layout < 0 or layout >= len(layouts.sizes):
        return False
    if used > RING or head < 0 or head >= RING or dropped < 0:
        return False
    kept = RING if dropped > 0 else used
    ring = layouts.sizes[layout, 0]
    days = ring + kept * layouts.sizes[layout, 1]
    if packed.size != days + (row.ROW_WORDS - row.DAYS_AT if dropped > 0 else 0):
        return False
    # Written before anything of it is read: memory never touched is then given at once, not twice.
    for k in range(row.HEADER_WORDS):
        if k != row.USED:
            of = layouts.header_from[layout, k]
            target[k] = layouts.header[k] if of < 0 else packed[of]
    if dropped > 0:
        target[row.DAYS_AT :] = packed[days:]
    elif target[row.USED] > 0:  # what never held a payment is zero, and need not be touched
        target[row.HEADER_WORDS :] = 0
    target[row.USED] = used
    for field in range(row.RING_FIELDS):
        to = row.TIMES + field * RING
        of = layouts.ring_from[layout, field]
        if of < 0:
            target[to : to + kept] = layouts.ring[field]
        else:
            start = ring + of * kept
            for k in range(kept):
                target[to + k] = packed[start + k]
    return True


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
            j = find(words[r], events[i], out, -1)
            if j >= 0:
                tag = words[r, row.TAGS + j]
                with_action = (tag & ((1 << row.ACTION_SHIFT) - 1)) | (
                    np.int64(actions[i]) << row.ACTION_SHIFT
                )
                if with_action != tag:
                    words[r, row.TAGS + j] = with_action
                    mark_dirty(r, dirty, dirty_rows, counters)
