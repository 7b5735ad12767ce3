"""Which values a budget of warnings a day allows, and which of them is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stream_guard.tuning.grid import Point
from stream_guard.tuning.pack_text import written
from stream_guard.tuning.tune import Tried, Tuned


@dataclass(frozen=True)
class Choice:
    """What to take, and why; None: nothing can be taken."""

    tried: Tried | None
    why: str


def choose(tuned: Tuned, budget: float) -> Choice:
    """Of what opens at most `budget` warnings a day by itself, what reaches most fraud accounts.

    A team can look at so many warnings a day whether they are right or not; within that, fraud that is missed
    is what costs. Where two values reach as many, the higher hit rate decides, then the fewer warnings, then
    the values in force, and last the smaller change from them.
    """
    if not tuned.labelled:
        return Choice(None, "The history does not say what was fraud, so no value is better than another.")
    within = [one for one in tuned.tried if one.alone["warnings_a_day"] <= budget]
    if not within:
        least = min(tuned.tried, key=lambda one: float(one.alone["warnings_a_day"]))
        return Choice(
            None,
            f"Every value opens more than {budget:g} warnings a day; the fewest are"
            f" {least.alone['warnings_a_day']:.2f}, with {named(least.values)}.",
        )
    now = next(one for one in tuned.tried if one.now)
    best = min(within, key=lambda one: (_order(one), _distance(one, now, tuned.tried)))
    if not best.alone["hits"]:
        return Choice(None, f"No value within {budget:g} warnings a day reaches a fraud account.")
    return Choice(best, _why(best, now, within, tuned, budget))


def _order(one: Tried) -> tuple[float, ...]:
    figures = one.alone
    return -(figures["recall"] or 0.0), -(figures["hit_rate"] or 0.0), figures["warnings"], not one.now


def _distance(one: Tried, now: Tried, tried: Sequence[Tried]) -> float:
    """Sum over the parameters of the change from the values in force, as a part of the grid's width."""
    total = 0.0
    for name, value in one.values.items():
        values = [other.values[name] for other in tried]
        width = max(values) - min(values)
        total += abs(value - now.values[name]) / width if width else 0.0
    return total


def _why(best: Tried, now: Tried, within: Sequence[Tried], tuned: Tuned, budget: float) -> str:
    figures = best.alone
    said = [
        f"{len(within)} of {len(tuned.tried)} values open at most {budget:g} warnings a day; of these"
        f" {named(best.values)} reaches most fraud accounts: {_figures(best)}."
    ]
    equal = [one for one in within if one is not best and one.alone["recall"] == figures["recall"]]
    if equal:
        others = "1 other reaches" if len(equal) == 1 else f"{len(equal)} others reach"
        said.append(f"{others} as many, at no higher hit rate.")
    beyond = [
        one
        for one in tuned.tried
        if one not in within and (one.alone["recall"] or 0.0) > (figures["recall"] or 0.0)
    ]
    if beyond:
        next_one = min(beyond, key=lambda one: float(one.alone["warnings_a_day"]))
        said.append(f"More would take {named(next_one.values)}: {_figures(next_one)}.")
    said.append(
        "These values are in force." if best.now else f"In force is {named(now.values)}: {_figures(now)}."
    )
    return " ".join(said)


def _figures(one: Tried) -> str:
    figures = one.alone
    rate = figures["hit_rate"]
    right = "no hit rate" if rate is None else f"hit rate {rate:.1%}"
    return f"recall {figures['recall'] or 0:.1%}, {right}, {figures['warnings_a_day']:.2f} warnings a day"


def named(values: Point) -> str:
    """Values in words.

    Examples
    --------
    >>> named({"min_in": 50_000.0, "share": 0.9})
    'min_in = 50_000, share = 0.9'
    """
    return ", ".join(f"{name} = {written(value)}" for name, value in values.items())
