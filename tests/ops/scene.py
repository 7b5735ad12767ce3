"""A small bank at work: broker, workers, payments, investigators, and a Prometheus that looks on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from stream_guard.demo.board import Board
from stream_guard.demo.listener import Reader, Task, investigate
from stream_guard.simulation.history import generate
from stream_guard.simulation.investigators import Desk
from stream_guard.simulation.sender import KafkaSender, send_history, send_live
from stream_guard.simulation.stream import Live, Topic, accounts_needed, programme
from tests.kafka.bank import wait_until
from tests.kafka.harness import ROOT, Env, Kafka, Worker, running_worker, settings_of
from tests.ops.prometheus import Prometheus
from tests.ops.rules import RULES

KERNELS: Env = {"STREAM_GUARD_DATA_DIR": str(ROOT / ".cache" / "worker")}
"""Compiled once for all tests."""


@dataclass
class Scene:
    """What runs."""

    prometheus: Prometheus
    workers: list[Worker]
    started: float
    """Wall clock at which the live payments began, seconds."""

    def shows(self, expression: str, what: str, timeout_s: float = 60.0) -> None:
        """Wait until an expression has a value above zero."""
        wait_until(
            lambda: any(sample.value > 0 for sample in self.prometheus.query(expression)),
            f"{what} ({expression})",
            timeout_s,
        )


@contextmanager
def bank_at_work(
    kafka: Kafka,
    folder: Path,
    *,
    days: float,
    seconds: float,
    rate: float = 60.0,
    workers: int = 2,
    seed: int = 7,
    settings: Env | None = None,
    bad: bool = False,
    rules: Path = RULES,
    during: Callable[[], None] = lambda: None,
) -> Iterator[Scene]:
    """Send a history, then live payments for so many seconds, and judge the warnings.

    Parameters
    ----------
    days, seconds, rate, seed
        As ``stream-guard demo`` has them.
    workers
        How many processes.
    settings
        Of the workers, beside those that name the topics.
    bad
        Whether some records cannot be read.
    rules
        Folder of rule files.
    during
        Called when the live payments have begun.
    """
    environment = {**kafka.topics(partitions=4), **KERNELS, **(settings or {})}
    known = settings_of(environment)
    names = {topic: known.topics.names[topic.value] for topic in Topic}
    plays = programme(seconds, seed)
    history = generate(
        seed,
        round(time.time() * 1000),
        days=days,
        accounts=accounts_needed(plays),
        live=[name for _, name in plays],
        zone=ZoneInfo(known.bank.timezone),
    )
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                running_worker(environment, instance=f"worker-{number}", folder=folder, ready=False)
            )
            for number in range(workers)
        ]
        targets = [f"127.0.0.1:{worker.port}" for worker in running]
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", targets, rules=rules))
        for worker in running:
            worker.wait_ready()
        sender = KafkaSender(kafka.bootstrap, names)
        reader = Reader(kafka.bootstrap, known.topics.alerts, {})
        mailbox = KafkaSender(kafka.bootstrap, {})
        desk = Desk(history.truth, seed)
        clerks = Task("clerks", investigate(reader, Board(), desk, mailbox, known.topics.dispositions))
        stack.callback(clerks.end)
        clerks.start()
        send_history(history, sender)
        start = time.time()
        live = Live(
            history, plays, rate=rate, seconds=seconds, start_ms=round(start * 1000), seed=seed, bad=bad
        )
        payments = Task("payments", lambda _: send_live(live, sender, until_s=start + seconds))
        payments.start()
        during()
        payments.join()
        for task in (payments, clerks):
            if task.failure is not None:
                raise task.failure
        yield Scene(prometheus, running, start)
