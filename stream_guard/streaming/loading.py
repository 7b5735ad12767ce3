"""A partition's state on its way into memory: pieces of a snapshot, then of the changelog."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import orjson

from stream_guard.detection.row_store import RowRefused, StoredRows
from stream_guard.streaming.logged_items import LoggedItems
from stream_guard.streaming.logs import pseudonym
from stream_guard.streaming.partition import DETECTORS_KEY, META_KEY, Partition
from stream_guard.streaming.state import Item, StateRefused

T = TypeVar("T")


class Loading:
    """Fills one empty partition.

    Parameters
    ----------
    partition
        What is filled.
    """

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self._others: dict[bytes, bytes | None] = {}
        # Rows whose newest record removes them, so far.
        self._removed: dict[bytes, None] = {}

    def take(self, items: Sequence[Item]) -> None:
        """Take items in the order in which they were written; the newest of a key counts.

        Raises
        ------
        StateRefused
            A row cannot be read.
        """
        self._refusing(self._take, items)

    def _take(self, items: Sequence[Item]) -> None:
        if isinstance(items, LoggedItems) and not self._removed and items.plain:
            for key, value in items.others():
                self._take_other(key, value)
            self.partition.state.profiles.load_stored(items.rows())
        else:
            self._take_one_by_one(items)

    def _take_one_by_one(self, items: Sequence[Item]) -> None:
        rows: list[tuple[bytes, bytes]] = []
        removed = self._removed
        for key, value in items:
            if key.startswith(b"\0"):
                self._take_other(key, value)
            elif value is None:
                removed[key] = None
            else:
                rows.append((key, value))
                if removed:
                    removed.pop(key, None)
        self.partition.state.profiles.load(rows)

    def _take_other(self, key: bytes, value: bytes | None) -> None:
        # In the order of the newest records, by which sharing forgets.
        self._others.pop(key, None)
        self._others[key] = value

    def take_rows(self, rows: StoredRows) -> None:
        """Take account rows that lie in one piece of memory. Raises `StateRefused`."""
        self._refusing(self.partition.state.profiles.load_stored, rows)

    @property
    def lineage(self) -> str | None:
        """Lineage that the newest meta record names; None: there is none yet, or it names none."""
        meta = self._others.get(META_KEY)
        return None if meta is None else orjson.loads(meta).get("lineage")

    def complete(self) -> str | None:
        """All was taken.

        Returns
        -------
        str or None
            Why the anomaly model had to start anew, where it had to.

        Raises
        ------
        StateRefused
            The state was written by a later release or for another routing.
        """
        partition, others = self.partition, self._others
        state = partition.state
        state.profiles.forget(self._removed)
        meta = others.get(META_KEY)
        if meta is None:
            if len(state.profiles) or any(value is not None for value in others.values()):
                raise StateRefused(
                    f"the changelog of partition {partition.number} has rows but no meta record: it was not "
                    "written by stream_guard, or it was cut; start under a new application id"
                )
            return None
        self._refusing(partition.restore, meta)
        for prefix, part in partition.parts.items():
            self._refusing(part.load, _under(prefix, others))
        resumed = state.detectors.load(others.get(DETECTORS_KEY))
        return None if resumed.resumed else resumed.reason

    def _refusing(self, take: Callable[[T], None], stored: T) -> None:
        try:
            take(stored)
        except ValueError as error:
            whose = f" ({pseudonym(error.account)})" if isinstance(error, RowRefused) else ""
            raise StateRefused(
                f"the state of partition {self.partition.number} cannot be read: {error}{whose}"
            ) from error


def _under(prefix: bytes, items: Mapping[bytes, bytes | None]) -> list[tuple[bytes, bytes]]:
    """Items whose key has a prefix, without it; those that were removed are left out."""
    return [
        (key[len(prefix) :], value)
        for key, value in items.items()
        if value is not None and key.startswith(prefix)
    ]
