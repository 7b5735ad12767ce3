"""``stream-guard state``: what is left to do when the changelog is lost."""

from __future__ import annotations

import asyncio
from typing import Annotated

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
    write_json,
)

app = group("The state of the workers.")

SHOWN_WARNINGS = 20


@app.command("rebuild")
def rebuild_state(
    since: Annotated[
        str,
        typer.Option(
            help="Oldest payments to read, RFC 3339 (2026-11-17T00:00:00Z); 'earliest': all there are."
        ),
    ],
    config: ConfigOption = None,
    broker: BrokerOption = None,
    json: JsonOption = False,
) -> None:
    """Make the state anew from the topics after its changelog was lost; sends no decision and no alert.

    All workers must be stopped, and the changelog must be there and empty ('topics create' makes it). What
    was not decided when the state was lost is left to the workers, which go on as usual afterwards.
    """
    from stream_guard.events import epoch_ms
    from stream_guard.streaming.rebuild_source import rebuild

    try:
        since_ms = 0 if since == "earliest" else epoch_ms(since)
    except ValueError as error:
        raise CommandError(f"--since {since}: {error}.", Exit.USAGE) from None
    settings = settings_of(config, broker)
    done = asyncio.run(rebuild(settings, since_ms, lambda count: say(f"{count:,} payments read")))
    if json:
        write_json(done._asdict())
        return
    typer.echo(
        f"Read {done.payments:,} payments: {done.accounts:,} accounts, {done.open_warnings:,} open warnings."
        " Start the workers."
    )
    if done.lost_warnings:
        shown = ", ".join(done.lost_warnings[:SHOWN_WARNINGS])
        say(
            f"Warning: {len(done.lost_warnings):,} warnings that are open by the alerts topic rest on what"
            f" the topics do not hold any more; outcomes for them will be refused: {shown}"
        )
