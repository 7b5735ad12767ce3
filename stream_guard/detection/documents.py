"""Settings written as YAML text, checked on the way in."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


class DocumentError(ValueError):
    """A settings document is refused; the message names the document, the place and the cause, one a line."""


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML's safe loader, but a key given twice is an error: the last one would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_document(text: str, source: str, model: type[M]) -> M:
    """Read a YAML text into a pydantic model.

    Parameters
    ----------
    text
        The document.
    source
        Its name, for messages.
    model
        What it has to be.

    Raises
    ------
    DocumentError
        The text is no YAML, not a mapping, or does not fit the model.

    Examples
    --------
    >>> class Cuts(BaseModel):
    ...     low: float
    >>> parse_document("low: 50", "cuts.yaml", Cuts)
    Cuts(low=50.0)
    >>> try:
    ...     parse_document("low: fifty", "cuts.yaml", Cuts)
    ... except DocumentError as error:
    ...     print(str(error)[:45])
    cuts.yaml: low: Input should be a valid numbe
    """
    try:
        # Only plain values come out of a SafeLoader.
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise DocumentError(f"{source}{place}: {error.problem or error}") from error
    except yaml.YAMLError as error:
        raise DocumentError(f"{source}: {error}") from error
    if not isinstance(data, dict):
        raise DocumentError(f"{source}: expected keys and values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise DocumentError(explain(error, source)) from error


def explain(error: ValidationError, source: str) -> str:
    """One line for every complaint of pydantic: document, place, cause, and the value given if short."""
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"])
        given = repr(item.get("input"))
        shown = (
            f" (given: {given})"
            if item["type"] not in {"missing", "value_error"} and len(given) <= 60
            else ""
        )
        lines.append(
            f"{source}: {place + ': ' if place else ''}{item['msg'].removeprefix('Value error, ')}{shown}"
        )
    return "\n".join(lines)
