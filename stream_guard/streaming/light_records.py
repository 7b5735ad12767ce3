"""Consumer records without a Python object of their own: what aiokafka's parser gives, as it is.

aiokafka wraps every record in a dataclass of eleven fields and hands it out through two nested iterators.
For whole fetches that is a tenth of a worker's CPU; the parser's own record has everything we read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher


class LightRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """Records of one fetched partition: offset, timestamp, key, value and headers, in offset order."""

    def __iter__(self) -> Iterator[Any]:
        return self._records_iterator or iter(())

    def _consumer_record(self, tp: Any, record: Any) -> Any:
        return record


def use_light_records() -> None:
    """Let every aiokafka consumer made from now on in this process give light records."""
    fetcher.PartitionRecords = LightRecords
