"""Rule expressions over whole columns: any part of a rule, any value of a parameter, nothing compiled.

What searches parameters asks for parts of a rule (the figure that a limit is compared with) and for the same
rule with hundreds of values; a kernel gives neither. Values are as `evaluator` has them, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    Not,
    Number,
    Numeric,
    Or,
    Param,
    Quantity,
    Text,
    TextFeature,
)

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Columns = Callable[[str], Floats]
"""Values of a feature by its name, one a payment, NaN where missing."""


class Truth(NamedTuple):
    """A condition over n payments; where neither holds it cannot be known."""

    true: Flags
    false: Flags


def values(
    node: Numeric | Text | TextFeature | Flag, columns: Columns, params: Mapping[str, float]
) -> Floats | float:
    """Value of a number (or code of a text) for every payment; a single number where all have the same.

    Parameters
    ----------
    node
        A checked tree.
    columns
        The payments.
    params
        Value of every parameter of the rule.

    Examples
    --------
    >>> amounts = np.array([100.0, np.nan, 300.0])
    >>> half = Arithmetic("*", Param("share"), Quantity("txn.amount", 0))
    >>> values(half, lambda name: amounts, {"share": 0.5}).tolist()
    [50.0, nan, 150.0]
    """
    match node:
        case Number(number):
            return number
        case Text(_, code):
            return code
        case Param(name):
            return params[name]
        case Quantity(name, _) | TextFeature(name, _) | Flag(name, _):
            return columns(name)
        case Negative(of):
            return -values(of, columns, params)
        case Arithmetic(operator, left, right):
            return _arithmetic(operator, values(left, columns, params), values(right, columns, params))
        case Function(name, arguments):
            return _function(name, [values(argument, columns, params) for argument in arguments])


def _arithmetic(operator: str, left: Floats | float, right: Floats | float) -> Floats | float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    return _divided(left, right, np.not_equal(right, 0.0))


def _divided(left: Floats | float, right: Floats | float, where: npt.ArrayLike) -> Floats:
    top, bottom, can = np.broadcast_arrays(np.asarray(left, float), np.asarray(right, float), where)
    out = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=out, where=can)
    return out


def _function(name: str, given: list[Floats | float]) -> Floats | float:
    match name:
        case "abs":
            return np.abs(given[0])
        case "if_missing":
            return np.where(np.isnan(given[0]), given[1], given[0])
        case "ratio":
            return _divided(given[0], given[1], np.greater(given[1], 0.0))
    return reduce(np.minimum if name == "min" else np.maximum, given)


def truth(node: Condition, columns: Columns, params: Mapping[str, float]) -> Truth:
    """Truth of a condition for every payment. Arguments as in `values`.

    Examples
    --------
    >>> seen = np.array([1.0, 0.0, np.nan])
    >>> truth(Not(Flag("pair.seen_before", 0)), lambda name: seen, {}).true.tolist()
    [False, True, False]
    """
    match node:
        case Flag(name, _):
            flag = columns(name)
            return Truth(~np.isnan(flag) & (flag != 0), flag == 0)
        case Missing(of):
            gone = np.isnan(values(of, columns, params))
            return Truth(gone, ~gone)
        case Compare(operator, left, right):
            return _compared(operator, values(left, columns, params), values(right, columns, params))
        case Member(of, items):
            looked_up = np.asarray(values(of, columns, params))
            codes = [item.code if isinstance(item, Text) else item for item in items]
            among = np.isin(looked_up, codes)
            return Truth(among, ~among & ~np.isnan(looked_up))
        case Not(of):
            inner = truth(of, columns, params)
            return Truth(inner.false, inner.true)
        case And(terms):
            found = [truth(term, columns, params) for term in terms]
            return Truth(_all(one.true for one in found), _any(one.false for one in found))
        case Or(terms):
            found = [truth(term, columns, params) for term in terms]
            return Truth(_any(one.true for one in found), _all(one.false for one in found))


_COMPARISONS = {
    "<": (np.less, np.greater_equal),
    "<=": (np.less_equal, np.greater),
    ">": (np.greater, np.less_equal),
    ">=": (np.greater_equal, np.less),
}


def _compared(operator: str, left: Floats | float, right: Floats | float) -> Truth:
    if operator in _COMPARISONS:
        holds, fails = _COMPARISONS[operator]
        return Truth(np.asarray(holds(left, right)), np.asarray(fails(left, right)))
    same = np.asarray(np.equal(left, right))
    other = np.asarray(np.less(left, right) | np.greater(left, right))
    return Truth(same, other) if operator == "==" else Truth(other, same)


def _all(flags: object) -> Flags:
    return reduce(np.logical_and, flags)  # type: ignore[call-overload,no-any-return]


def _any(flags: object) -> Flags:
    return reduce(np.logical_or, flags)  # type: ignore[call-overload,no-any-return]
