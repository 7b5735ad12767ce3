"""A rule pack's YAML as plain values, with the place of every field.

A small, safe part of YAML: mappings, lists and scalars. Refused are duplicate keys, anchors and aliases (a
small file can unfold to a large one), tags, more than one document, deep nesting and large files. Plain
words stay words: ``off`` is a text and no boolean, ``2026-11-01`` a text that `pack` reads as a date,
``010`` no octal number.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Final, NamedTuple, cast

import yaml

from stream_guard.detection.rules.errors import PackError, Problem, shown
from stream_guard.detection.rules.reasons import CONTROL

MAX_BYTES: Final = 1_048_576
"""Size of a pack's file; 200 rules of 1.5 KB are a third of it."""
MAX_DEPTH: Final = 8
"""Nesting of a pack's file; a pack needs 5 levels."""

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """Where a field stands."""

    line: int
    """Counted from 1."""
    column: int
    """Counted from 1; of a text in quotes, the place of its first character."""
    whole: bool
    """The text stands on one line as it is, so that an offset into it is a distance in columns."""


class Document(NamedTuple):
    """A read file."""

    data: Any
    places: dict[Path, Place]
    """Place of every value by its path (``("rules", 2, "when")``)."""
    keys: dict[Path, Place]
    """Place of every key of a mapping, by the path of its value."""

    def place(self, path: Path) -> Place:
        """Place of the value at `path`, or of the nearest value around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1, False))


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with YAML 1.2's plain booleans and numbers, and without aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # The stubs leave it untyped, and its marks are of either parser's kind.
        event: Any = cast(Any, self).peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias (*name) is not allowed here", problem_mark=mark)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise yaml.MarkedYAMLError(problem="an anchor (&name) is not allowed here", problem_mark=mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem="a tag (!name) is not allowed here", problem_mark=mark)
        if self.depth >= MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_DEPTH} levels inside one another", problem_mark=mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("null", r"null|~|", ["n", "~", ""]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(?:0|[1-9][0-9_]*)(?:\.[0-9_]+)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def read(text: str, source: str) -> Document:
    r"""Read a pack's text.

    Parameters
    ----------
    text
        The file's content.
    source
        Its name in messages.

    Raises
    ------
    PackError
        If the text is no YAML of the small part allowed, with line and column.

    Examples
    --------
    >>> document = read("pack: demo\nstate: off", "demo.yaml")
    >>> document.data, document.place(("state",))[:2]
    ({'pack': 'demo', 'state': 'off'}, (2, 8))
    """
    if len(text) > MAX_BYTES:
        raise PackError(
            [Problem(source, None, None, None, None, f"the file is larger than {MAX_BYTES} bytes")]
        )
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise PackError([_problem(source, error)]) from None
    except yaml.YAMLError as error:
        cause = f"not YAML: {str(error).splitlines()[0]}"
        raise PackError([Problem(source, None, None, None, None, cause)]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        raise PackError([Problem(source, 1, 1, None, None, "the file is empty")])
    reader = _Reader(source)
    data = reader.value(node, ())
    if reader.problems:
        raise PackError(reader.problems)
    return Document(data, reader.places, reader.keys)


def _problem(source: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    cause = ", ".join(part for part in (error.context, error.problem) if part)
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Problem(source, line, column, None, None, f"not YAML as rule packs use it: {cause}")


class _Reader:
    """Values and places of a tree of YAML nodes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.places[path] = _place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.tag.endswith(":str"):
                self._refuse(key_node, "a field's name is a plain word")
                continue
            key = self._scalar(key_node)
            if key in found:
                first = self.keys[(*path, key)]
                self._refuse(key_node, f"the field {shown(key)} is given twice, first in line {first.line}")
                continue
            self.keys[(*path, key)] = _place(key_node)
            found[key] = self.value(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        kind, text = node.tag.rsplit(":", 1)[-1], str(node.value)
        match kind:
            case "null":
                return None
            case "bool":
                return text == "true"
            case "int" if len(text) <= 40:
                return int(text.replace("_", ""))
            case "float" | "int":
                return float(text.replace("_", ""))
        control = CONTROL.search(re.sub(r"[\t\r\n]", " ", text))
        if control is not None:
            self._refuse(node, f"a text holds the invisible character {shown(control.group())}")
        return text

    def _refuse(self, node: yaml.Node, cause: str) -> None:
        place = _place(node)
        self.problems.append(Problem(self.source, place.line, place.column, None, None, cause))


def _place(node: yaml.Node) -> Place:
    start, end = node.start_mark, node.end_mark
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
    column = start.column + 1 + quoted
    length = end.column - start.column - 2 * quoted
    whole = isinstance(node, yaml.ScalarNode) and start.line == end.line and length == len(node.value)
    return Place(start.line + 1, column, whole)
