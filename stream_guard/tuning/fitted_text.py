"""A pack's text with fitted values, each beside where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from stream_guard.detection.rules import load_pack
from stream_guard.detection.rules.compiler import FIXED_SCORE
from stream_guard.detection.rules.document import read
from stream_guard.tuning.fit import Fitted
from stream_guard.tuning.pack_text import path_of, replace, written

_FITTED: Final = re.compile(r"^fitted:.*\n(?:[ \t]+.*\n)*", re.MULTILINE)
_ORIGIN: Final = re.compile(r', origin: "[^"\n]*"')
_VERSION: Final = re.compile(r"^version:.*\n", re.MULTILINE)


class Head(NamedTuple):
    """What a fit was made of; the pack's field `fitted`."""

    history: str
    since: str
    until: str
    method: str
    payments: int
    accounts: int
    fraud: int | None
    base: str
    """The pack that was fitted."""


def fitted_text(text: str, source: str, head: Head, rules: Mapping[str, Fitted]) -> str:
    """Text of a fitted pack: same rules, same parameters, same versions; only values differ.

    Parameters
    ----------
    text, source
        The pack, and its name in messages.
    head
        What the fit was made of.
    rules
        By id.

    Raises
    ------
    PackError
        If the pack is refused, before or after.
    """
    load_pack(text, source)
    # What an earlier fit left; the published pack has neither.
    text = _ORIGIN.sub("", _FITTED.sub("", text))
    document = read(text, source)
    lines = text.splitlines(keepends=True)
    edits = []
    for number, rule in enumerate(document.data["rules"]):
        fitted = rules.get(rule["id"])
        for name, value in (fitted.values if fitted else {}).items():
            path = path_of(rule, number, name)
            origin = fitted.origins.get(name) if fitted else None
            edits.append((document.place(path), _with_origin(path, value, origin)))
    for place, new in sorted(edits, key=lambda edit: edit[0][:2], reverse=True):
        replace(lines, place, new)
    changed = _VERSION.sub(lambda line: line.group() + _block(head), "".join(lines), count=1)
    load_pack(changed, source)
    return changed


def _with_origin(path: tuple[Any, ...], value: float, origin: str | None) -> str:
    number = written(value)
    if origin is None or path[-1] == FIXED_SCORE:
        return number
    quoted = origin.replace('"', "'").replace("\\", "/")
    return (
        f'{number}, origin: "{quoted}"' if path[-1] == "value" else f'{{value: {number}, origin: "{quoted}"}}'
    )


def _block(head: Head) -> str:
    fields = [
        ("history", f'"{head.history}"'),
        ("from", f'"{head.since}"'),
        ("until", f'"{head.until}"'),
        ("method", head.method),
        ("payments", str(head.payments)),
        ("accounts", str(head.accounts)),
        ("fraud", "null" if head.fraud is None else str(head.fraud)),
        ("base", f'"{head.base}"'),
    ]
    return "fitted:\n" + "".join(f"  {name}: {value}\n" for name, value in fields)
