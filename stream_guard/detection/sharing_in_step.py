"""Shared devices and addresses with one payment in flight at a time: what a backtest knows of them.

A payment sees what all payments before it have led to, as a live one does when the sightings and signals of
the one before have gone round. Nothing goes round here, so devices and accounts are known by their hashes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.detection.batches import Payments, size
from stream_guard.detection.local_time import midnights
from stream_guard.detection.sharing import NewUses, Sharing, Sighting, Use
from stream_guard.detection.signals import Signal
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import SignalKind

F8 = npt.NDArray[np.float64]


class SharingInStep:
    """All devices and addresses of a bank, and the signals about them.

    Parameters
    ----------
    context
        Its limits and its bank's time zone.
    """

    def __init__(self, context: Context) -> None:
        self._sharing = Sharing(context.sharing, midnights(context.bank.timezone))
        self._new_uses = NewUses()
        self._in_force: dict[tuple[SignalKind, int], Signal] = {}

    def levels(self, batch: Payments, counted: npt.NDArray[np.bool_], age_d: F8) -> F8 | None:
        """Levels that each payment sees, and what follows from it for the next ones.

        Parameters
        ----------
        batch
            n payments, in order.
        counted
            bool[n]: counted at a payer that is an account.
        age_d
            float64[n]: days since the payers' accounts were opened.

        Returns
        -------
        float64[n, 4] or None
            In the order of `features.SHARED`; None: all are 0.
        """
        uses = self._new_uses.of(batch.device, batch.ip, batch.payer, batch.local, age_d, counted)
        if not uses and not self._in_force:
            return None
        levels = np.zeros((size(batch), 4))
        done = 0
        for use in uses:
            # A payment is decided before its own use is counted.
            self._look_up(batch, done, use.at + 1, levels)
            done = use.at + 1
            self._count(batch, use)
        self._look_up(batch, done, size(batch), levels)
        return levels

    def _count(self, batch: Payments, use: Use) -> None:
        i, kind, day, opened = use
        used = int((batch.device if kind is SignalKind.DEVICE else batch.ip)[i])
        sighting = Sighting(f"{kind}:{used}", str(int(batch.payer[i])), int(batch.ts[i]), day, opened)
        for raised in self._sharing.see(sighting):
            of_kind, _, name = raised.key.partition(":")
            where = SignalKind(of_kind), int(name)
            if raised.signal is None:
                self._in_force.pop(where, None)
            else:
                self._in_force[where] = raised.signal

    def _look_up(self, batch: Payments, start: int, stop: int, levels: F8) -> None:
        if not self._in_force or start >= stop:
            return
        part = slice(start, stop)
        columns = (batch.ts[part], batch.payer[part], batch.payee[part], batch.device[part], batch.ip[part])
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (ts, payer, payee, device, ip) in enumerate(rows, start):
            names = (
                (SignalKind.ACCOUNT, payer),
                (SignalKind.ACCOUNT, payee),
                (SignalKind.DEVICE, device),
                (SignalKind.IP, ip),
            )
            for column, name in enumerate(names):
                signal = self._in_force.get(name)
                if signal is not None and signal.valid_from <= ts < (signal.valid_to or 0):
                    levels[i, column] = signal.level
