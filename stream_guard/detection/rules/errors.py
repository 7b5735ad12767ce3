"""What is wrong with a rule pack, and where: every message says what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

SHOWN = 60
"""Characters of somebody's text that a message repeats at most."""


class ExpressionError(ValueError):
    """An expression or a reason template that cannot be used.

    Parameters
    ----------
    message
        The cause, as a sentence.
    offset
        Characters from the beginning of the text to the place, counted from 0.
    """

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class Problem(NamedTuple):
    """One thing wrong in a pack.

    Examples
    --------
    >>> print(Problem("bank.yaml", 7, 11, "rapid-in-out", "when", "unknown feature 'payer.sum'"))
    bank.yaml:7:11: rule rapid-in-out: when: unknown feature 'payer.sum'
    """

    source: str
    """Name of the file, or what else the text came from."""
    line: int | None
    """Line in the file, counted from 1; None where no line is to blame."""
    column: int | None
    """Column in the line, counted from 1; None where only the line is known."""
    rule: str | None
    """Id of the rule, or its position (``#3``) where it has no usable id."""
    field: str | None
    """Field of the rule or the pack, dotted (``params.min_in``)."""
    cause: str

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)
        about = [f"rule {self.rule}"] if self.rule is not None else []
        return ": ".join([place, *about, *([self.field] if self.field else []), self.cause])


class PackError(ValueError):
    """A refused pack: all its problems, one a line, in the order of the file.

    One bad rule refuses the whole pack; whoever had a pack in force keeps it.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.line or 0, p.column or 0)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(text: object) -> str:
    """`text` as a message repeats it: quoted, on one line, cut.

    Examples
    --------
    >>> shown("payer.sum")
    "'payer.sum'"
    >>> shown("x" * 100)[-4:]
    "...'"
    """
    words = str(text)
    return ascii(words) if len(words) <= SHOWN else ascii(words[: SHOWN - 3] + "...")


def suggestion(name: str, known: Iterable[str]) -> str:
    """``; did you mean ...?`` for a name that is nearly one of `known`, else nothing.

    Examples
    --------
    >>> suggestion("min_im", ["min_in", "share"])
    "; did you mean 'min_in'?"
    >>> suggestion("zebra", ["min_in", "share"])
    ''
    """
    close = difflib.get_close_matches(name[:SHOWN], list(known), n=1, cutoff=0.7)
    return f"; did you mean {close[0]!r}?" if close else ""
