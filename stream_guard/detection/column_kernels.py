"""One pass over the joined texts of a batch: hashes and partitions of every id."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection.batches import PAYEE_ACCOUNT, PAYER_ACCOUNT
from stream_guard.detection.hashing import hash_span, mix, murmur2_span
from stream_guard.detection.kernels import kernel

FIELD_END: Final = 0
"""Byte between the fields of a text."""
TEXT_END: Final = 1
"""Byte between texts; like `FIELD_END` it occurs in no id."""

BOTH: Final = PAYER_ACCOUNT | PAYEE_ACCOUNT

_CONTENT_SEED: Final = np.uint64(0x0C0_47E47)
_SHIFT: Final = np.uint64(47)
_UPPER: Final = np.uint64(32)


@kernel
def _starts_with(
    text: npt.NDArray[np.uint8],
    start: int,
    end: int,
    prefixes: npt.NDArray[np.uint8],
    prefix_ends: npt.NDArray[np.int64],
) -> bool:
    begin = 0
    for p in range(prefix_ends.size):
        size = prefix_ends[p] - begin
        if size <= end - start:
            same = True
            for i in range(size):
                if text[start + i] != prefixes[begin + i]:
                    same = False
                    break
            if same:
                return True
        begin = prefix_ends[p]
    return False


@kernel
def read_ids(
    text: npt.NDArray[np.uint8],
    prefixes: npt.NDArray[np.uint8],
    prefix_ends: npt.NDArray[np.int64],
    partitions: int,
    partition: int,
    event: npt.NDArray[np.uint64],
    payer: npt.NDArray[np.uint64],
    payee: npt.NDArray[np.uint64],
    payer_partition: npt.NDArray[np.int32],
    leg_partition: npt.NDArray[np.int32],
    flags: npt.NDArray[np.uint8],
) -> tuple[int, int]:
    r"""Hashes, partitions and account flags of n texts ``event \0 payer \0 payee \0 anything``.

    `TEXT_END` stands between texts. Flags come in as what the caller knows; a party whose id starts with one
    of the prefixes loses its account flag. A leg has the partition of the payee, or of the payer if only
    the payer is an account.

    Returns
    -------
    (int, int)
        How many legs go to the payer, and how many payers belong to another partition than `partition`.
    """
    to_payer = 0
    elsewhere = 0
    size = text.size
    at = 0
    for i in range(event.size):
        for part in range(3):
            start = at
            while text[at] != FIELD_END:
                at += 1
            h = hash_span(text, start, at)
            if part == 0:
                event[i] = h
            elif part == 1:
                payer[i] = h
                payer_partition[i] = murmur2_span(text, start, at) % partitions
                if _starts_with(text, start, at, prefixes, prefix_ends):
                    flags[i] &= np.uint8(255 - PAYER_ACCOUNT)
            else:
                payee[i] = h
                leg_partition[i] = murmur2_span(text, start, at) % partitions
                if _starts_with(text, start, at, prefixes, prefix_ends):
                    flags[i] &= np.uint8(255 - PAYEE_ACCOUNT)
            at += 1
        if flags[i] & BOTH == PAYER_ACCOUNT:
            leg_partition[i] = payer_partition[i]
            to_payer += 1
        elsewhere += payer_partition[i] != partition
        while at < size and text[at] != TEXT_END:
            at += 1
        at += 1
    return to_payer, elsewhere


@kernel
def read_times(
    ts: npt.NDArray[np.int64],
    record_ms: npt.NDArray[np.int64],
    now_ms: int,
    future_ms: int,
    starts: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    local: npt.NDArray[np.int64],
    ahead: npt.NDArray[np.int64],
) -> int:
    """Local times, and how far events are ahead of the wall clock.

    Parameters
    ----------
    record_ms, now_ms
        The wall clock of an event is the earlier of both; `record_ms` below 0: not known.
    starts, offsets
        As `local_time.offsets` gives them.
    local, ahead
        Written: ms.

    Returns
    -------
    int
        How many are ahead by more than `future_ms`.
    """
    too_far = 0
    for i in range(ts.size):
        at = 0
        if starts.size > 1:
            at = np.searchsorted(starts, ts[i], side="right") - 1
        local[i] = ts[i] + offsets[at]
        now = now_ms if record_ms[i] < 0 else min(now_ms, record_ms[i])
        ahead[i] = ts[i] - now
        too_far += ahead[i] > future_ms
    return too_far


@kernel
def hash_content(
    words: npt.NDArray[np.uint64], flags: npt.NDArray[np.uint8], out: npt.NDArray[np.uint32]
) -> None:
    """32-bit hash of every column of `words` (uint64[k, n]) and of the account flags."""
    for i in range(out.size):
        h = _CONTENT_SEED ^ np.uint64(flags[i] & BOTH)
        for k in range(words.shape[0]):
            h = mix(h, words[k, i])
        h ^= h >> _SHIFT
        h = mix(h, h)
        out[i] = np.uint32(h >> _UPPER)
