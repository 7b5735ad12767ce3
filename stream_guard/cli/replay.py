"""``stream-guard replay``: a recorded history, sent as a bank would send it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stream_guard.cli.common import (
    BrokerOption,
    CommandError,
    ConfigOption,
    Exit,
    JsonOption,
    mapping_of,
    say,
    settings_of,
    write_json,
)

if TYPE_CHECKING:
    from stream_guard.replay import Pace, Replay, Sent

PLAIN_EVERY_S = 5.0
"""Seconds between two lines where no terminal can show a bar."""


def replay(
    file: Annotated[Path, typer.Argument(help="Parquet file of payments.", show_default=False)],
    config: ConfigOption = None,
    broker: BrokerOption = None,
    rate: Annotated[float | None, typer.Option(help="Payments a second.")] = None,
    speed: Annotated[
        float | None, typer.Option(help="Event time over wall time: 60 sends an hour of history in a minute.")
    ] = None,
    as_fast_as_possible: Annotated[
        bool, typer.Option("--max", help="As fast as the broker takes them; the default.")
    ] = False,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="CANONICAL=COLUMN", help="Where the file has another name; repeatable."
        ),
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(help="Accounts file (CSV, also gzipped) whose facts are sent before the payments."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send so many payments at most.")] = None,
    json: JsonOption = False,
) -> None:
    """Send a recorded history to the transactions topic, in event order, keyed and partitioned as Java does.

    Read are the columns event_id, ts, account, counterparty and amount, and, where there are any, currency,
    type, channel, payer_kind, payee_kind, payer_balance_before, payee_balance_before, device_id, ip, latitude
    and longitude. All others, labels above all, are never sent.
    """
    from stream_guard.history import History, account_updates
    from stream_guard.replay import Replay

    pace = _pace(rate, speed, as_fast_as_possible)
    history = History(file, mapping_of(mapping or []))
    updates = list(account_updates(accounts, history.first_ts() or 0)) if accounts else []
    settings = settings_of(config, broker)
    topics = settings.topics
    run = Replay(settings.librdkafka())
    run.require_topics([topics.transactions, *([topics.account_updates] if updates else [])])
    if not json:
        say(f"{file}: not sent are {', '.join(history.ignored) or 'no columns'}")
        if accounts:
            say(f"{accounts}: {len(updates):,} accounts with facts")
    total = min(len(history), limit or len(history))
    try:
        run.send_accounts(topics.account_updates, updates)
        with _progress(total, quiet=json) as tell:
            run.send_events(topics.transactions, history.batches(limit), pace, tell)
            run.finish()
    except KeyboardInterrupt:
        _interrupted(run, total, json)
    if json:
        write_json(run.progress.as_dict())
    else:
        typer.echo(_summary(run.progress))


def _pace(rate: float | None, speed: float | None, fastest: bool) -> Pace:
    from stream_guard.replay import Pace

    if sum((rate is not None, speed is not None, fastest)) > 1:
        raise CommandError("--rate, --speed and --max exclude each other: give one of them.", Exit.USAGE)
    for name, value in (("--rate", rate), ("--speed", speed)):
        if value is not None and not 0 < value < float("inf"):
            raise CommandError(f"{name} must be above 0.", Exit.USAGE)
    return Pace(rate, speed)


def _summary(sent: Sent) -> str:
    accounts = f" after {sent.accounts:,} account updates" if sent.accounts else ""
    rate = sent.sent / sent.seconds if sent.seconds else 0.0
    return f"Sent {sent.sent:,} payments{accounts} in {sent.seconds:,.1f} s ({rate:,.0f} a second)."


def _interrupted(run: Replay, total: int, json: bool) -> None:
    run.finish()
    if json:
        write_json(run.progress.as_dict())
    say(f"Interrupted after {run.progress.sent:,} of {total:,} payments; all of those are written.")
    raise typer.Exit(Exit.INTERRUPTED)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[Sent], None]]:
    """How far it is: a bar on a terminal, a line now and then elsewhere, nothing for programs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet:
        yield lambda sent: None
    elif console.is_terminal:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total, rate="")
            begin = time.monotonic()

            def show(sent: Sent) -> None:
                seconds = time.monotonic() - begin
                rate = f"{sent.sent / seconds:,.0f}/s" if seconds > 0 else ""
                bar.update(task, completed=sent.sent, rate=rate)

            yield show
    else:
        next_line = time.monotonic() + PLAIN_EVERY_S

        def line(sent: Sent) -> None:
            nonlocal next_line
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + PLAIN_EVERY_S
                say(f"{sent.sent:,} of {total:,} payments, {sent.seconds:.0f} s")

        yield line
