"""The curves as SVG: text stays text, nothing is fetched, and a phone's width is enough to read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

HIT: Final = "#1f5fa8"
WRONG: Final = "#c8550b"
LATER: Final = "#12806a"
OTHER: Final = "#8a8a8a"
PALE: Final = "#cfcfcf"
INK: Final = "#1a1a1a"
"""Hits and false positives differ in lightness too, and to those who do not see red and green apart."""

SIZE: Final = (4.3, 2.8)
"""Inches. A phone shows these 310 points on 360 pixels, and so text of 9.5 points in 11 pixels."""
WEEKS_FROM: Final = 70
"""Days from which on warnings are counted by the week."""
LONG: Final = 240
"""Days from which on dates are months."""

_STYLE: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "stream-guard",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#777777",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}

_thousands = FuncFormatter(lambda value, _: f"{value:,.0f}")


def _short(value: float, _: Any = None) -> str:
    """1,200,000 as 1.2 M: an axis has little room.

    Examples
    --------
    >>> [_short(value) for value in (0, 950, 20_000, 1_200_000, 3e9)]
    ['0', '950', '20 k', '1.2 M', '3 bn']
    """
    for size, unit in ((1e9, " bn"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == ' k' else size):,.4g}{unit}"
    return f"{value:,.4g}"


def by_threshold(points: Sequence[dict[str, Any]], now: tuple[float, float] | None) -> str:
    """Hit rate against accounts warned a day; `now`: what the pack does at present."""

    def draw(axes: Axes) -> None:
        axes.plot([p["a_day"] for p in points], [p["hit_rate"] for p in points], color=HIT)
        if now is not None:
            axes.plot(*now, "o", color=WRONG, markersize=7)
            right = now[0] > points[-1]["a_day"] / 2
            axes.annotate(
                "this pack", now, (-7 if right else 7, 7), textcoords="offset points", color=WRONG,
                ha="right" if right else "left",
            )  # fmt: skip
        axes.set(xlabel="warnings a day", ylabel="hit rate")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.08 * max(p["hit_rate"] for p in points) or 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))

    return _svg("threshold", draw)


def by_rank(points: Sequence[dict[str, Any]], k: int, candidates: int) -> str:
    """Positives among the first accounts, beside a perfect and a random order."""

    def draw(axes: Axes) -> None:
        ranks = [0, *(p["rank"] for p in points)]
        last = ranks[-1]
        perfect = [0, min(k, last), min(k, last)]
        axes.plot([0, min(k, last), last], perfect, color=OTHER, linestyle=":", label="perfect")
        axes.plot([0, last], [0, last * k / candidates], color=OTHER, linestyle="--", label="random")
        axes.plot(ranks, [0, *(p["hits"] for p in points)], color=HIT, label="this pack")
        axes.set(xlabel="accounts looked at, highest score first", ylabel="fraud accounts among them")
        axes.set_xlim(0, last)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_thousands)
        _legend_above(axes)

    return _svg("rank", draw)


def by_day(days: Sequence[dict[str, Any]], first: date, last: date) -> tuple[str, bool]:
    """Warnings a day, or a week where the period is long; whether it is weeks."""
    width = 7 if (last - first).days >= WEEKS_FROM else 1
    starts: list[Any] = [first + timedelta(days=i) for i in range(0, (last - first).days + 1, width)]
    kinds = {"hits": HIT, "false_positives": WRONG, "others": OTHER}
    counts = {kind: [0] * len(starts) for kind in kinds}
    for day in days:
        slot = (date.fromisoformat(day["day"]) - first).days // width
        for kind in kinds:
            counts[kind][slot] += day[kind]

    def draw(axes: Axes) -> None:
        floor = [0] * len(starts)
        for kind, color in kinds.items():
            if kind != "others" or any(counts[kind]):
                axes.bar(
                    starts, counts[kind], width * 0.85, floor, align="edge", color=color,
                    label=kind.replace("_", " "),
                )  # fmt: skip
                floor = [a + b for a, b in zip(floor, counts[kind], strict=True)]
        axes.set(ylabel="warnings a week" if width > 1 else "warnings a day")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _dates(axes, first, last)
        _legend_above(axes)

    return _svg("days", draw), width > 1


def by_score(classes: Sequence[dict[str, Any]], warn_at: float) -> str:
    """Accounts by highest score: fraud accounts above, all others below, each with an axis of its own."""

    def draw(above: Axes, below: Axes) -> None:
        scored = classes[1:]
        for axes, kind, color, name in (
            (above, "positives", HIT, "fraud accounts"),
            (below, "others", WRONG, "other accounts"),
        ):
            axes.bar(
                [c["over"] for c in scored], [c[kind] for c in scored],
                [0.88 * (c["to"] - c["over"]) for c in scored], align="edge", color=color,
            )  # fmt: skip
            axes.axvline(warn_at, color=INK, linewidth=1, linestyle="--")
            axes.set_ylabel(name)
            axes.set_xlim(0, 100)
            axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.yaxis.set_major_formatter(FuncFormatter(_short))
        below.set_xlabel("highest score (dashed: a warning opens)")

    return _svg("scores", draw, rows=2)


def money(days: Sequence[dict[str, Any]], first: date, last: date, currency: str) -> str:
    """Fraudulent amount since the beginning: all, intercepted, after a warning."""
    kinds = {
        "fraud": ("all fraud", PALE, 5.0),
        "after_warning": ("after a warning", LATER, 1.8),
        "intercepted": ("intercepted", HIT, 1.8),
    }

    def draw(axes: Axes) -> None:
        # A day's sum is there when the day is over.
        ends: list[Any] = [date.fromisoformat(day["day"]) + timedelta(days=1) for day in days]
        when = [first, *ends, last + timedelta(days=1)]
        for kind, (name, color, width) in kinds.items():
            sums = [0.0, *(day[kind] for day in days), days[-1][kind]]
            axes.step(when, sums, where="post", color=color, label=name, linewidth=width)
        axes.set_ylabel(f"{currency} since the beginning")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        _dates(axes, first, last)
        _legend_above(axes)

    return _svg("money", draw)


def _dates(axes: Axes, first: date, last: date) -> None:
    axes.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=6))
    axes.xaxis.set_major_formatter(DateFormatter("%b %Y" if (last - first).days > LONG else "%-d %b"))


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, handlelength=1.4, columnspacing=1.2, borderpad=0
    )


def _svg(name: str, draw: Callable[..., None], rows: int = 1) -> str:
    """An ``<svg>`` element whose ids begin with `name`, as several stand on one page."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE)
        FigureCanvasSVG(figure)
        draw(*figure.subplots(rows, 1, sharex=rows > 1, squeeze=False)[:, 0])
        out = StringIO()
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = out.getvalue()
    head, tail = svg[svg.index("<svg") :].split(">", 1)
    # The page says how wide it is, and in which font; the rest is of no use in it.
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    tail = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", tail, flags=re.DOTALL)
    tail = re.sub(r" font-family: [^;\"]*;", "", tail)
    tail = re.sub(r'\bid="', f'id="{name}-', tail)
    tail = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\1{name}-", tail)
    return f"{head}>{tail}"
