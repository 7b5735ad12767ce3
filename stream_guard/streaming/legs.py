"""Legs on the wire: one Kafka record carries the legs of one batch for one target partition.

A *frame* is a fixed header, a block of fixed-width rows that NumPy reads in place, and the texts. Packing
many legs in a record saves both hops the cost of a Kafka record per payment, which is the larger part of
what a leg costs. A frame says itself which features it carries (a bit mask over the catalogue), so a
sender with another rule pack is understood; another *catalogue* is not, and is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.batches import Legs
from stream_guard.detection.features import FEATURES, FIRST

MAGIC = b"SGL1"
_HEADER = struct.Struct("<4s8sII16s")  # magic, catalogue, rows, bytes of keys, mask of features

FIRST_NAMES = tuple(feature.name for feature in FEATURES[FIRST])
CATALOGUE = hashlib.blake2b("\n".join(FIRST_NAMES).encode(), digest_size=8).digest()
"""Identity of the first hop's feature list; part of every frame."""

MAX_FRAME_ROWS = 300
"""300 legs of at most 2.9 KB (longest ids, four bytes a character) stay below the largest batch we send."""

_COLUMNS = (
    ("source_partition", "<i4"), ("flags", "u1"), ("stored_action", "u1"), ("key_length", "<u2"),
    ("text_length", "<u2"), ("content", "<u4"), ("offset", "<i8"), ("previous", "<i8"), ("produced", "<i8"),
    ("ts", "<i8"), ("local", "<i8"), ("amount", "<f8"), ("amount_original", "<f8"), ("payer", "<u8"),
    ("payee", "<u8"), ("event", "<u8"), ("device", "<u8"), ("ip", "<u8"),
)  # fmt: skip
_PLAIN = tuple(name for name, _ in _COLUMNS if not name.endswith("_length"))


class ForeignFrame(Exception):
    """A frame that this version cannot read; the message says what to do."""


@lru_cache(maxsize=16)
def _row(width: int) -> np.dtype[np.void]:
    return np.dtype([*_COLUMNS, ("values", "<f8", (width,))])


def feature_mask(columns: Sequence[int]) -> bytes:
    """Bit mask of positions within the first hop's block.

    Examples
    --------
    >>> feature_mask([0, 9]).hex()[:4]
    '0102'
    """
    bits = np.zeros(128, dtype=np.uint8)
    bits[list(columns)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


@lru_cache(maxsize=16)
def _mask_of(columns: bytes) -> bytes:
    return feature_mask(np.frombuffer(columns, dtype=np.intp).tolist())


@lru_cache(maxsize=16)
def _mask_columns(mask: bytes) -> NDArray[np.intp]:
    bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits)


def encode(legs: Legs, columns: NDArray[np.intp]) -> bytes:
    """Frame of `legs`, carrying the first-hop features at `columns`.

    Parameters
    ----------
    legs
        At most `MAX_FRAME_ROWS`, in source order.
    columns
        Positions within the first hop's block, ascending.
    """
    return _frame(_rows_of(legs, columns), legs.keys, legs.texts, _mask_of(columns.tobytes()))


def encode_by_target(
    legs: Legs, targets: NDArray[np.int32], columns: NDArray[np.intp]
) -> Iterator[tuple[int, bytes]]:
    """Frames of `legs`, each for one target partition, order kept within a partition.

    The rows are laid out once and then cut: at low rates a batch has few legs for each of many partitions.

    Parameters
    ----------
    legs
        In source order.
    targets
        Target partition of each leg.
    columns
        As in `encode`.
    """
    mask = _mask_of(columns.tobytes())
    order = np.argsort(targets, kind="stable")
    rows = _rows_of(legs, columns)[order]
    picked = order.tolist()
    sorted_targets = targets[order]
    starts = [0, *(np.flatnonzero(np.diff(sorted_targets)) + 1).tolist(), len(picked)]
    for first, end in pairwise(starts):
        for start in range(first, end, MAX_FRAME_ROWS):
            stop = min(end, start + MAX_FRAME_ROWS)
            chosen = picked[start:stop]
            keys = [legs.keys[i] for i in chosen]
            texts = [legs.texts[i] for i in chosen]
            yield int(sorted_targets[start]), _frame(rows[start:stop], keys, texts, mask)


def _rows_of(legs: Legs, columns: NDArray[np.intp]) -> NDArray[np.void]:
    n = len(legs.keys)
    rows = np.empty(n, dtype=_row(len(columns)))
    for name in _PLAIN:
        rows[name] = getattr(legs, name)
    rows["key_length"] = np.fromiter(map(len, legs.keys), np.uint16, n)
    rows["text_length"] = np.fromiter(map(len, legs.texts), np.uint16, n)
    rows["values"] = legs.block[:, columns]
    return rows


def _frame(rows: NDArray[np.void], keys: list[bytes], texts: list[bytes], mask: bytes) -> bytes:
    joined = b"".join(keys)
    header = _HEADER.pack(MAGIC, CATALOGUE, len(rows), len(joined), mask)
    return b"".join((header, rows.tobytes(), joined, *texts))


def decode(frames: Sequence[bytes]) -> Legs | None:
    """Legs of several frames in order; None for no legs.

    Raises
    ------
    ForeignFrame
        A frame is not ours or has another catalogue.
    """
    if not frames:
        return None
    headers = [_header(frame) for frame in frames]
    if len({mask for _, _, mask in headers}) == 1:
        return _decode_alike(frames, headers)
    # Senders with different packs: rare, and over as soon as all run the same one.
    decoded = [_decode_alike([frame], [header]) for frame, header in zip(frames, headers, strict=True)]
    columns: list[Any] = [
        [item for legs in decoded for item in getattr(legs, name)]
        if name in ("keys", "texts")
        else np.concatenate([getattr(legs, name) for legs in decoded])
        for name in Legs._fields
    ]
    return Legs(*columns)


def _header(frame: bytes) -> tuple[int, int, bytes]:
    """Rows, bytes of keys, mask."""
    if len(frame) < _HEADER.size or frame[:4] != MAGIC:
        raise ForeignFrame("a record on the legs topic is no leg frame; nothing else may write there")
    _, catalogue, n, key_bytes, mask = _HEADER.unpack_from(frame)
    if catalogue != CATALOGUE:
        raise ForeignFrame(
            "a leg was sent by a version with another feature catalogue; let the old version drain the "
            "legs topic before the new one starts, or start under a new application id"
        )
    return n, key_bytes, mask


def _decode_alike(frames: Sequence[bytes], headers: Sequence[tuple[int, int, bytes]]) -> Legs:
    """Legs of frames that carry the same features: one pass over all rows."""
    columns = _mask_columns(headers[0][2])
    dtype = _row(len(columns))
    packed, keys, texts = [], [], []
    for frame, (n, key_bytes, _) in zip(frames, headers, strict=True):
        rows_end = _HEADER.size + n * dtype.itemsize
        packed.append(frame[_HEADER.size : rows_end])
        keys.append(frame[rows_end : rows_end + key_bytes])
        texts.append(frame[rows_end + key_bytes :])
    rows = np.frombuffer(b"".join(packed), dtype=dtype)
    block = np.full((len(rows), len(FIRST_NAMES)), np.nan)
    block[:, columns] = rows["values"]
    # Copies even of a single leg: kernels would be compiled once more for read-only columns.
    plain = {name: rows[name].copy() for name in _PLAIN}
    return Legs(
        block=block,
        keys=_split(b"".join(keys), rows["key_length"]),
        texts=_split(b"".join(texts), rows["text_length"]),
        **plain,
    )


def _split(joined: bytes, lengths: NDArray[np.uint16]) -> list[bytes]:
    start = 0
    pieces = []
    for length in lengths.tolist():
        end = start + length
        pieces.append(joined[start:end])
        start = end
    return pieces
