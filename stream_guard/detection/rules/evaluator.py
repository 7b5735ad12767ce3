"""The plain evaluator: the reference the kernels are tested against, and the one that explains a rule.

Slow and obvious on purpose. Arithmetic is IEEE double arithmetic with two additions: a division by zero is a
missing value, and a missing value makes everything computed from it missing. Conditions follow Kleene's
strong three-valued logic, with None for unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stream_guard.detection.rules.expression import (
    And,
    Arithmetic,
    Compare,
    Condition,
    Flag,
    Function,
    Member,
    Missing,
    Negative,
    Node,
    Not,
    Number,
    Numeric,
    Or,
    Param,
    Quantity,
    Text,
    TextFeature,
    canonical,
    walk,
)

MISSING = math.nan


def value(
    node: Numeric | Text | TextFeature | Flag, row: Sequence[float], params: Mapping[str, float]
) -> float:
    """Value of a number (or code of a text) for one payment; NaN if missing.

    Parameters
    ----------
    node
        A checked tree.
    row
        The payment's feature values, one a column of the catalogue.
    params
        Value of every parameter of the rule.

    Examples
    --------
    >>> value(Arithmetic("/", Number(1.0), Param("p")), [], {"p": 0.0})
    nan
    """
    match node:
        case Number(number):
            return number
        case Text(_, code):
            return code
        case Param(name):
            return params[name]
        case Quantity(_, index) | TextFeature(_, index) | Flag(_, index):
            return float(row[index])
        case Negative(of):
            return -value(of, row, params)
        case Arithmetic(operator, left, right):
            return _arithmetic(operator, value(left, row, params), value(right, row, params))
        case Function(name, arguments):
            return _function(name, [value(argument, row, params) for argument in arguments])


def _arithmetic(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right if right != 0 else MISSING


def _function(name: str, values: list[float]) -> float:
    match name:
        case "abs":
            return abs(values[0])
        case "if_missing":
            return values[1] if math.isnan(values[0]) else values[0]
        case "ratio":
            return values[0] / values[1] if values[1] > 0 else MISSING
    if any(math.isnan(one) for one in values):
        return MISSING
    return min(values) if name == "min" else max(values)


def truth(node: Condition, row: Sequence[float], params: Mapping[str, float]) -> bool | None:
    """Truth of a condition for one payment; None if it cannot be known. Arguments as in `value`.

    Examples
    --------
    >>> night = Flag("txn.night", 0)
    >>> [truth(And((night, Not(night))), [seen], {}) for seen in (1.0, 0.0, float("nan"))]
    [False, False, None]
    """
    match node:
        case Flag(_, index):
            return None if math.isnan(row[index]) else row[index] != 0
        case Missing(of):
            return math.isnan(value(of, row, params))
        case Compare(operator, left, right):
            return _compare(operator, value(left, row, params), value(right, row, params))
        case Member(of, items):
            looked_up = value(of, row, params)
            if math.isnan(looked_up):
                return None
            return any(looked_up == (item.code if isinstance(item, Text) else item) for item in items)
        case Not(of):
            inner = truth(of, row, params)
            return None if inner is None else not inner
        case And(terms):
            found = [truth(term, row, params) for term in terms]
            return False if False in found else None if None in found else True
        case Or(terms):
            found = [truth(term, row, params) for term in terms]
            return True if True in found else None if None in found else False


def _compare(operator: str, left: float, right: float) -> bool | None:
    if math.isnan(left) or math.isnan(right):
        return None
    match operator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "==":
            return left == right
        case _:
            return left != right


class Term(NamedTuple):
    """One line of an explanation."""

    depth: int
    """How many `and`, `or`, `not` stand around it."""
    text: str
    """The term as the rule says it; ``and``, ``or``, ``not`` for the joints."""
    result: bool | None
    """None: cannot be known, a value is missing."""
    values: dict[str, float | None]
    """Features and parameters of the term; None is missing."""


def terms(node: Condition, row: Sequence[float], params: Mapping[str, float], depth: int = 0) -> list[Term]:
    """Every term of a condition with its values and its truth, in reading order.

    Examples
    --------
    >>> [t.text for t in terms(Not(Flag("txn.night", 0)), [1.0], {})]
    ['not', 'txn.night']
    """
    joint: tuple[str, tuple[Condition, ...]] | None = None
    match node:
        case And(parts):
            joint = ("and", parts)
        case Or(parts):
            joint = ("or", parts)
        case Not(of):
            joint = ("not", (of,))
    result = truth(node, row, params)
    if joint is None:
        return [Term(depth, canonical(node), result, _values(node, row, params))]
    below = [term for part in joint[1] for term in terms(part, row, params, depth + 1)]
    return [Term(depth, joint[0], result, {}), *below]


def _values(node: Node, row: Sequence[float], params: Mapping[str, float]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for part in walk(node):
        if isinstance(part, Param | Quantity | TextFeature | Flag):
            one = value(part, row, params)
            found[part.name] = None if math.isnan(one) else one
    return found
