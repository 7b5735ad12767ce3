"""Fills the page: figures with their place in the JSON, charts, warnings in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stream_guard.alerts import ANOMALY_RULE
from stream_guard.backtest.picture import SHOWN, Picture
from stream_guard.backtest.report import charts
from stream_guard.detection.features import FEATURES, INDEX
from stream_guard.detection.rules import Pack

NOTHING: Final = "–"
"""Shown for a figure that nothing stands on."""

_FORMATS: Final = {
    "count": "{:,.0f}",
    "amount": "{:,.0f}",
    "percent": "{:.1%}",
    "decimal": "{:.2f}",
}


@dataclass(frozen=True)
class About:
    """What the figures do not say about themselves.

    Attributes
    ----------
    history, accounts
        Names of the files.
    pack
        That decided.
    warn_at
        Score at which a warning opens.
    timezone
        In which times are shown.
    made
        When and by what, for the foot of the page.
    """

    history: str
    accounts: str | None
    pack: Pack
    warn_at: float
    timezone: str
    made: str


def page(document: Mapping[str, Any], picture: Picture, about: About) -> str:
    """HTML of the report.

    Every figure stands in an element ``<data value=... data-of=...>``, whose ``data-of`` is its place in the
    document as a JSON pointer; whatever comes from data is escaped.

    Parameters
    ----------
    document
        The figures, as ``--json`` has them.
    picture
        Curves and examples.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = ZoneInfo(about.timezone)
    names = {rule.label: dict(rule.name) for rule in about.pack.rules}
    template = environment.get_template("page.html.j2")
    return template.render(
        figures=document,
        of=lambda *place, form="count": _figure(document, place, form),
        about=about,
        names={**names, ANOMALY_RULE: {"en": "unlike payments seen before", "zh": "异常"}},
        charts=_charts(document, picture, about, zone),
        best=[_warning(warning, about.pack, zone) for warning in picture.best],
        worst=[_warning(warning, about.pack, zone) for warning in picture.worst],
        shown=SHOWN,
        rules=sorted(((key, rule) for key, rule in document["rules"].items() if rule["fired"]), key=_by_hits),
        silent=sorted(key for key, rule in document["rules"].items() if not rule["fired"]),
        first=_day(document["period"]["from"], zone),
        last=_day(document["period"]["until"], zone),
    )


def _figure(document: Mapping[str, Any], place: tuple[str | int, ...], form: str) -> Markup:
    value: Any = document
    for step in place:
        value = value[step]
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place)
    if value is None:
        return Markup('<data value="" data-of="{}">{}</data>').format(pointer, NOTHING)
    text = _FORMATS[form].format(value)
    return Markup('<data value="{}" data-of="{}">{}</data>').format(repr(value), pointer, text)


def _by_hits(rule: tuple[str, Mapping[str, Any]]) -> tuple[Any, ...]:
    """Live ones first, and those that found most."""
    key, figures = rule
    return figures["state"] != "live", -(figures["hits"] or 0), -figures["warnings"], key


def _charts(
    document: Mapping[str, Any], picture: Picture, about: About, zone: ZoneInfo
) -> dict[str, dict[str, Any]]:
    """SVG by name; a curve without anything on it is left out."""
    curves, accounts = picture.curves, document["accounts"]
    first = datetime.fromisoformat(document["period"]["from"]).astimezone(zone).date()
    end = datetime.fromisoformat(document["period"]["until"]).astimezone(zone) - timedelta(milliseconds=1)
    out: dict[str, dict[str, Any]] = {}
    if accounts["k"] and curves["by_threshold"]:
        judged = (document["hits"] or 0) + (document["false_positives"] or 0)
        now = (judged / document["period"]["days"], document["hit_rate"]) if judged else None
        out["threshold"] = {"svg": charts.by_threshold(curves["by_threshold"], now)}
    if accounts["k"]:
        drawn = charts.by_rank(curves["by_rank"], accounts["k"], accounts["candidates"])
        out["rank"] = {"svg": drawn}
        out["scores"] = {"svg": charts.by_score(curves["by_score"], about.warn_at)}
        silent, others = curves["by_score"][0], accounts["candidates"] - accounts["k"]
        out["scores"]["silent"] = silent["positives"] / accounts["k"]
        out["scores"]["silent_others"] = silent["others"] / others if others else 0.0
    if curves["by_day"]:
        drawn, weeks = charts.by_day(curves["by_day"], first, end.date())
        out["days"] = {"svg": drawn, "weeks": weeks}
    if curves["money"]:
        drawn = charts.money(curves["money"], first, end.date(), document["currency"])
        out["money"] = {"svg": drawn}
    return out


def _warning(alert: Mapping[str, Any], pack: Pack, zone: ZoneInfo) -> dict[str, Any]:
    opened = datetime.fromtimestamp(alert["opened_at"] / 1000, UTC).astimezone(zone)
    return {
        **alert,
        "opened": f"{opened:%Y-%m-%d %H:%M}",
        "reasons": [
            {
                **reason,
                "label": reason["rule"]
                if reason["rule"] == ANOMALY_RULE
                else f"{reason['rule']}@{reason['version']}",
                "evidence": [
                    (name, *_named(name, value, reason["rule"], pack))
                    for name, value in reason["evidence"].items()
                ],
            }
            for reason in alert["reasons"]
        ],
    }


_OF_ANOMALY: Final = {
    "anomaly.score": "how unlike others this payment is, 0 to 1",
    "anomaly.quantile": "how unlike only few are",
}


def _named(name: str, value: float | None, rule: str, pack: Pack) -> tuple[str, str]:
    """Meaning and value of a feature or parameter in the evidence of a rule."""
    if name in INDEX:
        feature = FEATURES[INDEX[name]]
        return feature.meaning, _written(value, feature.unit)
    if name == "floor":
        return "there were more payments than are remembered: figures are at least this", "yes"
    if rule == ANOMALY_RULE:
        return _OF_ANOMALY.get(name, name), _written(value, "")
    parameter = pack.rule(rule).params.get(name)
    return (parameter.meaning or name) if parameter else name, _written(value, "")


def _written(value: float | None, unit: str) -> str:
    """A figure of the evidence, as short as it can be read.

    Examples
    --------
    >>> _written(None, "base"), _written(12345.0, "base"), _written(0.25, ""), _written(1234.56, "")
    ('not known', '12,345', '0.25', '1,234.56')
    >>> _written(7441.0, "seconds"), _written(1.0, "bool"), _written(4.25, "hour"), _written(12.3, "days")
    ('2.1 hours', 'yes', '04:15', '12.3 days')
    """
    if value is None:
        return "not known"
    match unit:
        case "bool":
            return "yes" if value else "no"
        case "hour":
            return f"{int(value):02d}:{int(value % 1 * 60):02d}"
        case "days" | "years":
            return f"{value:,.4g} {unit}"
        case "seconds":
            for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
                if value >= size:
                    return f"{value / size:,.1f} {name}"
            return f"{value:.0f} seconds"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"


def _day(text: str, zone: ZoneInfo) -> str:
    return f"{datetime.fromisoformat(text).astimezone(zone):%Y-%m-%d %H:%M}"
