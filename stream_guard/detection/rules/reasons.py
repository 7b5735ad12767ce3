"""Reason templates: the sentence an investigator reads, with the figures that made the rule fire.

``"{payer.out_sum_24h:,.0f} of {payer.in_sum_24h:,.0f} received in 24 h has left again"``: a place is a
feature or a parameter, with an optional format. Nothing else is understood, so a template can neither reach
into objects nor fail when a warning is written. A missing value reads ``unknown``; a figure that is only a
floor, because more payments fall into its window than an account remembers one by one, reads ``at least
...``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_guard.detection.features import FEATURES, INDEX, RING, Feature
from stream_guard.detection.rules.errors import ExpressionError, shown, suggestion
from stream_guard.detection.rules.parser import CATALOGUE

MAX_LENGTH: Final = 300
"""Characters of a template; a reason is one line on a screen."""
UNKNOWN: Final = "unknown"
TAINT_PATH: Final = "txn.taint_path"
"""The one place that is words: accounts by which tainted money came, from the listed one to the payee."""
PLAIN: Final = "plain"
WORDS: Final = "words"

_NUMBER: Final = re.compile(r",?\.[0-4][f%]")
_SECONDS: Final[Mapping[str, float]] = {"minutes": 60.0, "hours": 3_600.0, "days": 86_400.0}
_PLACE: Final = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_BRACE: Final = re.compile(r"[{}]")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""Characters that could hide or turn around what an investigator reads."""


@dataclass(frozen=True, slots=True)
class Place:
    """A figure in a template."""

    name: str
    index: int | None
    """Column of a feature; None: a parameter, or words."""
    format: str
    """Checked: ``words``, ``plain``, ``clock``, ``yesno``, a unit of time, or Python's format of a number."""
    windows: tuple[int, int] | None
    """Columns of both directions' counts in the figure's window, where the figure may be a floor."""

    @property
    def is_param(self) -> bool:
        """Whether it shows a parameter."""
        return self.index is None and self.format != WORDS


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template: texts and places in order."""

    text: str
    parts: tuple[str | Place, ...]

    @property
    def features(self) -> dict[str, int]:
        """Features the template shows, with their columns."""
        return {p.name: p.index for p in self.parts if isinstance(p, Place) and p.index is not None}

    @property
    def params(self) -> dict[str, None]:
        """Parameters the template shows."""
        return {p.name: None for p in self.parts if isinstance(p, Place) and p.is_param}

    def render(
        self, row: Sequence[float], params: Mapping[str, float], words: Mapping[str, str] | None = None
    ) -> str:
        """Write the sentence for one payment.

        Parameters
        ----------
        row
            The payment's feature values, one a column of the catalogue.
        params
            Value of every parameter of the rule.
        words
            What `TAINT_PATH` stands for; it reads ``unknown`` otherwise.
        """
        return "".join(
            part
            if isinstance(part, str)
            else (words or {}).get(part.name, UNKNOWN)
            if part.format == WORDS
            else _figure(part, row, params)
            for part in self.parts
        )


def template(text: str, params: Collection[str], units: Mapping[str, str | None] | None = None) -> Template:
    """Check a template.

    Parameters
    ----------
    text
        The sentence with its places.
    params
        Names of the rule's parameters.
    units
        Unit of those parameters that state one.

    Raises
    ------
    ExpressionError
        If a place names neither a number or yes/no feature nor a parameter, or its format does not fit.

    Examples
    --------
    >>> paid = template("{txn.amount:,.0f} at {txn.hour:clock}, limit {limit:,.0f}", ["limit"])
    >>> row = [float("nan")] * len(CATALOGUE)
    >>> row[INDEX["txn.hour"]] = 2.5
    >>> paid.render(row, {"limit": 5000.0})
    'unknown at 02:30, limit 5,000'
    """
    if not text.strip():
        raise ExpressionError("the reason is empty")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the reason has {len(text)} characters, more than the {MAX_LENGTH} allowed")
    control = CONTROL.search(text)
    if control:
        raise ExpressionError(
            f"the reason holds the invisible character {shown(control.group())}", control.start()
        )
    parts: list[str | Place] = []
    position = 0
    while position < len(text):
        brace = _BRACE.search(text, position)
        if brace is None:
            parts.append(text[position:])
            break
        if brace.start() > position:
            parts.append(text[position : brace.start()])
        found = _PLACE.match(text, brace.start())
        if found is None:
            raise ExpressionError(
                "a brace that is no place; a place is {feature}, {feature:format} or {parameter}",
                brace.start(),
            )
        parts.append(_place(found[1], found[2], brace.start(), params, units or {}))
        position = found.end()
    return Template(text, tuple(parts))


def _place(
    name: str, form: str | None, offset: int, params: Collection[str], units: Mapping[str, str | None]
) -> Place:
    if name in params:
        return Place(name, None, _format(form, "number", units.get(name), offset), None)
    if name == TAINT_PATH:
        if form is not None:
            raise ExpressionError(f"{TAINT_PATH} is words and takes no format", offset)
        return Place(name, None, WORDS, None)
    feature = CATALOGUE.get(name)
    if feature is None:
        known = [*CATALOGUE, *params, TAINT_PATH]
        raise ExpressionError(f"unknown feature or parameter {shown(name)}{suggestion(name, known)}", offset)
    if feature.kind == "text":
        raise ExpressionError(f"{name} is a text, of which only a code is kept: it cannot be shown", offset)
    return Place(name, INDEX[name], _format(form, feature.kind, feature.unit, offset), floor_columns(feature))


def _format(form: str | None, kind: str, unit: str | None, offset: int) -> str:
    if kind == "bool":
        if form is None:
            return "yesno"
        raise ExpressionError("a yes/no feature takes no format", offset)
    if form is None:
        return PLAIN
    if form in _SECONDS and unit == "seconds":
        return form
    if form == "clock" and unit == "hour":
        return form
    if form in _SECONDS or form == "clock":
        raise ExpressionError(
            f"format {shown(form)} needs a value in {'hours' if form == 'clock' else 'seconds'}", offset
        )
    if not _NUMBER.fullmatch(form):
        allowed = "such as ,.0f  .2f  .0%  or days, hours, minutes (of seconds) or clock (of an hour)"
        raise ExpressionError(f"format {shown(form)} is not allowed; allowed are formats {allowed}", offset)
    return form


def floor_columns(feature: Feature) -> tuple[int, int] | None:
    """Columns of the counts that tell whether a windowed figure is a floor; None where it never is.

    Pair figures come from the payer's memory. A maximum is a floor too, a minimum is not; all-time figures
    are exact.
    """
    if feature.window is None or "_min_" in feature.name or feature.side not in ("payer", "payee", "pair"):
        return None
    owner = "payee" if feature.side == "payee" else "payer"
    return INDEX[f"{owner}.in_count_{feature.window}"], INDEX[f"{owner}.out_count_{feature.window}"]


def floor_features(name: str) -> tuple[str, ...]:
    """Names of the counts that tell whether feature `name` is a floor; none where it never is.

    Examples
    --------
    >>> floor_features("pair.in_sum_7d"), floor_features("txn.amount")
    (('payer.in_count_7d', 'payer.out_count_7d'), ())
    """
    return tuple(FEATURES[column].name for column in floor_columns(CATALOGUE[name]) or ())


def is_floor(columns: tuple[int, int] | None, row: Sequence[float]) -> bool:
    """Whether more payments may fall into the window than the account remembers one by one."""
    return columns is not None and float(row[columns[0]]) + float(row[columns[1]]) >= RING


def _figure(place: Place, row: Sequence[float], params: Mapping[str, float]) -> str:
    number = params[place.name] if place.index is None else float(row[place.index])
    if math.isnan(number):
        return UNKNOWN
    return ("at least " if is_floor(place.windows, row) else "") + _written(number, place.format)


def _written(number: float, form: str) -> str:
    match form:
        case "plain":
            return f"{number:,.0f}" if number.is_integer() else f"{number:,.2f}"
        case "yesno":
            return "yes" if number else "no"
        case "clock":
            minutes = int(number * 60)
            return f"{minutes // 60:02d}:{minutes % 60:02d}"
        case "minutes" | "hours" | "days":
            amount = number / _SECONDS[form]
            return f"{amount:,.0f} {form}" if amount >= 10 else f"{amount:,.1f} {form}"
    return format(number, form)
