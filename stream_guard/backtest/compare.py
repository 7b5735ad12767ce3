"""Two packs on one history: whom they decide about otherwise, in one pass over the features."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.alerts import ANOMALY_RULE, Alert, AlertStatus
from stream_guard.backtest.figures import Standing, of_view
from stream_guard.backtest.judge import Judge
from stream_guard.backtest.pack_changes import pack_changes
from stream_guard.backtest.passage import AT_ONCE, Inputs, Judged, Passage, Progress
from stream_guard.backtest.runner import standing_of
from stream_guard.backtest.sets import Sets
from stream_guard.detection.decide import PAYEE_REASON, PAYER_REASON
from stream_guard.detection.in_step import Step
from stream_guard.detection.rules import FIRED, render_reason
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import Action, Side

EXAMPLES: Final = 10
"""Payments of a move, and accounts of a kind, that are shown."""

_ACTIONS: Final = tuple(Action)


class Warned(NamedTuple):
    """The first warning on an account, as it was opened."""

    account: str
    opened_at: int
    score: float
    reasons: list[dict[str, str]]


class Move(NamedTuple):
    """Payments that go from one action to another: how many, amount, fraudulent ones."""

    payments: int = 0
    amount: float = 0.0
    fraud: int = 0


def compare(
    inputs: Inputs,
    old: Context,
    new: Context,
    *,
    examples: int = EXAMPLES,
    tell: Callable[[Progress], None] = lambda progress: None,
    at_once: int = AT_ONCE,
) -> dict[str, Any]:
    """Decide a history by two packs and say what differs.

    Both decide the same payments with the same features; each has anomaly models and warnings of its own.

    Parameters
    ----------
    inputs
        What is read.
    old, new
        The same bank and policy with two packs.
    examples
        Payments of a move, and accounts of a kind, that are named.

    Returns
    -------
    dict
        ``old`` and ``new``: figures as the backtest has them; ``rules``: what was changed in the pack;
        ``payments``: ``changed``, ``stricter``, ``milder``, ``rescored`` (same action, other score), and
        ``moves`` with examples, those of the largest amount; ``accounts``: ``both``, ``newly_warned`` and
        ``no_longer_warned`` with examples, those of the highest score.

    Raises
    ------
    HistoryError
        The history or its labels cannot be read.
    PeriodError
        No payment of the period was judged.
    """
    judges = [Judge(context, Sets(context.pack.rules, {}, context.policy)) for context in (old, new)]
    payments = _Payments((old, new), examples)
    warned: list[dict[int, Warned]] = [{}, {}]
    passage = Passage(inputs, [old, new], tell=tell, at_once=at_once)
    for judged in passage.judged():
        for judge, step, found in zip(judges, judged.steps, warned, strict=True):
            judge.add(judged.batch, step, judged.fraud, judged.scenario, passage.accounts)
            _take_warnings(step, found)
        payments.add(judged)
    for judge in judges:
        judge.finish()
    standing = standing_of(passage, judges[0])
    known = passage.labels.known
    return {
        "events": passage.read,
        "judged_events": judges[0].events,
        "period": inputs.period.as_dict(),
        "currency": old.bank.base_currency,
        "labelled": standing.labelled,
        **{
            name: {
                "pack": context.pack.pack.label,
                "pack_hash": context.pack.pack.hash,
                **of_view(judge.whole, judge, standing, inputs.period.days, known),
            }
            for name, context, judge in zip(("old", "new"), (old, new), judges, strict=True)
        },
        "rules": pack_changes(old.pack.pack, new.pack.pack),
        "payments": payments.document(known),
        "accounts": _accounts(warned, judges, standing, examples),
    }


class _Payments:
    """Payments that are decided otherwise."""

    def __init__(self, contexts: tuple[Context, Context], examples: int) -> None:
        self._contexts = contexts
        self._examples = examples
        self._moves: dict[tuple[int, int], Move] = {}
        self._largest: dict[tuple[int, int], list[tuple[float, int, dict[str, Any]]]] = {}
        self._rescored = 0
        self._number = 0

    def add(self, judged: Judged) -> None:
        """Take in a batch."""
        old, new = judged.steps
        batch = judged.batch
        same = old.action == new.action
        other_score = ~np.isclose(old.verdicts.score, new.verdicts.score, equal_nan=True)
        self._rescored += int((old.decided & same & other_score).sum())
        for i in np.flatnonzero(old.decided & ~same).tolist():
            move = int(old.action[i]), int(new.action[i])
            amount, fraud = float(batch.amount[i]), bool(judged.fraud[i])
            before = self._moves.get(move, Move())
            self._moves[move] = Move(before.payments + 1, before.amount + amount, before.fraud + fraud)
            heap = self._largest.setdefault(move, [])
            # The earlier one of two that are as large.
            self._number -= 1
            full = len(heap) >= self._examples
            if full and (not heap or (amount, self._number) < heap[0][:2]):
                continue
            entry = amount, self._number, self._example(judged, i)
            if full:
                heapq.heapreplace(heap, entry)
            else:
                heapq.heappush(heap, entry)

    def _example(self, judged: Judged, i: int) -> dict[str, Any]:
        event_id, payer, payee, _ = judged.batch.texts[i].decode().split("\0")
        old, new = judged.steps
        return {
            "event_id": event_id,
            "ts": int(judged.batch.ts[i]),
            "account": payer,
            "counterparty": payee,
            "amount": float(judged.batch.amount[i]),
            "old_score": float(old.verdicts.score[i]),
            "new_score": float(new.verdicts.score[i]),
            "old_reasons": _reasons(self._contexts[0], old, i),
            "new_reasons": _reasons(self._contexts[1], new, i),
            "fraud": bool(judged.fraud[i]),
        }

    def document(self, labelled: bool) -> dict[str, Any]:
        """Counts, and the moves: those of most payments first."""
        moves = sorted(self._moves.items(), key=lambda item: (-item[1].payments, item[0]))
        total = sum(move.payments for move in self._moves.values())
        stricter = sum(move.payments for (before, after), move in self._moves.items() if after > before)
        return {
            "changed": total,
            "stricter": stricter,
            "milder": total - stricter,
            "rescored": self._rescored,
            "moves": [
                {
                    "from": _ACTIONS[before].label,
                    "to": _ACTIONS[after].label,
                    "payments": move.payments,
                    "amount": move.amount,
                    "fraud": move.fraud if labelled else None,
                    "examples": [
                        {**example, "fraud": example["fraud"] if labelled else None}
                        for _, _, example in sorted(self._largest[before, after], reverse=True)
                    ],
                }
                for (before, after), move in moves
            ],
        }


def _reasons(context: Context, step: Step, i: int) -> list[dict[str, str]]:
    """Live reasons of a payment: rule and sentence."""
    out = []
    for column in np.flatnonzero((step.results.fired[i] == FIRED) & context.meta.live).tolist():
        rule = context.pack.rules[column]
        out.append({"rule": rule.label, "text": render_reason(rule, step.matrix[i]).text})
    if step.verdicts.anomaly[i] & (PAYER_REASON | PAYEE_REASON):
        out.append({"rule": ANOMALY_RULE, "text": "unlike payments seen before"})
    return out


def _take_warnings(step: Step, found: dict[int, Warned]) -> None:
    for said in step.said:
        for alert in said.alerts:
            rows = step.payee_rows if alert.side is Side.PAYEE else step.payer_rows
            if alert.status is AlertStatus.OPENED:
                found.setdefault(int(rows[said.at]), _warned(alert))


def _warned(alert: Alert) -> Warned:
    reasons = [{"rule": reason.key, "text": reason.text} for reason in alert.reasons]
    return Warned(alert.account, alert.opened_at, alert.score, reasons)


def _accounts(
    warned: list[dict[int, Warned]], judges: list[Judge], standing: Standing, examples: int
) -> dict[str, Any]:
    old, new = warned
    best: list[npt.NDArray[np.float64]] = [judge.whole.best for judge in judges]

    def kind(rows: list[int], told: dict[int, Warned]) -> dict[str, Any]:
        judged = [row for row in rows if standing.candidate[row] and not standing.victim[row]]
        right = sum(bool(standing.positive[row]) for row in judged)
        highest = sorted(rows, key=lambda row: (-told[row].score, told[row].opened_at, told[row].account))
        return {
            "accounts": len(rows),
            "right": right if standing.labelled else None,
            "wrong": len(judged) - right if standing.labelled else None,
            "examples": [
                {
                    "account": told[row].account,
                    "opened_at": told[row].opened_at,
                    "score": told[row].score,
                    "old_score": float(best[0][row]),
                    "new_score": float(best[1][row]),
                    "reasons": told[row].reasons,
                    "judged": _judged(row, standing),
                }
                for row in highest[:examples]
            ],
        }

    return {
        "both": len(old.keys() & new.keys()),
        "newly_warned": kind(sorted(new.keys() - old.keys()), new),
        "no_longer_warned": kind(sorted(old.keys() - new.keys()), old),
    }


def _judged(row: int, standing: Standing) -> str | None:
    if not standing.labelled:
        return None
    if standing.victim[row]:
        return "victim"
    if not standing.candidate[row]:
        return "unlisted"
    return "right" if standing.positive[row] else "wrong"
