"""``stream-guard dead-letters``: look at what was refused, send it again once the cause is gone."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from stream_guard.cli.common import (
    BrokerOption,
    ConfigOption,
    JsonOption,
    group,
    say,
    settings_of,
    visible,
    write_json,
    write_json_line,
)
from stream_guard.detection.vocabulary import Reject

app = group("Look at what was refused, and send it again once the cause is gone.")

SHOWN_BYTES = 160

ReasonOption = Annotated[Reject | None, typer.Option(help="Only those refused for this reason.")]


@app.command("list")
def list_letters(
    config: ConfigOption = None,
    broker: BrokerOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many, the newest.")] = None,
    json: JsonOption = False,
) -> None:
    """List what was refused, oldest first; with --json one document a line.

    A record that was refused again after a crash is shown once.
    """
    from stream_guard.streaming.records import consumer
    from stream_guard.streaming.redrive import read_letters

    settings = settings_of(config, broker)
    zone = ZoneInfo(settings.bank.timezone)
    with consumer(settings) as client:
        letters = [
            letter
            for letter in read_letters(client, settings.topics.dead_letters)
            if reason in (None, letter.reason)
        ]
    letters.sort(key=lambda letter: letter.at_ms)
    for letter in letters[-limit:] if limit else letters:
        if json:
            write_json_line(letter.as_dict())
            continue
        moment = datetime.fromtimestamp(letter.at_ms / 1000, zone)
        value = (letter.value or b"")[:SHOWN_BYTES].decode(errors="backslashreplace")
        typer.echo(
            f"{moment:%Y-%m-%d %H:%M:%S} {visible(letter.place)}"
            f"  {visible(letter.reason)}: {visible(letter.message)}"
            f"\n    {visible(value)}{'...' if letter.length > SHOWN_BYTES else ''}"
        )
    if not json:
        counts = Counter(letter.reason for letter in letters)
        say("\n".join(f"{count:>8,} {visible(name)}" for name, count in counts.most_common()) or "None.")


@app.command("redrive")
def redrive_letters(
    config: ConfigOption = None,
    broker: BrokerOption = None,
    reason: ReasonOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Send so many at most.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    json: JsonOption = False,
) -> None:
    """Read the refused records from where they came, and send them there again, under the same keys.

    Each is sent again once; what is refused then is a new dead letter. A record that its topic no longer
    holds cannot be sent, and is reported.
    """
    from stream_guard.streaming.records import consumer, producer
    from stream_guard.streaming.redrive import Redrive
    from stream_guard.streaming.topics import admin_client

    settings = settings_of(config, broker)
    with (
        admin_client(settings.python_client()) as admin,
        consumer(settings) as reader,
        producer(settings) as writer,
    ):
        run = Redrive(settings, admin, reader, writer)
        outcome = run.run(reason=reason, limit=limit, again=again, dry_run=dry_run)
    if json:
        write_json({**outcome.as_dict(), "dry_run": dry_run})
        return
    for letter, fate in outcome.fates:
        typer.echo(f"{visible(letter.place)}  {visible(letter.reason)}: {fate.value}")
    verb = "would be sent" if dry_run else "sent"
    typer.echo(
        f"{outcome.sent:,} {verb} again, {outcome.gone:,} gone, {outcome.changed:,} changed,"
        f" {outcome.internal:,} internal."
    )
