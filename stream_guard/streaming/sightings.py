"""Sightings on the wire: one record carries many, for one partition of devices and addresses.

They leave with the next flush, in its transaction: no decision waits for them, so they may be gathered for a
second, and cost a payment next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from stream_guard.detection.hashing import murmur2_partitions
from stream_guard.detection.sharing import Sighting
from stream_guard.streaming.legs import ForeignFrame
from stream_guard.streaming.state import Record
from stream_guard.versions import upgraded

VERSION = 1

MOST_IN_A_RECORD = 1_000
"""Sightings of at most 600 bytes (longest ids, four bytes a character) stay below our largest batch."""


def encode(sightings: Sequence[Sighting], topic: str, partitions: int) -> Iterator[Record]:
    """Records of sightings, in order for each partition, keyed by the first of each.

    Parameters
    ----------
    sightings
        In the order in which they were made.
    topic
        Where they go.
    partitions
        Its partition count.
    """
    keys = [sighting.key.encode() for sighting in sightings]
    by_target: dict[int, list[int]] = {}
    for i, target in enumerate(murmur2_partitions(keys, partitions).tolist()):
        by_target.setdefault(target, []).append(i)
    for which in by_target.values():
        for start in range(0, len(which), MOST_IN_A_RECORD):
            some = which[start : start + MOST_IN_A_RECORD]
            yield Record(topic, keys[some[0]], orjson.dumps([VERSION, [tuple(sightings[i]) for i in some]]))


def decode(value: bytes | None) -> list[Sighting]:
    """The sightings of a record.

    Raises
    ------
    ForeignFrame
        It is not ours, or of a release that this one does not read.

    Examples
    --------
    >>> seen = Sighting("device:d", "A1", 5, 0, None)
    >>> decode(next(encode([seen], "sightings", 4)).value) == [seen]
    True
    """
    try:
        record = orjson.loads(value or b"")
        _, rows = upgraded(record, record[0], VERSION, {}, "sightings")
        return [Sighting(*fields) for fields in rows]
    except (ValueError, TypeError, LookupError) as error:
        raise ForeignFrame(
            f"a record on the sightings topic cannot be read: {error}. Nothing else may write there"
        ) from error
