"""From what was gathered to the figures of the report.

Of the whole pack, of each rule by itself and of the pack without it, over the judged period:

- ``warnings``: warnings opened; ``warned_accounts``: distinct accounts of them. ``hits`` are warnings on
  positive accounts, ``false_positives`` on other candidates; ``on_victims`` and ``on_unlisted`` are neither.
- ``hit_rate``: hits / (hits + false positives), with Wilson's 95 % interval.
- ``recall``: share of the positive accounts with a warning.
- ``false_per_true``: false positives / hits. ``warnings_a_day``: warnings / days of the judged period.
- ``accounts``: candidates ranked by the highest score of their own side, 0 where nothing ever fired.
  ``hit_at_50``: expected share of positives among the first 50; ``hit_at_k``: among the first K;
  ``recall_at_2k``: share of the positives among the first 2 K; ``auc``: area under the ROC curve.
- ``transactions``: payments ranked by the higher side's score: ``auc``, ``average_precision``, and
  ``card_precision_at_100`` a day (see `card_days`).
- ``amount``: of fraudulent payments in base currency; ``intercepted``: of those decided delay, hold or stop.
- ``lead``: over positive accounts, ``in_time``: with a fraudulent payment after their first warning,
  ``share`` of the positives, ``median_days`` from that warning to the last fraudulent payment; ``payments``
  and ``amount``: fraudulent payments after the first warning on one of their parties, which the warning
  could have saved.

A figure that has nothing to stand on (no labels, no positives) is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_guard.alerts import ANOMALY_RULE
from stream_guard.backtest.judge import Judge, Scenario
from stream_guard.backtest.sets import ANOMALY
from stream_guard.backtest.spectrum import Spectrum
from stream_guard.backtest.view import View
from stream_guard.detection.state import Context
from stream_guard.feedback.hit_rate import HitRate

Flags = npt.NDArray[np.bool_]

FIRST: int = 50
"""Accounts of ``hit_at_50``: what a team looks at in a week."""


@dataclass(frozen=True)
class Standing:
    """Which accounts count for what, by row.

    Attributes
    ----------
    candidate, positive, victim
        bool[rows].
    labelled
        Whether anything says which accounts are fraudulent.
    """

    candidate: Flags
    positive: Flags
    victim: Flags
    labelled: bool

    @property
    def k(self) -> int:
        """Number of positives."""
        return int(self.positive.sum())


def figures(
    judge: Judge, standing: Standing, context: Context, days: float, *, labelled: bool, scenarios: list[str]
) -> dict[str, Any]:
    """Everything in one document.

    Parameters
    ----------
    judge
        After `Judge.finish`.
    days
        Length of the judged period.
    labelled
        Whether payments have labels.
    scenarios
        Names of typology labels by code.
    """
    whole = of_view(judge.whole, judge, standing, days, labelled)
    return {
        **whole,
        "actions": {label: int(n) for label, n in zip(_LABELS, judge.actions.tolist(), strict=True)},
        "rules": {
            key: _of_rule(column, judge, standing, context, days, labelled, whole)
            for key, column in _columns(context).items()
        },
        "scenarios": {
            scenarios[code] or "unnamed": _of_scenario(one, judge.whole, standing)
            for code, one in sorted(judge.scenarios.items())
        },
    }


_LABELS = ("allow", "confirm", "delay", "hold", "stop")


def _columns(context: Context) -> dict[str, int]:
    return {**{key: i for i, key in enumerate(context.rule_keys)}, ANOMALY_RULE: ANOMALY}


def of_view(view: View, judge: Judge, standing: Standing, days: float, labelled: bool) -> dict[str, Any]:
    """Figures of one set of rules; arguments as in `figures`."""
    warnings = view.warnings
    warned = warnings > 0
    hits = int(warnings[standing.positive & ~standing.victim].sum())
    wrong = int(warnings[standing.candidate & ~standing.positive & ~standing.victim].sum())
    rate = HitRate(confirmed=hits, false_positive=wrong) if standing.labelled else HitRate()
    total = int(warnings.sum())
    known = standing.labelled
    return {
        "warnings": total,
        "warned_accounts": int(warned.sum()),
        "hits": hits if known else None,
        "false_positives": wrong if known else None,
        "on_victims": int(warnings[standing.victim].sum()),
        "on_unlisted": int(warnings[~standing.candidate & ~standing.victim].sum()),
        "hit_rate": rate.value,
        "hit_rate_interval": rate.interval,
        "recall": _share(int((warned & standing.positive).sum()), standing.k),
        "false_per_true": _share(wrong, hits) if known else None,
        "warnings_a_day": total / days,
        "accounts": _accounts(view, standing),
        "transactions": _transactions(view, judge, labelled),
        "amount": {
            "fraud": judge.fraud_amount if labelled else None,
            "intercepted": view.intercepted if labelled else None,
            "share": _share(view.intercepted, judge.fraud_amount),
        },
        "lead": _lead(view, judge, standing, labelled),
    }


def _accounts(view: View, standing: Standing) -> dict[str, Any]:
    spectrum = Spectrum()
    spectrum.add(view.best[standing.candidate], standing.positive[standing.candidate])
    k, n = standing.k, int(standing.candidate.sum())
    return {
        "candidates": n,
        "k": k,
        "hit_at_50": _share(spectrum.expected_hits(FIRST), FIRST) if k else None,
        "hit_at_k": _share(spectrum.expected_hits(k), k),
        "recall_at_2k": _share(spectrum.expected_hits(2 * k), k),
        "auc": spectrum.auc(),
    }


def _transactions(view: View, judge: Judge, labelled: bool) -> dict[str, float | None]:
    if not labelled:
        return {"auc": None, "average_precision": None, "card_precision_at_100": None}
    events = Spectrum()
    view.events.into(events)
    silent = judge.fraud_events - view.events.positives
    events.add_counts(0.0, judge.events - judge.fraud_events - view.events.negatives, silent)
    return {
        "auc": events.auc(),
        "average_precision": events.average_precision(),
        "card_precision_at_100": view.cards.value(),
    }


def _lead(view: View, judge: Judge, standing: Standing, labelled: bool) -> dict[str, float | None]:
    if not labelled:
        return dict.fromkeys(("in_time", "share", "median_days", "payments", "amount"))
    in_time = np.flatnonzero((view.later > 0) & standing.positive)
    lead = (judge.last_fraud[in_time] - view.first_ts[in_time]) / 86_400_000
    return {
        "in_time": len(in_time),
        "share": _share(len(in_time), standing.k),
        "median_days": float(np.median(lead)) if len(lead) else None,
        "payments": view.saved,
        "amount": view.saved_amount,
    }


def _of_rule(
    column: int,
    judge: Judge,
    standing: Standing,
    context: Context,
    days: float,
    labelled: bool,
    whole: dict[str, Any],
) -> dict[str, Any]:
    """A rule by itself; `marginal` is what is lost without it (negative: without it there is more)."""
    described: dict[str, Any]
    if column == ANOMALY:
        described = {"state": "live", "account": None, "fired": judge.anomalies, "not_evaluable": None}
    else:
        rule = context.pack.rules[column]
        described = {
            "state": str(rule.state),
            "account": str(rule.account),
            "fired": int(judge.fired[column]),
            "not_evaluable": int(judge.not_evaluable[column]),
        }
    out = {
        **described,
        **of_view(judge.sets.views["alone", column], judge, standing, days, labelled),
        "marginal": None,
    }
    without = judge.sets.views.get(("without", column))
    if without is not None:
        less = of_view(without, judge, standing, days, labelled)
        out["marginal"] = {
            "warnings": whole["warnings"] - less["warnings"],
            "hits": _minus(whole["hits"], less["hits"]),
            "false_positives": _minus(whole["false_positives"], less["false_positives"]),
            "hit_rate": _minus(whole["hit_rate"], less["hit_rate"]),
            "recall": _minus(whole["recall"], less["recall"]),
            "hit_at_50": _minus(whole["accounts"]["hit_at_50"], less["accounts"]["hit_at_50"]),
            "hit_at_k": _minus(whole["accounts"]["hit_at_k"], less["accounts"]["hit_at_k"]),
            "intercepted": _minus(whole["amount"]["intercepted"], less["amount"]["intercepted"]),
        }
    return out


def _of_scenario(one: Scenario, whole: View, standing: Standing) -> dict[str, Any]:
    rows = np.array(sorted(one.rows), np.int64)
    positive = rows[standing.positive[rows]]
    warned = int((whole.warnings[positive] > 0).sum())
    return {
        "payments": one.payments,
        "flagged": one.flagged,
        "amount": one.amount,
        "intercepted": one.intercepted,
        "share": _share(one.intercepted, one.amount),
        "accounts": len(positive),
        "warned_accounts": warned,
        "recall": _share(warned, len(positive)),
        "payments_after_warning": one.saved,
    }


def _share(part: float, of: float) -> float | None:
    return part / of if of else None


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
