"""What all commands share: options, exit codes, how they speak."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from stream_guard.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds ``configs/`` where the working directory has none."""


class Exit(IntEnum):
    """Exit codes. Those of the shell come on top: 130 after Ctrl-C."""

    OK = 0
    FAILED = 1
    """The command could not do what it was asked to."""
    USAGE = 2
    """Arguments, settings, a rule pack or an input file that cannot be used; nothing was done."""
    BROKER = 3
    """No Kafka broker answers, or it refuses."""
    REFUSED = 4
    """Topics or state are not what they must be; trying again alone will not help."""
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends a command: a sentence for the user, and the exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file; the environment beats it.",
        show_default="configs/production.yaml",
    ),
]
BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="Kafka broker HOST:PORT instead of the settings'.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON for programs.")]


def group(help: str) -> typer.Typer:
    """Make a group of commands that looks like all others."""
    return typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)


def settings_of(config: Path | None, broker: str | None = None) -> Settings:
    """Settings of a command.

    Parameters
    ----------
    config
        What ``-c`` said; without it, ``configs/production.yaml`` in the working directory, else beside the
        package.
    broker
        What ``--broker`` said.

    Raises
    ------
    CommandError
        When they cannot be used.
    """
    environment = dict(os.environ)
    if broker is not None:
        environment["STREAM_GUARD_BROKER"] = broker
    try:
        return load_settings(config or default_config(), environment)
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def default_config() -> Path:
    """``configs/production.yaml`` of the working directory, else of the folder that holds the package.

    Raises
    ------
    CommandError
        When neither exists.
    """
    name = Path("configs", "production.yaml")
    for folder in (Path.cwd(), ROOT):
        if (folder / name).is_file():
            return folder / name
    raise CommandError(f"{name} is neither here nor in {ROOT}: name a settings file with -c.", Exit.USAGE)


def mapping_of(pairs: list[str]) -> dict[str, str]:
    """Column by canonical name, of what ``--map`` said."""
    columns = {}
    for pair in pairs:
        name, separator, column = pair.partition("=")
        if not (separator and name and column):
            raise CommandError(f"--map {pair}: write CANONICAL=COLUMN, such as account=payer_id.", Exit.USAGE)
        if name in columns:
            raise CommandError(f"--map names {name} twice: give it once.", Exit.USAGE)
        columns[name] = column
    return columns


def check_target(path: Path) -> None:
    """Refuse a file that cannot be written because of where it is, before the work that it is for.

    Raises
    ------
    CommandError
    """
    if not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: there is no folder {path.parent}.", Exit.USAGE)
    if path.is_dir():
        raise CommandError(f"{path} cannot be written: it is a folder.", Exit.USAGE)


def say(message: str) -> None:
    """Tell the user something on standard error, which programs do not read."""
    typer.echo(message, err=True)


def write_json(value: Any) -> None:
    """Write a JSON document, indented, on standard output."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def write_json_line(value: Any) -> None:
    """Write a JSON document as one line on standard output, at once: a program may be waiting for it."""
    sys.stdout.write(orjson.dumps(value).decode() + "\n")
    sys.stdout.flush()


def visible(text: str) -> str:
    r"""Text of a record, safe for a terminal: what is not printable is escaped.

    Examples
    --------
    >>> visible("A1\x1b[2J")
    'A1\\x1b[2J'
    >>> visible("快进快出")
    '快进快出'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def sentences(lines: Iterable[str]) -> str:
    """Several sentences, one a line."""
    return "\n".join(lines)
