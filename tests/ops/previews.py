"""Pictures of the dashboards for the README: ``python -m tests.ops.previews`` (``make previews``).

A small bank works for some minutes under a real Prometheus; the panels' own queries are asked and
drawn, without Grafana. The recording rules' windows are ten times shorter, so that minutes suffice.
"""

from __future__ import annotations

import argparse
import io
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from PIL import Image

from tests.kafka.harness import ROOT, Env, running_kafka
from tests.ops.expressions import chosen, pages, panels
from tests.ops.prometheus import Prometheus, Sample
from tests.ops.rules import in_fast_motion
from tests.ops.scene import bank_at_work

FOLDER = ROOT / "docker" / "grafana" / "previews"
SHOWN = {
    "fraud-desk": [
        "What share of our warnings is right?", "The year's warnings, by what became of them",
        "Amount intercepted", "Known risk signals, by source",
        "Which rule models are right?", "Top typologies",
        "Warnings opened and closed within the hour", "What do we tell core banking?",
    ],
    "service-health": [
        "Payments in and decided", "Does a decision take longer than the deadline?",
        "How long do decisions take?", "How long does a flush take?",
        "Age of the last commit", "Memory, by worker",
    ],
    "models": [
        "How often does each rule model fire?", "What could not be evaluated?",
        "Shadow against live", "Scores of payments that have one",
        "Anomaly scores, and from where on they are a reason", "Payments the anomaly models have learned",
    ],
}  # fmt: skip
LINES = 8
"""Series of a panel that are drawn; the largest."""
BARS = 32
BAR_INCHES = 0.145
ROW_INCHES = {"stat": 1.15, "timeseries": 2.7, "bargauge": 2.7, "heatmap": 2.7}
SETTLED_S = 40.0
"""Of the live part, until nothing shows any more of the history that came before at once."""
MEMORY: Env = {"STREAM_GUARD_STATE__MEMORY_MB": "1024"}
"""A container's, not this machine's."""
COLOURS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#c4a27a"]
CARD = "#181b1f"
STYLE = {
    "font.family": "DejaVu Sans",
    "figure.facecolor": "#111217",
    "axes.facecolor": CARD,
    "axes.edgecolor": "#3a3d44",
    "axes.labelcolor": "#ccccdc",
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#2c3036",
    "text.color": "#ccccdc",
    "xtick.color": "#ccccdc",
    "ytick.color": "#ccccdc",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


class Asked(NamedTuple):
    """What Prometheus answered to a panel's queries; the largest series first."""

    series: list[tuple[str, Sample]]
    unit: str
    start: float
    end: float


def number(value: float, unit: str) -> str:
    """A value as Grafana would write it.

    Examples
    --------
    >>> number(0.4918, "percentunit"), number(0.0023, "percentunit"), number(2_500_000, "bytes")
    ('49%', '0.23%', '2.5 MB')
    >>> number(0.012, "s"), number(90, "s")
    ('12 ms', '1.5 min')
    >>> number(2.5, "cps"), number(1234.5, "short"), number(1_234_567, "currency:CNY ")
    ('2.5 /s', '1,234', 'CNY 1.23M')
    """
    short = f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if unit == "percentunit":
        return f"{value:.0%}" if value >= 0.1 or value == 0 else f"{100 * value:.2g}%"
    if unit == "s":
        return (
            f"{value * 1000:.4g} ms"
            if value < 1
            else f"{value:.3g} s"
            if value < 60
            else f"{value / 60:.3g} min"
        )
    if unit == "bytes":
        return f"{value / 1e6:.3g} MB" if value < 1e9 else f"{value / 1e9:.3g} GB"
    if unit == "cps":
        return f"{short} /s"
    if unit.startswith("currency:"):
        code = unit.removeprefix("currency:")
        return f"{code}{value / 1e6:.3g}M" if value >= 1e6 else f"{code}{short}"
    return short


def ask(
    prometheus: Prometheus, panel: dict[str, Any], workers: dict[str, str], start: float, end: float
) -> Asked:
    """Ask a panel's queries: at the end for figures and bars, over the time for the others."""
    at_the_end = panel["type"] in ("stat", "bargauge")
    found: list[tuple[str, Sample]] = []
    for target in panel["targets"]:
        expression = chosen(target["expr"])
        samples = (
            prometheus.query(expression, end)
            if at_the_end
            else prometheus.query_range(expression, start, end, 2.0)
        )
        for sample in samples:
            legend = "" if target["legendFormat"] == "__auto" else target["legendFormat"]
            for label, value in sample.labels.items():
                legend = legend.replace(f"{{{{{label}}}}}", workers.get(value, value))
            found.append((legend.replace("_", " "), sample))
    if panel["type"] != "stat":
        found.sort(key=lambda pair: -max(value for _, value in pair[1].points))
    if not found:
        raise RuntimeError(f"the panel {panel['title']!r} is empty: let the bank work longer (--seconds)")
    return Asked(found, panel["fieldConfig"]["defaults"]["unit"], start, end)


def over_time(axes: Axes, asked: Asked) -> None:
    """Have the horizontal axis count minutes."""
    axes.set_xlim(0, asked.end - asked.start)
    axes.xaxis.set_major_locator(MultipleLocator(30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value // 60:.0f}:{value % 60:02.0f}"))


def draw_lines(axes: Axes, asked: Asked) -> None:
    for name, sample in asked.series[:LINES]:
        times = [at - asked.start for at, _ in sample.points]
        axes.plot(times, [value for _, value in sample.points], label=name, lw=1.4)
    over_time(axes, asked)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value, asked.unit)))
    axes.grid()
    longest = max(len(name) for name, _ in asked.series[:LINES])
    if longest:
        axes.legend(
            fontsize=7.5,
            frameon=False,
            ncols=4 if longest < 18 else 3 if longest < 28 else 2,
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.12),
        )


def draw_bars(axes: Axes, asked: Asked) -> None:
    top = asked.series[:BARS][::-1]
    values = [sample.value for _, sample in top]
    colours = [COLOURS[1 if "shadow" in name else 2] for name, _ in top]
    axes.barh([name for name, _ in top], values, color=colours, height=0.7)
    for place, value in enumerate(values):
        axes.text(value, place, f" {number(value, asked.unit)}", va="center", fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, 1.15 * max(values))
    axes.set_ylim(-0.6, len(top) - 0.4)
    axes.set_xticks([])


def draw_figures(axes: Axes, asked: Asked) -> None:
    axes.set_axis_off()
    size = 18 if len(asked.series) < 4 else 14
    for place, (name, sample) in enumerate(asked.series):
        middle = (place + 0.5) / len(asked.series)
        figure = number(sample.value, asked.unit)
        axes.text(middle, 0.65, figure, ha="center", va="center", fontsize=size, color=COLOURS[0])
        axes.text(middle, 0.15, name, ha="center", va="center", fontsize=8.5)


def draw_heat(axes: Axes, asked: Asked) -> None:
    by_bound = sorted((float(sample.labels["le"]), dict(sample.points)) for _, sample in asked.series)
    times = sorted({at for _, points in by_bound for at in points})
    below = dict.fromkeys(times, 0.0)
    rows: list[tuple[float, list[float]]] = []
    for bound, points in by_bound:
        rows.append((bound, [max(0.0, points.get(at, 0.0) - below[at]) for at in times]))
        below = {at: points.get(at, 0.0) for at in times}
    filled = [place for place, (_, row) in enumerate(rows) if max(row) > 0]
    rows = rows[filled[0] : filled[-1] + 1]
    span = (times[0] - asked.start, times[-1] - asked.start, 0, len(rows))
    shown = [[value or math.nan for value in row] for _, row in rows]
    axes.imshow(shown, origin="lower", aspect="auto", cmap="inferno", extent=span)
    every = range(0, len(rows), max(1, len(rows) // 6))
    axes.set_yticks(
        [place + 1 for place in every], [f"≤ {number(rows[place][0], asked.unit)}" for place in every]
    )
    over_time(axes, asked)


DRAW: dict[str, Callable[[Axes, Asked], None]] = {
    "timeseries": draw_lines,
    "bargauge": draw_bars,
    "stat": draw_figures,
    "heatmap": draw_heat,
}


def picture(prometheus: Prometheus, name: str, workers: dict[str, str], start: float, end: float) -> Figure:
    """The main panels of a dashboard; `workers` are names for addresses."""
    page = pages()[name]
    by_title = {panel["title"]: panel for panel in panels(page)}
    chosen_ones = [by_title[title] for title in SHOWN[name]]
    asked = [ask(prometheus, panel, workers, start, end) for panel in chosen_ones]
    inches = [
        max(
            ROW_INCHES[panel["type"]], BAR_INCHES * min(BARS, len(one.series)) * (panel["type"] == "bargauge")
        )
        for panel, one in zip(chosen_ones, asked, strict=True)
    ]
    heights = [max(pair) for pair in zip(inches[::2], inches[1::2], strict=True)]
    figure = Figure(figsize=(12, 0.5 + sum(heights)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    top, cards = figure.subfigures(2, 1, height_ratios=[0.5, sum(heights)])
    top.text(0.01, 0.4, page["title"], fontsize=15, weight="bold", va="center")
    grid = cards.subfigures(len(heights), 2, height_ratios=heights, wspace=0.012, hspace=0.03)
    for card, panel, one in zip(grid.flat, chosen_ones, asked, strict=True):
        card.set_facecolor(CARD)
        card.suptitle(panel["title"], fontsize=10.5, weight="bold", x=0.02, ha="left")
        DRAW[panel["type"]](card.subplots(), one)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture with few colours: a fraction of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)


def main() -> None:
    """Run the bank and draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.ops.previews", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=200, help="length of the live part")
    options = parser.parse_args()
    mpl.rcParams.update(STYLE)
    FOLDER.mkdir(exist_ok=True)
    with running_kafka() as kafka, tempfile.TemporaryDirectory(prefix="stream-guard-previews-") as name:
        folder = Path(name)
        rules = in_fast_motion(folder / "rules", 10)
        with bank_at_work(
            kafka, folder, days=200, seconds=options.seconds, rate=100, settings=MEMORY, rules=rules
        ) as scene:
            start, end = scene.started + SETTLED_S, time.time()
            workers = {f"127.0.0.1:{one.port}": f"worker-{i}" for i, one in enumerate(scene.workers)}
            for page in SHOWN:
                path = FOLDER / f"{page}.png"
                save(picture(scene.prometheus, page, workers, start, end), path)
                print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
