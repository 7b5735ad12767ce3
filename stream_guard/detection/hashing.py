"""Texts as numbers: 64-bit hashes of ids, codes of texts for rules, Kafka's partition of a key.

The same bytes give the same number on every machine and in every release: hashes are part of stored rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection.kernels import kernel

_M: Final = np.uint64(0xC6A4A7935BD1E995)
_SEED: Final = np.uint64(0x5EED_57AB_1E00_0001)
_R: Final = np.uint64(47)
_EIGHT: Final = np.uint64(8)
_ONE: Final = np.uint64(1)

_M2: Final = np.uint32(0x5BD1E995)
_SEED2: Final = np.uint32(0x9747B28C)  # of org.apache.kafka.common.utils.Utils.murmur2
_CODE_SHIFT: Final = 12  # 64 - 52: what is left fits a float64's mantissa


@kernel
def hash_span(text: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """MurmurHash64A (Austin Appleby, public domain) of ``text[start:end]``; 0 only for an empty span."""
    size = end - start
    if size <= 0:
        return np.uint64(0)
    h = _SEED ^ (np.uint64(size) * _M)
    at = start
    while end - at >= 8:
        k = np.uint64(text[at])
        for i in range(1, 8):
            k |= np.uint64(text[at + i]) << (_EIGHT * np.uint64(i))
        k *= _M
        k ^= k >> _R
        k *= _M
        h = (h ^ k) * _M
        at += 8
    if at < end:
        k = np.uint64(0)
        for i in range(end - at):
            k |= np.uint64(text[at + i]) << (_EIGHT * np.uint64(i))
        h = (h ^ k) * _M
    h ^= h >> _R
    h *= _M
    h ^= h >> _R
    return max(h, _ONE)


@kernel
def mix(h: np.uint64, word: np.uint64) -> np.uint64:
    """One more 64-bit word into a running hash (the inner step of MurmurHash64A)."""
    k = word * _M
    k ^= k >> _R
    k *= _M
    return (h ^ k) * _M


@kernel
def murmur2_span(text: npt.NDArray[np.uint8], start: int, end: int) -> int:
    """Kafka's murmur2 of ``text[start:end]``, already made positive as Kafka's default partitioner does."""
    h = np.uint32(_SEED2 ^ np.uint32(end - start))
    at = start
    while end - at >= 4:
        k = np.uint32(text[at])
        k |= np.uint32(np.uint32(text[at + 1]) << np.uint32(8))
        k |= np.uint32(np.uint32(text[at + 2]) << np.uint32(16))
        k |= np.uint32(np.uint32(text[at + 3]) << np.uint32(24))
        k = np.uint32(k * _M2)
        k ^= np.uint32(k >> np.uint32(24))
        k = np.uint32(k * _M2)
        h = np.uint32(np.uint32(h * _M2) ^ k)
        at += 4
    left = end - at
    if left == 3:
        h ^= np.uint32(np.uint32(text[at + 2]) << np.uint32(16))
    if left >= 2:
        h ^= np.uint32(np.uint32(text[at + 1]) << np.uint32(8))
    if left >= 1:
        h ^= np.uint32(text[at])
        h = np.uint32(h * _M2)
    h ^= np.uint32(h >> np.uint32(13))
    h = np.uint32(h * _M2)
    h ^= np.uint32(h >> np.uint32(15))
    return int(h & np.uint32(0x7FFFFFFF))


@kernel
def _hash_all(text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], out: npt.NDArray[np.uint64]) -> None:
    start = 0
    for i in range(ends.size):
        out[i] = hash_span(text, start, ends[i])
        start = ends[i]


@kernel
def hash_separated(text: npt.NDArray[np.uint8], mark: int, out: npt.NDArray[np.uint64]) -> None:
    """Hash the ``out.size`` parts of `text` between which the byte `mark` stands."""
    at = 0
    for i in range(out.size):
        start = at
        while at < text.size and text[at] != mark:
            at += 1
        out[i] = hash_span(text, start, at)
        at += 1


@kernel
def _partition_all(
    text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], partitions: int, out: npt.NDArray[np.int32]
) -> None:
    start = 0
    for i in range(ends.size):
        out[i] = murmur2_span(text, start, ends[i]) % partitions
        start = ends[i]


def joined(texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """All texts as one array of bytes, and where each of them ends in it.

    Examples
    --------
    >>> text, ends = joined([b"ab", b"", b"c"])
    >>> bytes(text), ends.tolist()
    (b'abc', [2, 2, 3])
    """
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), ends


def text_hash(texts: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """64-bit hashes of texts; 0 stands for an empty text ("absent") and for nothing else.

    Parameters
    ----------
    texts
        n texts, UTF-8.

    Returns
    -------
    uint64[n]
        MurmurHash64A under a fixed seed.

    Examples
    --------
    >>> text_hash([b"A000001", b""]).tolist() == [text_hash_of(b"A000001"), 0]
    True
    """
    text, ends = joined(texts)
    out = np.empty(len(texts), np.uint64)
    _hash_all(text, ends, out)
    return out


def text_hash_of(text: bytes) -> int:
    """Hash of one text, equal to `text_hash` of a list of it.

    Examples
    --------
    >>> hex(text_hash_of(b"A000001"))
    '0x6609ab9a293afa99'
    """
    return int(hash_span(np.frombuffer(text, np.uint8), 0, len(text)))


@lru_cache(maxsize=4096)
def text_code(text: str | bytes) -> float:
    """Code by which rules compare texts: the upper 52 bits of the hash, which a float64 holds exactly.

    Case counts. An empty text has code 0.

    Examples
    --------
    >>> text_code("TRANSFER") == text_code(b"TRANSFER"), text_code("TRANSFER") == text_code("transfer")
    (True, False)
    """
    data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    return float(text_hash_of(data) >> _CODE_SHIFT)


def murmur2_partitions(keys: Sequence[bytes], partitions: int) -> npt.NDArray[np.int32]:
    """Partition of every key as Kafka's Java client chooses it: ``toPositive(murmur2(key)) % partitions``.

    Parameters
    ----------
    keys
        n record keys.
    partitions
        Partition count of the topic, at least 1.

    Returns
    -------
    int32[n]

    Raises
    ------
    ValueError
        If `partitions` is below 1.

    Examples
    --------
    >>> murmur2_partitions([b"kafka", b"giberish123456789"], 1000).tolist()
    [580, 820]
    """
    if partitions < 1:
        raise ValueError(
            f"a topic has at least 1 partition, not {partitions}; give the topic's partition count"
        )
    text, ends = joined(keys)
    out = np.empty(len(keys), np.int32)
    _partition_all(text, ends, partitions, out)
    return out


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Partition of one key, equal to `murmur2_partitions` of a list of it.

    Examples
    --------
    >>> murmur2_partition(b"kafka", 1000)
    580
    """
    return int(murmur2_partitions([key], partitions)[0])
