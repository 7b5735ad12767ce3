"""One sentence that says why a value was refused, without repeating what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stream_guard.detection.vocabulary import Reject, Rejection

_SHOWN: Final = 6
"""Characters of a text, or digits of a number, shown in a message: enough to see a misspelt word, too few for
an account number, whichever field it was put in."""

_HUGE: Final = 10**18
"""Whole numbers of thousands of digits are beyond what can be formatted."""

_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "{field} is missing",
    "string_type": "{field} must be text, not {kind}",
    "int_type": "{field} must be a whole number, not {kind}",
    "float_type": "{field} must be a number, not {kind}",
    "string_too_short": "{field} must not be empty",
    "string_too_long": "{field} must have at most {max_length} characters",
    "string_pattern_mismatch": "{field} must be an ISO 4217 code of three capital letters",
    "finite_number": "{field} must be a finite number",
    "greater_than": "{field} must be greater than {gt:,.15g}, not {shown}",
    "greater_than_equal": "{field} must be at least {ge:,.15g}, not {shown}",
    "less_than": "{field} must be less than {lt:,.15g}, not {shown}",
    "less_than_equal": "{field} must be at most {le:,.15g}, not {shown}",
    "literal_error": "{field} must be {expected}, not {shown}",
    "enum": "{field} must be {expected}, not {shown}",
    "dict_type": "the value must be a JSON object, not {kind}",
    "model_type": "the value must be a JSON object, not {kind}",
}


def refusal(value: bytes, error: ValidationError) -> Rejection:
    """Rejection with the first problem of a value; the number of other fields at fault is added."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if first["type"] == "json_invalid":
        try:
            value.decode()
        except UnicodeDecodeError as broken:
            return Rejection(0, Reject.NOT_UTF8, f"the value is not UTF-8 at byte {broken.start}")
        return Rejection(0, Reject.NOT_JSON, f"the value is not JSON: {first['ctx']['error']}")
    # A time is tried as a number and as text: what the other of the two says would confuse.
    branch = (*first["loc"][:1], "text" if isinstance(first["input"], str) else "number")
    problem = next((problem for problem in problems if problem["loc"] == branch), first)
    others = len({problem["loc"][:1] for problem in problems}) - 1
    more = f" (and {others} more of its fields are not valid)" if others else ""
    reason = Reject.UNKNOWN_CURRENCY if problem["type"] == "string_pattern_mismatch" else Reject.INVALID
    return Rejection(0, reason, _sentence(problem) + more)


def _sentence(problem: ErrorDetails) -> str:
    field = str(problem["loc"][0]) if problem["loc"] else ""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error":
        return f"{field} {context['error']}".strip()
    template = _SENTENCES.get(problem["type"], "{field} is not valid")
    given = problem["input"]
    return template.format(field=field, kind=_kind(given), shown=_shown(given), **context)


def _kind(given: object) -> str:
    if given is None:
        return "null"
    for type_, kind in ((bool, "a boolean"), (str, "text"), (int | float, "a number"), (list, "a list")):
        if isinstance(given, type_):
            return kind
    return "an object"


def _shown(given: object) -> str:
    if isinstance(given, str):
        return ascii(given if len(given) <= _SHOWN else given[:_SHOWN] + "...")
    if isinstance(given, bool) or not isinstance(given, int | float):
        return _kind(given)
    if abs(given) >= _HUGE:
        return "a far larger number" if given > 0 else "a far smaller one"
    return f"{given:.{_SHOWN}g}"
