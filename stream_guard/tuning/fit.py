"""Parameters of every rule for one bank: from how its figures are spread, or from what was fraud among them.

**Cold**: a graded rule gets the limit that the strongest 2 % of accounts reach, any other the loosest
quantile at which it fires for no more than 1 in 1,000 accounts. Scores stay as published. No label is read.

**Tuned**: of the cold values and every rung of the rule's ladder, within the alert budget, the one is taken
that finds most: the suspects it fires for, less half of the others. Then its score becomes what it was worth:
the share of suspects among the accounts it fired for, weaker and stronger half apart, drawn towards 0.3 as by
two more accounts, so that a rule that fired twice is not believed too much. A rule that was never right ends
with a low score and stays in the pack; one that never fired although it could keeps its cold values and opens
no warning alone; one that cannot be tried here (nothing it reads is in the history) stays as published.

A suspect is a party to a payment labelled fraud; `fraud_account` and roles are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.passage import Inputs, Passage, Progress
from stream_guard.backtest.period import Period, PeriodError
from stream_guard.detection.features import DAY
from stream_guard.detection.rules import Rule
from stream_guard.detection.rules.compiler import FIXED_SCORE
from stream_guard.detection.rules.expression import Number, features_of
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import RuleState
from stream_guard.tuning.ladders import SHARES, Ladder, Rung
from stream_guard.tuning.sample import Sample, gather

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

WARMING: Final = 0.4
COLD_FROM: Final = 0.5
BUDGET: Final = 0.05
COLD_SHARE: Final = 0.02
COLD_RATE: Final = 0.001
"""Of all accounts: for how many a rule that is not graded may fire."""
WRONG: Final = 0.5
"""Suspects that an account costs which is none: a hit rate below 1 in 3 is not worth having."""
PRIOR: Final = 0.3
PRIOR_WEIGHT: Final = 2.0
MOST: Final = 95.0
"""Score of a rule that was always right: several reasons still add to each other."""
HIGHEST: Final = 98.0
UNPROVEN: Final = (30.0, 15.0)
"""`base` and `span` of a rule that never fired: below every threshold of a warning."""
BASE, SPAN = "base", "span"


@dataclass(frozen=True)
class Fitted:
    """What became of one rule.

    Attributes
    ----------
    values
        By parameter, those that differ from the published ones or were confirmed.
    origins
        Where each of them is from.
    note
        What the rule did on the sample.
    """

    values: Mapping[str, float]
    origins: Mapping[str, str]
    note: str


def cold_values(rule: Rule, sample: Sample, own: Flags) -> Fitted:
    """Parameters from the spread of the bank's figures alone.

    Parameters
    ----------
    rule
        As published.
    sample
        Payments before the day of the fit; their labels are not looked at.
    own
        bool[accounts]: the bank's own.
    """
    ladder = Ladder(rule, sample, own)
    return _fitted(_cold_rung(ladder, sample, own), ladder)


def tuned_values(rule: Rule, early: Sample, sample: Sample, own: Flags, budget: float) -> Fitted:
    """Parameters and scores by what was fraud.

    Parameters
    ----------
    rule
        As published.
    early
        What the cold values are from.
    sample
        Payments before the day of the fit, with labels.
    own
        bool[accounts]: the bank's own.
    budget
        Most accounts a rule may fire for over the sample; more only where every rung does.
    """
    start = Ladder(rule, early, own)
    ladder = Ladder(rule, sample, own)
    suspects = sample.suspects() & own
    rungs = [rung for rung in (_cold_rung(start, early, own), *ladder.rungs()) if rung is not None]
    if not ladder.evaluable:
        return Fitted({}, {}, "cannot be tried on this history")
    tried = [_try(rung, ladder, suspects, budget) for rung in rungs or [Rung({}, {})]]
    # Among equals the cold values, then the one that speaks least: it was right more often.
    best = max(tried, key=lambda one: (round(one.gain, 6), one is tried[0], -np.count_nonzero(one.scores)))
    fitted = _fitted(best.rung, ladder)
    worth, note = _worth(rule, best.scores, suspects)
    origins = dict.fromkeys(worth, note)
    return Fitted({**fitted.values, **worth}, {**fitted.origins, **origins}, note)


class _Try(NamedTuple):
    rung: Rung
    scores: Floats
    gain: float


def _try(rung: Rung, ladder: Ladder, suspects: Flags, budget: float) -> _Try:
    scores = ladder.scores({**rung.values, **_plain_score(ladder.rule)})
    fired = scores > 0
    count, right = int(fired.sum()), int((fired & suspects).sum())
    # What is over the budget is worth less than anything within it, and the less the more it is over.
    return _Try(rung, scores, right - WRONG * (count - right) if count <= budget else -float(count) - budget)


def _cold_rung(ladder: Ladder, sample: Sample, own: Flags) -> Rung | None:
    rungs = ladder.rungs()
    if not rungs:
        return None
    if ladder.graded:
        return rungs[SHARES.index(COLD_SHARE)]
    most = COLD_RATE * (own & sample.active()).sum()
    for rung in rungs:
        if (ladder.scores({**rung.values, **_plain_score(ladder.rule)}) > 0).sum() <= most:
            return rung
    return rungs[-1]


def _plain_score(rule: Rule) -> dict[str, float]:
    """A score that never becomes 0, whatever a fit made of it before."""
    return {name: value for name, value in ((BASE, 35.0), (SPAN, 60.0)) if name in rule.params}


def _fitted(rung: Rung | None, ladder: Ladder) -> Fitted:
    if rung is None:
        return Fitted({}, {}, "nothing to fit")
    fired = int((ladder.scores({**rung.values, **_plain_score(ladder.rule)}) > 0).sum())
    return Fitted(rung.values, rung.origins, f"fired for {fired:,} accounts")


def _worth(rule: Rule, scores: Floats, suspects: Flags) -> tuple[dict[str, float], str]:
    """Score by what the rule was worth, and how that was seen."""
    fired = scores > 0
    count, right = int(fired.sum()), int((fired & suspects).sum())
    note = f"{right:,} suspects among {count:,} accounts it fired for"
    share = _drawn(right, count)
    if not count:
        low = high = 0.0
        base, span = UNPROVEN
    else:
        middle = float(np.median(scores[fired]))
        strong = fired & (scores > middle)
        weak = fired & ~strong
        low, high = (_drawn(int((part & suspects).sum()), int(part.sum())) for part in (weak, strong))
        if count < 4 or high < low:
            low = high = share
        base = round(MOST * low, 1)
        span = round(min(HIGHEST - base, MOST * (high - low) + 5.0), 1)
    if BASE in rule.params:
        found = {BASE: base}
        if SPAN in rule.params:
            found[SPAN] = span
        return found, note
    if isinstance(rule.score, Number):
        return {FIXED_SCORE: round(MOST * share, 1) if count else UNPROVEN[0]}, note
    return {}, note


def _drawn(right: int, count: int) -> float:
    return (right + PRIOR_WEIGHT * PRIOR) / (count + PRIOR_WEIGHT)


class Result(NamedTuple):
    """A fitted pack's values, and what they were fitted on."""

    rules: dict[str, Fitted]
    method: str
    since: str
    """Time of the first payment that was looked at; what came before only warmed profiles."""
    payments: int
    accounts: int
    fraud: int | None
    """Payments labelled fraud; None where labels were not looked at."""


def fit(
    inputs: Inputs,
    context: Context,
    accounts: Sequence[str] | None,
    *,
    cold: bool,
    budget: float | None = None,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Fit every rule of a pack in one pass over a history.

    The first `WARMING` of the time only warms profiles: everybody is new when a history begins. Cold values
    are of the second half, when windows of 30 days are filled.

    Parameters
    ----------
    inputs
        The history, up to the day of the fit.
    context
        The pack, and the bank.
    accounts
        The bank's own accounts; None: all that have a payment.
    cold
        Whether labels are left alone.
    budget
        Most accounts a day for which a rule may fire; default `BUDGET` of the accounts over the whole time.
    tell
        Called after every piece of the file.

    Raises
    ------
    PeriodError
        No payment is left to fit on.
    """
    rules = [rule for rule in context.pack.pack.rules if rule.state is not RuleState.OFF]
    names = {name for rule in rules for tree in (rule.when, rule.score) for name in features_of(tree)}
    start, end = inputs.period.start, inputs.period.end
    later = [start + round(share * (end - start)) for share in (WARMING, COLD_FROM)]
    passage = Passage(replace(inputs, period=Period(later[0], end)), [context], tell=tell)
    sample = gather(passage.judged(), sorted(names | {"txn.amount"}))
    if not len(sample.ts):
        raise PeriodError("No payment is left to fit on: choose another --until.")
    own = sample.active()
    if accounts is not None:
        rows = passage.rows_of(accounts)
        own = np.isin(np.arange(sample.accounts), rows) & own
    early = sample.since(later[1])
    if not len(early.ts):
        early = sample
    labelled = not cold and bool(sample.fraud.any())
    days = (int(sample.ts[-1]) - int(sample.ts[0])) / DAY
    most = BUDGET * own.sum() if budget is None else budget * days
    with np.errstate(all="ignore"):
        found = {
            rule.id: tuned_values(rule, early, sample, own, most)
            if labelled
            else cold_values(rule, early, own)
            for rule in rules
        }
    return Result(
        found,
        "tuned" if labelled else "cold",
        datetime.fromtimestamp(int(sample.ts[0]) / 1000, UTC).isoformat(timespec="seconds"),
        len(sample.ts),
        int(own.sum()),
        int(sample.fraud.sum()) if labelled else None,
    )
