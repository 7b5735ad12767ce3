"""The benchmark: ``python -m tests.benchmarks [--json FILE]`` (``make bench ARGS="--json FILE"``).

Starts a real Apache Kafka, then measures one worker doing the whole job on one core, and beside it a plain
Faust agent doing the small one. Not a timed test: nothing here fails because a machine is slow.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, cast

import orjson
from rich.console import Console
from rich.table import Table

from tests.benchmarks.engines import Engine, Ours, PlainFaust
from tests.benchmarks.log import Log
from tests.benchmarks.meter import cores, machine, pin
from tests.benchmarks.payments import encoded, history
from tests.benchmarks.recovery import recovery
from tests.benchmarks.runs import Schedule, latency, throughput
from tests.kafka.harness import ROOT, Kafka, running_kafka
from tests.kafka.jars import Unavailable

RATE = 1_000.0
WARM_UP_REQUESTS, WARM_UP_S = 20_000, 60.0
LARGEST_RECORD = "2097152"
EVERY_PAYMENT_ALERTS = 1e9
"""Amount at which the small job answers every payment; ours answers all by `decisions.emit`."""

ROWS = (
    ("CPU seconds per million payments", "cpu_s_per_million", "{:,.1f}"),
    ("payments a second, one core", "events_per_s", "{:,.0f}"),
    ("peak memory, MB", "rss_mb", "{:,.0f}"),
    ("broker's CPU seconds per million", "broker_cpu_s_per_million", "{:,.1f}"),
    ("start-up: seconds", "startup_s", "{:,.1f}"),
    ("start-up: CPU seconds", "startup_cpu_s", "{:,.1f}"),
    ("at 1,000/s: p50, ms", "latency_ms.p50", "{:,.1f}"),
    ("at 1,000/s: p99, ms", "latency_ms.p99", "{:,.1f}"),
    ("at 1,000/s: p99.9, ms", "latency_ms.p999", "{:,.1f}"),
    ("at 1,000/s: max, ms", "latency_ms.max", "{:,.1f}"),
    ("at 1,000/s: cores", "cores_at_1000", "{:,.2f}"),
    ("at 1,000/s: payments measured", "paced", "{:,.0f}"),
    ("at 1,000/s: never answered", "lost", "{:,.0f}"),
    ("payments worked off", "events", "{:,.0f}"),
    ("cores busy elsewhere meanwhile", "busy_elsewhere_cores", "{:,.2f}"),
)

RECOVERY_ROWS = (
    ("from start to first decision, s", "first_decision_s", "{:,.1f}"),
    ("opening all partitions, s", "opened_s", "{:,.2f}"),
    ("CPU seconds to first decision", "cpu_s", "{:,.1f}"),
    ("broker's CPU seconds", "broker_cpu_s", "{:,.1f}"),
    ("snapshots there after, s", "snapshots_s", "{:,.1f}"),
    ("CPU seconds meanwhile", "snapshots_cpu_s", "{:,.1f}"),
    ("peak memory, MB", "rss_mb", "{:,.0f}"),
    ("cores busy elsewhere", "busy_elsewhere_cores", "{:,.2f}"),
)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--count", type=int, default=1_000_000, help="payments our worker works off")
    parser.add_argument("--plain-count", type=int, default=60_000, help="payments plain Faust works off")
    parser.add_argument(
        "--before", type=int, default=50_000, help="payments worked off before the steady pace"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="length of the steady pace, after settling"
    )
    parser.add_argument(
        "--settle", type=float, default=5.0, help="seconds at that pace before it is measured"
    )
    parser.add_argument("--repeats", type=int, default=1, help="runs of everything; medians are shown")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7, help="of the made-up payments")
    parser.add_argument("--data", type=Path, help="folder with recorded data sets to use instead")
    parser.add_argument("--only", choices=("throughput", "latency"), help="one of the two measurements")
    parser.add_argument("--ours", action="store_true", help="leave plain Faust out")
    parser.add_argument("--quick", action="store_true", help="a look: 100,000 payments and 8 s")
    parser.add_argument("--recovery", action="store_true", help="only how fast a worker is back")
    parser.add_argument("--accounts", type=int, default=1_000_000, help="that a worker comes back with")
    parser.add_argument("--micro", action="store_true", help="only the kernels, without Kafka")
    parser.add_argument(
        "--timeout", type=float, default=180.0, help="longest that working off may take, seconds"
    )
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.count, chosen.plain_count, chosen.before = 100_000, 10_000, 5_000
        chosen.seconds, chosen.settle = 6.0, 2.0
        chosen.accounts = 100_000
    return chosen


class Bench:
    """One run of the benchmark."""

    def __init__(self, chosen: argparse.Namespace, kafka: Kafka, folder: Path) -> None:
        self.chosen, self.kafka, self.folder = chosen, kafka, folder
        self.log = Log(kafka)
        self.broker = kafka.broker.child.pid if kafka.broker else None
        self.schedule = Schedule(RATE, chosen.settle, chosen.seconds)
        self.input = self._topic("input")
        self._filled = False
        say("warming the broker up ...")
        some = next(self._history(1))[1]
        self.log.warm_broker(self._topic("warm-up"), some, WARM_UP_REQUESTS, WARM_UP_S)

    def _topic(self, name: str) -> str:
        topic = self.kafka.prefix(f"bench-{name}")
        self.kafka.topic(topic, self.chosen.partitions, max_message_bytes=LARGEST_RECORD)
        return topic

    def _history(self, count: int, **changes: Any) -> Iterator[tuple[bytes, bytes]]:
        return encoded(history(self.chosen.data, count, self.chosen.seed), **changes)

    def engine(self, kind: type[Engine], source: str, **environment: str) -> Engine:
        return kind(self.kafka, self.log, self.folder, source, self.chosen.partitions, **environment)

    def engines(self) -> list[type[Engine]]:
        return [Ours] if self.chosen.ours else [Ours, PlainFaust]

    def run(self) -> dict[str, dict[str, Any]]:
        """Both measurements of every engine, by its name."""
        found: dict[str, dict[str, Any]] = {}
        for kind in self.engines():
            result = found[kind.name] = {}
            if self.chosen.only != "throughput":
                say(f"{kind.name}: {RATE:,.0f} payments a second for {self.chosen.seconds:.0f} s ...")
                result |= self._latency(kind)
                result["cores_at_1000"] = result.pop("cores_at_pace")
            if self.chosen.only != "latency":
                say(f"{kind.name}: working off a backlog ...")
                result |= self._throughput(kind)
        return found

    def _latency(self, kind: type[Engine]) -> dict[str, Any]:
        source = self._topic("paced")
        before, count = self.chosen.before, self.schedule.count
        self.log.fill(source, self._history(before))
        ours = kind is Ours
        changes = {} if ours else {"amount": EVERY_PAYMENT_ALERTS}
        values = [value for _, value in islice(self._history(before + count, **changes), before, None)]
        environment = {"STREAM_GUARD_DECISIONS__EMIT": "all"} if ours else {}
        engine = self.engine(kind, source, **environment)
        return latency(engine, self.log, before, values, self.schedule, self.broker)

    def _throughput(self, kind: type[Engine]) -> dict[str, Any]:
        chosen = self.chosen
        if not self._filled:
            self.log.fill(self.input, self._history(chosen.count))
            self._filled = True
        ours = kind is Ours
        # A backlog is late by definition; without this no interception would be decided or written.
        environment = {"STREAM_GUARD_POLICY__DEADLINE_MS": "0"} if ours else {}
        engine = self.engine(kind, self.input, **environment)
        count = chosen.count if ours else min(chosen.plain_count, chosen.count)
        result = throughput(engine, self.log, count, chosen.timeout, self.broker)
        if isinstance(engine, Ours):
            result["dead_letters"] = sum(self.log.ends(engine.dead_letters))
        return result

    def recovery(self) -> dict[str, Any]:
        """How fast a worker is back."""
        say(f"a state of {self.chosen.accounts:,} accounts, and a worker that comes back with it ...")
        often = {"STREAM_GUARD_STATE__SNAPSHOT_INTERVAL_S": "5"}
        engine = self.engine(Ours, self._topic("probes"), **often)
        return recovery(cast(Ours, engine), self.chosen.accounts, self.broker)


def median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Median of every figure over the runs."""
    found: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(first, dict):
            found[name] = median(values)
        else:
            found[name] = all(values) if isinstance(first, bool) else statistics.median(values)
    return found


def summary(chosen: argparse.Namespace, runs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """What `--json` writes."""
    ours = median([run[Ours.name] for run in runs])
    found = {**ours}
    if not chosen.ours:
        plain = found["plain_faust"] = median([run[PlainFaust.name] for run in runs])
        if "cpu_s_per_million" in plain:
            found["ratio_cpu"] = round(plain["cpu_s_per_million"] / ours["cpu_s_per_million"], 2)
    found |= {
        "machine": machine(),
        "load_average": list(os.getloadavg()),
        "count": chosen.count,
        "repeats": chosen.repeats,
        "partitions": chosen.partitions,
        "payments": "recorded" if chosen.data else f"made up, seed {chosen.seed}",
        "runs": runs,
    }
    return found


def show(chosen: argparse.Namespace, found: dict[str, Any]) -> None:
    """Print the table."""
    plain = found.get("plain_faust", {})
    table = Table(caption=f"{found['machine']}\npayments {found['payments']}; medians of {chosen.repeats}")
    for heading in ("", "stream_guard:\nthe whole job", "plain Faust:\nthe small job"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for label, name, form in ROWS:
        cells = [_cell(figures, name, form) for figures in (found, plain)]
        if any(cells):
            table.add_row(label, *cells)
    console = Console()
    console.print(table)
    if "ratio_cpu" in found:
        console.print(f"{found['ratio_cpu']:.1f} times the plain agent's payments per CPU second.")
    if unusable(found):
        console.print("Not every payment was worked off: these figures are of no use.", style="bold red")
    elsewhere = max(found.get("busy_elsewhere_cores", 0.0), found.get("busy_elsewhere_cores_at_pace", 0.0))
    if elsewhere > 0.2:
        console.print(
            f"{elsewhere:.1f} cores were busy with something else: CPU seconds are too high, latencies and"
            " payments a second say little."
        )


def show_recovery(found: dict[str, Any]) -> None:
    """Print the table of `--recovery`."""
    rows = f"{found['accounts']:,.0f} accounts of {found['row_bytes']:,.0f} bytes"
    table = Table(caption=f"{machine()}\n{rows}")
    for heading in ("", "from the changelog", "from snapshots"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for label, name, form in RECOVERY_ROWS:
        table.add_row(label, *(form.format(found[way][name]) for way in ("cold", "warm")))
    table.add_row("rows a second", *(f"{found[f'{way}_rows_per_s']:,.0f}" for way in ("cold", "warm")))
    Console().print(table)


def unusable(found: dict[str, Any]) -> bool:
    """Whether a payment was lost, refused or not reached: then a figure is no figure."""
    return bool(found.get("lost") or found.get("dead_letters") or not found.get("finished", True))


def _cell(figures: dict[str, Any], name: str, form: str) -> str:
    value: Any = figures
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else form.format(value)


def micro() -> int:
    """Run every ``bench_*.py`` beside this file; their figures are CPU time of kernels."""
    code = 0
    for path in sorted(Path(__file__).parent.glob("bench_*.py")):
        Console().rule(path.stem)
        done = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{path.stem}"], check=False, cwd=ROOT)
        code = code or done.returncode
    return code


def say(sentence: str) -> None:
    """What is going on, apart from the table."""
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


@contextmanager
def bench(chosen: argparse.Namespace) -> Iterator[Bench]:
    """A broker and a folder for a run."""
    with running_kafka() as kafka, tempfile.TemporaryDirectory(prefix="stream-guard-bench-") as folder:
        _, others = cores()
        os.sched_setaffinity(0, others)
        if kafka.broker:
            pin(kafka.broker.child.pid, others)
        bench = Bench(chosen, kafka, Path(folder))
        try:
            yield bench
        finally:
            bench.log.close()


def main() -> int:
    """Measure, print, write."""
    chosen = options()
    if chosen.micro:
        return micro()
    measured, others = cores()
    load = os.getloadavg()[0]
    where = f"on core {sorted(measured)}, broker and load on {sorted(others)}"
    say(f"measured {'on all cores' if chosen.recovery else where}; load average {load:.1f}")
    runs = []
    try:
        with bench(chosen) as running:
            for number in range(chosen.repeats):
                if chosen.repeats > 1:
                    say(f"run {number + 1} of {chosen.repeats}")
                runs.append(running.recovery() if chosen.recovery else running.run())
    except Unavailable as problem:
        print(problem, file=sys.stderr)
        return 1
    if chosen.recovery:
        found = median(runs)
        show_recovery(found)
    else:
        found = summary(chosen, runs)
        show(chosen, found)
    if chosen.json:
        chosen.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return 1 if unusable(found) else 0


if __name__ == "__main__":
    sys.exit(main())
