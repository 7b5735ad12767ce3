"""``stream-guard alerts``: read warnings, dispose of them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import orjson
import typer

from stream_guard.cli.common import (
    BrokerOption,
    CommandError,
    ConfigOption,
    Exit,
    JsonOption,
    group,
    say,
    settings_of,
    visible,
    write_json,
    write_json_line,
)
from stream_guard.detection.vocabulary import Outcome, Role

if TYPE_CHECKING:
    from kafka import KafkaConsumer

    from stream_guard.events import Disposition

app = group("Read the warnings, and dispose of them.")

COLOURS = {"low": "white", "medium": "yellow", "high": "magenta", "critical": "red"}


@app.command("tail")
def tail(
    config: ConfigOption = None,
    broker: BrokerOption = None,
    json: JsonOption = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Begin with the oldest alert that is kept.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--no-follow", help="End at the last alert there is, instead of waiting for more.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many alerts.")] = None,
) -> None:
    """Show alerts as they come: one a revision of a warning. Ctrl-C ends it.

    With --json one JSON document a line, as it is on the topic.
    """
    from stream_guard.streaming.records import consumer, follow, read_to_end

    settings = settings_of(config, broker)
    zone = ZoneInfo(settings.bank.timezone)
    shown = 0
    with consumer(settings) as client:
        topic = settings.topics.alerts
        records = read_to_end(client, topic) if once else follow(client, topic, from_beginning=from_beginning)
        for record in records:
            alert = _parse(record.value)
            if alert is None:
                say(f"Skipped {record.topic}/{record.partition} offset {record.offset}: it is no alert.")
                continue
            if json:
                write_json_line(alert)
            else:
                _show(alert, zone)
            shown += 1
            if shown == limit:
                return


@app.command("dispose")
def dispose(
    warning_id: Annotated[
        str, typer.Argument(help="The warning, as its alerts name it.", show_default=False)
    ],
    outcome: Annotated[Outcome, typer.Argument(help="What the investigation found.", show_default=False)],
    by: Annotated[str, typer.Option(help="Who decided.", show_default=False)],
    role: Annotated[
        Role | None, typer.Option(help="What the account was in the fraud; needed for confirmed.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="Anything the next reader should know.")] = None,
    config: ConfigOption = None,
    broker: BrokerOption = None,
    json: JsonOption = False,
) -> None:
    """Write the outcome of a warning. A later outcome for the same warning corrects the earlier one."""
    from stream_guard.streaming.records import consumer, partitions_of, producer, send

    if outcome is Outcome.CONFIRMED and role is None:
        raise CommandError(
            "A confirmed warning needs --role mule or --role victim: only a mule is listed by itself.",
            Exit.USAGE,
        )
    settings = settings_of(config, broker)
    with consumer(settings) as client:
        partitions_of(client, settings.topics.dispositions)
        alert = _newest(client, settings.topics.alerts, warning_id)
    if alert is None:
        raise CommandError(
            f"No alert on topic '{settings.topics.alerts}' names the warning '{visible(warning_id)}':"
            " copy its id from 'stream-guard alerts tail --from-beginning'."
        )
    message = _disposition(alert, outcome, role, by, note)
    with producer(settings) as client:
        send(client, settings.topics.dispositions, message.account.encode(), message.encode())
    former = alert.get("outcome")
    if json:
        write_json({**message.model_dump(mode="json"), "corrects": former})
    else:
        correction = f", which corrects {former}" if former else ""
        typer.echo(f"Warning {warning_id} on {visible(message.account)}: {outcome}{correction}.")


def _newest(client: KafkaConsumer, topic: str, warning_id: str) -> Mapping[str, Any] | None:
    """Last alert of a warning; the account is in every one of them, the outcome so far in the last."""
    from stream_guard.streaming.records import read_to_end

    newest = None
    needle = orjson.dumps(warning_id)
    for record in read_to_end(client, topic):
        if record.value is not None and needle in record.value:
            alert = _parse(record.value)
            if alert is not None and alert["warning_id"] == warning_id:
                newest = alert
    return newest


def _disposition(
    alert: Mapping[str, Any], outcome: Outcome, role: Role | None, by: str, note: str | None
) -> Disposition:
    from pydantic import ValidationError

    from stream_guard.events import Disposition

    try:
        return Disposition(
            disposition_id=uuid.uuid4().hex,
            warning_id=alert["warning_id"],
            account=alert["account"],
            outcome=outcome,
            role=role,
            by=by,
            note=note,
            ts=time.time_ns() // 1_000_000,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise CommandError(f"--{first['loc'][0]}: {first['msg']}.", Exit.USAGE) from None


def _parse(value: bytes | None) -> dict[str, Any] | None:
    try:
        alert = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None
    needed = ("warning_id", "account", "status", "severity")
    return alert if isinstance(alert, dict) and all(name in alert for name in needed) else None


def _show(alert: Mapping[str, Any], zone: ZoneInfo) -> None:
    updated = datetime.fromtimestamp(alert.get("updated_at", 0) / 1000, zone)
    outcome = f" as {alert['outcome']}" if alert.get("outcome") else ""
    severity = str(alert["severity"])
    typer.secho(
        f"{updated:%Y-%m-%d %H:%M:%S} {alert['status']}{outcome}  {severity}"
        f"  score {alert.get('score', 0):.0f}  account {visible(str(alert['account']))}"
        f"  warning {visible(str(alert['warning_id']))} revision {alert.get('revision', '?')}",
        fg=COLOURS.get(severity),
    )
    if alert["status"] != "closed":
        for reason in alert.get("reasons", ()):
            typer.echo(
                f"    {reason['rule']}@{reason['version']} {reason['score']:.0f}: {visible(reason['text'])}"
            )
