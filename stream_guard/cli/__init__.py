"""The command line, ``stream-guard``.

Everything a program may read has ``--json`` and comes on standard output; sentences for people about what
went wrong come on standard error. Exit codes are those of `stream_guard.cli.common.Exit`: 0 fine, 1 failed,
2 wrong arguments, settings or files, 3 no broker, 4 topics or state refused, 130 interrupted.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from stream_guard import __version__
from stream_guard.cli import access, alerts, dead_letters, processes, rules, state, topics
from stream_guard.cli.backtest import backtest
from stream_guard.cli.common import CommandError, ConfigOption, Exit, say, settings_of, write_json
from stream_guard.cli.doctor import doctor
from stream_guard.cli.replay import replay

app = typer.Typer(
    help="Near-real-time account fraud warnings beside a bank's core system.",
    epilog="Exit codes: 0 fine, 1 failed, 2 wrong arguments, settings or files, 3 no broker, 4 topics or"
    " state refused, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("worker")(processes.worker)
app.command("compile")(processes.compile_kernels)
app.command("demo")(processes.demo)
app.add_typer(topics.app, name="topics")
app.add_typer(access.app, name="access")
app.add_typer(state.app, name="state")
app.command("doctor")(doctor)
app.command("replay")(replay)
app.command("backtest")(backtest)
app.add_typer(alerts.app, name="alerts")
app.add_typer(rules.app, name="rules")
app.add_typer(dead_letters.app, name="dead-letters")
app.command("simulate")(processes.simulate)

EXPECTED = {
    # By name: importing them all would make every command wait for numba, Arrow and two Kafka clients.
    "stream_guard.settings.loading.SettingsError": Exit.USAGE,
    "stream_guard.detection.rules.errors.PackError": Exit.USAGE,
    "stream_guard.detection.documents.DocumentError": Exit.USAGE,
    "stream_guard.history.HistoryError": Exit.USAGE,
    "stream_guard.backtest.period.PeriodError": Exit.USAGE,
    "stream_guard.tuning.grid.GridError": Exit.USAGE,
    "stream_guard.streaming.topics.BrokerUnreachable": Exit.BROKER,
    "stream_guard.replay.ReplayError": Exit.BROKER,
    "stream_guard.simulation.sender.SendError": Exit.BROKER,
    "stream_guard.streaming.topics.TopicsRefused": Exit.REFUSED,
    "stream_guard.streaming.state.StateRefused": Exit.REFUSED,
}
"""Errors whose message is meant for the user, with the exit code they end in; all others are defects."""


@app.command("schema")
def schema(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="transaction, decision, alert, disposition, account-update, risk-signal; or asyncapi",
            show_default=False,
        ),
    ],
    config: ConfigOption = None,
) -> None:
    """Write the JSON Schema of a message, or an AsyncAPI document of all topics."""
    from stream_guard.events import schema as schema_of

    if name == "asyncapi":
        from stream_guard.asyncapi import document as asyncapi

        write_json(asyncapi(settings_of(config)))
        return
    try:
        document = schema_of(name)
    except ValueError as error:
        raise CommandError(f"{error}.", Exit.USAGE) from None
    write_json(document)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Write the version.", is_eager=True)] = False,
) -> None:
    """Near-real-time account fraud warnings beside a bank's core system."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process where None.

    Returns
    -------
    int
        Exit code.

    Examples
    --------
    >>> main(["rules", "check", "no-such-file.yaml"])
    2
    """
    # Kafka's clients report every attempt of a retry; the sentence at the end says what came of them.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        app(args=None if arguments is None else list(arguments), prog_name="stream-guard")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except CommandError as error:
        say(str(error))
        return int(error.code)
    except Exception as error:
        code = EXPECTED.get(f"{type(error).__module__}.{type(error).__qualname__}")
        if code is None:
            raise
        say(str(error))
        return int(code)
    return int(Exit.OK)


if __name__ == "__main__":
    sys.exit(main())
