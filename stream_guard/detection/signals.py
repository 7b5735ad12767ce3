"""Risk signals in force: what police, bank and our own dispositions say of accounts, devices, addresses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.batches import Legs
from stream_guard.detection.features import INDEX, SIGNALS
from stream_guard.detection.hashing import text_hash
from stream_guard.detection.vocabulary import SignalKind, SignalSource


class Signal(NamedTuple):
    """One risk signal.

    Attributes
    ----------
    kind, id
        What it names.
    level
        1-100.
    source
        Who put it on the list.
    valid_from, valid_to
        Event time in ms, half-open; `valid_to` None: until withdrawn.
    """

    kind: SignalKind
    id: str
    level: int
    source: SignalSource
    valid_from: int
    valid_to: int | None


_ACCOUNT_SOURCES = tuple(SignalSource)
_LISTED = (SignalSource.POLICE, SignalSource.BANK, SignalSource.DISPOSITION)
_FOREVER = np.iinfo(np.int64).max


_Group = tuple[SignalKind, SignalSource]


class _Table(NamedTuple):
    """Signals of one kind and source, by rising hash of the id."""

    ids: NDArray[np.uint64]
    level: NDArray[np.float64]
    valid_from: NDArray[np.int64]
    valid_to: NDArray[np.int64]


class Signals:
    """The signals in force, by kind and source, looked up for whole batches.

    Ids are compared by their 64-bit hash, as everywhere on the hot path. What changed is merged into the
    tables before the next batch: a few milliseconds beside 100,000 signals, which made anew would hold up
    every payment for over a second.
    """

    def __init__(self) -> None:
        self._by_key: dict[str, Signal] = {}
        self._tables: dict[_Group, _Table] = {}
        self._changed: dict[_Group, set[str]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def put(self, key: str, signal: Signal) -> None:
        """Set the signal of `key` (``kind:id``); it replaces what the key had."""
        self.withdraw(key)
        self._by_key[key] = signal
        self._changed.setdefault((signal.kind, signal.source), set()).add(signal.id)

    def withdraw(self, key: str) -> None:
        """Remove the signal of `key`, if there is one."""
        old = self._by_key.pop(key, None)
        if old is not None:
            self._changed.setdefault((old.kind, old.source), set()).add(old.id)

    def source_of(self, key: str) -> SignalSource | None:
        """Who listed `key`, None where nobody did."""
        signal = self._by_key.get(key)
        return None if signal is None else signal.source

    def by_source(self) -> dict[SignalSource, int]:
        """Number of signals by source."""
        counts = dict.fromkeys(SignalSource, 0)
        for signal in self._by_key.values():
            counts[signal.source] += 1
        return counts

    def listed(self, accounts: NDArray[np.uint64], ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Highest level of n accounts' signals from police, bank or disposition; 0: not listed."""
        self._merge_changes()
        listed = np.zeros(len(accounts))
        for source in _LISTED:
            level = self._levels(SignalKind.ACCOUNT, source, accounts, ts)
            if level is not None:
                np.maximum(listed, level, out=listed)
        return listed

    def fill(self, legs: Legs, matrix: NDArray[np.float64]) -> None:
        """Write the signal features of `legs` into `matrix` (shape legs x catalogue); 0: not listed."""
        matrix[:, SIGNALS] = 0.0
        self._merge_changes()
        if not self._tables:
            return
        for side, ids in (("payer", legs.payer), ("payee", legs.payee)):
            listed = matrix[:, INDEX[f"{side}.listed"]]
            for source in _ACCOUNT_SOURCES:
                level = self._levels(SignalKind.ACCOUNT, source, ids, legs.ts)
                if level is None:
                    continue
                matrix[:, INDEX[f"{side}.listed_{source}"]] = level
                if source in _LISTED:
                    np.maximum(listed, level, out=listed)
        for kind, ids in ((SignalKind.DEVICE, legs.device), (SignalKind.IP, legs.ip)):
            listed = matrix[:, INDEX[f"txn.{kind}_listed"]]
            for source in _LISTED:
                level = self._levels(kind, source, ids, legs.ts)
                if level is not None:
                    np.maximum(listed, level, out=listed)
            level = self._levels(kind, SignalSource.SHARING, ids, legs.ts)
            if level is not None:
                matrix[:, INDEX[f"txn.{kind}_shared"]] = level

    def _levels(
        self, kind: SignalKind, source: SignalSource, ids: NDArray[np.uint64], ts: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        table = self._tables.get((kind, source))
        if table is None:
            return None
        at = np.searchsorted(table.ids, ids)
        at[at == len(table.ids)] = 0
        hit = (table.ids[at] == ids) & (table.valid_from[at] <= ts) & (ts < table.valid_to[at])
        return np.where(hit, table.level[at], 0.0)

    def _merge_changes(self) -> None:
        for group, names in self._changed.items():
            self._merge(group, names)
        self._changed.clear()

    def _merge(self, group: _Group, names: set[str]) -> None:
        """Bring what changed of one kind and source into its table."""
        kind, source = group
        signals = [self._by_key.get(f"{kind}:{name}") for name in names]
        new = [signal for signal in signals if signal is not None and signal.source is source]
        added = _Table(
            text_hash([signal.id.encode() for signal in new]),
            np.array([signal.level for signal in new], dtype=np.float64),
            np.array([signal.valid_from for signal in new], dtype=np.int64),
            np.array(
                [_FOREVER if signal.valid_to is None else signal.valid_to for signal in new], dtype=np.int64
            ),
        )
        table = self._tables.get(group)
        if table is not None:
            kept = ~np.isin(table.ids, text_hash([name.encode() for name in names]))
            pairs = zip(table, added, strict=True)
            added = _Table._make(np.concatenate((old[kept], fresh)) for old, fresh in pairs)
        order = np.argsort(added.ids)
        if len(order):
            self._tables[group] = _Table._make(column[order] for column in added)
        else:
            self._tables.pop(group, None)
