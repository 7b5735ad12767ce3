"""One rule with many values of its parameters, judged in one pass over the features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.backtest.figures import of_view
from stream_guard.backtest.judge import Judge
from stream_guard.backtest.passage import AT_ONCE, Inputs, Passage, Progress
from stream_guard.backtest.runner import standing_of
from stream_guard.backtest.sets import Members, Sets
from stream_guard.detection.rules import CompiledPack, Rule, RuleResults, compile_pack
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import RuleState
from stream_guard.tuning.grid import Point, current


@dataclass(frozen=True)
class Tried:
    """A point of the grid.

    Attributes
    ----------
    values
        Of the parameters tried.
    now
        They are those in force.
    alone, pack
        Figures as the backtest has them: of the rule by itself, and of the pack with these values. What the
        anomaly model learned stays as it was under the values in force.
    """

    values: Point
    now: bool
    alone: dict[str, Any]
    pack: dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes
    ----------
    rule
        That was tuned.
    tried
        In the order of the values.
    events, judged_events
        Payments read, and judged.
    days
        Length of the judged period.
    labelled
        Whether anything says what was right.
    """

    rule: Rule
    tried: list[Tried]
    events: int
    judged_events: int
    days: float
    labelled: bool


def with_rule(context: Context, rule: Rule, cache: Path | None) -> Context:
    """The context with a rule that is off in shadow, so that its features are there to be looked at."""
    if rule.state is not RuleState.OFF:
        return context
    whole = context.pack.pack
    rules = tuple(replace(one, state=RuleState.SHADOW) if one is rule else one for one in whole.rules)
    return replace(context, pack=compile_pack(replace(whole, rules=rules), cache))


def tune(
    inputs: Inputs,
    context: Context,
    rule: Rule,
    grid: Sequence[Point],
    cache: Path | None = None,
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
    at_once: int = AT_ONCE,
) -> Tuned:
    """Judge a rule at every point of a grid.

    Features are computed once; the rule's kernel is compiled once and evaluated with each point's values.

    Parameters
    ----------
    inputs
        What is read.
    context
        The pack in force, of which `rule` is one.
    grid
        As `grid.points` gives it.
    cache
        Folder for compiled code.

    Raises
    ------
    HistoryError
        The history or its labels cannot be read.
    PeriodError
        No payment of the period was judged.
    """
    context = with_rule(context, rule, cache)
    one = compile_pack(replace(context.pack.pack, rules=(replace(rule, state=RuleState.LIVE),)), cache)
    params = [one.params_with({(rule.id, name): value for name, value in point.items()}) for point in grid]
    judge = Judge(context, _sets(context, rule, len(grid)))
    passage = Passage(inputs, [context], tell=tell, at_once=at_once)
    for batch, (step,), fraud, scenario in passage.judged():
        results = _beside(step.results, one, step.matrix, batch.ts, params)
        judge.add(batch, step, fraud, scenario, passage.accounts, results)
    judge.finish()
    standing, days = standing_of(passage, judge), inputs.period.days
    figures = {
        name: of_view(view, judge, standing, days, passage.labels.known)
        for name, view in judge.sets.views.items()
    }
    now = current(rule)
    tried = [
        Tried(point, point.items() <= now.items(), figures["alone", number], figures["with", number])
        for number, point in enumerate(grid)
    ]
    return Tuned(rule, tried, passage.read, judge.events, days, standing.labelled)


def _sets(context: Context, rule: Rule, points: int) -> Sets:
    """``("alone", point)`` and ``("with", point)``; the rule at a point is a column after the pack's own."""
    rules = context.pack.rules
    others = frozenset(
        column for column in np.flatnonzero(context.meta.live).tolist() if rules[column].id != rule.id
    )
    members = {}
    for point in range(points):
        column = frozenset({len(rules) + point})
        members["alone", point] = Members(column, False)
        members["with", point] = Members(others | column, True)
    return Sets([*rules, *[rule] * points], members, context.policy)


def _beside(
    results: RuleResults, one: CompiledPack, matrix: Any, ts: Any, params: Sequence[Any]
) -> RuleResults:
    """The pack's results, and beside them those of the rule with each of the parameter arrays."""
    found = [one.evaluate(matrix, ts, numbers) for numbers in params]
    return RuleResults(
        np.concatenate([results.fired, *(part.fired for part in found)], axis=1),
        np.concatenate([results.score, *(part.score for part in found)], axis=1),
    )
