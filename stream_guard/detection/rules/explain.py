"""What a rule says about one payment, in words: the reason with its evidence, the trigger term by term."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from stream_guard.detection.rules.evaluator import Term, terms, truth, value
from stream_guard.detection.rules.expression import number_text
from stream_guard.detection.rules.parser import CATALOGUE
from stream_guard.detection.rules.reasons import floor_columns, is_floor
from stream_guard.detection.rules.rule import Rule

FLOOR: Final = "floor"
"""Evidence key that is 1 when a figure is a floor; no feature and no parameter can be called that."""

_SAID: Final = {True: "true", False: "false", None: "unknown"}


class Verdict(NamedTuple):
    """The reference's answer for one rule and one payment."""

    fired: int
    """0 no, 1 fired, 2 not evaluable, as in `compiler.RuleResults`."""
    score: float
    """0-100; 0 where it did not fire."""


class Reason(NamedTuple):
    """What a warning and a decision say about a rule that fired."""

    text: str
    evidence: dict[str, float | None]
    """Every feature of the trigger and the reason, then their parameters; None is missing."""


class Explanation(NamedTuple):
    """A rule's whole answer for one payment."""

    rule: str
    verdict: Verdict
    valid: bool
    terms: list[Term]

    def __str__(self) -> str:
        verdict = ("does not fire", f"fires with score {self.verdict.score:.1f}", "is not evaluable")[
            self.verdict.fired
        ]
        lines = [f"{self.rule} {verdict if self.valid else 'is not valid at that time'}"]
        lines += [self._line(term) for term in self.terms]
        return "\n".join(lines)

    @staticmethod
    def _line(term: Term) -> str:
        figures = ", ".join(f"{name} = {_figure(name, number)}" for name, number in term.values.items())
        return f"  {_SAID[term.result]:<8}{'  ' * term.depth}{term.text}" + (
            f"   [{figures}]" if figures else ""
        )


def judge(rule: Rule, row: Sequence[float], ts: int, params: Mapping[str, float] | None = None) -> Verdict:
    """Evaluate a rule the plain way: what the kernels must agree with.

    Parameters
    ----------
    rule
        A checked rule.
    row
        The payment's feature values, one a column of the catalogue.
    ts
        Event time, epoch milliseconds.
    params
        Parameter values to use instead of the rule's own.
    """
    values = rule.values if params is None else params
    since, until = rule.bounds
    if not since <= ts < until:
        return Verdict(0, 0.0)
    fired = truth(rule.when, row, values)
    if fired is not True:
        return Verdict(2 if fired is None else 0, 0.0)
    score = value(rule.score, row, values)
    return Verdict(2, 0.0) if math.isnan(score) else Verdict(1, min(max(score, 0.0), 100.0))


def explain(
    rule: Rule, row: Sequence[float], ts: int, params: Mapping[str, float] | None = None
) -> Explanation:
    """Why a rule fires on a payment or does not, term by term. Arguments as in `judge`.

    Examples
    --------
    >>> from stream_guard.detection.features import INDEX, N
    >>> from stream_guard.detection.rules.pack import EXAMPLE, load_pack
    >>> row = [float("nan")] * N
    >>> row[INDEX["payer.in_sum_24h"]] = 40_000.0
    >>> print(explain(load_pack(EXAMPLE, "example").rules[0], row, 1_800_000_000_000))
    rapid-in-out@3 does not fire
      false   and
      false     payer.in_sum_24h >= min_in   [payer.in_sum_24h = 40000, min_in = 50000]
      unknown   payer.out_sum_24h >= share * payer.in_sum_24h   \
[payer.out_sum_24h = unknown, share = 0.9, payer.in_sum_24h = 40000]
    """
    values = rule.values if params is None else params
    since, until = rule.bounds
    found = terms(rule.when, row, values)
    return Explanation(rule.label, judge(rule, row, ts, values), since <= ts < until, found)


def render_reason(
    rule: Rule,
    row: Sequence[float],
    params: Mapping[str, float] | None = None,
    words: Mapping[str, str] | None = None,
) -> Reason:
    """Sentence and evidence of a rule that fired on a payment. Arguments as in `judge` and `Template.render`.

    The evidence of a text feature is the code of its text. ``floor`` is added, as 1, when more payments may
    fall into a window of the evidence than an account remembers one by one, so that counts, sums and maxima
    are at least what they say.

    Examples
    --------
    >>> from stream_guard.detection.features import INDEX, N
    >>> from stream_guard.detection.rules.pack import EXAMPLE, load_pack
    >>> row = [float("nan")] * N
    >>> row[INDEX["payer.in_sum_24h"]], row[INDEX["payer.out_sum_24h"]] = 60_000.0, 57_500.0
    >>> text, evidence = render_reason(load_pack(EXAMPLE, "example").rules[0], row)
    >>> text
    '57,500 of 60,000 received in 24 h has left again'
    >>> evidence
    {'payer.in_sum_24h': 60000.0, 'payer.out_sum_24h': 57500.0, 'min_in': 50000.0, 'share': 0.9}
    """
    values = rule.values if params is None else params
    features, shown = rule.shown
    evidence: dict[str, float | None] = {}
    for name, index in features.items():
        number = float(row[index])
        evidence[name] = None if math.isnan(number) else number
    evidence.update({name: values[name] for name in shown})
    if any(is_floor(floor_columns(CATALOGUE[name]), row) for name in features):
        evidence[FLOOR] = 1.0
    return Reason(rule.reason.render(row, values, words), evidence)


def _figure(name: str, number: float | None) -> str:
    if number is None:
        return "unknown"
    feature = CATALOGUE.get(name)
    if feature is not None and feature.kind == "bool":
        return "yes" if number else "no"
    return (
        f"code {number_text(number)}"
        if feature is not None and feature.kind == "text"
        else number_text(number)
    )
