"""Settings written as YAML text, checked on the way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from stream_guard.detection.rules.document import read
from stream_guard.detection.rules.errors import PackError, shown

M = TypeVar("M", bound=BaseModel)


class DocumentError(ValueError):
    """A settings document is refused; the message names the document, the place and the cause, one a line."""


def parse_document(text: str, source: str, model: type[M]) -> M:
    """Read a YAML text into a pydantic model.

    Parameters
    ----------
    text
        The document, in the small and safe part of YAML that rule packs use.
    source
        Its name, for messages.
    model
        What it has to be.

    Raises
    ------
    DocumentError
        The text is no YAML, not a mapping, or does not fit the model; every complaint with line and column.

    Examples
    --------
    >>> class Cuts(BaseModel):
    ...     low: float
    >>> parse_document("low: 50", "cuts.yaml", Cuts)
    Cuts(low=50.0)
    >>> try:
    ...     parse_document("low: fifty", "cuts.yaml", Cuts)
    ... except DocumentError as error:
    ...     print(str(error)[:49])
    cuts.yaml:1:6: low: Input should be a valid numbe
    """
    try:
        document = read(text, source)
    except PackError as error:
        raise DocumentError(str(error)) from error
    if not isinstance(document.data, dict):
        raise DocumentError(f"{source}: expected fields and values, found {type(document.data).__name__}")

    def place(path: tuple[str | int, ...]) -> str:
        at = document.place(path)
        return f"{source}:{at.line}:{at.column}"

    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        raise DocumentError(explain(error, place)) from error


def explain(error: ValidationError, place: Callable[[tuple[str | int, ...]], str]) -> str:
    """One line for every complaint of pydantic: place, field, cause, and the value given where it helps."""
    lines = []
    for item in error.errors(include_url=False):
        given, told = item.get("input"), {"missing", "value_error", "extra_forbidden"}
        value = "" if item["type"] in told or isinstance(given, dict | list) else f" (given: {shown(given)})"
        field = "".join(f"{part}: " for part in [".".join(str(part) for part in item["loc"])] if part)
        lines.append(f"{place(item['loc'])}: {field}{item['msg'].removeprefix('Value error, ')}{value}")
    return "\n".join(lines)
