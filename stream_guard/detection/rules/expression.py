"""The checked tree of a rule expression, and its canonical text.

A node exists only after `parser` has checked it: features are in the catalogue, types fit, parameters are
declared. Three things walk the tree and must agree: `evaluator` (the reference), `emitter` (machine code)
and `canonical` (the text that enters the pack's hash).

Values are float64 with NaN as the missing value; conditions are three-valued (true, false, unknown).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Number:
    """A literal, never negative (the sign is a `Negative`)."""

    value: float


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of the rule, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number feature: its name and its column in the matrix."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Negative:
    """Unary minus."""

    of: Numeric


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``+ - * /``; a division by zero is a missing value."""

    operator: str
    left: Numeric
    right: Numeric


@dataclass(frozen=True, slots=True)
class Function:
    """``min max abs ratio if_missing`` over numbers."""

    name: str
    arguments: tuple[Numeric, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """A text literal and its code in the matrix."""

    text: str
    code: float


@dataclass(frozen=True, slots=True)
class TextFeature:
    """A text feature; the matrix holds the code of its text."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Flag:
    """A yes/no feature: 1 is true, 0 is false, NaN is unknown."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class Compare:
    """``< <= > >= == !=`` of two numbers, or ``== !=`` of two texts."""

    operator: str
    left: Numeric | Text | TextFeature
    right: Numeric | Text | TextFeature


@dataclass(frozen=True, slots=True)
class Member:
    """``of in (...)``: of one of the literals."""

    of: Numeric | TextFeature
    items: tuple[float, ...] | tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """True where the value is missing, false where it is there; never unknown."""

    of: Numeric | TextFeature | Flag


@dataclass(frozen=True, slots=True)
class Not:
    """Negation: unknown stays unknown."""

    of: Condition


@dataclass(frozen=True, slots=True)
class And:
    """False if one term is false, else unknown if one is unknown, else true."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if one term is true, else unknown if one is unknown, else false."""

    terms: tuple[Condition, ...]


Numeric = Number | Param | Quantity | Negative | Arithmetic | Function
Condition = Flag | Compare | Member | Missing | Not | And | Or
Node = Numeric | Condition | Text | TextFeature

_LOOSEST, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _ATOM = range(8)
_BINDING = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}


def number_text(value: float) -> str:
    """Shortest text of a number; whole numbers without a fraction.

    Examples
    --------
    >>> number_text(50_000.0), number_text(0.9)
    ('50000', '0.9')
    """
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def text_literal(text: str) -> str:
    """Quote a text the way the language reads it (no escapes; it cannot hold both kinds of quotes)."""
    return f"'{text}'" if '"' in text else f'"{text}"'


def canonical(node: Node) -> str:
    """Text of the tree with one spelling for all ways to write it: spaces, brackets and digits do not matter.

    Examples
    --------
    >>> canonical(Arithmetic("*", Number(2.0), Arithmetic("+", Param("a"), Number(50_000.0))))
    '2 * (a + 50000)'
    """
    return _written(node, _LOOSEST)


def _written(node: Node, outer: int) -> str:
    """Text of `node`, in brackets if it binds more loosely than what stands around it."""
    match node:
        case Number(value):
            return number_text(value)
        case Param(name) | Quantity(name) | TextFeature(name) | Flag(name):
            return name
        case Text(text):
            return text_literal(text)
        case Negative(of):
            text, binding = f"-{_written(of, _SIGN)}", _SIGN
        case Arithmetic(operator, left, right):
            binding = _BINDING[operator]
            text = f"{_written(left, binding)} {operator} {_written(right, binding + 1)}"
        case Function(name, arguments):
            return f"{name}({', '.join(_written(argument, _LOOSEST) for argument in arguments)})"
        case Missing(of):
            return f"missing({_written(of, _LOOSEST)})"
        case Compare(operator, left, right):
            text, binding = f"{_written(left, _SUM)} {operator} {_written(right, _SUM)}", _COMPARE
        case Member(of, items):
            listed = ", ".join(text_literal(i.text) if isinstance(i, Text) else number_text(i) for i in items)
            text, binding = f"{_written(of, _SUM)} in [{listed}]", _COMPARE
        case Not(of):
            text, binding = f"not {_written(of, _NOT)}", _NOT
        case And(terms):
            text, binding = " and ".join(_written(term, _NOT) for term in terms), _AND
        case Or(terms):
            text, binding = " or ".join(_written(term, _AND) for term in terms), _LOOSEST
    return f"({text})" if binding < outer else text


def children(node: Node) -> tuple[Node, ...]:
    """Direct parts of a node, in reading order."""
    match node:
        case Negative(of) | Not(of) | Missing(of) | Member(of):
            return (of,)
        case Arithmetic(_, left, right) | Compare(_, left, right):
            return (left, right)
        case Function(_, parts) | And(parts) | Or(parts):
            return parts
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, in reading order."""
    yield node
    for child in children(node):
        yield from walk(child)


def features_of(node: Node) -> dict[str, int]:
    """Features a tree names, with their columns, in reading order."""
    named = (part for part in walk(node) if isinstance(part, Quantity | TextFeature | Flag))
    return {feature.name: feature.index for feature in named}


def params_of(node: Node) -> dict[str, None]:
    """Parameters a tree names, in reading order."""
    return {part.name: None for part in walk(node) if isinstance(part, Param)}
