"""A checked rule model and a checked pack, hashed by what they mean.

The hash changes with everything that can change a decision, a warning or its words, and with nothing else:
comments, spaces, quotes, brackets and the spelling of numbers do not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from stream_guard.detection.rules.errors import suggestion
from stream_guard.detection.rules.expression import Condition, Numeric, canonical, features_of, params_of
from stream_guard.detection.rules.reasons import Template
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Side

LANGUAGE: Final = 1
"""Version of the expression language; part of every pack's hash, because it is part of what a rule means."""
DAY_MS: Final = 86_400_000
EVER: Final = 1 << 62
"""Event times are far below it: no bound."""


class Parameter(NamedTuple):
    """A number that a model owner sets."""

    value: float
    unit: str | None
    meaning: str | None
    origin: str | None = None
    """Where a fitted value comes from; not part of the hash."""


@dataclass(frozen=True, eq=False)
class Rule:
    """One checked rule model.

    Examples
    --------
    The id and version that travel in every decision:

    >>> from stream_guard.detection.rules.pack import EXAMPLE, load_pack
    >>> load_pack(EXAMPLE, "example").rules[0].label
    'rapid-in-out@3'
    """

    id: str
    version: int
    name: Mapping[str, str]
    """By language: ``en`` and ``zh``."""
    account: Side
    """The account the warning is about."""
    when: Condition
    params: Mapping[str, Parameter]
    score: Numeric
    """A `Number` for a fixed score; the result is clipped to 0-100."""
    action: Action
    """The least the decision may be."""
    reason: Template
    state: RuleState
    source: RuleSource
    platform_code: str | None
    """Feature code of the national fraud platform, where one is known."""
    valid_from: date | None
    """First day, from 00:00 UTC in event time; None: always."""
    valid_to: date | None
    """First day that is no longer valid, from 00:00 UTC in event time; None: for ever."""
    warn: bool
    """Opens a warning whatever the score."""
    typology: int | None
    """Number in the list of typologies."""
    basis: str | None
    """Where the figures come from."""

    @property
    def label(self) -> str:
        """``id@version``."""
        return f"{self.id}@{self.version}"

    @cached_property
    def values(self) -> Mapping[str, float]:
        """Value of every parameter."""
        return MappingProxyType({name: parameter.value for name, parameter in self.params.items()})

    @cached_property
    def features(self) -> Mapping[str, int]:
        """Every feature that the trigger, the score or the reason names, with its column."""
        return MappingProxyType({**features_of(self.when), **features_of(self.score), **self.reason.features})

    @cached_property
    def shown(self) -> tuple[Mapping[str, int], tuple[str, ...]]:
        """Features and parameters of the trigger and the reason: what a warning gives as evidence."""
        features = {**features_of(self.when), **self.reason.features}
        return features, tuple({**params_of(self.when), **self.reason.params})

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Validity in epoch milliseconds of event time, ``since <= ts < until``."""
        return _midnight(self.valid_from, -EVER), _midnight(self.valid_to, EVER)

    def row(self) -> dict[str, Any]:
        """Line of the catalogue, as plain JSON values."""
        return {
            "rule": self.label,
            "id": self.id,
            "version": self.version,
            "name_en": self.name["en"],
            "name_zh": self.name["zh"],
            "typology": self.typology,
            "account": self.account.value,
            "when": canonical(self.when),
            "params": {
                name: {"value": p.value, "unit": p.unit, "meaning": p.meaning}
                for name, p in self.params.items()
            },
            "score": canonical(self.score),
            "action": self.action.label,
            "warn": self.warn,
            "reason": self.reason.text,
            "state": self.state.value,
            "source": self.source.value,
            "platform_code": self.platform_code,
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_to": self.valid_to.isoformat() if self.valid_to else None,
            "basis": self.basis,
            "features": sorted(self.features),
        }


@dataclass(frozen=True, eq=False)
class Pack:
    """A checked rule pack."""

    name: str
    version: str
    rules: tuple[Rule, ...]
    """All rules in the order of the file, also those that are off."""
    source: str
    """Where its text came from; not part of the hash."""

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical content, 64 hexadecimal digits."""
        content = {
            "language": LANGUAGE,
            "pack": self.name,
            "version": self.version,
            "rules": [
                {key: value for key, value in rule.row().items() if key != "features"} for rule in self.rules
            ],
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name, version and the beginning of the hash, for messages and metrics."""
        return f"{self.name}@{self.version}+{self.hash[:12]}"

    def rule(self, id: str) -> Rule:
        """Rule of an id.

        Raises
        ------
        KeyError
            If the pack has no such rule.
        """
        for rule in self.rules:
            if rule.id == id:
                return rule
        raise KeyError(f"no rule {id!r} in {self.label}{suggestion(id, [rule.id for rule in self.rules])}")

    def catalogue(self) -> list[dict[str, Any]]:
        """One line a rule, as plain JSON values: what ``stream-guard rules list`` shows."""
        return [rule.row() for rule in self.rules]


def _midnight(day: date | None, otherwise: int) -> int:
    return otherwise if day is None else (day - date(1970, 1, 1)).days * DAY_MS
