"""A rule pack: read, checked as a whole, and hashed by what it means.

One bad rule refuses the whole pack. The hash changes with everything that can change a decision, a warning or
its words, and with nothing else: comments, spaces, quotes, brackets and the spelling of numbers do not
matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from stream_guard.detection.rules import document, parser
from stream_guard.detection.rules.document import Document, Path
from stream_guard.detection.rules.errors import ExpressionError, PackError, Problem, shown, suggestion
from stream_guard.detection.rules.expression import (
    And,
    Compare,
    Condition,
    Number,
    Numeric,
    Or,
    Param,
    Quantity,
    features_of,
    params_of,
)
from stream_guard.detection.rules.model import FittedText, NameText, PackText, ParamText, RuleText, ValidText
from stream_guard.detection.rules.reasons import Template, template
from stream_guard.detection.rules.rule import Pack, Parameter, Rule
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Side


def load_pack(text: str, source: str) -> Pack:
    """Read and check a pack.

    Parameters
    ----------
    text
        YAML of the pack.
    source
        Name of the file in messages.

    Returns
    -------
    Pack
        With every rule checked.

    Raises
    ------
    PackError
        With all problems found: file, line, column, rule, field and cause.

    Examples
    --------
    >>> pack = load_pack(EXAMPLE, "example.yaml")
    >>> pack.name, pack.rules[0].action.label, len(pack.hash)
    ('bank-core', 'delay', 64)
    >>> try:
    ...     load_pack(EXAMPLE.replace("share *", "shar *"), "example.yaml")
    ... except PackError as error:
    ...     print(error)
    example.yaml:8:63: rule rapid-in-out: when: unknown parameter 'shar'; did you mean 'share'?
    """
    read = document.read(text, source)
    return _Checker(read, source).pack()


class _Checker:
    """Collects what is wrong over all rules, so that one run shows everything."""

    def __init__(self, read: Document, source: str) -> None:
        self._read = read
        self._source = source
        self._problems: list[Problem] = []

    def pack(self) -> Pack:
        if not isinstance(self._read.data, dict):
            raise PackError(
                [Problem(self._source, 1, 1, None, None, "a pack is a mapping with pack, version and rules")]
            )
        try:
            written = PackText.model_validate(self._read.data)
        except ValidationError as error:
            self._refused((), None, error, PackText)
            raise PackError(self._problems) from None
        rules = [
            rule for rule in map(self._rule, range(len(written.rules)), written.rules) if rule is not None
        ]
        seen: dict[str, int] = {}
        for index, data in enumerate(written.rules):
            name = data.get("id") if isinstance(data, dict) else None
            if isinstance(name, str) and seen.setdefault(name, index) != index:
                first = self._read.place(("rules", seen[name], "id")).line
                self._add(("rules", index, "id"), name, f"the id is given twice, first in line {first}")
        if self._problems:
            raise PackError(self._problems)
        return Pack(written.pack, written.version, tuple(rules), self._source)

    def _rule(self, index: int, data: Any) -> Rule | None:
        path: Path = ("rules", index)
        name = data.get("id") if isinstance(data, dict) else None
        usable = isinstance(name, str) and re.fullmatch(r"[\w.-]{1,64}", name)
        label = str(name) if usable else f"#{index + 1}"
        try:
            written = RuleText.model_validate(data)
        except ValidationError as error:
            self._refused(path, label, error, RuleText)
            return None
        before = len(self._problems)
        rule = self._checked(written, path)
        return rule if len(self._problems) == before else None

    def _checked(self, written: RuleText, path: Path) -> Rule | None:
        label, params = written.id, written.params
        when = score = reason = None
        try:
            when = parser.condition(written.when, params)
        except ExpressionError as error:
            self._in_text((*path, "when"), label, error)
        try:
            score = (
                Number(float(written.score))
                if not isinstance(written.score, str)
                else parser.number(written.score, params)
            )
        except ExpressionError as error:
            self._in_text((*path, "score"), label, error)
        try:
            reason = template(written.reason, params, {name: param.unit for name, param in params.items()})
        except ExpressionError as error:
            self._in_text((*path, "reason"), label, error)
        if when is None or score is None or reason is None:
            return None
        used = {**params_of(when), **params_of(score)}
        for name in params:
            if name not in used:
                cause = "the parameter is used neither in 'when' nor in 'score'; remove it or use it"
                self._add((*path, "params", name), label, cause)
        if not features_of(when):
            self._add(
                (*path, "when"),
                label,
                "the trigger names no feature, so it would be the same for every payment",
            )
        if isinstance(score, Number) and score.value > 100:
            self._add((*path, "score"), label, "a fixed score lies from 0 to 100")
        values = {name: param.value for name, param in params.items()}
        if written.action == "stop" and written.source != "police" and not _demands_listing(when, values):
            cause = "stop is for police rules and for listed parties; a bank's rule may ask at most for hold"
            self._add((*path, "action"), label, cause)
        return _rule(written, when, score, reason)

    # -- where -----------------------------------------------------------------------------------

    def _in_text(self, path: Path, rule: str, error: ExpressionError) -> None:
        place = self._read.place(path)
        column = place.column + error.offset if place.whole else None
        cause = error.message
        if not place.whole and error.offset:
            cause = f"{cause} (character {error.offset + 1} of the text)"
        self._problems.append(Problem(self._source, place.line, column, rule, _dotted(path[2:]), cause))

    def _add(self, path: Path, rule: str | None, cause: str) -> None:
        place = self._read.keys.get(path) or self._read.place(path)
        inside = path[2:] if rule is not None else path
        self._problems.append(Problem(self._source, place.line, place.column, rule, _dotted(inside), cause))

    def _refused(self, path: Path, rule: str | None, error: ValidationError, model: type[BaseModel]) -> None:
        for one in error.errors(include_url=False):
            where = (*path, *one["loc"])
            if where and where[-1] == "value" and where not in self._read.places:
                where = where[:-1]  # of a parameter that is a bare number
            self._add(where, rule, _cause(one, model))


_NESTED: Final[Mapping[str, type[BaseModel]]] = {
    "fitted": FittedText,
    "name": NameText,
    "valid": ValidText,
    "params": ParamText,
}


def _cause(error: Any, model: type[BaseModel]) -> str:
    """A sentence for one of pydantic's errors."""
    match error["type"]:
        case "missing":
            return "the field is missing"
        case "extra_forbidden":
            nested = _NESTED.get(str(error["loc"][0]), model) if error["loc"][1:] else model
            known = [field.alias or name for name, field in nested.model_fields.items()]
            return f"unknown field{suggestion(str(error['loc'][-1]), known)}"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    said = str(error["msg"])
    if error["type"] == "string_pattern_mismatch" and error["loc"][-1] in ("id", "pack"):
        said = "small letters, digits and single hyphens only (rapid-in-out)"
    given = error.get("input")
    return f"{said[0].lower()}{said[1:]}" + (
        f", not {shown(given)}" if isinstance(given, str | int | float) else ""
    )


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _rule(written: RuleText, when: Condition, score: Numeric, reason: Template) -> Rule:
    return Rule(
        id=written.id,
        version=written.version,
        name=MappingProxyType({"en": written.name.en, "zh": written.name.zh}),
        account=Side(written.account),
        when=when,
        params=MappingProxyType(
            {
                name: Parameter(float(p.value), p.unit, p.meaning, p.origin)
                for name, p in written.params.items()
            }
        ),
        score=score,
        action=Action.parse(written.action),
        reason=reason,
        state=RuleState(written.state),
        source=RuleSource(written.source),
        platform_code=written.platform_code,
        valid_from=written.valid.since,
        valid_to=written.valid.until,
        warn=written.warn,
        typology=written.typology,
        basis=written.basis,
    )


def _demands_listing(node: Condition, params: Mapping[str, float]) -> bool:
    """Whether a trigger fires only for a party on a list (police, bank, disposition; not a shared list)."""
    match node:
        case And(terms):
            return any(_demands_listing(term, params) for term in terms)
        case Or(terms):
            return all(_demands_listing(term, params) for term in terms)
        case Compare(">" | ">=" as operator, Quantity(name), Number() | Param() as bound):
            level = bound.value if isinstance(bound, Number) else params[bound.name]
            listed = name.split(".")[1].startswith("listed") and not name.endswith("_sharing")
            return listed and (level > 0 or (level == 0 and operator == ">"))
    return False


EXAMPLE: Final = """\
pack: bank-core
version: 2026.11.1
rules:
  - id: rapid-in-out
    version: 3
    name: {en: money does not stay, zh: 快进快出}
    account: payer
    when: payer.in_sum_24h >= min_in and payer.out_sum_24h >= share * payer.in_sum_24h
    params: {min_in: 50_000, share: 0.9}
    score: 60
    action: delay
    reason: "{payer.out_sum_24h:,.0f} of {payer.in_sum_24h:,.0f} received in 24 h has left again"
    state: live
    source: bank
    platform_code: null
    valid: {from: 2026-11-01, to: null}
"""
"""A small pack for examples and tests."""
