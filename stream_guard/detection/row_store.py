"""Where the rows of a partition's accounts are: found by account, grown, marked dirty, stored, taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.row_kernels import pack, row_ends, unpack
from stream_guard.detection.row_layouts import LAYOUTS

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]

_LOAD_CHUNK: Final = 8192
"""Rows put back at once: enough to forget the cost of a call, few enough to hold twice."""

_PACK_CHUNK: Final = 128
"""Rows packed at once: 0.5 MB at most, so that they are still in the cache when they are cut apart."""


_LAYOUTS_EVER: Final = 1000
"""A higher number is damage, not a release to come."""


class RowRefused(ValueError):
    """A stored row cannot be read; `account` tells whose, the sentence does not."""

    def __init__(self, account: bytes, sentence: str) -> None:
        super().__init__(sentence)
        self.account = account


class PackedRows(NamedTuple):
    """Rows as they are stored, one behind the other.

    Attributes
    ----------
    accounts
        n account ids.
    ends
        int64[n]: where each row ends in `words`.
    words
        int64: the rows, each cut behind what is in use.
    """

    accounts: list[bytes]
    ends: I8
    words: I8

    @property
    def stored(self) -> StoredRows:
        """The same, as they are loaded."""
        data = self.words.view(np.uint8)
        # As bytes are: numba compiles a kernel anew for what it might write to.
        data.flags.writeable = False
        return StoredRows(self.accounts, data, _places(np.diff(self.ends, prepend=0) * row.WORD))


class StoredRows(NamedTuple):
    """Stored rows wherever they lie in some bytes.

    Attributes
    ----------
    accounts
        n account ids.
    data
        uint8: the bytes.
    places
        int64[n, 2]: where each row starts and stops in `data`.
    """

    accounts: list[bytes]
    data: U1
    places: I8


class Undo(NamedTuple):
    """The state before a batch, as far as the batch may change it."""

    accounts: int
    stored: StoredRows
    newest_ts: int
    dirty: int
    flush: int


class RowStore:
    """Rows by account.

    Row numbers never change while an account has a row. Kernels take `words`, `floats`, `dirty`, `dirty_rows`
    and `counters`; all but the last may be replaced by `rows_of`, so they must be read after it.

    Parameters
    ----------
    capacity
        Rows to begin with; memory doubles.
    """

    def __init__(self, capacity: int) -> None:
        self._memory = row.RowMemory(capacity)
        self._index: dict[bytes, int] = {}
        self._accounts: list[bytes] = []
        self._flush = 0
        self.dirty: U1 = np.zeros(self._memory.capacity, np.uint8)
        self.dirty_rows: I8 = np.zeros(self._memory.capacity, np.int64)
        self.counters: I8 = np.array([row.MISSING, 0], np.int64)

    def __len__(self) -> int:
        return len(self._accounts)

    @property
    def words(self) -> I8:
        """int64[capacity, ROW_WORDS]."""
        return self._memory.words

    @property
    def floats(self) -> F8:
        """float64[capacity, ROW_WORDS], the same memory."""
        return self._memory.floats

    @property
    def newest_ts(self) -> int:
        """Newest event time counted, or `MISSING`."""
        return int(self.counters[row.NEWEST_COUNTED])

    def rows_of(self, ids: Sequence[bytes], create: bool) -> I8:
        """Row numbers of accounts.

        Parameters
        ----------
        ids
            n account ids, UTF-8.
        create
            Whether an unknown account gets a row.

        Returns
        -------
        int64[n]
            -1 for an unknown account, if none is made.
        """
        known = len(self)
        rows = self._known(ids)
        if create:
            self._create(ids, rows)
            if len(self) > known:
                self.words[known : len(self), : row.HEADER_WORDS] = row.BLANK
        return rows

    def _known(self, ids: Sequence[bytes]) -> I8:
        return np.fromiter(map(self._index.get, ids, repeat(-1)), np.int64, len(ids))

    def _create(self, ids: Sequence[bytes], rows: I8) -> None:
        """Rows for those who have none, with nothing written in them; their numbers go into `rows`."""
        unknown = np.flatnonzero(rows < 0)
        if not len(unknown):
            return
        before = len(self._accounts)
        named = [ids[i] for i in unknown.tolist()]
        self._accounts += dict.fromkeys(named)
        after = len(self._accounts)
        self._index.update(zip(self._accounts[before:], range(before, after), strict=True))
        if after - before == len(named):
            rows[unknown] = np.arange(before, after)
        else:
            rows[unknown] = np.fromiter(map(self._index.__getitem__, named), np.int64, len(named))
        if after > self._memory.capacity:
            self._memory.grow(after)
            more = self._memory.capacity - len(self.dirty)
            self.dirty = np.concatenate([self.dirty, np.zeros(more, np.uint8)])
            self.dirty_rows = np.concatenate([self.dirty_rows, np.zeros(more, np.int64)])

    def mark(self, r: int) -> None:
        """Row `r` changed since the last flush."""
        if not self.dirty[r]:
            self.dirty[r] = 1
            self.dirty_rows[self.counters[row.DIRTY]] = r
            self.counters[row.DIRTY] += 1

    def undo(self, ids: Iterable[bytes]) -> Undo:
        """Remember the rows of some accounts as they are now.

        Parameters
        ----------
        ids
            Every account that what follows may touch; unknown ones are those `rollback` will remove.
        """
        rows = np.unique(self.rows_of(list(ids), create=False))
        rows = rows[rows >= 0]
        return Undo(
            len(self._accounts),
            PackedRows([self._accounts[r] for r in rows.tolist()], *self._packed(rows)).stored,
            self.newest_ts,
            int(self.counters[row.DIRTY]),
            self._flush,
        )

    def rollback(self, token: Undo) -> None:
        """Make everything since `undo` as if it had not been; rows created since are gone.

        Raises
        ------
        ValueError
            If rows were flushed since: what was stored cannot be taken back.
        """
        if token.flush != self._flush:
            raise ValueError("rows were flushed after the undo was taken; roll back before the next flush")
        for account in self._accounts[token.accounts :]:
            del self._index[account]
        self.words[token.accounts : len(self._accounts)] = 0
        del self._accounts[token.accounts :]
        self.load_stored(token.stored)
        self.dirty[self.dirty_rows[token.dirty : self.counters[row.DIRTY]]] = 0
        self.counters[row.DIRTY] = token.dirty
        self.counters[row.NEWEST_COUNTED] = token.newest_ts

    def take_dirty(self) -> list[tuple[bytes, bytes]]:
        """Rows changed since the last call, by account, in the order in which they changed first.

        Returns
        -------
        list of (bytes, bytes)
            Account id; the row as `load` takes it (`rows.ROW`, cut behind what is in use).
        """
        rows = self.dirty_rows[: self.counters[row.DIRTY]].copy()
        self.dirty[rows] = 0
        self.counters[row.DIRTY] = 0
        self._flush += 1
        accounts = self._accounts
        out: list[tuple[bytes, bytes]] = []
        for at in range(0, len(rows), _PACK_CHUNK):
            some = rows[at : at + _PACK_CHUNK]
            ends, packed = self._packed(some)
            stops = (ends * row.WORD).tolist()
            data = packed.data.cast("B")
            start = 0
            for r, stop in zip(some.tolist(), stops, strict=True):
                out.append((accounts[r], data[start:stop].tobytes()))
                start = stop
        return out

    def _packed(self, rows: I8) -> tuple[I8, I8]:
        ends = np.empty(len(rows), np.int64)
        row_ends(self.words, rows, ends)
        packed = np.empty(ends[-1] if len(rows) else 0, np.int64)
        pack(self.words, rows, ends, LAYOUTS.newest, packed)
        return ends, packed

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Put stored rows back; of several rows of one account the last counts. Loaded rows are not dirty.

        Parameters
        ----------
        items
            As `take_dirty` gave them, here or in an earlier release.

        Raises
        ------
        RowRefused
            If something is no row, or a later release's.
        """
        rest = iter(items)
        while chunk := list(islice(rest, _LOAD_CHUNK)):
            accounts = [account for account, _ in chunk]
            values = [value for _, value in chunk]
            sizes = np.fromiter(map(len, values), np.int64, len(values))
            data = np.frombuffer(b"".join(values), np.uint8)
            self.load_stored(StoredRows(accounts, data, _places(sizes)))

    def load_stored(self, stored: StoredRows) -> None:
        """`load` of rows that lie in one piece of memory.

        Raises
        ------
        RowRefused
            If something is no row, or a later release's.
        """
        rows = self._known(stored.accounts)
        self._create(stored.accounts, rows)
        wrong = unpack(self.words, rows, stored.data, stored.places, LAYOUTS, self.counters)
        if wrong >= 0:
            start, stop = stored.places[wrong].tolist()
            raise _refused(stored.accounts[wrong], stored.data[start:stop].tobytes())

    def packed(self, start: int, count: int) -> PackedRows:
        """Some rows as they are now, from number `start` on; dirty or not, and they stay so."""
        rows = np.arange(start, min(start + count, len(self)))
        ends, words = self._packed(rows)
        return PackedRows(self._accounts[start : start + count], ends, words)

    def forget(self, accounts: Iterable[bytes]) -> None:
        """Remove rows while a state is loaded: the only time when a row's number may change."""
        for account in accounts:
            r = self._index.pop(account, -1)
            if r < 0:
                continue
            last = self._accounts.pop()
            if last != account:
                self._accounts[r], self._index[last] = last, r
                self.words[r] = self.words[len(self._accounts)]
            self.words[len(self._accounts)] = 0


def _places(sizes: I8) -> I8:
    """Where rows of some sizes start and stop, one behind the other."""
    stops = np.cumsum(sizes)
    return np.column_stack([stops - sizes, stops])


def _refused(account: bytes, value: bytes) -> RowRefused:
    layout = int.from_bytes(value[: row.WORD], "little") >> row.LAYOUT_SHIFT
    if LAYOUTS.newest < layout < _LAYOUTS_EVER:
        return RowRefused(
            account,
            f"an account's row has layout {layout}, and this release knows none above {LAYOUTS.newest}: a "
            "later one wrote it. Start that one again, or rebuild the state under a new application id",
        )
    return RowRefused(
        account,
        f"an account's row of {len(value)} bytes is none of any release: it is damaged, or something else "
        "wrote it; rebuild the state under a new application id",
    )
