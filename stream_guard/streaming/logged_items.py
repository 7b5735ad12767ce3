"""Pieces of state as they are in a changelog, without a Python object a record.

A recovery reads millions of records of which it wants two things: the account, and its row in a row of rows.
A record object each, and key and value taken from it, was more work than all that is done with them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
from aiokafka.consumer import fetcher
from numpy.typing import NDArray

from stream_guard.detection.row_store import StoredRows
from stream_guard.streaming import log_kernels
from stream_guard.streaming.log_kernels import AWAY, NOTHING, OTHER, ROW
from stream_guard.streaming.state import Item

I8 = NDArray[np.int64]

_BATCH = struct.Struct(">qiiBIHiqqqhii")
"""Base offset, length, leader's epoch, magic, checksum, attributes, last offset's delta, first and last time,
producer and its epoch, base sequence, records: the head of a batch of Kafka's message format 2."""

_LENGTH_COUNTS_FROM = 12
_MAGIC_AT, _FORMAT = 16, 2
_COMPRESSED, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20


class LoggedItems(Sequence[Item]):
    """Items of some record batches, in the order of the log.

    Parameters
    ----------
    fetched
        What a broker sent.
    spans
        Where the records of each batch begin and end in it, and how many there are.
    """

    def __init__(self, fetched: bytes, spans: Sequence[tuple[int, int, int]]) -> None:
        self._fetched = fetched
        self._spans = np.array(spans, np.int64).reshape(-1, 3)
        self._data = np.frombuffer(fetched, np.uint8)

    def __len__(self) -> int:
        return int(self._spans[:, 2].sum())

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        key, key_stop, value, value_stop = self._located[0][at].tolist()
        return self._fetched[key:key_stop], None if value == NOTHING else self._fetched[value:value_stop]

    @cached_property
    def _located(self) -> tuple[I8, NDArray[np.uint8]]:
        count = len(self)
        places, kinds = np.empty((count, 4), np.int64), np.empty(count, np.uint8)
        found = log_kernels.locate(self._data, self._spans, places, kinds)
        if found < count:
            raise ValueError(f"record {found + 1} of {count} in a batch of the changelog is damaged")
        return places, kinds

    @property
    def plain(self) -> bool:
        """Nothing but account rows in whole words, and items whose key begins with a zero byte."""
        return not (self._located[1] == AWAY).any()

    def others(self) -> Iterator[Item]:
        """Items whose key begins with a zero byte."""
        return (self[at] for at in np.flatnonzero(self._located[1] == OTHER).tolist())

    def rows(self) -> StoredRows:
        """Account rows. Raises `ValueError`: a record is none."""
        places, kinds = self._located
        mine = places[kinds == ROW]
        fetched = self._fetched
        accounts = [
            fetched[start:stop] for start, stop in zip(mine[:, 0].tolist(), mine[:, 1].tolist(), strict=True)
        ]
        return StoredRows(accounts, self._data, np.ascontiguousarray(mine[:, 2:]))


class Span(NamedTuple):
    """One batch of what was fetched."""

    base_offset: int
    next_offset: int
    attributes: int
    producer_id: int
    start: int
    stop: int
    records: int


def batches(fetched: bytes) -> Iterator[Span]:
    """Whole record batches of what was fetched; the last one may be cut off."""
    at = 0
    while at + _BATCH.size <= len(fetched):
        base, length, _, _, _, attributes, last, _, _, producer, _, _, count = _BATCH.unpack_from(fetched, at)
        stop = at + _LENGTH_COUNTS_FROM + length
        if stop > len(fetched):
            return
        yield Span(base, base + last + 1, attributes, producer, at + _BATCH.size, stop, count)
        at = stop


def is_plain(fetched: bytes) -> bool:
    """Whether all batches can be read where they are: none is compressed or of an older format."""
    return fetched[_MAGIC_AT : _MAGIC_AT + 1] == bytes([_FORMAT]) and not any(
        span.attributes & _COMPRESSED for span in batches(fetched)
    )


def committed(records: Any, fetched: bytes) -> LoggedItems:
    """What `fetcher.PartitionRecords` would give of a fetch, in one piece; moves `next_fetch_offset` on.

    A batch in which the reading begins is given whole: what comes before was written before.
    """
    spans: list[tuple[int, int, int]] = []
    for span in batches(fetched):
        records._consume_aborted_up_to(span.base_offset)
        transactional, control = span.attributes & _TRANSACTIONAL, span.attributes & _CONTROL
        if control:
            if _aborts(fetched, span):
                records._aborted_producers.discard(span.producer_id)
        elif not (transactional and span.producer_id in records._aborted_producers):
            spans.append((span.start, span.stop, span.records))
        records.next_fetch_offset = max(records.next_fetch_offset, span.next_offset)
    return LoggedItems(fetched, spans)


def _aborts(fetched: bytes, span: Span) -> bool:
    (key, _), *_ = LoggedItems(fetched, [(span.start, span.stop, span.records)])
    return bool(fetcher.ControlRecord.parse(key) == fetcher.ABORT_MARKER)
