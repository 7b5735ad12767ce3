"""``stream-guard backtest``: what a pack would have done on a recorded history, and whether it was right."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from stream_guard.cli.common import CommandError, ConfigOption, Exit, check_target, say, settings_of
from stream_guard.cli.histories import (
    AccountsOption,
    FromOption,
    HistoryArgument,
    MapOption,
    PackOption,
    PartitionsOption,
    PolicyOption,
    UntilOption,
    WarmUpOption,
    context_of,
    inputs_of,
    number,
    percent,
    progress_bar,
)

if TYPE_CHECKING:
    from stream_guard.backtest.picture import Picture
    from stream_guard.detection.state import Context


def backtest(
    history: HistoryArgument,
    accounts: AccountsOption = None,
    pack: PackOption = None,
    policy: PolicyOption = None,
    config: ConfigOption = None,
    begin: FromOption = None,
    until: UntilOption = None,
    warm_up: WarmUpOption = None,
    mapping: MapOption = None,
    partitions: PartitionsOption = None,
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
    lists are read. Set the time zone of the history: STREAM_GUARD_BANK__TIMEZONE=UTC.
    """
    from stream_guard.backtest import run

    settings = settings_of(config)
    inputs = inputs_of(settings, history, accounts, mapping, begin=begin, until=until, warm_up=warm_up)
    if report is not None:
        _make_folder(report)
    for path in (json, decisions):
        if path is not None:
            check_target(path)
    context = context_of(settings, pack, policy, partitions, emit_all=decisions is not None)
    try:
        with progress_bar() as tell:
            result = run(inputs, context, decisions=decisions, keep_picture=report is not None, tell=tell)
        if report is not None and result.picture is not None:
            _write_report(report, result.document, result.picture, context, history, accounts)
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
    folder: Path,
    document: Mapping[str, Any],
    picture: Picture,
    context: Context,
    history: Path,
    accounts: Path | None,
) -> None:
    from stream_guard.backtest.report import About, page

    about = About(
        history=history.name,
        accounts=accounts.name if accounts else None,
        pack=context.pack.pack,
        warn_at=context.policy.warn_at,
        timezone=context.bank.timezone,
        made=f"Made on {datetime.now(UTC):%Y-%m-%d} by stream-guard {version('stream-guard')}.",
    )
    path = folder / "index.html"
    path.write_text(page(document, picture, about), encoding="utf-8")
    say(f"The report is {path}.")


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
        ("pack", f"{document['pack']}, {_partitions(document['partitions'])}"),
        ("judged", f"{when['from']} until {when['until']}, {document['judged_events']:,} payments"),
        ("refused", f"{refused:,} payments" if refused else None),
        (
            "warnings",
            f"{document['warnings']:,} on {document['warned_accounts']:,} accounts,"
            f" {document['warnings_a_day']:.2f} a day",
        ),
        ("hit rate", percent(document["hit_rate"]) + between),
        ("false per true", number(document["false_per_true"])),
        ("recall", _recall(document["recall"], accounts["k"])),
        (
            "accounts",
            f"hit@50 {number(accounts['hit_at_50'])}, hit@K {number(accounts['hit_at_k'])},"
            f" recall@2K {number(accounts['recall_at_2k'])}, AUC {number(accounts['auc'])}",
        ),
        (
            "payments",
            f"AUC {number(payments['auc'])}, average precision {number(payments['average_precision'])},"
            f" card-precision@100 {number(payments['card_precision_at_100'])}",
        ),
        (
            "fraud amount",
            None
            if amount["fraud"] is None
            else f"{amount['intercepted']:,.0f} of {amount['fraud']:,.0f} intercepted"
            f" ({percent(amount['share'])})",
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


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


def _recall(recall: float | None, k: int) -> str:
    return "-" if recall is None else f"{percent(recall)} of {k:,} fraud accounts"
