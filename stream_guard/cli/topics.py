"""``stream-guard topics``: make the topics, verify them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from stream_guard.cli.common import (
    BrokerOption,
    ConfigOption,
    Exit,
    JsonOption,
    group,
    say,
    settings_of,
    write_json,
)

app = group("Make the topics of an application, and verify them.")


@app.command("create")
def create_topics(
    config: ConfigOption = None,
    broker: BrokerOption = None,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            help="Partition count of the keyed topics, where the settings name none.",
            show_default="as the transactions topic, else 12",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make the topics that are missing; change none that exists."""
    from stream_guard.streaming.topics import admin_client, create, plan_for

    settings = settings_of(config, broker)
    with admin_client(settings.python_client()) as client:
        outcome = create(client, plan_for(settings, client, settings.partitions or partitions))
    if json:
        write_json(asdict(outcome))
        return
    for name in outcome.created:
        typer.echo(f"created {name}")
    for name in outcome.existing:
        typer.echo(f"exists  {name}")
    for warning in outcome.warnings:
        say(f"Warning: {warning}")


@app.command("check")
def check_topics(config: ConfigOption = None, broker: BrokerOption = None, json: JsonOption = False) -> None:
    """Say what differs from what a worker needs; exit code 4 when a worker would refuse to start."""
    from stream_guard.streaming.topics import admin_client, check, plan_for

    settings = settings_of(config, broker)
    with admin_client(settings.python_client()) as client:
        wanted = plan_for(settings, client)
        found = check(client, wanted)
    serious = any(problem.serious for problem in found)
    if json:
        write_json(
            {"ok": not serious, "topics": len(wanted), "problems": [asdict(problem) for problem in found]}
        )
    else:
        for problem in found:
            typer.echo(f"{'error  ' if problem.serious else 'warning'} {problem.message}")
        if not found:
            typer.echo(f"All {len(wanted)} topics are as they should be.")
    if serious:
        raise typer.Exit(Exit.REFUSED)
