"""A state backend on a list that stands for a compacted topic: positions, compaction, an end."""

from __future__ import annotations

from collections.abc import Sequence

from stream_guard.streaming.state import Item, OutOfLog, Record, Take


class LogState:
    """A changelog of one partition.

    Attributes
    ----------
    log
        What was flushed, by offset; None where compaction took an item away.
    """

    def __init__(self) -> None:
        self.log: list[Item | None] = []
        self.reads: list[int | None] = []

    async def open(self, partition: int) -> None:
        """Nobody else is there."""

    async def read(self, partition: int, start: int | None, take: Take) -> None:
        self.reads.append(start)
        if start is not None and not 0 <= start < len(self.log):
            raise OutOfLog(f"the changelog has offsets 0 to {len(self.log) - 1}, not {start}")
        items = [item for item in self.log[start or 0 :] if item is not None]
        for at in range(0, len(items), 7):
            await take(items[at : at + 7])

    async def flush(self, partition: int, items: Sequence[Item], records: Sequence[Record]) -> int | None:
        self.log += items
        return len(self.log) - 1

    async def close(self, partition: int) -> None:
        """Nothing is held."""

    async def stop(self) -> None:
        """Nothing is held."""

    def compact(self) -> None:
        """Keep the newest item of each key; marks of removed keys stay for a day, as on a broker."""
        newest = {item[0]: at for at, item in enumerate(self.log) if item is not None}
        kept = set(newest.values())
        self.log = [item if at in kept else None for at, item in enumerate(self.log)]
