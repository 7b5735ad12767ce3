"""What the commands share that go through a recorded history: options, inputs, progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from stream_guard.cli.common import CommandError, Exit, mapping_of, say

if TYPE_CHECKING:
    from stream_guard.backtest import Inputs, Progress
    from stream_guard.detection.state import Context
    from stream_guard.settings import Settings

PLAIN_EVERY_S = 5.0
"""Seconds between two lines where no terminal can show a bar."""

HistoryArgument = Annotated[
    Path, typer.Argument(metavar="HISTORY", help="Parquet file of payments.", show_default=False)
]
AccountsOption = Annotated[
    Path | None,
    typer.Option(help="Accounts file (CSV, also gzipped): facts for detection, labels for judging."),
]
PackOption = Annotated[Path | None, typer.Option(help="Rule pack instead of the settings'.")]
PolicyOption = Annotated[Path | None, typer.Option(help="Policy instead of the settings'.")]
FromOption = Annotated[
    str | None,
    typer.Option("--from", help="Judge from here: a date, or a fraction of the history such as 0.6."),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", "--to", help="Stop before: a date, or a fraction of the history.")
]
WarmUpOption = Annotated[
    str | None,
    typer.Option("--warmup", help="Instead of --from: how long the beginning only warms (30d)."),
]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="CANONICAL=COLUMN", help="Where the file has another name; repeatable."),
]
PartitionsOption = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Partitions to simulate; the settings', else 1.")
]


def inputs_of(
    settings: Settings,
    history: Path,
    accounts: Path | None,
    mapping: list[str] | None,
    *,
    begin: str | None,
    until: str | None,
    warm_up: str | None,
) -> Inputs:
    """What a history's options name.

    Raises
    ------
    CommandError, HistoryError, PeriodError
        When it cannot be used.
    """
    from stream_guard.backtest import LABELS, Inputs, account_labels, period
    from stream_guard.history import History, account_updates

    columns = mapping_of(mapping or [])
    for name, column in columns.items():
        if column in LABELS:
            raise CommandError(
                f"--map {name}={column}: {column} is a label, which detection must not see.", Exit.USAGE
            )
    source = History(history, columns)
    first, last = source.first_ts(), source.last_ts()
    if first is None or last is None:
        raise CommandError(f"{history} holds no payment: there is nothing to judge.", Exit.USAGE)
    zone = ZoneInfo(settings.bank.timezone)
    return Inputs(
        source,
        period(first, last, zone, begin=begin, until=until, warm_up=warm_up),
        tuple(account_updates(accounts, first)) if accounts else (),
        account_labels(accounts) if accounts else None,
    )


def context_of(
    settings: Settings,
    pack: Path | None,
    policy: Path | None,
    partitions: int | None,
    *,
    emit_all: bool = False,
) -> Context:
    """What decides: the settings', but for what was asked for; without a deadline."""
    from stream_guard.context import load_context
    from stream_guard.warm_up import warm_up

    changed: dict[str, Any] = {}
    for name, path in (("pack", pack), ("policy", policy)):
        if path is not None:
            if not path.is_file():
                raise CommandError(f"--{name} {path}: there is no such file.", Exit.USAGE)
            changed[name] = path
    timeless = settings.policy.model_copy(update={"deadline_ms": 0})
    chosen = settings.model_copy(
        update={"models": settings.models.model_copy(update=changed), "policy": timeless}
    )
    context = load_context(chosen, partitions or settings.partitions or 1)
    context = replace(context, emit_all=emit_all, audit=False)
    # Compiling is no part of events/s.
    warm_up(context)
    return context


def number(value: float | None) -> str:
    """A figure from 0 to 1, or a ratio, for people."""
    return "-" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share for people."""
    return "-" if value is None else f"{value:.1%}"


def progress_line(progress: Progress) -> str:
    """How far a run is, in words.

    Examples
    --------
    >>> from stream_guard.backtest import Progress
    >>> progress_line(Progress(events=50_000, total=200_000, seconds=2.0))
    '50,000 of 200,000 payments, 25,000 a second, 6 s left'
    """
    left = f", {(progress.total - progress.events) / progress.rate:,.0f} s left" if progress.rate else ""
    return f"{progress.events:,} of {progress.total:,} payments, {progress.rate:,.0f} a second{left}"


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """How far it is: a bar on a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=console) as bar:
            task = bar.add_task("", total=None, rate="")

            def show(progress: Progress) -> None:
                rate = f"{progress.rate:,.0f}/s"
                bar.update(task, completed=progress.events, total=progress.total, rate=rate)

            yield show
    else:
        next_line = time.monotonic() + PLAIN_EVERY_S

        def line(progress: Progress) -> None:
            nonlocal next_line
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + PLAIN_EVERY_S
                say(progress_line(progress))

        yield line
