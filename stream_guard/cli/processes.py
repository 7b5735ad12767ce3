"""``stream-guard worker``, ``demo`` and ``simulate``: what runs until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from stream_guard.cli.common import (
    BrokerOption,
    CommandError,
    ConfigOption,
    Exit,
    JsonOption,
    say,
    settings_of,
    write_json,
)

if TYPE_CHECKING:
    from stream_guard.settings import Settings
    from stream_guard.simulation.scene import Truth

SeedOption = Annotated[int, typer.Option(min=0, help="The same seed gives the same bank.")]


def worker(config: ConfigOption = None) -> None:
    """Run a production process until SIGTERM, which ends it within ten seconds.

    Several on one host need STREAM_GUARD_INSTANCE_ID, STREAM_GUARD_DATA_DIR and STREAM_GUARD_HTTP__PORT each.
    """
    settings = settings_of(config)
    for caution in settings.cautions():
        say(f"Caution: {caution}.")
    from stream_guard.streaming.worker import run_worker

    raise typer.Exit(run_worker(settings))


def compile_kernels(config: ConfigOption = None) -> None:
    """Compile what a worker needs, and keep it: an image does so when it is built."""
    from stream_guard.context import load_context
    from stream_guard.streaming.topics import DEFAULT_PARTITIONS
    from stream_guard.warm_up import warm_up

    settings = settings_of(config)
    started = time.monotonic()
    warm_up(load_context(settings, settings.partitions or DEFAULT_PARTITIONS))
    typer.echo(f"Kernels are ready in {settings.data_dir} after {time.monotonic() - started:.1f} s.")


def demo(
    seconds: Annotated[float, typer.Option(min=1, help="Length of the live part, after the warm-up.")] = 60.0,
    seed: SeedOption = 7,
    rate: Annotated[float, typer.Option(min=1, help="Everyday payments a second in the live part.")] = 100.0,
    days: Annotated[float, typer.Option(min=1, help="Days of history before it.")] = 200.0,
    json: Annotated[Path | None, typer.Option(help="File to write the summary to, as JSON.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="A real Kafka broker HOST:PORT instead of the embedded one.")
    ] = None,
) -> None:
    """Show it: a simulated bank, a worker, investigators, and what they find. Needs nothing else running."""
    from stream_guard.demo import Options, run

    chosen = Options(seconds=seconds, seed=seed, rate=rate, json_path=json, broker=broker, days=days)
    raise typer.Exit(run(chosen))


def simulate(
    out: Annotated[
        Path | None,
        typer.Option(help="Parquet file for the payments, labelled; the accounts file is put beside it."),
    ] = None,
    broker: BrokerOption = None,
    config: ConfigOption = None,
    seed: SeedOption = 7,
    days: Annotated[float, typer.Option(min=1, help="Days of history.")] = 200.0,
    accounts: Annotated[int, typer.Option(min=10, help="Persons with an account (file).")] = 2_000,
    seconds: Annotated[
        float, typer.Option(min=0, help="Seconds to go on live after the history (broker).")
    ] = 0.0,
    rate: Annotated[
        float, typer.Option(min=1, help="Everyday payments a second when live (broker).")
    ] = 200.0,
    investigators: Annotated[
        bool, typer.Option("--investigators", help="Somebody answers the warnings while live (broker).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Make a bank's stream with every typology in it: as files with labels, or on a broker without."""
    if (out is None) == (broker is None):
        raise CommandError("Give either --out FILE or --broker HOST:PORT.", Exit.USAGE)
    settings = settings_of(config, broker)
    zone = ZoneInfo(settings.bank.timezone)
    now_ms = time.time_ns() // 1_000_000
    if out is not None:
        from stream_guard.simulation import write_history

        beside = out.with_name(f"{out.stem}-accounts.csv.gz")
        try:
            history = write_history(
                out, beside, seed=seed, end_ms=now_ms, days=days, accounts=accounts, zone=zone
            )
        except OSError as error:
            raise CommandError(f"{out} cannot be written: {error.strerror or error}.", Exit.USAGE) from error
        if json:
            write_json({"events": len(history), "file": str(out), "accounts_file": str(beside)})
        else:
            typer.echo(f"Wrote {len(history):,} payments to {out} and the accounts to {beside}.")
        return

    from stream_guard.replay import Replay
    from stream_guard.simulation.history import generate
    from stream_guard.simulation.sender import KafkaSender, send_history, send_live
    from stream_guard.simulation.stream import Live, Topic, accounts_needed, programme

    client = settings.librdkafka()
    names = {topic: settings.topics.names[topic.value] for topic in Topic}
    Replay(client).require_topics(names.values())
    plays = programme(seconds, seed) if seconds else []
    history = generate(
        seed, now_ms, days=days, accounts=accounts_needed(plays), live=[name for _, name in plays], zone=zone
    )
    brokers = str(client.pop("bootstrap.servers"))
    sender = KafkaSender(brokers, names, client)
    send_history(history, sender)
    sent = len(history)
    if not json:
        say(f"Sent {sent:,} payments of the history.")
    if seconds:
        start = time.time()
        live = Live(history, plays, rate=rate, seconds=seconds, start_ms=round(start * 1000), seed=seed)
        counted: list[str] = []
        with _investigators(settings, history.truth, seed) if investigators else nullcontext():
            send_live(
                live,
                sender,
                until_s=start + seconds,
                on_sent=lambda record, at: counted.append(record.topic) if record.event_id else None,
            )
        sent += len(counted)
    if json:
        write_json({"events": sent})
    else:
        typer.echo(f"Sent {sent:,} payments.")


class _Nobody:
    """Is told of alerts and dispositions and does nothing."""

    def alert(self, alert: Mapping[str, Any], /) -> None:
        pass

    def disposed(self, outcome: str, /) -> None:
        pass


@contextmanager
def _investigators(settings: Settings, truth: Mapping[str, Truth], seed: int) -> Iterator[None]:
    """Investigators who know the truth, until the end of the block."""
    from stream_guard.demo.listener import Reader, Task, investigate
    from stream_guard.simulation.investigators import Desk
    from stream_guard.simulation.sender import KafkaSender

    client = settings.librdkafka()
    brokers = str(client.pop("bootstrap.servers"))
    topics = settings.topics
    alerts = Reader(brokers, topics.alerts, client)
    mailbox = KafkaSender(brokers, {}, client)
    desk = Task(
        "investigators", investigate(alerts, _Nobody(), Desk(truth, seed), mailbox, topics.dispositions)
    )
    desk.start()
    try:
        yield
    finally:
        desk.end()
    if desk.failure is not None:
        raise desk.failure
