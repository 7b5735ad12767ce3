"""``stream-guard backtest``: what a pack would have done on a recorded history, and whether it was right."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import orjson
import typer

from stream_guard.cli.common import CommandError, ConfigOption, Exit, mapping_of, say, settings_of

if TYPE_CHECKING:
    from stream_guard.backtest import Progress, Result
    from stream_guard.detection.state import Context
    from stream_guard.settings import Settings

PLAIN_EVERY_S = 5.0
"""Seconds between two lines where no terminal can show a bar."""


def backtest(
    history: Annotated[
        Path, typer.Argument(metavar="HISTORY", help="Parquet file of payments.", show_default=False)
    ],
    accounts: Annotated[
        Path | None,
        typer.Option(help="Accounts file (CSV, also gzipped): facts for detection, labels for judging."),
    ] = None,
    pack: Annotated[Path | None, typer.Option(help="Rule pack instead of the settings'.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy instead of the settings'.")] = None,
    config: ConfigOption = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Judge from here: a date, or a fraction of the history such as 0.6."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", "--to", help="Stop before: a date, or a fraction of the history.")
    ] = None,
    warm_up: Annotated[
        str | None,
        typer.Option("--warmup", help="Instead of --from: how long the beginning only warms (30d)."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="CANONICAL=COLUMN", help="Where the file has another name; repeatable."
        ),
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Partitions to simulate; the settings', else 1."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="File to write all figures to; - is the screen.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Parquet file to write the decision on every judged payment to.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to write index.html to: one page to read and to print."),
    ] = None,
) -> None:
    """Decide a recorded history as a worker would, one payment in flight at a time, and judge the decisions.

    Everything before --from warms profiles and the anomaly model. Labels (is_fraud, fraud_scenario, and what
    the accounts file says about fraud) are for judging: detection never sees them. Nothing is late, and no
    risk signals are read. Set the time zone of the history: STREAM_GUARD_BANK__TIMEZONE=UTC.
    """
    from stream_guard.backtest import LABELS, Inputs, account_labels, period, run
    from stream_guard.history import History, account_updates

    columns = mapping_of(mapping or [])
    for name, column in columns.items():
        if column in LABELS:
            raise CommandError(
                f"--map {name}={column}: {column} is a label, which detection must not see.", Exit.USAGE
            )
    settings = settings_of(config)
    source = History(history, columns)
    first, last = source.first_ts(), source.last_ts()
    if first is None or last is None:
        raise CommandError(f"{history} holds no payment: there is nothing to judge.", Exit.USAGE)
    zone = ZoneInfo(settings.bank.timezone)
    inputs = Inputs(
        source,
        period(first, last, zone, begin=begin, until=until, warm_up=warm_up),
        tuple(account_updates(accounts, first)) if accounts else (),
        account_labels(accounts) if accounts else None,
    )
    if report is not None:
        _make_folder(report)
    for path in (json, decisions):
        if path is not None and not path.parent.is_dir():
            raise CommandError(f"{path} cannot be written: there is no folder {path.parent}.", Exit.USAGE)
        if path is not None and path.is_dir():
            raise CommandError(f"{path} cannot be written: it is a folder.", Exit.USAGE)
    context = _context(
        settings, pack, policy, partitions or settings.partitions or 1, emit_all=decisions is not None
    )
    try:
        with _progress(len(source)) as tell:
            result = run(inputs, context, decisions=decisions, keep_picture=report is not None, tell=tell)
        if report is not None:
            _write_report(report, result, context, history, accounts)
    except OSError as error:
        raise CommandError(f"A file failed while it ran: {error}.") from error
    document = result.document
    if json is None:
        typer.echo(summary(document))
    else:
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        if str(json) == "-":
            typer.echo(text.decode())
        else:
            json.write_bytes(text + b"\n")
            typer.echo(summary(document))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--report {folder}: the folder cannot be made: {error}.", Exit.USAGE) from error


def _write_report(
    folder: Path, result: Result, context: Context, history: Path, accounts: Path | None
) -> None:
    from stream_guard.backtest.report import About, page

    assert result.picture is not None
    about = About(
        history=history.name,
        accounts=accounts.name if accounts else None,
        pack=context.pack.pack,
        warn_at=context.policy.warn_at,
        timezone=context.bank.timezone,
        made=f"Made on {datetime.now(UTC):%Y-%m-%d} by stream-guard {version('stream-guard')}.",
    )
    path = folder / "index.html"
    path.write_text(page(result.document, result.picture, about), encoding="utf-8")
    say(f"The report is {path}.")


def _context(
    settings: Settings, pack: Path | None, policy: Path | None, partitions: int, *, emit_all: bool
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
    context = replace(load_context(chosen, partitions), emit_all=emit_all, audit=False)
    # Compiling is no part of events/s.
    warm_up(context)
    return context


def summary(document: Mapping[str, Any]) -> str:
    """The headline for people.

    Parameters
    ----------
    document
        What `backtest.run` found.
    """
    accounts, amount, lead = document["accounts"], document["amount"], document["lead"]
    payments = document["transactions"]
    interval = document["hit_rate_interval"]
    between = f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else ""
    when = document["period"]
    refused = sum(document["refused"].values())
    rows = [
        ("pack", f"{document['pack']}, {document['partitions']} partitions"),
        ("judged", f"{when['from']} until {when['until']}, {document['judged_events']:,} payments"),
        ("refused", f"{refused:,} payments" if refused else None),
        (
            "warnings",
            f"{document['warnings']:,} on {document['warned_accounts']:,} accounts,"
            f" {document['warnings_a_day']:.2f} a day",
        ),
        ("hit rate", _percent(document["hit_rate"], between)),
        ("false per true", _number(document["false_per_true"])),
        ("recall", _percent(document["recall"], f" of {accounts['k']:,} fraud accounts")),
        (
            "accounts",
            f"hit@50 {_number(accounts['hit_at_50'])}, hit@K {_number(accounts['hit_at_k'])},"
            f" recall@2K {_number(accounts['recall_at_2k'])}, AUC {_number(accounts['auc'])}",
        ),
        (
            "payments",
            f"AUC {_number(payments['auc'])}, average precision {_number(payments['average_precision'])},"
            f" card-precision@100 {_number(payments['card_precision_at_100'])}",
        ),
        (
            "fraud amount",
            None
            if amount["fraud"] is None
            else f"{amount['intercepted']:,.0f} of {amount['fraud']:,.0f} intercepted"
            f" ({_percent(amount['share'])})",
        ),
        (
            "lead",
            None
            if lead["in_time"] is None
            else f"{lead['in_time']} accounts warned in time; {lead['payments']:,} later fraudulent payments,"
            f" {lead['amount']:,.0f}",
        ),
        ("speed", f"{document['events']:,} payments, {document['events_per_second'] or 0:,.0f} a second"),
    ]
    return "\n".join(f"{name:<15} {text}" for name, text in rows if text is not None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(value: float | None, after: str = "") -> str:
    return "-" if value is None else f"{value:.1%}{after}"


def progress_line(progress: Progress, total: int) -> str:
    """How far a run is, in words.

    Examples
    --------
    >>> from stream_guard.backtest import Progress
    >>> progress_line(Progress(events=50_000, total=200_000, seconds=2.0), 200_000)
    '50,000 of 200,000 payments, 25,000 a second, 6 s left'
    """
    rate = progress.events / progress.seconds if progress.seconds else 0.0
    left = f", {(total - progress.events) / rate:,.0f} s left" if rate else ""
    return f"{progress.events:,} of {total:,} payments, {rate:,.0f} a second{left}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Progress], None]]:
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
            task = bar.add_task("", total=total, rate="")

            def show(progress: Progress) -> None:
                rate = progress.events / progress.seconds if progress.seconds else 0.0
                bar.update(task, completed=progress.events, rate=f"{rate:,.0f}/s")

            yield show
    else:
        next_line = time.monotonic() + PLAIN_EVERY_S

        def line(progress: Progress) -> None:
            nonlocal next_line
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + PLAIN_EVERY_S
                say(progress_line(progress, total))

        yield line
