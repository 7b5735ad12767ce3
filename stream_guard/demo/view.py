"""What the terminal shows while a demo runs: a live page, or plain lines where there is no terminal."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from stream_guard.demo.board import Latency, Snapshot, Warned
from stream_guard.demo.scrape import Figures
from stream_guard.demo.summary import ACTIONS, OUTCOMES, counts, rate_text

PLAIN_EVERY_S = 5.0
FIGURE_LINES = 14
"""Of the page without any warning."""
WIDE = 120
STYLES = {"low": "yellow", "medium": "dark_orange", "high": "red", "critical": "bold white on red"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a view needs at one moment.

    Attributes
    ----------
    phase
        What is going on, in words.
    done, total
        Progress of the phase, in its own unit; a total of 0 means unknown.
    unit
        Of the progress.
    board
        What was seen from outside.
    figures
        What the worker says.
    """

    phase: str
    done: float
    total: float
    unit: str
    board: Snapshot
    figures: Figures

    @property
    def progress(self) -> str:
        """Progress in words."""
        if not self.total:
            return ""
        return f"{min(self.done, self.total):,.0f} of {self.total:,.0f} {self.unit}"


class View(Protocol):
    """Shows scenes and says sentences."""

    def say(self, sentence: str) -> None:
        """Something that happened once."""

    def show(self, scene: Scene, now: float) -> None:
        """The state of things at wall clock `now` (seconds)."""

    def __enter__(self) -> Self:
        """Take the terminal."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""


class PlainView:
    """Lines, a few seconds apart."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._phase = ""
        self._shown = 0

    def say(self, sentence: str) -> None:
        """Print the sentence."""
        self._print(sentence)

    def show(self, scene: Scene, now: float) -> None:
        """Print what is new, unless it is too early."""
        if scene.phase == self._phase and now < self._next:
            return
        self._phase, self._next = scene.phase, now + PLAIN_EVERY_S
        for line in plain_lines(scene):
            self._print(line)
        fresh = scene.board.warnings - self._shown
        for warned in reversed(scene.board.latest[: min(3, fresh)]):
            self._print("  " + warning_line(warned))
        self._shown = scene.board.warnings

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to give back."""


class PageView:
    """A page that rewrites itself."""

    def __init__(self, console: Console, header: str) -> None:
        self._header = header
        self._live = Live(console=console, auto_refresh=False)

    def say(self, sentence: str) -> None:
        """Print the sentence above the page."""
        self._live.console.print(sentence, markup=False, highlight=False)

    def show(self, scene: Scene, now: float) -> None:
        """Draw the page anew."""
        self._live.update(page(self._header, scene, _room(self._live.console)), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last page standing."""
        self._live.stop()


def plain_lines(scene: Scene) -> list[str]:
    """A scene as a line or two."""
    board = scene.board
    first = f"{scene.phase}: {scene.progress}" if scene.total else scene.phase
    if not board.events:
        return [first]
    rate = rate_text(scene.figures.hits, scene.figures.judged)
    return [
        f"{first}; {board.rate:,.0f} events/s, latency {latency_text(board.recent)}, "
        f"open warnings {scene.figures.open_warnings}, hit rate {rate}, "
        f"intercepted {scene.figures.intercepted:,.0f}",
        f"  decisions: {counts(board.decisions, ACTIONS)}; "
        f"dispositions: {counts(board.dispositions, OUTCOMES)}; dead letters {board.dead_letters}",
    ]


def latency_text(latency: Latency) -> str:
    """Median and 99th percentile in words.

    Examples
    --------
    >>> latency_text(Latency(9.04, 15.9, 20.0, 21.0))
    'p50 9.0 ms, p99 15.9 ms'
    >>> latency_text(Latency.of([]))
    'p50 -, p99 -'
    """
    return f"p50 {_ms(latency.p50)}, p99 {_ms(latency.p99)}"


def _ms(value: float) -> str:
    return f"{value:,.1f} ms" if value == value else "-"


def warning_line(warned: Warned) -> str:
    """A warning in one line."""
    outcome = f" -> {warned.outcome.replace('_', ' ')}" if warned.outcome else ""
    return f"{warned.severity} {warned.score:.0f} {warned.account} {warned.rule}: {warned.text}{outcome}"


def _room(console: Console) -> int:
    """How many warnings fit below the figures; a narrow terminal wraps their reasons into more lines."""
    return max(2, (console.height - FIGURE_LINES) // (2 if console.width >= WIDE else 4))


def page(header: str, scene: Scene, most: int) -> Group:
    """A scene as a page with the latest `most` warnings."""
    board, figures = scene.board, scene.figures
    left = Table.grid(padding=(0, 2))
    for name, value in (
        ("events/s", f"{board.rate:,.0f}"),
        ("latency", latency_text(board.recent)),
        ("events", f"{board.events:,} sent, {board.decided:,} decided, {board.dead_letters} dead letters"),
        ("open warnings", f"{figures.open_warnings:,} of {board.warnings:,}"),
        ("hit rate", rate_text(figures.hits, figures.judged)),
        ("amount intercepted", f"{figures.intercepted:,.2f}"),
        ("decisions", counts(board.decisions, ACTIONS)),
        ("dispositions", counts(board.dispositions, OUTCOMES)),
    ):
        left.add_row(Text(name, style="bold"), value)
    warnings = Table(expand=True, box=None, padding=(0, 1))
    for column in ("severity", "score", "account", "why", "found to be"):
        warnings.add_column(column, no_wrap=column != "why", ratio=1 if column == "why" else None)
    for warned in board.latest[:most]:
        warnings.add_row(
            Text(warned.severity, style=STYLES.get(warned.severity, "")),
            f"{warned.score:.0f}",
            warned.account,
            Text(f"{warned.rule}: {warned.text}"),
            (warned.outcome or ("expired" if warned.status == "closed" else "...")).replace("_", " "),
        )
    title = f"{scene.phase}  {scene.progress}"
    return Group(
        Text(header, style="dim"),
        Panel(left, title=title, title_align="left"),
        Panel(warnings, title="latest warnings", title_align="left"),
    )
