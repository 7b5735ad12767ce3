"""The gate before the parser: a text passes only if it is made of the language's tokens.

Behind it, Python's parser meets no escape, no statement, no prefix and no character it would warn about.
"""

from __future__ import annotations

import re
from typing import Final

from stream_guard.detection.rules.errors import ExpressionError, shown

MAX_LENGTH: Final = 2_000
"""Characters of one expression; the longest shipped rule has 250."""

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<number>[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    |(?P<string>"[^"\\\x00-\x1f]{0,100}"|'[^'\\\x00-\x1f]{0,100}')
    |(?P<operator><=|>=|==|!=|[-+*/<>(),\[\]])""",
    re.VERBOSE,
)
_HINTS: Final = {
    "=": "a single '=' is no comparison: write '=='",
    "&": "'&' is not part of the language: write 'and'",
    "|": "'|' is not part of the language: write 'or'",
    "!": "'!' is not part of the language: write 'not'",
    "\\": "a backslash is not part of the language",
    '"': "a text that does not end, holds an escape, or is longer than 100 characters",
    "'": "a text that does not end, holds an escape, or is longer than 100 characters",
    ".": "a number needs a digit before its point",
}


def gate(text: str) -> None:
    """Refuse whatever is not made of the language's tokens.

    Raises
    ------
    ExpressionError
        With the cause and the offset of the first thing that does not belong.

    Examples
    --------
    >>> gate("payer.in_sum_24h >= 50_000")
    >>> gate("payer.in_sum_24h = 50_000")
    Traceback (most recent call last):
    ...
    stream_guard.detection.rules.errors.ExpressionError: a single '=' is no comparison: write '=='
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"the expression has {len(text)} characters, more than the {MAX_LENGTH} allowed"
        )
    if not text.strip():
        raise ExpressionError("the expression is empty")
    position, before, last_word = 0, "space", "space"
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            odd = text[position]
            plain = "a number has digits, a point only between digits, and an exponent (50_000, 0.9, 1e6)"
            raise ExpressionError(
                plain
                if odd in "0123456789"
                else _HINTS.get(odd, f"{shown(odd)} is not part of the language"),
                position,
            )
        kind = str(token.lastgroup)
        # Python would read b"x" and f"x" as something else and join "x" "y" into one text.
        if kind == "string" and (before == "name" or last_word == "string"):
            raise ExpressionError("a text needs a space, an operator or a comma before it", position)
        if kind == "name" and token.group().count(".") > 1:
            raise ExpressionError(
                f"{shown(token.group())} has more than one point; a feature's name has one", position
            )
        before = kind
        last_word = last_word if kind == "space" else kind
        position = token.end()
