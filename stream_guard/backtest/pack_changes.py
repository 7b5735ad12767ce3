"""What differs between the rules of two packs, field by field."""

from __future__ import annotations

from typing import Any

from stream_guard.detection.rules import Pack, Rule

_NOT_COMPARED = {"rule", "id", "features", "params"}


def pack_changes(old: Pack, new: Pack) -> list[dict[str, Any]]:
    """Rules that were added, removed or changed, in the order of the new pack; removed ones last.

    Returns
    -------
    list of dict
        ``rule``: id; ``change``: added, removed or changed; ``fields``: old and new value by name, a
        parameter as ``params.NAME``.

    Examples
    --------
    >>> from stream_guard.detection.rules.pack import EXAMPLE, load_pack
    >>> old = load_pack(EXAMPLE, "old")
    >>> new = load_pack(EXAMPLE.replace("share: 0.9", "share: 0.8"), "new")
    >>> pack_changes(old, new)
    [{'rule': 'rapid-in-out', 'change': 'changed', 'fields': {'params.share': [0.9, 0.8]}}]
    """
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    out = []
    for id, rule in after.items():
        fields = _fields(before[id], rule) if id in before else {"state": [None, rule.state.value]}
        if fields:
            out.append({"rule": id, "change": "changed" if id in before else "added", "fields": fields})
    for id, rule in before.items():
        if id not in after:
            out.append({"rule": id, "change": "removed", "fields": {"state": [rule.state.value, None]}})
    return out


def _fields(old: Rule, new: Rule) -> dict[str, list[Any]]:
    before, after = _flat(old), _flat(new)
    return {
        name: [before.get(name), after.get(name)]
        for name in [*after, *(name for name in before if name not in after)]
        if before.get(name) != after.get(name)
    }


def _flat(rule: Rule) -> dict[str, Any]:
    row = rule.row()
    fields = {name: value for name, value in row.items() if name not in _NOT_COMPARED}
    return {**fields, **{f"params.{name}": one["value"] for name, one in row["params"].items()}}
