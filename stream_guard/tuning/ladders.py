"""A rule from loose to strict on a bank's own figures: rungs of parameter values, and where each value is
from.

What can be moved is what a rule compares with a parameter of its own: a term `figure >= parameter` (or `<=`)
of its trigger. A share, an age or a time is part of what the typology means and stays; amounts and counts are
the bank's, and so is a limit of evidence.

- A rule that is *graded* has the parameters `limit` and `half`. Its figure is an account against its own past
  and has no unit, so rungs are set by how many accounts have ever had as much: `limit` is what the strongest
  2 % (5 %, 1 % ...) of accounts reach, and `half` the way from five times as many accounts to it: where that
  way is short, little more than the limit is already extraordinary.
- Any other rule is moved by one quantile for all of its amounts and counts: that of each figure over the
  payments that fulfil the rest of the trigger.
- A parameter called `ordinary` is the median payment on every rung.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection.rules import Rule
from stream_guard.detection.rules.expression import (
    And,
    Compare,
    Condition,
    Numeric,
    Param,
    Text,
    TextFeature,
    canonical,
    features_of,
    params_of,
)
from stream_guard.tuning.arrays import Columns, truth, values
from stream_guard.tuning.sample import Sample

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LIMIT, HALF, ORDINARY = "limit", "half", "ordinary"
SHARES: Final = (0.08, 0.05, 0.03, 0.02, 0.01, 0.005, 0.002)
"""Of all accounts that a graded rule can be evaluated for: rungs from loose to strict."""
QUANTILES: Final = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
WIDER: Final = 5.0
"""`half` reaches from the limit back to what this many times as many accounts have."""
LEAST_HALF: Final = 0.25
"""Of the limit; a steeper score would tell nothing but that the limit was passed."""
FEWEST: Final = 100
"""Payments that a quantile needs; below, it is taken of all payments that have the figure."""
RARE: Final = 0.99
"""The loosest of such a quantile: where a pattern is hardly ever met, ordinary amounts say nothing."""


@dataclass(frozen=True)
class Rung:
    """Values of the parameters that are moved, and in a few words where each is from."""

    values: Mapping[str, float]
    origins: Mapping[str, str]


@dataclass(frozen=True)
class _Dial:
    """A parameter that a figure is compared with."""

    name: str
    figure: Numeric
    raises: bool
    """A higher value is stricter."""
    unit: str


class _Figure(NamedTuple):
    ascending: Floats
    dial: _Dial
    least: float
    """Loosest quantile."""


class Ladder:
    """One rule on one sample.

    Parameters
    ----------
    rule
        Of a pack.
    sample
        Payments to be fitted on.
    own
        bool[accounts]: the bank's own accounts, which alone are counted.
    """

    def __init__(self, rule: Rule, sample: Sample, own: Flags) -> None:
        self.rule = rule
        self._sample = sample
        self._own = own
        self._columns: Columns = lru_cache(maxsize=None)(sample.column)
        terms = rule.when.terms if isinstance(rule.when, And) else (rule.when,)
        self._dials: list[_Dial] = []
        self._kept: list[Condition] = []
        for term in terms:
            dial = _dial(term, rule)
            if dial is None:
                self._kept.append(term)
            else:
                self._dials.append(dial)

    @property
    def graded(self) -> bool:
        """Whether it has `limit` and `half`."""
        return LIMIT in self.rule.params and HALF in self.rule.params

    @property
    def evaluable(self) -> bool:
        """Whether there is a payment for which the rule can say yes or no."""
        found = truth(self.rule.when, self._columns, self.rule.values)
        return bool((found.true | found.false).any()) and self._reads_payments

    @property
    def _reads_payments(self) -> bool:
        """Whether it lives of payments at all, and not of lists that a history does not hold."""
        return not any(part in name for name in features_of(self.rule.when) for part in ("listed", "taint"))

    def scores(self, changes: Mapping[str, float]) -> Floats:
        """f8[accounts]: the highest score of each of the bank's accounts on the rule's side; 0: never fired.

        Parameters
        ----------
        changes
            Parameters that differ from the rule's own.
        """
        params = {**self.rule.values, **changes}
        fires = np.flatnonzero(self._all(truth(self.rule.when, self._columns, params).true))
        score = values(self.rule.score, lambda name: self._columns(name)[fires], params)
        every = np.zeros(len(self._sample.ts))
        every[fires] = np.clip(np.nan_to_num(np.broadcast_to(score, len(fires))), 0.0, 100.0)
        return self._sample.best(self.rule.account, every > 0, every) * self._own

    def rungs(self) -> list[Rung]:
        """From loose to strict; none where nothing can be moved."""
        if not self._reads_payments:
            return []
        fixed = self._ordinary()
        found = self._graded() if self.graded else self._quantiles()
        if not found and fixed.values:
            return [fixed]
        return [Rung({**fixed.values, **r.values}, {**fixed.origins, **r.origins}) for r in found]

    def _all(self, flags: Flags) -> Flags:
        return np.broadcast_to(flags, len(self._sample.ts))

    def _ordinary(self) -> Rung:
        if ORDINARY not in self.rule.params:
            return Rung({}, {})
        value = rounded(float(np.nanmedian(self._columns("txn.amount"))), up=False)
        return Rung({ORDINARY: value}, {ORDINARY: "median payment"})

    def _graded(self) -> list[Rung]:
        dial = next((dial for dial in self._dials if dial.name == LIMIT), None)
        if dial is None:
            return []
        fulfilled = self._fulfilled()
        figure = np.broadcast_to(values(dial.figure, self._columns, self.rule.values), len(fulfilled))
        known = fulfilled & np.isfinite(figure)
        best = self._sample.best(self.rule.account, known, figure)
        seen = self._sample.best(self.rule.account, known, np.ones(len(figure))) > 0
        strengths = np.sort(best[seen & self._own])
        if not (strengths > 0).any():
            return []
        rungs = []
        least = float(strengths[strengths > 0][0])
        for share in SHARES:
            at, wider = (_reached(strengths, part) for part in (share, min(WIDER * share, 1.0)))
            at = max(at, least)
            limit = rounded(at, up=False)
            half = rounded(max(at - wider, LEAST_HALF * limit), up=True)
            origin = f"what the strongest {100 * share:g} % of {len(strengths):,} accounts reach"
            way = f"the way to it from {100 * min(WIDER * share, 1.0):g} % of accounts"
            rungs.append(Rung({LIMIT: limit, HALF: half}, {LIMIT: origin, HALF: way}))
        return rungs

    def _quantiles(self) -> list[Rung]:
        dials = [dial for dial in self._dials if dial.name != ORDINARY]
        fulfilled = self._fulfilled()
        figures = {}
        for dial in dials:
            figure = np.broadcast_to(values(dial.figure, self._columns, self.rule.values), len(fulfilled))
            known = np.isfinite(figure)
            chosen = fulfilled & known
            seldom = chosen.sum() < FEWEST
            if seldom:
                chosen = known
            if chosen.any():
                figures[dial.name] = _Figure(np.sort(figure[chosen]), dial, RARE if seldom else 0.0)
        if not figures:
            return []
        return [self._rung(quantile, figures) for quantile in QUANTILES]

    def _rung(self, quantile: float, figures: Mapping[str, _Figure]) -> Rung:
        found, origins = {}, {}
        for name, (ascending, dial, least) in figures.items():
            strict = max(quantile, least)
            level = strict if dial.raises else 1 - strict
            value = float(np.quantile(ascending, level))
            published = self.rule.values[name]
            origins[name] = f"quantile {level:g} of {canonical(dial.figure)} over {len(ascending):,} payments"
            if dial.unit == "count":
                # One payer is no crowd: a pattern keeps at least half of what makes it one.
                value = max(math.floor(value), min(2.0, published), math.ceil(published / 2))
                found[name] = float(value)
            else:
                found[name] = rounded(value, up=not dial.raises)
        return Rung(found, {name: text[:160] for name, text in origins.items()})

    def _fulfilled(self) -> Flags:
        """bool[n]: payments that fulfil all of the trigger that is not moved."""
        kept = (self._all(truth(term, self._columns, self.rule.values).true) for term in self._kept)
        return reduce(np.logical_and, kept, np.ones(len(self._sample.ts), np.bool_))


def _dial(term: Condition, rule: Rule) -> _Dial | None:
    """The parameter that a term of the trigger compares a figure with, if it may be moved."""
    if not isinstance(term, Compare) or term.operator not in ("<", "<=", ">", ">="):
        return None
    left, right, raises = term.left, term.right, term.operator in (">", ">=")
    if isinstance(left, Param):
        left, right, raises = right, left, not raises
    if not isinstance(right, Param) or isinstance(left, Text | TextFeature):
        return None
    unit = rule.params[right.name].unit or ""
    if params_of(left) or not features_of(left) or unit not in ("base", "count", "evidence"):
        return None
    return _Dial(right.name, left, raises, unit)


def _reached(ascending: Floats, share: float) -> float:
    """What the highest `share` of values reach."""
    return float(ascending[min(int((1 - share) * len(ascending)), len(ascending) - 1)])


def rounded(value: float, *, up: bool) -> float:
    """Three figures, never past the value: who had exactly as much still has.

    Examples
    --------
    >>> rounded(54_321.0, up=False), rounded(0.123456, up=True), rounded(0.0, up=False)
    (54300.0, 0.124, 0.0)
    """
    if not value or not math.isfinite(value):
        return 0.0
    places = 2 - math.floor(math.log10(abs(value)))
    scaled = value * 10.0**places
    return float(f"{(math.ceil(scaled - 1e-9) if up else math.floor(scaled + 1e-9)) / 10.0**places:.10g}")
