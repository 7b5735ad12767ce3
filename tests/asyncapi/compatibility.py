"""Message schemas as they were released, and what of them a change would break.

``python -m tests.asyncapi.compatibility`` records the present schemas in ``schemas/``, one file a message and
version; it refuses to where a recorded version would break. Raise the message's ``..._SCHEMA_VERSION`` then.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_guard.events import SCHEMA_NAMES, schema
from stream_guard.events.schemas import schema_version

RECORDED = Path(__file__).parent / "schemas"

WRITTEN_BY_OTHERS = ("transaction", "account-update", "disposition", "risk-signal")

_WORDS = ("title", "description", "examples", "default")

Fields = dict[str, dict[str, Any]]
"""Shape and ``required`` of every field by its path: ``reasons[].rule``, ``signals{}``."""


def fields(document: Mapping[str, Any]) -> Fields:
    """Fields of a JSON Schema, with references resolved and words left out."""
    return dict(_walk("", document, document.get("$defs", {})))


def breaks(old: Fields, new: Fields, *, ours: bool) -> list[str]:
    """What who wrote or read `old` meets in `new`: a sentence each.

    Parameters
    ----------
    ours
        Whether we write the message: then its readers must find what they found; otherwise what its writers
        wrote must still be accepted.
    """
    found = []
    for path, before in old.items():
        after = new.get(path)
        if after is None:
            found.append(f"{path} is gone")
        elif ours and before["required"] and not after["required"]:
            found.append(f"{path} may be absent now")
        elif not ours and after["required"] and not before["required"]:
            found.append(f"{path} is required now")
        elif not _fits(before["shape"], after["shape"], ours=ours):
            found.append(f"{path} was {json.dumps(before['shape'])}, is {json.dumps(after['shape'])}")
    if not ours:
        found += [f"{path} is new and required" for path in new if path not in old and new[path]["required"]]
    return found


def recorded(name: str, version: int) -> Fields | None:
    """Fields of a released version; None where there is none."""
    file = RECORDED / f"{name}.v{version}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _fits(before: Any, after: Any, *, ours: bool) -> bool:
    if before == after:
        return True
    values, more = before.get("enum"), after.get("enum")
    if ours or values is None or more is None:
        return False
    return set(values) <= set(more) and {**before, "enum": more} == after


def _walk(path: str, node: Any, parts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    node = _resolved(node, parts)
    for name, child in node.get("properties", {}).items():
        inner = f"{path}.{name}" if path else name
        yield inner, {"required": name in node.get("required", ()), "shape": _shape(child, parts)}
        yield from _walk(inner, child, parts)
    for choice in node.get("anyOf", ()):
        yield from _walk(path, choice, parts)
    if "items" in node:
        yield from _inside(f"{path}[]", node["items"], parts)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _inside(f"{path}{{}}", node["additionalProperties"], parts)


def _inside(path: str, node: Any, parts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, {"required": False, "shape": _shape(node, parts)}
    yield from _walk(path, node, parts)


def _shape(node: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """What values a field takes, without what is inside an object or a list."""
    node = _resolved(node, parts)
    if "anyOf" in node:
        choices = [_shape(choice, parts) for choice in node["anyOf"]]
        return {"anyOf": sorted(choices, key=json.dumps)}
    inner = ("properties", "required", "items", "additionalProperties")
    return {key: value for key, value in sorted(node.items()) if key not in (*_WORDS, *inner)}


def _resolved(node: Any, parts: Mapping[str, Any]) -> Any:
    while "$ref" in node:
        node = {**parts[node["$ref"].rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
    return node


def main() -> int:
    """Record the present schemas."""
    RECORDED.mkdir(exist_ok=True)
    refused = False
    for name in SCHEMA_NAMES:
        version, now = schema_version(name), fields(schema(name))
        before = recorded(name, version)
        broken = [] if before is None else breaks(before, now, ours=name not in WRITTEN_BY_OTHERS)
        for sentence in broken:
            print(f"{name}, version {version}: {sentence}", file=sys.stderr)
        refused |= bool(broken)
        if not broken:
            text = json.dumps(now, indent=1, ensure_ascii=False) + "\n"
            (RECORDED / f"{name}.v{version}.json").write_text(text)
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
