"""Where a partition's state outlives its process: the port, and the memory backend.

One partition's state is a set of keyed items (account rows, warnings, a meta record, detector state).
A flush writes the items that changed *and* the records that must appear exactly once with them (alerts,
cases, risk signals made by a disposition) in one step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

Item = tuple[bytes, bytes | None]
"""Key and value of one piece of state; None removes it."""


class Record(NamedTuple):
    """One record for a topic, before its partition is known."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Fenced(Exception):
    """Another process owns this partition now; this one must not write its state any more."""


class StateRefused(Exception):
    """The state cannot be trusted or read; the message says what to do."""


class OutOfLog(Exception):
    """The log of a partition's state does not hold the position that it is to be read from."""


Take = Callable[[Sequence[Item]], Awaitable[None]]
"""Takes a piece of a state that is read; the next one is given when it is done."""


class StateBackend(Protocol):
    """A store of partition state. Used from one event loop; at most one flush a partition at a time."""

    async def open(self, partition: int) -> None:
        """Become the owner of `partition`: from the return on, no earlier owner can write."""

    async def read(self, partition: int, start: int | None, take: Take) -> None:
        """Hand the state of `partition`, which is open here, to `take`.

        Parameters
        ----------
        partition
            Which partition.
        start
            What a flush returned: only what was written with it and since. None: everything.
        take
            Given items in the order in which they were written; the newest of a key counts.

        Raises
        ------
        OutOfLog
            There is nothing at `start`.
        StateRefused
            The state cannot be read; the sentence says what to do.
        """

    async def flush(self, partition: int, items: Sequence[Item], records: Sequence[Record]) -> int | None:
        """Make `items` and `records` durable together, or neither. Raises `Fenced`.

        With neither it makes sure that readers see what the last flush wrote, whatever befell the brokers.

        Returns
        -------
        int or None
            A position not after the last item, from which `read` may go on where all before it is known.
        """

    async def close(self, partition: int) -> None:
        """Give up `partition`."""

    async def stop(self) -> None:
        """Give up everything."""


class MemoryState:
    """State that lives as long as this object; records are handed to `send` at every flush.

    For the demo, whose embedded broker knows no transactions, and for tests. Nothing survives the process.

    Parameters
    ----------
    send
        Delivers records in order, at least once.
    """

    def __init__(self, send: Callable[[Sequence[Record]], Awaitable[None]]) -> None:
        self._send = send
        self._items: dict[int, dict[bytes, bytes]] = {}
        self._open: set[int] = set()

    async def open(self, partition: int) -> None:
        """Own what was flushed before."""
        self._open.add(partition)
        self._items.setdefault(partition, {})

    async def read(self, partition: int, start: int | None, take: Take) -> None:
        """Give what was flushed before, in one piece."""
        if start is not None:
            raise OutOfLog("memory keeps no positions")
        await take(list(self._items[partition].items()))

    async def flush(self, partition: int, items: Sequence[Item], records: Sequence[Record]) -> None:
        """Send `records`, then keep `items`. There is no position to read from."""
        if partition not in self._open:
            raise Fenced(f"partition {partition} is not open here")
        if records:
            await self._send(records)
        kept = self._items[partition]
        for key, value in items:
            if value is None:
                kept.pop(key, None)
            else:
                kept[key] = value

    async def close(self, partition: int) -> None:
        """Forget the ownership, keep the items."""
        self._open.discard(partition)

    async def stop(self) -> None:
        """Close everything."""
        self._open.clear()
