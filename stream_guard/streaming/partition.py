"""One partition in a worker: its state, what it has applied, and what waits to become durable."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_guard.detection.batches import Legs
from stream_guard.detection.row_layouts import hash_of
from stream_guard.detection.row_store import PackedRows
from stream_guard.detection.sharing import Sighting
from stream_guard.detection.state import PartitionState
from stream_guard.feedback.tallies import Tallies
from stream_guard.streaming.leg_kernels import NO_GAP, link, pick_fresh
from stream_guard.streaming.sightings import encode
from stream_guard.streaming.state import Item, Record, StateRefused
from stream_guard.versions import upgraded

META_VERSION = 2

ROWS_A_PIECE = 500
RECORDS_A_PIECE = 100
"""About a millisecond of work each: a batch waits no longer for a snapshot."""

# Keys of the changelog. An account id never starts with NUL (ids with control characters are refused),
# so rows are kept under the bare account and everything else under a NUL prefix.
META_KEY = b"\0meta"
DETECTORS_KEY = b"\0detectors"
WARNING_PREFIX = b"\0warning\0"
TALLY_PREFIX = b"\0tally\0"
SHARING_PREFIX = b"\0sharing\0"
TAINT_PREFIX = b"\0taint\0"


class LegGap(Exception):
    """A leg is missing between two that arrived; nothing after it may be applied."""


class Part(Protocol):
    """A part of the state that is kept in records by key, beside the rows."""

    def take_dirty(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Records changed since the last call; None: removed."""
        ...

    def keys(self) -> list[Any]:
        """What there are records of now."""
        ...

    def stored(self, keys: list[Any]) -> list[tuple[bytes, bytes]]:
        """Records of some of `keys` as they are now; nothing of what is no longer there."""
        ...

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Take records back. Raises `ValueError`: a later release wrote them."""
        ...


class Flush(NamedTuple):
    """What one flush makes durable together."""

    items: list[Item]
    records: list[Record]
    applied: dict[str, int]
    deliveries: list[asyncio.Future[None]]


class Partition:
    """State of partition `number` of all keyed topics.

    Parameters
    ----------
    number
        Which partition.
    partitions
        Partition count of the keyed topics.
    state
        The detection state; empty until it was loaded.
    routing
        Hash of what is routed where; part of the meta record, a mismatch refuses to open.
    sightings_topic
        Where sightings go.
    lineage
        Name of a state that begins here; one that was loaded keeps the name it was given. A snapshot so
        knows whether a changelog is the one that it is of.

    Attributes
    ----------
    position : int or None
        From where the changelog has the newest flush; None: unknown.
    unsaved : int
        Items flushed since the newest snapshot was begun.

    Notes
    -----
    Batches are applied one at a time under `lock`; applying is synchronous, so nothing can interrupt it
    between its first mutation and the moment `applied` moves.
    """

    def __init__(
        self,
        number: int,
        partitions: int,
        state: PartitionState,
        routing: str,
        sightings_topic: str,
        lineage: str,
    ) -> None:
        self.number = number
        self.state = state
        self.lock = asyncio.Lock()
        self.flush_lock = asyncio.Lock()
        self.closed = False
        self.applied: dict[str, int] = {}
        self.durable: dict[str, int] = {}
        self.records: list[Record] = []
        self.sightings: list[Sighting] = []
        self.unfinished: Flush | None = None
        self.deliveries: set[asyncio.Future[None]] = set()
        self.ends: dict[str, int] = {}
        self.lineage = lineage
        self.position: int | None = None
        self.unsaved = 0
        self._watermarks = np.full(partitions, -1, dtype=np.int64)
        self._sent = np.full(partitions, -1, dtype=np.int64)
        self._routing = routing
        self._sightings_topic = sightings_topic
        self._changed = False

    # -- what metrics read --------------------------------------------------------------------------------

    @property
    def tallies(self) -> Tallies:
        """The partition's tallies."""
        return self.state.tallies

    @property
    def parts(self) -> dict[bytes, Part]:
        """What is kept beside the rows, by the prefix of its keys."""
        state = self.state
        return {
            TAINT_PREFIX: state.profiles.paths,
            WARNING_PREFIX: state.book,
            TALLY_PREFIX: state.tallies,
            SHARING_PREFIX: state.sharing,
        }

    @property
    def rows(self) -> int:
        """Accounts in memory."""
        return len(self.state.profiles)

    @property
    def devices(self) -> int:
        """Devices and addresses remembered."""
        return len(self.state.sharing)

    @property
    def today(self) -> int:
        """Bank-local day of the stream time."""
        return self.state.day_of(self.state.stream_ts)

    @property
    def stream_ts(self) -> int:
        """Newest event time, milliseconds since 1970."""
        return self.state.stream_ts

    @property
    def oldest_pending(self) -> int | None:
        """When its oldest pending warning was opened, milliseconds of stream time."""
        return self.state.book.oldest

    def lag(self) -> dict[str, int]:
        """Records in the log that are not applied yet, by topic."""
        return {topic: max(0, self.ends.get(topic, 0) - offset) for topic, offset in self.applied.items()}

    def anomaly(self) -> Iterable[tuple[str, int, bool, float]]:
        """Side, events learned, warming up, running quantile of each detector."""
        return self.state.detectors.status()

    # -- applying -----------------------------------------------------------------------------------------

    def admit(self, topic: str, records: Sequence[Any]) -> Sequence[Any]:
        """Records at or above the applied offset."""
        applied = self.applied[topic]
        if records[0].offset >= applied:
            return records
        return [record for record in records if record.offset >= applied]

    def advance(self, topic: str, offset: int) -> None:
        """Everything of `topic` below `offset` is in the state now."""
        self.applied[topic] = offset
        self._changed = True

    def keep(self, delivery: asyncio.Future[None]) -> None:
        """Hold the next flush until `delivery` is done."""
        # One delivery carries many records: one callback is enough.
        if delivery not in self.deliveries and not delivery.done():
            self.deliveries.add(delivery)
            delivery.add_done_callback(self.deliveries.discard)

    def chain(self, legs: Legs, targets: NDArray[np.int32]) -> Legs:
        """Give each leg the source offset of the one sent to the same partition before it."""
        previous = np.empty(len(targets), dtype=np.int64)
        link(legs.offset, targets, self._sent, previous)
        return legs._replace(previous=previous)

    def resume(self, applied: Mapping[str, int], watermarks: Mapping[int, int]) -> None:
        """Stand where a state that was made anew from the topics stands.

        Parameters
        ----------
        applied
            Offset to read on from, by topic.
        watermarks
            By source partition, a source offset up to which no leg may be applied again.
        """
        self.applied = dict(applied)
        for source, offset in watermarks.items():
            self._watermarks[source] = max(self._watermarks[source], offset)
        self._changed = True

    def fresh_legs(self, legs: Legs) -> NDArray[np.intp]:
        """Positions of the legs that have not been applied, moving the watermarks past them.

        Raises
        ------
        LegGap
            A leg names a predecessor that never arrived.
        """
        fresh = np.empty(len(legs.offset), dtype=np.int64)
        count, gap = pick_fresh(legs.source_partition, legs.offset, legs.previous, self._watermarks, fresh)
        if gap != NO_GAP:
            source, before = int(legs.source_partition[gap]), int(legs.previous[gap])
            raise LegGap(
                f"a leg of transactions-{source} offset {before} never reached partition {self.number} "
                f"(the next one is of offset {legs.offset[gap]}, the last applied of "
                f"{self._watermarks[source]}). Records of the legs topic were lost or deleted; do not go on "
                "from here: restore the topic, or rebuild the state under a new application id"
            )
        return fresh[:count]

    # -- durability ---------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        """Whether a flush has something to write."""
        return self._changed or bool(self.records)

    def take(self) -> Flush:
        """Everything since the last call, copied; call under `lock`."""
        items: list[Item] = list(self.state.profiles.take_dirty())
        for prefix, part in self.parts.items():
            items += [(prefix + key, value) for key, value in part.take_dirty()]
        # None for a detector that cannot be stored: that removes what another detector stored before.
        items.append((DETECTORS_KEY, self.state.detectors.dump()))
        items.append((META_KEY, self._meta()))
        self.records += encode(self.sightings, self._sightings_topic, len(self._sent))
        self.sightings = []
        flush = Flush(items, self.records, dict(self.applied), list(self.deliveries))
        self.records = []
        self._changed = False
        return flush

    def _meta(self) -> bytes:
        return orjson.dumps(
            {
                "version": META_VERSION,
                "routing": self._routing,
                "applied": self.applied,
                "watermarks": self._watermarks.tolist(),
                "sent": self._sent.tolist(),
                "stream_ts": self.state.stream_ts,
                "lineage": self.lineage,
            }
        )

    def restore(self, meta: bytes) -> None:
        """Take over a meta record.

        Raises
        ------
        ValueError
            A later release wrote it.
        StateRefused
            It is of another routing.
        """
        stored: dict[str, Any] = orjson.loads(meta)
        stored = upgraded(stored, stored.get("version"), META_VERSION, _META_UPGRADES, "meta records")
        if stored["routing"] != self._routing:
            raise StateRefused(
                f"the state of partition {self.number} was built with another routing (partition count, "
                "partitioner, or which parties are accounts). Changing it splits accounts' histories: put "
                "the old setting back, or drain and start under a new application id"
            )
        self.lineage = stored.get("lineage", self.lineage)
        self.applied = dict(stored["applied"])
        self.durable = dict(self.applied)
        self._watermarks[:] = stored["watermarks"]
        self._sent[:] = stored["sent"]
        self.state.stream_ts = stored["stream_ts"]

    # -- snapshots ----------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[PackedRows | list[tuple[bytes, bytes]]]:
        """Everything in memory in pieces of a millisecond, but for the meta record.

        Each piece is as things are when it is asked for: ask under `lock`. What changes behind the reader,
        a later flush writes.
        """
        for start in range(0, len(self.state.profiles), ROWS_A_PIECE):
            yield self.state.profiles.packed(start, ROWS_A_PIECE)
        for prefix, part in self.parts.items():
            keys = part.keys()
            for start in range(0, len(keys), RECORDS_A_PIECE):
                stored = part.stored(keys[start : start + RECORDS_A_PIECE])
                yield [(prefix + key, value) for key, value in stored]
        detectors = self.state.detectors.dump()
        yield [] if detectors is None else [(DETECTORS_KEY, detectors)]


def _without_hash_of_rows(meta: dict[str, Any]) -> dict[str, Any]:
    """Version 1 named the layout of all rows; since then each row does."""
    if meta["rows"] != hash_of(0):
        raise ValueError(
            "its account rows have a layout of no release; rebuild it under a new application id"
        )
    return meta


_META_UPGRADES = {1: _without_hash_of_rows}
