"""Keeps the snapshots of the open partitions fresh while they decide payments."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from stream_guard.metrics import Metrics
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.snapshots import SnapshotFolder, SnapshotWriter

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0

TAIL_ITEMS: Final = 50_000
"""So many flushed items at least make a new snapshot worth its writing before its time: a quarter of a second
of reading."""

PAUSE_S: Final = 15.0
"""Between two snapshots of a partition, however much is flushed."""

SHARE: Final = 0.25
"""Of one core that copying may take while a snapshot is written; it rests in between."""


class Snapshotter:
    """Writes one snapshot at a time.

    A partition is due when `interval_s` have passed since its last one, or when as many items have been
    flushed since as it has rows: then what a snapshot writes is at most what the changelog was written.

    Parameters
    ----------
    folder
        Where snapshots are.
    partitions
        Those open here.
    flush
        Makes everything applied to a partition durable; False: not now.
    interval_s
        Seconds between two snapshots of a partition to which something happened.
    metrics
        Counted here.
    """

    def __init__(
        self,
        folder: SnapshotFolder,
        partitions: Callable[[], Iterable[Partition]],
        flush: Callable[[Partition], Awaitable[bool]],
        interval_s: float,
        metrics: Metrics,
    ) -> None:
        self._folder = folder
        self._partitions = partitions
        self._flush = flush
        self._interval_s = interval_s
        self._metrics = metrics
        # By partition: when something may be written again, and when it is time to.
        self._rests: dict[int, tuple[float, float]] = {}

    async def run(self) -> None:
        """Look for what is due, for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for partition in self._partitions():
                if self._due(partition):
                    await self.save(partition)

    def _due(self, partition: Partition) -> bool:
        if partition.closed or partition.position is None or not partition.unsaved:
            return False
        now = time.monotonic()
        earliest, latest = self._rests.setdefault(partition.number, (now, now + self._interval_s))
        return now >= latest or (now >= earliest and partition.unsaved >= max(TAIL_ITEMS, partition.rows))

    async def save(self, partition: Partition) -> bool:
        """Write a snapshot; False: it could not be. The one before it stays until then.

        A full disk ends nothing: the worker goes on, and its next start reads more of the changelog.
        """
        unsaved, partition.unsaved = partition.unsaved, 0
        try:
            saved = await self._save(partition)
        except OSError as error:
            saved = False
            logger.warning(
                "the snapshot of partition %d could not be written: %s. Decisions go on; until one can be "
                "written, a restart reads more of the changelog. Make room, or set state.snapshot_interval_s "
                "to 0",
                partition.number,
                error.strerror or error,
            )
        now = time.monotonic()
        pause_s = PAUSE_S
        if not saved:
            partition.unsaved += unsaved
            pause_s = self._interval_s
        self._rests[partition.number] = (now + pause_s, now + self._interval_s)
        self._metrics.snapshots.labels("written" if saved else "failed").inc()
        return saved

    async def _save(self, partition: Partition) -> bool:
        if partition.position is None:
            return False
        started = time.monotonic()
        head = self._folder.head(partition.number, partition.lineage, partition.position, partition.rows)
        writer = await asyncio.to_thread(self._folder.create, head)
        try:
            whole = await self._copy(partition, writer) and await self._flush(partition)
            if whole and not partition.closed:
                await asyncio.to_thread(writer.finish)
                logger.debug("snapshot of partition %d in %.2f s", head.partition, time.monotonic() - started)
                return True
            return False
        finally:
            writer.abandon()

    async def _copy(self, partition: Partition, writer: SnapshotWriter) -> bool:
        pieces = partition.pieces()
        while True:
            async with partition.lock:
                if partition.closed:
                    return False
                started = time.monotonic()
                piece = next(pieces, None)
                worked = time.monotonic() - started
            if piece is None:
                return True
            await asyncio.to_thread(writer.write, piece)
            await asyncio.sleep(worked * (1 / SHARE - 1))
