"""``stream-guard rules``: check a rule pack, list its rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from stream_guard.cli.common import ConfigOption, Exit, JsonOption, group, settings_of, visible, write_json
from stream_guard.cli.diff import diff
from stream_guard.cli.fit import fit
from stream_guard.cli.tune import tune

app = group("Check, list, fit, tune and compare rules.")

PackArgument = Annotated[
    Path | None, typer.Argument(metavar="[PACK]", help="The pack's file; the settings' where absent.")
]


def pack_file(file: Path | None, config: Path | None) -> Path:
    """Pack that a command is about."""
    return file or settings_of(config).models.pack


@app.command("check")
def check_pack(file: PackArgument = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Say whether a pack can be used, or all that is wrong with it, with line and column (exit code 2)."""
    from stream_guard.detection.rules import PackError, check_file

    try:
        pack = check_file(pack_file(file, config))
    except PackError as error:
        if not json:
            raise
        write_json({"ok": False, "problems": [problem._asdict() for problem in error.problems]})
        raise typer.Exit(Exit.USAGE) from None
    states = dict(Counter(rule.state.value for rule in pack.rules))
    if json:
        write_json(
            {"ok": True, "pack": pack.name, "version": pack.version, "hash": pack.hash, "rules": states}
        )
    else:
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        typer.echo(f"{pack.label} can be used: {counts}.")


@app.command("list")
def list_rules(file: PackArgument = None, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the rules of a pack: what each looks for, and what it asks."""
    from stream_guard.detection.rules import check_file

    pack = check_file(pack_file(file, config))
    if json:
        write_json(pack.catalogue())
        return
    typer.echo(pack.label)
    for row in pack.catalogue():
        code = f", code {row['platform_code']}" if row["platform_code"] else ""
        number = f", typology {row['typology']}" if row["typology"] else ""
        typer.echo(
            f"\n{row['rule']}  {visible(row['name_en'])} {visible(row['name_zh'])}\n"
            f"  {row['state']}, {row['source']}{code}{number};"
            f" warns the {row['account']}, at least {row['action']}\n"
            f"  when    {row['when']}\n"
            f"  score   {row['score']}"
        )
        for name, parameter in row["params"].items():
            unit = f" {parameter['unit']}" if parameter["unit"] else ""
            typer.echo(f"  {name} = {parameter['value']:,.10g}{unit}")


app.command("tune")(tune)
app.command("diff")(diff)
app.command("fit")(fit)
