"""How fast a worker is back with many accounts: from the whole changelog, and from its snapshots.

The state is made and not lived: rows of some thousand accounts with a history, given to as many accounts as
wanted, written as a worker writes them. The worker is the real one, on all cores as its broker is, and it is
back with its first decision on payments that are sent from its start on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from confluent_kafka import Producer

from stream_guard.context import load_context
from stream_guard.detection.columns import legs_of, payments
from stream_guard.detection.features import N
from stream_guard.detection.hashing import murmur2_partitions
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.state import Context, PartitionState
from stream_guard.settings import Settings
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.worker import KEYED
from tests.benchmarks.engines import Ours, figures, running
from tests.benchmarks.log import FILLER
from tests.benchmarks.meter import Meter, cores, pin, usage
from tests.benchmarks.payments import encoded, made_up
from tests.kafka.harness import Worker, settings_of
from tests.kafka.processes import in_background

MODEL_PAYMENTS = 200_000
A_FLUSH = 20_000
"""Rows written in one transaction."""

BACK_WITHIN_S = 300.0
QUIET_S, QUIET_CORES = 2.0, 0.1
_EVERYWHERE = set.union(*cores())
PROBE_EVERY_S = 0.01


def model_rows(bank: Any) -> list[bytes]:
    """Stored rows of 25,150 accounts that have some history."""
    profiles = Profiles(bank)
    events: list[Any] = list(made_up(MODEL_PAYMENTS, 7))
    for start in range(0, len(events), 5_000):
        some = events[start : start + 5_000]
        count = len(some)
        columns, _ = payments(some, np.arange(count), np.full(count, -1), None, None, bank, 1 << 50)
        _, action, block = profiles.payer_hop(columns)
        profiles.payee_hop(legs_of(columns, 0, action, block), np.zeros((count, N)))
    return [value for _, value in profiles.take_dirty()]


def write_state(settings: Settings, context: Context, accounts: int) -> int:
    """Write a state of so many accounts to the changelog; bytes of its rows."""
    bank = context.bank
    models = model_rows(bank)
    names = [f"ACCT-0086-R{number:09d}".encode() for number in range(accounts)]
    homes = murmur2_partitions(names, bank.partitions)
    chosen = np.random.default_rng(7).integers(len(models), size=accounts).tolist()

    async def write(number: int) -> int:
        backend = KafkaState(
            settings.topics.state, settings.app_id, settings.python_client(), lambda *_: number
        )
        await backend.open(number)
        mine = [(names[at], models[chosen[at]]) for at in np.flatnonzero(homes == number).tolist()]
        for start in range(0, len(mine), A_FLUSH):
            await backend.flush(number, mine[start : start + A_FLUSH], [])
        partition = Partition(
            number, bank.partitions, PartitionState(context), bank.routing_hash(), "", f"bench-{number}"
        )
        partition.applied = dict.fromkeys((getattr(settings.topics, role) for role in KEYED), 0)
        await backend.flush(number, partition.take().items, [])
        await backend.stop()
        return sum(len(value) for _, value in mine)

    return sum(asyncio.run(write(number)) for number in range(bank.partitions))


@contextmanager
def probing(worker: Ours) -> Iterator[None]:
    """A payment every 10 ms while the block runs."""
    producer = Producer({"bootstrap.servers": worker.kafka.bootstrap, **FILLER, "linger.ms": 0})

    def send(stop: threading.Event) -> None:
        for key, value in encoded(made_up(1_000_000, int(time.time()))):
            producer.produce(worker.source, value, key)
            producer.poll(0)
            if stop.wait(PROBE_EVERY_S):
                return

    try:
        with in_background(send):
            yield
    finally:
        producer.flush(10)


def recovery(engine: Ours, accounts: int, broker: int | None) -> dict[str, Any]:
    """Write a state, start a worker on it, let it write its snapshots, start it again."""
    settings = settings_of(engine.environment)
    context = load_context(settings, engine.partitions)
    stored = write_state(settings, context, accounts)
    if broker is not None:
        pin(broker, _EVERYWHERE)
        _wait_for_the_cleaner(broker)
    cold = _start(engine, broker, "written")
    warm = _start(engine, broker, "used")
    return figures(
        accounts=accounts,
        row_bytes=stored / accounts,
        cold_rows_per_s=accounts / cold["opened_s"],
        warm_rows_per_s=accounts / warm["opened_s"],
        cold=cold,
        warm=warm,
    )


def _wait_for_the_cleaner(broker: int) -> None:
    """Let the broker finish the compaction that a state written in a few seconds gives it to do."""
    give_up = time.monotonic() + BACK_WITHIN_S
    while time.monotonic() < give_up:
        before, _ = usage([broker])
        time.sleep(QUIET_S)
        if usage([broker])[0] - before < QUIET_CORES * QUIET_S:
            return


def _start(engine: Ours, broker: int | None, result: str) -> dict[str, Any]:
    """Start the worker; until it decided something and every snapshot was written or used."""
    started = time.monotonic()
    # On all cores, as the broker: a recovery reads with one thread and takes with others.
    with running(engine, _EVERYWHERE), probing(engine):
        meter = Meter(engine.child.pid, broker)
        try:
            worker = engine.worker
            _wait(engine, lambda: worker.metric("stream_guard_events_decided_total") > 0)
            decided = time.monotonic()
            snapshots = lambda: worker.metric("stream_guard_snapshots_total", result=result)  # noqa: E731
            _wait(engine, lambda: snapshots() >= engine.partitions)
            saved = time.monotonic()
            opened_s = max(_recovery_s(worker, number) for number in range(engine.partitions))
        finally:
            meter.stop()
    return figures(
        opened_s=opened_s,
        first_decision_s=decided - started,
        cpu_s=meter.cpu(started, decided),
        snapshots_s=saved - decided,
        snapshots_cpu_s=meter.cpu(decided, saved),
        rss_mb=meter.peak_mb(),
        broker_cpu_s=meter.broker_cpu(started, decided),
        busy_elsewhere_cores=meter.elsewhere(started, decided),
    )


def _recovery_s(worker: Worker, partition: int) -> float:
    return worker.metric("stream_guard_recovery_seconds", partition=str(partition))


def _wait(engine: Ours, condition: Any) -> None:
    give_up = time.monotonic() + BACK_WITHIN_S
    while not condition():
        engine.require_running()
        if time.monotonic() > give_up:
            raise TimeoutError(f"the worker was not back within {BACK_WITHIN_S:.0f} s")
        time.sleep(0.02)
