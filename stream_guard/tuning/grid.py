"""Values that a parameter of a rule is tried with."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from stream_guard.detection.rules import Rule
from stream_guard.detection.rules.compiler import FIXED_SCORE
from stream_guard.detection.rules.errors import suggestion
from stream_guard.detection.rules.expression import Number

MOST_POINTS: Final = 100
"""Points of a grid: each is judged as two packs of its own, by itself and with all others."""

_NUMBER: Final = r"[-+]?[0-9][0-9_]*(?:\.[0-9_]+)?(?:[eE][-+]?[0-9]+)?"

Point = dict[str, float]
"""Value by parameter name."""


class GridError(ValueError):
    """A grid that cannot be tried; the message is a sentence that says what to write."""


@dataclass(frozen=True)
class Axis:
    """A parameter and the values to try."""

    name: str
    values: tuple[float, ...]


def axis(text: str) -> Axis:
    """Axis as it is written on the command line: ``NAME=lo:hi:steps``, both ends included.

    Raises
    ------
    GridError

    Examples
    --------
    >>> axis("min_in=10_000:50_000:5").values
    (10000.0, 20000.0, 30000.0, 40000.0, 50000.0)
    """
    match = re.fullmatch(rf"([a-z][a-z0-9_]*)=({_NUMBER}):({_NUMBER}):([0-9]+)", text)
    if match is None:
        raise GridError(f"--param {text}: write NAME=lo:hi:steps, such as min_in=10_000:90_000:9.")
    low, high, steps = float(match[2]), float(match[3]), int(match[4])
    if not low < high or steps < 2 or not math.isfinite(high - low):
        raise GridError(f"--param {text}: lo must lie below hi, and two steps or more are needed.")
    if steps > MOST_POINTS:
        raise GridError(f"--param {text}: {steps} steps are more than {MOST_POINTS}.")
    # Without the last digits of a sum of steps: 0.1, 0.2, 0.3 and not 0.30000000000000004.
    return Axis(match[1], tuple(float(f"{value:.12g}") for value in np.linspace(low, high, steps)))


def current(rule: Rule) -> Point:
    """Values of all that can be tuned in a rule; its score too, where that is a number."""
    score = {FIXED_SCORE: rule.score.value} if isinstance(rule.score, Number) else {}
    return {**rule.values, **score}


def points(rule: Rule, axes: Sequence[Axis]) -> list[Point]:
    """All combinations of the axes' values, in order, and the values in force where they are not among them.

    Raises
    ------
    GridError
        If the rule has no such parameter, an axis is given twice, or there are too many points.
    """
    now = current(rule)
    names = [one.name for one in axes]
    for name in names:
        if name not in now:
            raise GridError(
                f"{rule.label} has no parameter '{name}'{suggestion(name, list(now))}; it has"
                f" {', '.join(now) or 'none'}."
            )
        if names.count(name) > 1:
            raise GridError(f"--param names {name} twice: give it once.")
    for one in axes:
        if one.name == FIXED_SCORE and not 0 <= one.values[0] <= one.values[-1] <= 100:
            raise GridError("A score lies from 0 to 100.")
    combined = {tuple(values) for values in itertools.product(*(one.values for one in axes))}
    combined.add(tuple(now[name] for name in names))
    if len(combined) > MOST_POINTS:
        raise GridError(f"The grid has {len(combined)} points, more than {MOST_POINTS}: take fewer steps.")
    return [dict(zip(names, values, strict=True)) for values in sorted(combined)]
