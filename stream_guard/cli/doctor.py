"""``stream-guard doctor``: is this installation well?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from stream_guard.cli.common import (
    BrokerOption,
    ConfigOption,
    Exit,
    JsonOption,
    settings_of,
    visible,
    write_json,
)

if TYPE_CHECKING:
    from stream_guard.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "bold red"}


def doctor(
    config: ConfigOption = None,
    broker: BrokerOption = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help="A worker's server, http://HOST:PORT; may be given again.", show_default=False),
    ] = None,
    listen: Annotated[float, typer.Option(min=0, help="Seconds to wait for new payments (clocks).")] = 2.0,
    sample: Annotated[
        int, typer.Option(min=1, max=100_000, help="Newest records of each partition to look at.")
    ] = 200,
    json: JsonOption = False,
) -> None:
    """Look at everything a worker depends on; exit code 1 where something is wrong. Changes nothing."""
    from stream_guard.doctor import Verdict, examine

    settings = settings_of(config, broker)
    findings = examine(settings, urls=url or (), listen_s=listen, sample=sample)
    found = list(findings) if json else _table(findings)
    well = all(finding.verdict is not Verdict.ERROR for finding in found)
    if json:
        write_json({"ok": well, "findings": [asdict(finding) for finding in found]})
    if not well:
        raise typer.Exit(Exit.FAILED)


def _table(findings: Iterable[Finding]) -> list[Finding]:
    """Show the findings as a table, and give them back."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    with console.status("looking ..."):
        found = list(findings)
    table = Table(box=None, pad_edge=False)
    for column in ("check", "verdict", "finding"):
        table.add_column(column, overflow="fold")
    for finding in found:
        verdict = Text(finding.verdict.value, _COLOURS[finding.verdict.value])
        table.add_row(finding.check, verdict, Text(visible(finding.message)))
    console.print(table)
    return found
