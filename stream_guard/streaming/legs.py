"""Legs on the wire: one Kafka record carries the legs of one batch for one target partition.

A *frame* is a fixed header, a block of fixed-width rows that NumPy reads in place, and the texts. Packing
many legs in a record saves both hops the cost of a Kafka record per payment, which is the larger part of
what a leg costs. A frame says itself which features it carries (a bit mask over the catalogue), so a
sender with another rule pack is understood; another *catalogue* is not, and is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.batches import Legs, take
from stream_guard.detection.features import FEATURES, FIRST

MAGIC = b"SGL1"
_HEADER = struct.Struct("<4s8sII16s")  # magic, catalogue, rows, bytes of keys, mask of features

FIRST_NAMES = tuple(feature.name for feature in FEATURES[FIRST])
CATALOGUE = hashlib.blake2b("\n".join(FIRST_NAMES).encode(), digest_size=8).digest()
"""Identity of the first hop's feature list; part of every frame."""

MAX_FRAME_ROWS = 400
"""400 legs of at most 2.1 KB (longest ids, four bytes a character) stay below the largest batch we send."""

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
    n = len(legs.keys)
    rows = np.empty(n, dtype=_row(len(columns)))
    for name in _PLAIN:
        rows[name] = getattr(legs, name)
    rows["key_length"] = [len(key) for key in legs.keys]
    rows["text_length"] = [len(text) for text in legs.texts]
    rows["values"] = legs.block[:, columns]
    keys = b"".join(legs.keys)
    header = _HEADER.pack(MAGIC, CATALOGUE, n, len(keys), feature_mask(columns.tolist()))
    return b"".join((header, rows.tobytes(), keys, *legs.texts))


def decode(frames: Iterable[bytes]) -> Legs | None:
    """Legs of several frames in order; None for no legs.

    Raises
    ------
    ForeignFrame
        A frame is not ours or has another catalogue.
    """
    decoded = [_decode_one(frame) for frame in frames]
    if not decoded:
        return None
    if len(decoded) == 1:
        return decoded[0]
    columns: list[Any] = [
        [item for legs in decoded for item in getattr(legs, name)]
        if name in ("keys", "texts")
        else np.concatenate([getattr(legs, name) for legs in decoded])
        for name in Legs._fields
    ]
    return Legs(*columns)


def _decode_one(frame: bytes) -> Legs:
    if len(frame) < _HEADER.size or frame[:4] != MAGIC:
        raise ForeignFrame("a record on the legs topic is no leg frame; nothing else may write there")
    _, catalogue, n, key_bytes, mask = _HEADER.unpack_from(frame)
    if catalogue != CATALOGUE:
        raise ForeignFrame(
            "a leg was sent by a version with another feature catalogue; let the old version drain the "
            "legs topic before the new one starts, or start under a new application id"
        )
    columns = _mask_columns(mask)
    dtype = _row(len(columns))
    rows = np.frombuffer(frame, dtype=dtype, count=n, offset=_HEADER.size)
    block = np.full((n, len(FIRST_NAMES)), np.nan)
    block[:, columns] = rows["values"]
    start = _HEADER.size + n * dtype.itemsize
    keys = _split(frame, start, rows["key_length"])
    texts = _split(frame, start + key_bytes, rows["text_length"])
    # Copies even of a single leg: kernels would be compiled once more for read-only columns.
    plain = {name: rows[name].copy() for name in _PLAIN}
    return Legs(block=block, keys=keys, texts=texts, **plain)


def _split(frame: bytes, start: int, lengths: NDArray[np.uint16]) -> list[bytes]:
    ends = (start + np.cumsum(lengths, dtype=np.int64)).tolist()
    pieces = []
    for end in ends:
        pieces.append(frame[start:end])
        start = end
    return pieces


def frames_by_target(legs: Legs, targets: NDArray[np.int32]) -> Iterable[tuple[int, Legs]]:
    """`legs` cut into frames, each for one target partition, order kept within a partition."""
    for target in np.unique(targets).tolist():
        chosen = np.flatnonzero(targets == target)
        for start in range(0, len(chosen), MAX_FRAME_ROWS):
            yield target, take(legs, chosen[start : start + MAX_FRAME_ROWS])
