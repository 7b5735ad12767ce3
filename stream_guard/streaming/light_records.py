"""Consumer records without a Python object of their own: what aiokafka's parser gives, as it is.

aiokafka wraps every record in a dataclass of eleven fields and hands it out through two nested iterators.
For whole fetches that is a tenth of a worker's CPU; the parser's own record has everything we read. A state
that is read does without records altogether.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from stream_guard.streaming.logged_items import committed, is_plain


def in_one_piece(value: bytes | None) -> bytes | None:
    """Nothing: the `value_deserializer` of a consumer that wants its fetches as `LoggedItems`.

    It gets records all the same where batches are compressed.
    """
    return value


class KeptRecords(MemoryRecords):  # type: ignore[misc]
    """What was fetched of one partition, and its bytes."""

    def __init__(self, fetched: bytes) -> None:
        super().__init__(fetched)
        self.fetched = fetched


class LightRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Records of one fetched partition: offset, timestamp, key, value and headers, in offset order."""

    def __iter__(self) -> Iterator[Any]:
        return self._records_iterator or iter(())

    def _unpack_records(self) -> Iterator[Any]:
        if self._value_deserializer is in_one_piece and is_plain(self._records.fetched):
            items = committed(self, self._records.fetched)
            if len(items):
                yield items
        else:
            yield from super()._unpack_records()

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def use_light_records() -> None:
    """Let every aiokafka consumer made from now on in this process give light records."""
    fetcher.PartitionRecords = LightRecords
    fetcher.MemoryRecords = KeptRecords
