"""A pack's text with other parameter values: comments and order stay, so that reviewers see the change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stream_guard.detection.rules import load_pack
from stream_guard.detection.rules.compiler import FIXED_SCORE
from stream_guard.detection.rules.document import Path, Place, read

ORIGIN: Final = "rules tune"
"""Where a changed value comes from, where the pack said so of the old one."""


def with_values(text: str, source: str, changes: Mapping[tuple[str, str], float]) -> str:
    """Text of a pack with some parameters changed; a rule that changes gets the next version.

    Parameters
    ----------
    text, source
        The pack, and its name in messages.
    changes
        New value by rule id and parameter name; a fixed score is named ``score``.

    Raises
    ------
    PackError
        If the pack is refused, before or after.
    KeyError
        If it has no such rule or parameter.

    Examples
    --------
    >>> from stream_guard.detection.rules.pack import EXAMPLE
    >>> changed = with_values(EXAMPLE, "example", {("rapid-in-out", "min_in"): 75_000.0})
    >>> [new for old, new in zip(EXAMPLE.splitlines(), changed.splitlines()) if old != new]
    ['    version: 4', '    params: {min_in: 75_000, share: 0.9}']
    """
    load_pack(text, source)
    document = read(text, source)
    rules = {rule["id"]: number for number, rule in enumerate(document.data["rules"])}
    edits: dict[Path, str] = {}
    for (rule, name), value in changes.items():
        number = rules[rule]
        path = path_of(document.data["rules"][number], number, name)
        if _at(document.data, path) != value:
            edits[path] = written(value)
            edits["rules", number, "version"] = str(document.data["rules"][number]["version"] + 1)
            origin: Path = (*path[:-1], "origin")
            if origin in document.places:
                edits[origin] = ORIGIN
    lines = text.splitlines(keepends=True)
    # From the end, so that earlier places stay where they are.
    for path, new in sorted(edits.items(), key=lambda edit: document.place(edit[0])[:2], reverse=True):
        replace(lines, document.place(path), new)
    changed = "".join(lines)
    load_pack(changed, source)
    return changed


def path_of(rule: Mapping[str, Any], number: int, name: str) -> Path:
    """Where the value of a rule's parameter stands; `rule` is its mapping, `number` its place in the file."""
    if name == FIXED_SCORE and not isinstance(rule["score"], str):
        return ("rules", number, "score")
    parameter = rule["params"][name]
    path: Path = ("rules", number, "params", name)
    return (*path, "value") if isinstance(parameter, dict) else path


def _at(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def replace(lines: list[str], place: Place, new: str) -> None:
    """Put another word in place of the one that begins at `place`, or of the text in quotes there."""
    line, start = lines[place.line - 1], place.column - 1
    ends = line[start - 1] if start and line[start - 1] in "\"'" else " ,}#\r\n\t"
    end = start
    while end < len(line) and line[end] not in ends:
        end += 1
    lines[place.line - 1] = line[:start] + new + line[end:]


def written(value: float) -> str:
    """A number as packs write it.

    Examples
    --------
    >>> written(50_000.0), written(0.85), written(1 / 3), written(-20.0)
    ('50_000', '0.85', '0.3333333333', '-20')
    """
    return f"{int(value):_}" if float(value).is_integer() else f"{value:.10g}"
