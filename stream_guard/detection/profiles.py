"""The accounts of one partition: what is remembered of each, and how payments become their parties' features.

`Profiles.payer_hop` and `Profiles.payee_hop` count payments one by one in the order given, so that no result
depends on where a batch ends. `take_dirty` hands out what changed since the last flush, `load` puts it back
elsewhere. `undo` and `rollback` make a failed batch as if it had never been.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.batches import PAYEE_ACCOUNT, PAYER_ACCOUNT, Legs, Payments, size
from stream_guard.detection.columns import Bank
from stream_guard.detection.features import FIRST_WIDTH
from stream_guard.detection.hashing import text_code
from stream_guard.detection.profile_kernels import (
    CONFLICT,
    COUNTED,
    SEEN,
    TOO_OLD,
    fill_txn,
    payee_hop,
    payer_hop,
)
from stream_guard.detection.row_kernels import set_actions
from stream_guard.detection.row_store import PackedRows, RowStore, StoredRows, Undo
from stream_guard.detection.step_kernels import both_hops
from stream_guard.detection.taint_paths import TaintPaths

__all__ = ["CONFLICT", "COUNTED", "SEEN", "TOO_OLD", "Profiles", "Undo"]

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint64]
U1 = npt.NDArray[np.uint8]


class Profiles:
    """Rows of all accounts of one partition.

    Parameters
    ----------
    bank
        Limits, small amount and horizon.
    capacity
        Rows to begin with; memory grows by doubling and row numbers stay.

    Examples
    --------
    >>> from stream_guard.detection.columns import payments
    >>> from stream_guard.detection.features import INDEX
    >>> bank = Bank()
    >>> event = dict(event_id="e1", ts=0, account="A1", counterparty="A2", amount=2.0, currency="CNY",
    ...              type="unknown", channel="unknown")
    >>> columns, _ = payments([event, event], [0, 1], [0, 0], None, None, bank, 0)
    >>> profiles = Profiles(bank)
    >>> status, _, block = profiles.payer_hop(columns)
    >>> status.tolist(), block[0, INDEX["payer.out_sum_24h"]]
    ([0, 1], np.float64(2.0))
    """

    def __init__(self, bank: Bank, capacity: int = 1024) -> None:
        self.bank = bank
        self._limits = np.array(bank.limits, np.float64)
        self._store = RowStore(capacity)
        self.paths = TaintPaths()

    def __len__(self) -> int:
        return len(self._store)

    @property
    def newest_ts(self) -> int:
        """Newest event time counted, the partition's stream time; the smallest int64 if none."""
        return self._store.newest_ts

    def rows_of(self, ids: Sequence[bytes], create: bool) -> I8:
        """Row numbers of accounts; -1 for an unknown one, unless it is created."""
        return self._store.rows_of(ids, create)

    def _rows_where(self, ids: Sequence[bytes], flags: U1, bit: int) -> I8:
        """Rows of the parties that are accounts, made if unknown; -1 for the others."""
        account = (flags & bit) != 0
        if account.all():
            return self.rows_of(ids, create=True)
        rows = np.full(len(ids), -1, np.int64)
        where = np.flatnonzero(account)
        rows[where] = self.rows_of([ids[i] for i in where.tolist()], create=True)
        return rows

    def payer_hop(self, p: Payments, level: F8 | None = None) -> tuple[U1, U1, F8]:
        """Count payments in their payers' rows and compute the first hop's features.

        Parameters
        ----------
        p
            n payments, in source order.
        level
            float64[n], 0-100: of the payers' listings, by which what they pay is tainted; None: of nobody.

        Returns
        -------
        status
            uint8[n]: `COUNTED`; `SEEN`, the payer's ring has the event with the same content; `CONFLICT`,
            with another; `TOO_OLD`, further behind the newest payment it made than `Bank.horizon_ms`. A
            payer that is no account has no row: `COUNTED`.
        stored_action
            uint8[n]: for `SEEN` the action that the ring holds, else 0.
        block
            float64[n, FIRST_WIDTH]. Payer and pair columns are NaN unless the payment was counted in a row.
        """
        n = size(p)
        status, action = np.empty(n, np.uint8), np.empty(n, np.uint8)
        block = np.empty((n, FIRST_WIDTH))
        rows = self._rows_where(p.payer_ids, p.flags, PAYER_ACCOUNT)
        payer_hop(
            self._store.words,
            self._store.floats,
            self._store.dirty,
            self._store.dirty_rows,
            self._store.counters,
            rows,
            p.ts,
            p.local,
            p.amount,
            p.payee.view(np.int64),
            p.event.view(np.int64),
            p.device.view(np.int64),
            p.content,
            p.payer_balance,
            p.latitude,
            p.longitude,
            np.zeros(n) if level is None else level,
            self.bank.horizon_ms,
            self._limits,
            self.bank.small_amount,
            status,
            action,
            block,
        )
        _fill_txn(p, block)
        return status, action, block

    def payee_hop(self, legs: Legs, matrix: F8) -> tuple[U1, U1]:
        """Count legs in their payees' rows; fill first-hop and payee columns of the matrix.

        A row never counts an event twice while its ring knows it. Whether an id has two contents is for the
        payer's row to say; only where the payer is no account, the payee's ring judges that too.

        Parameters
        ----------
        legs
            n legs, in order of arrival; those flagged `REPEAT` are not counted.
        matrix
            float64[n, N], written: `FIRST` from the legs, `PAYEE` from the rows (NaN if the payee is no
            account or the leg was not counted). The signals' columns are left alone.

        Returns
        -------
        status
            uint8[n]: `COUNTED`, `SEEN` or `CONFLICT`; `COUNTED` or, if flagged, `SEEN` for other payees.
        stored_action
            uint8[n]: for `SEEN` the higher of the leg's stored action and the ring's.
        """
        n = size(legs)
        status, action, led = np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint8)
        rows = self._rows_where(legs.keys, legs.flags, PAYEE_ACCOUNT)
        payee_hop(
            self._store.words,
            self._store.floats,
            self._store.dirty,
            self._store.dirty_rows,
            self._store.counters,
            rows,
            legs.ts,
            legs.local,
            legs.amount,
            legs.payer.view(np.int64),
            legs.event.view(np.int64),
            legs.device.view(np.int64),
            legs.content,
            legs.flags,
            legs.stored_action,
            self._limits,
            self.bank.small_amount,
            status,
            action,
            led,
            legs.block,
            matrix,
        )
        self.paths.arrive(legs.texts, led)
        return status, action

    def both_hops(
        self, p: Payments, matrix: F8, level: F8 | None = None
    ) -> tuple[U1, U1, U1, I8, I8, list[bytes]]:
        """Count payments in both their rows, as with one payment in flight at a time.

        Parameters
        ----------
        p
            n payments, in order; all their accounts have their rows here.
        matrix
            float64[n, N], written: `FIRST` and `PAYEE`, as by `payer_hop` and then `payee_hop` of each
            payment before the next one is looked at. The signals' columns are left alone.
        level
            As in `payer_hop`.

        Returns
        -------
        status
            uint8[n]: `COUNTED`, `SEEN`, `CONFLICT` or `TOO_OLD`; rows of the last two mean nothing.
        stored_action
            uint8[n]: as `payee_hop` returns it.
        flags
            uint8[n]: `p.flags`, with `REPEAT` where the payer's row knows the event.
        payer_rows, payee_rows
            int64[n]: row numbers, which an account keeps; -1 for a party that is no account.
        texts
            `p.texts`, with paths as `TaintPaths.leave` adds them.
        """
        n = size(p)
        status, action, led = np.empty(n, np.uint8), np.empty(n, np.uint8), np.empty(n, np.uint8)
        flags = p.flags.copy()
        payer_rows = self._rows_where(p.payer_ids, flags, PAYER_ACCOUNT)
        payee_rows = self._rows_where(p.leg_keys, flags, PAYEE_ACCOUNT)
        _fill_txn(p, matrix)
        both_hops(
            self._store.words,
            self._store.floats,
            self._store.dirty,
            self._store.dirty_rows,
            self._store.counters,
            payer_rows,
            payee_rows,
            p.ts,
            p.local,
            p.amount,
            p.payer.view(np.int64),
            p.payee.view(np.int64),
            p.event.view(np.int64),
            p.device.view(np.int64),
            p.content,
            p.payer_balance,
            p.latitude,
            p.longitude,
            np.zeros(n) if level is None else level,
            flags,
            self.bank.horizon_ms,
            self._limits,
            self.bank.small_amount,
            status,
            action,
            led,
            matrix,
        )
        texts = self.paths.both(p.texts, matrix, led)
        return status, action, flags, payer_rows, payee_rows, texts

    def set_actions(self, ids: Sequence[bytes], events: U8, actions: U1) -> None:
        """Remember what was decided about payments, for whoever sends one again.

        Parameters
        ----------
        ids
            n account ids; unknown ones are skipped.
        events
            uint64[n], hashes of the events; those no longer in the account's ring are skipped.
        actions
            uint8[n], `Action` values.
        """
        rows = self.rows_of(ids, create=False)
        set_actions(
            self._store.words,
            self._store.dirty,
            self._store.dirty_rows,
            self._store.counters,
            rows,
            events.view(np.int64),
            actions,
        )

    def update_facts(
        self,
        account: bytes,
        ts: int,
        opened: int | None,
        birth_year: int | None,
        kind: str | None,
        changed: str | None,
    ) -> None:
        """Apply one account update: field by field the newest `ts` wins, at equal times the later arrival.

        Parameters
        ----------
        account
            UTF-8; an unknown account gets a row.
        ts
            Time of the update in ms.
        opened
            Opening time in ms; None: not said.
        birth_year, kind
            Of the holder, of the account; None: not said.
        changed
            ``phone``, ``password``, ``device`` or ``address`` changed at `ts`; None: nothing. The two newest
            changes are kept, credentials and address apart, for payments older than the last one.

        Raises
        ------
        ValueError
            If `changed` is something else.
        """
        if changed not in (None, "phone", "password", "device", "address"):
            raise ValueError(f"changed is {changed!r}; give phone, password, device, address or nothing")
        (r,) = self.rows_of([account], create=True).tolist()
        words, floats = self._store.words[r], self._store.floats[r]
        for at, value in ((row.OPENED, opened), (row.BIRTH_YEAR, birth_year)):
            if value is not None and ts >= words[at + 1]:
                words[at], words[at + 1] = value, ts
        if kind is not None and ts >= words[row.KIND + 1]:
            floats[row.KIND], words[row.KIND + 1] = text_code(kind), ts
        if changed is not None:
            at = row.ADDRESS_CHANGED if changed == "address" else row.CHANGED
            times = sorted({int(words[at]), int(words[at + 1]), ts}, reverse=True)
            words[at], words[at + 1] = times[0], times[1] if len(times) > 1 else row.MISSING
        self._store.mark(r)

    def undo(self, ids: Iterable[bytes]) -> Undo:
        """Remember rows as they are; `ids` are all accounts that what follows may touch. See `rollback`."""
        return self._store.undo(ids)

    def rollback(self, token: Undo) -> None:
        """Make everything since `undo` as if it had not been; rows created since are gone.

        Raises
        ------
        ValueError
            If rows were flushed since: what was stored cannot be taken back.
        """
        self._store.rollback(token)

    def take_dirty(self) -> list[tuple[bytes, bytes]]:
        """Accounts changed since the last call and their rows as `load` takes them."""
        return self._store.take_dirty()

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Put rows back that `take_dirty` gave, here or in an earlier release; they are not dirty then.

        Raises
        ------
        RowRefused
            If something is no row, or a later release's.
        """
        self._store.load(items)

    def load_stored(self, rows: StoredRows) -> None:
        """`load` of rows that lie in one piece of memory. Raises `RowRefused`."""
        self._store.load_stored(rows)

    def packed(self, start: int, count: int) -> PackedRows:
        """Some accounts' rows as they are now, for a snapshot; dirty ones stay dirty."""
        return self._store.packed(start, count)

    def forget(self, accounts: Iterable[bytes]) -> None:
        """Remove accounts, while a state is loaded."""
        self._store.forget(accounts)


def _fill_txn(p: Payments, first: F8) -> None:
    """Write what a payment says itself into its first-hop features."""
    fill_txn(
        p.amount,
        p.local,
        p.type_code,
        p.channel_code,
        p.currency_code,
        p.payer_balance,
        p.payee_balance,
        p.flags,
        first,
    )
