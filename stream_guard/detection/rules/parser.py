"""From the text of an expression to a checked tree.

The text passes a lexical gate first (only the characters and words of the language, no escapes, bounded
length), then Python's own `ast` parser, then a walk that accepts the few node types of the language and
checks types against the feature catalogue. Nothing of the text is ever run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar

from stream_guard.detection.features import FEATURES, INDEX, Feature
from stream_guard.detection.hashing import text_code
from stream_guard.detection.rules.errors import ExpressionError, shown, suggestion
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
)
from stream_guard.detection.rules.lexer import gate

T = TypeVar("T")

MAX_DEPTH: Final = 24
"""Operators inside one another; below what Python's parser and the code generator can take."""
MAX_NODES: Final = 250
"""Parts of one expression; keeps a kernel of 8 rules compilable in about a second."""
MAX_ITEMS: Final = 50
"""Literals after `in`."""
MAX_NUMBER: Final = 1e15
"""Largest literal and parameter: whole numbers up to here are exact."""

CATALOGUE: Final[Mapping[str, Feature]] = {feature.name: feature for feature in FEATURES}
FUNCTIONS: Final[Mapping[str, tuple[int, int]]] = {
    "min": (2, 8),
    "max": (2, 8),
    "abs": (1, 1),
    "ratio": (2, 2),
    "missing": (1, 1),
    "if_missing": (2, 2),
}
"""Functions, with the fewest and the most arguments."""
RESERVED: Final = frozenset(FUNCTIONS) | {"score", "floor"}
"""Words that cannot name a parameter (Python's keywords are refused as well)."""

_COMPARISONS: Final[Mapping[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_ARITHMETIC: Final[Mapping[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
}
_REFUSED: Final[Mapping[type[ast.expr], str]] = {
    ast.Subscript: "an index",
    ast.Lambda: "'lambda'",
    ast.IfExp: "'if ... else'",
    ast.Tuple: "a list (allowed only after 'in')",
    ast.List: "a list (allowed only after 'in')",
    ast.JoinedStr: "an f-string",
    ast.Starred: "'*' before an argument",
    ast.Await: "'await'",
    ast.Yield: "'yield'",
}


def condition(text: str, params: Collection[str]) -> Condition:
    """Tree of a rule's trigger.

    Parameters
    ----------
    text
        The expression.
    params
        Names of the declared parameters.

    Raises
    ------
    ExpressionError
        If the text is no condition of the language; the message says why and its offset where.

    Examples
    --------
    >>> from stream_guard.detection.rules.expression import canonical
    >>> canonical(condition("payer.in_sum_24h>=min_in  and not(pair.seen_before)", ["min_in"]))
    'payer.in_sum_24h >= min_in and not pair.seen_before'
    """
    parser = _Parser(text, params)
    return parser.read(parser.condition)


def number(text: str, params: Collection[str]) -> Numeric:
    """Tree of a graded score; arguments and errors as in `condition`."""
    parser = _Parser(text, params)
    return parser.read(parser.number)


class _Parser:
    """One pass over one expression."""

    def __init__(self, text: str, params: Collection[str]) -> None:
        self._text = text
        self._params = params
        self._line = ""
        self._shift = 0
        self._nodes = 0

    def read(self, expected: Callable[[ast.expr, int], T]) -> T:
        gate(self._text)
        # One line of the same length, so that every column of the parser's is an offset into the text.
        line = re.sub(r"[\t\r\n]", " ", self._text)
        self._line = line.lstrip()
        self._shift = len(line) - len(self._line)
        try:
            tree = ast.parse(self._line, mode="eval")
        except SyntaxError as error:
            # An expression that breaks off has no offset: it is its end.
            offset = self._shift + error.offset - 1 if error.offset else len(line)
            raise ExpressionError(f"not an expression: {error.msg}", min(offset, len(line))) from None
        except (RecursionError, MemoryError):
            raise ExpressionError(f"more than {MAX_DEPTH} operators inside one another") from None
        return expected(tree.body, 1)

    # -- three kinds of values -------------------------------------------------------------------

    def condition(self, node: ast.expr, depth: int) -> Condition:
        self._count(node, depth)
        match node:
            case ast.BoolOp(ast.And(), values):
                return And(tuple(self._flat(And, values, depth)))
            case ast.BoolOp(ast.Or(), values):
                return Or(tuple(self._flat(Or, values, depth)))
            case ast.UnaryOp(ast.Not(), operand):
                return Not(self.condition(operand, depth + 1))
            case ast.Compare(left, operators, rights):
                return self._comparison(left, operators, rights, depth)
            case ast.Call(ast.Name("missing"), arguments):
                self._call(node)
                return Missing(self._feature_or_number(arguments[0], depth + 1))
        value = self._value(node, depth)
        if isinstance(value, Flag):
            return value
        raise self._error(
            node, f"a condition is needed here, but this is {_kind(value)}: compare it with something"
        )

    def number(self, node: ast.expr, depth: int) -> Numeric:
        self._count(node, depth)
        if isinstance(node, ast.BoolOp | ast.Compare) or (
            isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        ):
            raise self._error(node, "a number is needed here, but this is a condition")
        value = self._value(node, depth)
        if isinstance(value, Text | TextFeature | Flag):
            raise self._error(node, f"a number is needed here, but {self._name(node)} is {_kind(value)}")
        return value

    def _value(self, node: ast.expr, depth: int) -> Numeric | Text | TextFeature | Flag:
        """A value whose type is seen from its node alone; conditions are not among them."""
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name(name):
                return self._param(node, name)
            case ast.Attribute(ast.Name(side), rest):
                return self._feature(node, f"{side}.{rest}")
            case ast.UnaryOp(ast.USub(), operand):
                return Negative(self.number(operand, depth + 1))
            case ast.UnaryOp(ast.UAdd(), _):
                raise self._error(node, "a plus sign needs a number before it")
            case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC:
                parts = self.number(left, depth + 1), self.number(right, depth + 1)
                return Arithmetic(_ARITHMETIC[type(operator)], *parts)
            case ast.BinOp(_, operator, _):
                raise self._error(
                    node, f"{type(operator).__name__} is no operation of the language; it has + - * /"
                )
            case ast.Call():
                name = self._call(node)
                if name == "missing":
                    raise self._error(node, "a number is needed here, but this is a condition")
                return Function(name, tuple(self.number(argument, depth + 1) for argument in node.args))
        raise self._error(node, f"{_REFUSED.get(type(node), 'this')} is not part of the language")

    # -- parts -----------------------------------------------------------------------------------

    def _flat(self, kind: type[And] | type[Or], nodes: list[ast.expr], depth: int) -> list[Condition]:
        """Terms of a chain; ``a and (b and c)`` is the same chain of three."""
        terms: list[Condition] = []
        for node in nodes:
            term = self.condition(node, depth + 1)
            terms.extend(term.terms if isinstance(term, kind) else [term])
        return terms

    def _comparison(
        self, left: ast.expr, operators: list[ast.cmpop], rights: list[ast.expr], depth: int
    ) -> Condition:
        if isinstance(operators[0], ast.In | ast.NotIn):
            if len(operators) > 1:
                raise self._error(
                    rights[0], "'in' cannot be part of a chain of comparisons: write 'and' between them"
                )
            member = self._member(left, rights[0], depth)
            return Not(member) if isinstance(operators[0], ast.NotIn) else member
        terms: list[Condition] = []
        first, second = self._side(left, depth), None
        for operator, right in zip(operators, rights, strict=True):
            if type(operator) not in _COMPARISONS:
                said = "'in'" if isinstance(operator, ast.In | ast.NotIn) else "'is'"
                raise self._error(right, f"{said} cannot stand here: only < <= > >= == != form a chain")
            second = self._side(right, depth)
            terms.append(self._pair(_COMPARISONS[type(operator)], first, second, right))
            first = second
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _side(self, node: ast.expr, depth: int) -> Numeric | Text | TextFeature:
        """One side of a comparison."""
        if isinstance(node, ast.Constant | ast.Attribute):
            self._count(node, depth + 1)
            value = self._value(node, depth + 1)
            if isinstance(value, Flag):
                raise self._error(
                    node, f"{value.name} is a condition itself: write it alone, or 'not {value.name}'"
                )
            return value
        return self.number(node, depth + 1)

    def _pair(
        self,
        operator: str,
        left: Numeric | Text | TextFeature,
        right: Numeric | Text | TextFeature,
        node: ast.expr,
    ) -> Compare:
        texts = isinstance(left, Text | TextFeature), isinstance(right, Text | TextFeature)
        if texts[0] != texts[1]:
            raise self._error(node, f"{_named(left)} cannot be compared with {_named(right)}")
        if texts[0] and operator not in ("==", "!="):
            raise self._error(node, f"texts have no order: '{operator}' cannot be used, only == != and 'in'")
        if not (_informative(left) or _informative(right)):
            raise self._error(node, "two constants are compared; the result would always be the same")
        return Compare(operator, left, right)

    def _member(self, left: ast.expr, right: ast.expr, depth: int) -> Member:
        if not isinstance(right, ast.Tuple | ast.List):
            raise self._error(right, "'in' needs a list of literals, such as ['TRANSFER', 'CASH_OUT']")
        if not 1 <= len(right.elts) <= MAX_ITEMS:
            raise self._error(
                right, f"a list after 'in' has 1 to {MAX_ITEMS} literals, this one has {len(right.elts)}"
            )
        of = self._side(left, depth)
        if isinstance(of, Text) or not _informative(of):
            raise self._error(
                left, "before 'in' stands a feature or a number made of features, not a constant"
            )
        items = [self._item(element) for element in right.elts]
        texts = tuple(item for item in items if isinstance(item, Text))
        numbers = tuple(item for item in items if not isinstance(item, Text))
        if isinstance(of, TextFeature) and not numbers:
            return Member(of, texts)
        if isinstance(of, TextFeature) or texts:
            raise self._error(
                right, f"{_named(of)} cannot be looked up among {'numbers' if numbers else 'texts'}"
            )
        return Member(of, numbers)

    def _item(self, node: ast.expr) -> float | Text:
        negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        inner = node.operand if isinstance(node, ast.UnaryOp) and negative else node
        if not isinstance(inner, ast.Constant):
            raise self._error(node, "a list after 'in' holds literals only")
        self._count(inner, 1)
        value = self._literal(inner)
        if isinstance(value, Text):
            if negative:
                raise self._error(node, "a text has no sign")
            return value
        # Adding zero makes -0 a 0, so that one number has one spelling.
        return (-value.value if negative else value.value) + 0.0

    def _feature_or_number(self, node: ast.expr, depth: int) -> Numeric | TextFeature | Flag:
        if isinstance(node, ast.Attribute):
            self._count(node, depth)
            value = self._value(node, depth)
            if not isinstance(value, Text):
                return value
        value = self.number(node, depth)
        if not _informative(value):
            raise self._error(node, "a constant is never missing; missing(...) asks about a feature")
        return value

    def _literal(self, node: ast.Constant) -> Number | Text:
        value = node.value
        if isinstance(value, bool) or value is None:
            raise self._error(
                node, f"{value} is not part of the language: write a condition alone, or 'not' before it"
            )
        if isinstance(value, str):
            return Text(value, text_code(value))
        if not isinstance(value, int | float) or not value <= MAX_NUMBER:
            raise self._error(node, f"numbers go up to {MAX_NUMBER:.0e}")
        return Number(float(value))

    def _param(self, node: ast.expr, name: str) -> Param:
        if name in self._params:
            return Param(name)
        if name in FUNCTIONS:
            raise self._error(node, f"{name} is a function: write {name}(...)")
        endings = {feature.split(".")[1]: feature for feature in CATALOGUE}
        hint = (
            f"; the feature is named '{endings[name]}'" if name in endings else suggestion(name, self._params)
        )
        raise self._error(node, f"unknown parameter {shown(name)}{hint}")

    def _feature(self, node: ast.expr, name: str) -> Quantity | TextFeature | Flag:
        feature = CATALOGUE.get(name)
        if feature is None:
            raise self._error(node, f"unknown feature {shown(name)}{suggestion(name, CATALOGUE)}")
        index = INDEX[name]
        match feature.kind:
            case "number":
                return Quantity(name, index)
            case "text":
                return TextFeature(name, index)
            case "bool":
                return Flag(name, index)

    def _call(self, node: ast.Call) -> str:
        """Name of a well-formed call."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            called = ast.get_source_segment(self._line, node.func) or "this"
            raise self._error(node, f"unknown function {shown(called)}{suggestion(called, FUNCTIONS)}")
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self._error(node, f"{name}(...) takes plain arguments only")
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(node.args) <= most:
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise self._error(node, f"{name}(...) takes {wanted} arguments, not {len(node.args)}")
        return name

    # -- bounds and errors -----------------------------------------------------------------------

    def _count(self, node: ast.expr, depth: int) -> None:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise self._error(node, f"more than {MAX_DEPTH} operators inside one another")
        if self._nodes > MAX_NODES:
            raise self._error(node, f"more than {MAX_NODES} parts in one expression")

    def _name(self, node: ast.expr) -> str:
        return shown(ast.get_source_segment(self._line, node) or "this")

    def _error(self, node: ast.expr, message: str) -> ExpressionError:
        # The parser counts UTF-8 bytes, people count characters.
        before = self._line.encode()[: node.col_offset].decode()
        return ExpressionError(message, self._shift + len(before))


def _informative(value: Node) -> bool:
    """Whether a value depends on the payment at all."""
    match value:
        case Quantity() | TextFeature() | Flag():
            return True
        case Negative(of):
            return _informative(of)
        case Arithmetic(_, left, right):
            return _informative(left) or _informative(right)
        case Function(_, arguments):
            return any(_informative(argument) for argument in arguments)
        case _:
            return False


def _kind(value: Node) -> str:
    return (
        "a text"
        if isinstance(value, Text | TextFeature)
        else "a condition"
        if isinstance(value, Flag)
        else "a number"
    )


def _named(value: Numeric | Text | TextFeature) -> str:
    name = f" ({value.name})" if isinstance(value, Quantity | TextFeature | Param) else ""
    return f"{_kind(value)}{name}"
