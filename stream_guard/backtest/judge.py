"""Gathers what the judged payments led to: for the whole pack, and for other sets of its rules."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_guard.alerts import AlertStatus
from stream_guard.backtest.card_days import CardDay
from stream_guard.backtest.diary import Diary
from stream_guard.backtest.sets import Sets, each_rule
from stream_guard.backtest.view import NOT_YET, Chunk, Opened, View
from stream_guard.detection.batches import Payments
from stream_guard.detection.decide import PAYEE_REASON, PAYER_REASON
from stream_guard.detection.features import DAY
from stream_guard.detection.in_step import Step
from stream_guard.detection.rules import FIRED, NOT_EVALUABLE, RuleResults
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import Action, Side

Flags = npt.NDArray[np.bool_]
I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]
U1 = npt.NDArray[np.uint8]


class Scenario:
    """Fraud of one typology label: payments, money, and the accounts that are party to it."""

    def __init__(self) -> None:
        self.payments = 0
        self.amount = 0.0
        self.intercepted = 0.0
        self.flagged = 0
        """Payments on which a side reached `warn_at` or a rule asked for a warning."""
        self.saved = 0
        self.rows: set[int] = set()


class Judge:
    """Figures of the judged period, as they are gathered.

    Attributes
    ----------
    whole
        The pack as it decided, with the warnings that the warning book opened.
    diary
        What the whole pack did by day; with `keep_warnings` also what it wrote.
    sets
        What other sets of rules would have done.
    fired, not_evaluable
        i8[R], payments.
    active
        bool[rows]: account with a judged payment.
    party
        bool[rows]: party to a fraudulent one.
    last_fraud
        i8[rows]: time of the last of these.
    """

    def __init__(self, context: Context, sets: Sets | None = None, *, keep_warnings: bool = False) -> None:
        self._warn_at = context.policy.warn_at
        self._meta = context.meta
        self._warns = np.array([rule.warn for rule in context.pack.rules], np.bool_)
        self.whole = View()
        self.diary = Diary(keep_warnings)
        self.sets = each_rule(context) if sets is None else sets
        self._views = [self.whole, *self.sets.views.values()]
        count = len(context.pack.rules)
        self.fired: I8 = np.zeros(count, np.int64)
        self.not_evaluable: I8 = np.zeros(count, np.int64)
        self.anomalies = 0
        self.active: Flags = np.zeros(0, np.bool_)
        self.party: Flags = np.zeros(0, np.bool_)
        self.last_fraud: I8 = np.zeros(0, np.int64)
        self.scenarios: dict[int, Scenario] = {}
        self.events = 0
        self.fraud_events = 0
        self.fraud_amount = 0.0
        self.actions: I8 = np.zeros(len(Action), np.int64)
        self.last_ts = 0
        self._day = -NOT_YET
        self._cards: list[tuple[I8, I8, Flags]] = []

    def add(
        self,
        batch: Payments,
        step: Step,
        fraud: Flags,
        scenario: I4,
        rows: int,
        results: RuleResults | None = None,
    ) -> None:
        """Take in a batch of the judged period.

        Parameters
        ----------
        batch, step
            n payments and what became of them; those refused or sent again are not judged.
        fraud, scenario
            bool[n] and i4[n], labels.
        rows
            Number of accounts so far.
        results
            n rows, of which `sets` are made, where these are not the pack's own.
        """
        self._fit(rows)
        which = np.flatnonzero(step.decided)
        if not len(which):
            return
        chunk = Chunk(
            self.events,
            batch.ts[which],
            # Where clocks are put back at midnight, an hour stays with the day that began.
            np.maximum(np.maximum.accumulate(batch.local[which] // DAY), self._day),
            batch.amount[which],
            step.payer_rows[which],
            step.payee_rows[which],
            fraud[which],
        )
        self.events += len(which)
        self._day = int(chunk.day[-1])
        self.last_ts = max(self.last_ts, int(chunk.ts.max()))
        fired = step.results.fired[which]
        self.fired += (fired == FIRED).sum(axis=0)
        self.not_evaluable += (fired == NOT_EVALUABLE).sum(axis=0)
        self.actions += np.bincount(step.action[which], minlength=len(Action))
        for row in (chunk.payer, chunk.payee):
            self.active[row[row >= 0]] = True
        frauds = np.flatnonzero(chunk.fraud)
        flagged = self._whole(chunk, step, which)
        flags = step.verdicts.anomaly[which]
        self.anomalies += int((flags & (PAYER_REASON | PAYEE_REASON) != 0).sum())
        of_sets = step.results if results is None else results
        self.sets.add(chunk, RuleResults(of_sets.fired[which], of_sets.score[which]), flags, frauds)
        self._scenarios(chunk, step.action[which], scenario[which], frauds, flagged)
        self._cards.append((chunk.day, chunk.payer, chunk.fraud))
        self._close_days(self._day)

    def _fit(self, rows: int) -> None:
        more = rows - len(self.active)
        if more <= 0:
            return
        # Some room ahead, or every batch would copy all figures for a few new accounts.
        more = max(more, len(self.active) // 2)
        self.active = np.concatenate([self.active, np.zeros(more, np.bool_)])
        self.party = np.concatenate([self.party, np.zeros(more, np.bool_)])
        self.last_fraud = np.concatenate([self.last_fraud, np.zeros(more, np.int64)])
        for view in self._views:
            view.fit(len(self.active))

    def _close_days(self, until: int) -> None:
        """End the days before `until`."""
        days, payers, fraud = (np.concatenate(column) for column in zip(*self._cards, strict=True))
        over = days < until
        self._cards = [(days[~over], payers[~over], fraud[~over])]
        for number in np.unique(days[over]).tolist():
            that = days == number
            day = CardDay(payers[that], fraud[that], len(self.active))
            for view in self._views:
                view.cards.close(number, day)

    def finish(self) -> None:
        """End the last day."""
        if self._cards:
            self._close_days(self._day + 1)

    def _whole(self, chunk: Chunk, step: Step, which: npt.NDArray[np.intp]) -> Flags:
        verdicts = step.verdicts
        payer, payee = verdicts.payer_score[which], verdicts.payee_score[which]
        self.whole.score(chunk, np.arange(len(which)), payer, payee, step.action[which])
        at = np.full(len(step.decided), -1, np.int64)
        at[which] = np.arange(len(which))
        opened: list[tuple[int, int]] = []
        for said in step.said:
            for alert in said.alerts:
                row = int((step.payee_rows if alert.side is Side.PAYEE else step.payer_rows)[said.at])
                self.diary.write(row, alert)
                if alert.status is AlertStatus.OPENED:
                    opened.append((int(at[said.at]), row))
        warnings = Opened(*np.array(opened, np.int64).reshape(-1, 2).T)
        self.whole.warn(chunk, warnings)
        self.diary.warn(chunk, warnings)
        asks = ((step.results.fired[which] == FIRED) & self._meta.live & self._warns).any(axis=1)
        flagged: Flags = (payer >= self._warn_at) | (payee >= self._warn_at) | asks
        return flagged

    def _scenarios(self, chunk: Chunk, action: U1, scenario: I4, frauds: I8, flagged: Flags) -> None:
        if not len(frauds):
            return
        late = self.whole.follow(chunk, frauds)
        self.diary.follow(chunk, action, frauds, late)
        self.fraud_events += len(frauds)
        self.fraud_amount += float(chunk.amount[frauds].sum())
        for i, saved in zip(frauds.tolist(), late.tolist(), strict=True):
            one = self.scenarios.setdefault(int(scenario[i]), Scenario())
            amount = float(chunk.amount[i])
            one.payments += 1
            one.amount += amount
            one.intercepted += amount if action[i] >= Action.DELAY else 0.0
            one.flagged += bool(flagged[i])
            one.saved += saved
            for row in (int(chunk.payer[i]), int(chunk.payee[i])):
                if row >= 0:
                    one.rows.add(row)
                    self.party[row] = True
                    self.last_fraud[row] = max(self.last_fraud[row], int(chunk.ts[i]))
