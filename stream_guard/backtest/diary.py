"""What the whole pack did, day by day, and the warnings it wrote, for the report."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.alerts import Alert, encode_alert
from stream_guard.backtest.view import Chunk, Opened
from stream_guard.detection.vocabulary import Action

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


class Money(NamedTuple):
    """Amounts of fraudulent payments in base currency: all, intercepted, and after a warning."""

    fraud: float = 0.0
    intercepted: float = 0.0
    after_warning: float = 0.0


class Written(NamedTuple):
    """A warning: row of its account, and the newest alert about it."""

    row: int
    alert: bytes


class Diary:
    """Gathers as the payments go by; memory is bounded by days and warnings.

    Parameters
    ----------
    keep
        Whether the warnings themselves are kept, which takes about 2 KB each.

    Attributes
    ----------
    money
        By local day (number since 1970).
    warnings
        By id, in the order of opening; the newest revision that is not a closing.
    """

    def __init__(self, keep: bool) -> None:
        self._keep = keep
        self._opened: list[tuple[I8, I8]] = []
        self.money: dict[int, Money] = {}
        self.warnings: dict[str, Written] = {}

    def warn(self, chunk: Chunk, opened: Opened) -> None:
        """Take in the warnings that a chunk opened."""
        if len(opened.row):
            self._opened.append((chunk.day[opened.position], opened.row))

    def write(self, row: int, alert: Alert) -> None:
        """Take in an alert; `row` is its account's where it opens the warning."""
        if self._keep:
            before = self.warnings.get(alert.warning_id)
            self.warnings[alert.warning_id] = Written(before.row if before else row, encode_alert(alert))

    def follow(self, chunk: Chunk, action: U1, fraud: I8, late: Flags) -> None:
        """Take in the fraudulent payments of a chunk (positions), and whether a warning came before each."""
        held = action[fraud] >= Action.DELAY
        amount, day = chunk.amount[fraud], chunk.day[fraud]
        for number in np.unique(day).tolist():
            that = day == number
            parts = (that, that & held, that & late)
            added = (float(amount[part].sum()) for part in parts)
            before = self.money.get(number, Money())
            self.money[number] = Money(*(old + new for old, new in zip(before, added, strict=True)))

    def opened(self) -> tuple[I8, I8]:
        """Local day and account's row of every warning, in order."""
        if not self._opened:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        days, rows = (np.concatenate(column) for column in zip(*self._opened, strict=True))
        return days, rows
