"""The two measurements, the same for both engines."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.engines import Engine, figures, running, wait_finished
from tests.benchmarks.log import Log
from tests.benchmarks.meter import Meter, cores, pin
from tests.kafka.harness import ROOT
from tests.kafka.processes import Child

STRAGGLERS_S = 10.0
"""How long answers may still come after the last payment was sent."""


def throughput(engine: Engine, log: Log, count: int, timeout_s: float, broker: int | None) -> dict[str, Any]:
    """Let it work off `count` payments that are in the log already.

    CPU time counts from the first record it wrote until all that follows from the payments is durable; what
    came before is start-up. Pace counts to the last answer where answers come often enough to tell.
    """
    measured, _ = cores()
    started = time.monotonic()
    with running(engine, measured):
        meter = Meter(engine.child.pid, broker)
        try:
            end, done = wait_finished(engine, count, timeout_s)
            time.sleep(0.1)
        finally:
            meter.stop()
    begin = log.first_time(engine.first_work)
    if begin is None:
        raise RuntimeError(f"{engine.name} wrote nothing to {engine.first_work}")
    return figures(
        cpu_s_per_million=meter.cpu(begin, end) / done * 1e6,
        events_per_s=done / ((engine.last_answer() or end) - begin),
        rss_mb=meter.peak_mb(),
        events=done,
        finished=done >= count,
        answers=sum(log.ends(engine.output)),
        startup_s=begin - started,
        startup_cpu_s=meter.cpu(started, begin),
        broker_cpu_s_per_million=meter.broker_cpu(begin, end) / done * 1e6,
        busy_elsewhere_cores=meter.elsewhere(begin, end),
    )


class Schedule(NamedTuple):
    """Payments a second, and how long: first to settle, then to measure."""

    rate: float
    settle_s: float
    measure_s: float

    @property
    def count(self) -> int:
        """All payments."""
        return round(self.rate * (self.settle_s + self.measure_s))


def latency(
    engine: Engine,
    log: Log,
    before: int,
    values: Sequence[bytes],
    schedule: Schedule,
    broker: int | None,
) -> dict[str, Any]:
    """Send payments at a steady pace; from just before `produce()` to the receipt by an independent consumer.

    Parameters
    ----------
    before
        Payments in the log already, worked off before it begins.
    values
        `schedule.count` payments, each with an id of its own.
    """
    measured, others = cores()
    lines, times = engine.folder / "paced.jsonl", engine.folder / "sent.npy"
    lines.write_bytes(b"\n".join(values))
    with running(engine, measured):
        wait_finished(engine, before, 120.0)
        answers = log.reader()
        try:
            ends = log.ends(engine.output)
            answers.assign([TopicPartition(engine.output, number, end) for number, end in enumerate(ends)])
            answers.poll(1.0)  # connects
            meter = Meter(engine.child.pid, broker)
            try:
                received = _pace(engine, answers, lines, times, len(values), schedule, others)
            finally:
                meter.stop()
        finally:
            answers.close()
    sent = np.load(times)
    ids = [orjson.loads(value)["event_id"] for value in values]
    first = round(schedule.rate * schedule.settle_s)
    begin, end = float(sent[first]), float(sent[-1])
    waits = np.array(
        [received[event] - sent[at] for at, event in enumerate(ids) if at >= first and event in received]
    )
    if not len(waits):
        raise RuntimeError(f"{engine.name} answered none of the paced payments")
    p50, p99, p999, most = (1000 * np.percentile(waits, [50, 99, 99.9, 100])).tolist()
    return figures(
        latency_ms=figures(p50=p50, p99=p99, p999=p999, max=most),
        cores_at_pace=meter.cpu(begin, end) / (end - begin),
        broker_cores_at_pace=meter.broker_cpu(begin, end) / (end - begin),
        busy_elsewhere_cores_at_pace=meter.elsewhere(begin, end),
        paced=len(ids) - first,
        lost=sum(event not in received for event in ids),
    )


def _pace(
    engine: Engine,
    answers: Consumer,
    lines: Path,
    times: Path,
    count: int,
    schedule: Schedule,
    others: set[int],
) -> dict[str, float]:
    """Monotonic time of the first answer to each payment by event id."""
    command = [sys.executable, "-m", "tests.benchmarks.pace", "--broker", engine.kafka.bootstrap]
    command += ["--topic", engine.source, "--lines", str(lines), "--rate", str(schedule.rate)]
    command += ["--sent", str(times)]
    load = Child(command, log=engine.folder / "pace.log", folder=ROOT)
    pin(load.pid, others)
    received: dict[str, float] = {}
    give_up = time.monotonic() + count / schedule.rate + 60.0
    try:
        ended = False
        while len(received) < count and time.monotonic() < give_up:
            message = answers.poll(0.05)
            if message is not None and message.error() is None:
                now = time.monotonic()
                received.setdefault(orjson.loads(message.value())["event_id"], now)
            if not ended and load.returncode is not None:
                ended, give_up = True, min(give_up, time.monotonic() + STRAGGLERS_S)
            engine.require_running()
        if load.wait(10.0):
            raise RuntimeError(f"sending the paced payments failed:\n{load.tail()}")
    finally:
        if load.returncode is None:
            load.end()
    return received
