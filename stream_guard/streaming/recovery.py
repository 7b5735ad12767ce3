"""How a partition comes back: from a local snapshot and the tail of its changelog, or from all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from stream_guard.detection.row_store import StoredRows
from stream_guard.streaming.loading import Loading
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.snapshots import SnapshotFolder, SnapshotReader, Unusable
from stream_guard.streaming.state import Item, OutOfLog, StateBackend, StateRefused, Take


class Recovered(NamedTuple):
    """A partition that is open here now."""

    partition: Partition
    anew: str | None
    """Why its anomaly model had to start anew, where it had to."""
    from_snapshot: bool
    refused: str | None = None
    """Why there was a snapshot and it was not used."""


async def recover(
    number: int,
    new_partition: Callable[[int], Partition],
    backend: StateBackend,
    snapshots: SnapshotFolder | None,
    progress: Callable[[], None],
) -> Recovered:
    """Own partition `number` and load it.

    Parameters
    ----------
    number
        Which partition.
    new_partition
        Makes the empty partition of a number.
    backend
        Where the state is.
    snapshots
        Local snapshots; None: none are kept.
    progress
        Called after every piece: a long recovery is no stall.

    Raises
    ------
    StateRefused
        The state cannot be read; the sentence says what to do.
    """
    await backend.open(number)
    refused = None
    if snapshots is not None:
        try:
            reader = snapshots.find(number)
            if reader is not None:
                try:
                    return await _from_snapshot(reader, new_partition(number), backend, progress)
                finally:
                    reader.close()
        except (Unusable, OutOfLog, StateRefused) as reason:
            refused = str(reason)
    loading = Loading(new_partition(number))
    await backend.read(number, None, _noting(loading, progress))
    return Recovered(loading.partition, loading.complete(), from_snapshot=False, refused=refused)


async def _from_snapshot(
    reader: SnapshotReader, partition: Partition, backend: StateBackend, progress: Callable[[], None]
) -> Recovered:
    loading = Loading(partition)
    pieces = reader.pieces()

    def take_next() -> bool:
        piece = next(pieces, None)
        if isinstance(piece, StoredRows):
            loading.take_rows(piece)
        elif piece is not None:
            loading.take(piece)
        return piece is not None

    while await asyncio.to_thread(take_next):
        progress()
    await backend.read(partition.number, reader.head.position, _noting(loading, progress))
    # The flush that the snapshot names ended with a meta record, and the newest one is never compacted away.
    if loading.lineage != reader.head.lineage:
        raise Unusable(f"{reader.path} is of another changelog: the topic was made anew since")
    return Recovered(partition, loading.complete(), from_snapshot=True)


def _noting(loading: Loading, progress: Callable[[], None]) -> Take:
    async def take(items: Sequence[Item]) -> None:
        # In a thread: most of it holds no lock of Python's, and the next piece comes in meanwhile.
        await asyncio.to_thread(loading.take, items)
        loading.partition.unsaved += len(items)
        progress()

    return take
