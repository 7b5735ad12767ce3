"""The fields of a rule pack's file, strict: what is not named here is refused.

Types and bounds only; what needs the expression language or other rules is checked in `pack`.
"""

from __future__ import annotations

import keyword
import re
from datetime import date
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from stream_guard.detection.rules.errors import shown
from stream_guard.detection.rules.lexer import MAX_LENGTH
from stream_guard.detection.rules.parser import MAX_NUMBER, RESERVED

MAX_RULES: Final = 256
"""Rules of one pack: 30 s of compilation."""
MAX_PARAMS: Final = 20
ID: Final = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_PARAM: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")

Id = Annotated[str, StringConstraints(pattern=f"^{ID}$", max_length=64)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^\S(?:.*\S)?$")]
Origin = Annotated[str, StringConstraints(min_length=1, max_length=240, pattern=r"^\S(?:.*\S)?$")]
ParamValue = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER, allow_inf_nan=False)]


def _date(value: object) -> date | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
        raise ValueError("a date is written as 2026-11-01")
    return date.fromisoformat(value)


def _code(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _version(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError('a version is a text: put it in quotes ("2026.11")')
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", value):
        raise ValueError("a version has letters, digits, points and hyphens only, at most 32")
    return value


def _score(value: object) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a score is a number from 0 to 100 or an expression")
    if not isinstance(value, str) and not 0 <= value <= 100:
        raise ValueError("a fixed score lies from 0 to 100")
    return value


def _param_names(value: object) -> object:
    for name in value if isinstance(value, dict) else ():
        if not isinstance(name, str) or not _PARAM.fullmatch(name):
            raise ValueError(
                f"{shown(name)} cannot name a parameter: small letters, digits and _ only, at most 40"
            )
        if name in RESERVED or keyword.iskeyword(name):
            raise ValueError(f"{shown(name)} is a word of the language and cannot name a parameter")
    return value


Day = Annotated[date | None, BeforeValidator(_date)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class NameText(_Strict):
    """Name of a rule model for people."""

    en: Line
    zh: Line


class ParamText(_Strict):
    """A parameter: a number, or a number with its unit and meaning."""

    value: ParamValue
    unit: Line | None = None
    meaning: Line | None = None
    origin: Origin | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, data: Any) -> Any:
        return data if isinstance(data, dict) else {"value": data}


class ValidText(_Strict):
    """Validity in event time: from 00:00 UTC of `from` up to, not including, 00:00 UTC of `to`."""

    since: Day = Field(default=None, alias="from")
    until: Day = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _ordered(self) -> ValidText:
        if self.since and self.until and self.since >= self.until:
            raise ValueError("'from' must lie before 'to'; the day of 'to' itself is no longer valid")
        return self


class RuleText(_Strict):
    """One rule model as written."""

    id: Id
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    name: NameText
    account: Literal["payer", "payee"]
    when: Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]
    params: Annotated[dict[str, ParamText], BeforeValidator(_param_names), Field(max_length=MAX_PARAMS)] = {}
    score: Annotated[float | str, BeforeValidator(_score)]
    action: Literal["allow", "confirm", "delay", "hold", "stop"] = "allow"
    reason: str
    state: Literal["live", "shadow", "off"] = "live"
    source: Literal["bank", "police"] = "bank"
    platform_code: Annotated[Line | None, BeforeValidator(_code)] = None
    valid: ValidText = ValidText()
    warn: bool = False
    typology: Annotated[int | None, Field(ge=1, le=999)] = None
    basis: Line | None = None


class FittedText(_Strict):
    """Where a pack's values come from that were fitted to a bank's history."""

    history: Origin
    since: Origin = Field(alias="from")
    until: Origin
    method: Literal["cold", "tuned"]
    payments: Annotated[int, Field(ge=0)]
    accounts: Annotated[int, Field(ge=0)]
    fraud: Annotated[int, Field(ge=0)] | None = None
    base: Origin


class PackText(_Strict):
    """A pack as written; its rules are checked one by one, so that each has its own errors."""

    pack: Id
    version: Annotated[Line, BeforeValidator(_version)]
    fitted: FittedText | None = None
    rules: Annotated[list[Any], Field(min_length=1, max_length=MAX_RULES)]
