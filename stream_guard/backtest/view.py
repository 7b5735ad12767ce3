"""Figures of one set of rules over a history, gathered as the payments go by."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.card_days import CardPrecision
from stream_guard.backtest.spectrum import Spectrum
from stream_guard.detection.vocabulary import Action

F8 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

NOT_YET: Final = 1 << 62
"""Later than every payment and every time."""


class Chunk(NamedTuple):
    """Judged payments, in order.

    Attributes
    ----------
    start
        Number of the first one among all judged payments.
    ts, day, amount
        Event time (ms), local day, amount in base currency.
    payer, payee
        Row numbers; -1: no account.
    fraud
        Label.
    """

    start: int
    ts: I8
    day: I8
    amount: F8
    payer: I8
    payee: I8
    fraud: Flags


class Opened(NamedTuple):
    """Warnings opened, in order: position of the payment in its chunk, row of the account."""

    position: I8
    row: I8


class View:
    """What one set of rules did.

    Attributes
    ----------
    best
        f8[rows]: highest score of the account's own side.
    warnings
        i8[rows]: warnings opened on the account.
    first_ts
        i8[rows]: time of the first one, `NOT_YET` without any.
    events
        Scores above 0 of payments, the higher side's; those of 0 are what is left.
    cards
        Card-precision by day.
    intercepted
        Amount of fraudulent payments whose decision was delay, hold or stop.
    saved, saved_amount
        Fraudulent payments after the first warning on one of their accounts, and their amount.
    later
        f8[rows]: amount of the account's fraudulent payments after its first warning.
    """

    def __init__(self) -> None:
        self.best: F8 = np.zeros(0)
        self.warnings: I8 = np.zeros(0, np.int64)
        self.first_ts: I8 = np.zeros(0, np.int64)
        self.later: F8 = np.zeros(0)
        # Number of the payment that opened the first warning; time of the newest one. The last element of
        # each stands for row -1, a party that is no account.
        self._first: I8 = np.full(1, NOT_YET, np.int64)
        self._newest: I8 = np.full(1, -NOT_YET, np.int64)
        self.events = Spectrum()
        self.cards = CardPrecision()
        self.intercepted = 0.0
        self.saved = 0
        self.saved_amount = 0.0

    def fit(self, rows: int) -> None:
        """Make room for so many accounts."""
        more = rows - len(self.best)
        if more <= 0:
            return
        self.best = np.concatenate([self.best, np.zeros(more)])
        self.warnings = np.concatenate([self.warnings, np.zeros(more, np.int64)])
        self.first_ts = np.concatenate([self.first_ts, np.full(more, NOT_YET, np.int64)])
        self.later = np.concatenate([self.later, np.zeros(more)])
        self._first = np.concatenate([self._first, np.full(more, NOT_YET, np.int64)])
        self._newest = np.concatenate([self._newest, np.full(more, -NOT_YET, np.int64)])

    def score(self, chunk: Chunk, at: I8, payer_score: F8, payee_score: F8, action: U1) -> None:
        """Take in scores and decisions of the payments `at`; all others scored 0 and were allowed."""
        if not len(at):
            return
        score = np.maximum(payer_score, payee_score)
        known = score > 0
        self.events.add(score[known], chunk.fraud[at[known]])
        self.cards.add(chunk.day[at[known]], chunk.payer[at[known]], score[known])
        for rows, own in ((chunk.payer[at], payer_score), (chunk.payee[at], payee_score)):
            account = rows >= 0
            np.maximum.at(self.best, rows[account], own[account])
        held = chunk.fraud[at] & (action >= Action.DELAY)
        if held.any():
            self.intercepted += float(chunk.amount[at[held]].sum())

    def openings(self, chunk: Chunk, at: I8, payer_asks: Flags, payee_asks: Flags, ttl_ms: int) -> Opened:
        """Warnings that these payments open by themselves: one open at a time an account, as the book has it.

        Parameters
        ----------
        at
            Positions of payments, ascending.
        payer_asks, payee_asks
            Whether the score or a rule asks for a warning on that side.
        ttl_ms
            Age at which a warning expires.
        """
        # The payee first: its finding needs no way to another partition.
        position = np.concatenate([at[payee_asks], at[payer_asks]])
        rows = np.concatenate([chunk.payee[at[payee_asks]], chunk.payer[at[payer_asks]]])
        due = (rows >= 0) & (chunk.ts[position] - self._newest[rows] >= ttl_ms)
        order = np.argsort(position[due], kind="stable")
        opened: list[tuple[int, int]] = []
        for i, row in zip(position[due][order].tolist(), rows[due][order].tolist(), strict=True):
            ts = int(chunk.ts[i])
            if ts - self._newest[row] >= ttl_ms:
                self._newest[row] = ts
                opened.append((i, row))
        return Opened(*np.array(opened, np.int64).reshape(-1, 2).T)

    def warn(self, chunk: Chunk, opened: Opened) -> None:
        """Take in the warnings that a chunk opened; before `follow` of the same chunk."""
        np.add.at(self.warnings, opened.row, 1)
        np.minimum.at(self._first, opened.row, chunk.start + opened.position)
        np.minimum.at(self.first_ts, opened.row, chunk.ts[opened.position])

    def follow(self, chunk: Chunk, fraud: I8) -> Flags:
        """Take in the fraudulent payments of a chunk (positions).

        Returns
        -------
        bool[len(fraud)]
            Whether an account of it had been warned about before.
        """
        number = chunk.start + fraud
        payer, payee = chunk.payer[fraud], chunk.payee[fraud]
        by_payer, by_payee = self._first[payer] < number, self._first[payee] < number
        amount = chunk.amount[fraud]
        np.add.at(self.later, payer[by_payer], amount[by_payer])
        np.add.at(self.later, payee[by_payee], amount[by_payee])
        late = by_payer | by_payee
        self.saved += int(late.sum())
        self.saved_amount += float(amount[late].sum())
        return np.asarray(late)
