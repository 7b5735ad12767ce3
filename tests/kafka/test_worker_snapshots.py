"""Workers killed while they write snapshots: a snapshot and the changelog since are the changelog."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from stream_guard.context import load_context
from stream_guard.detection.state import PartitionState
from stream_guard.settings import Settings
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.recovery import recover
from stream_guard.streaming.worker import snapshot_folder
from tests.benchmarks.payments import encoded, made_up
from tests.kafka.bank import SHARED, settle, wait_until
from tests.kafka.harness import Env, Kafka, Worker, settings_of
from tests.kafka.processes import in_background
from tests.streaming.test_snapshots import content

PARTITIONS = 2
PAYMENTS = 60_000
KILLS = 2

OFTEN: Env = {**SHARED, "STREAM_GUARD_STATE__SNAPSHOT_INTERVAL_S": "0.2"}


def unfinished(folder: Path) -> list[Path]:
    """Snapshots that are being written and hold something already."""
    return [part for part in folder.glob("*.part") if part.stat().st_size > 100_000]


def some_written(running: Worker) -> bool:
    """Whether every partition may have had its second snapshot."""
    return running.metric("stream_guard_snapshots_total", result="written") >= 2 * PARTITIONS


async def both_ways(settings: Settings, number: int) -> bool:
    """Whether snapshot and tail give what the changelog gives; the snapshot must have been used."""
    context = load_context(settings, PARTITIONS)
    backend = KafkaState(settings.topics.state, settings.app_id, settings.python_client(), lambda *_: 0)

    def empty(number: int) -> Partition:
        bank = context.bank
        return Partition(number, PARTITIONS, PartitionState(context), bank.routing_hash(), "", "here")

    snapshots = snapshot_folder(settings)
    one = await recover(number, empty, backend, snapshots, lambda: None)
    other = await recover(number, empty, backend, None, lambda: None)
    await backend.stop()
    assert one.from_snapshot, one.refused
    return content(one.partition) == content(other.partition)


@contextmanager
def sending(kafka: Kafka, topic: str, payments: Iterator[tuple[bytes, bytes]]) -> Iterator[None]:
    """Payments are sent, 2,000 a second at most, as long as the block runs and there are any."""

    def send(stop: threading.Event) -> None:
        while not stop.wait(0.05) and (some := list(islice(payments, 100))):
            kafka.send(topic, some)

    with in_background(send):
        yield


def test_killed_while_it_writes_snapshots_a_worker_goes_on_from_the_last_whole_one(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment = {**kafka.topics(partitions=PARTITIONS), **OFTEN}
    settings = settings_of(environment)
    transactions = settings.topics.transactions
    folder = settings.data_dir / "snapshots" / settings.app_id
    payments = encoded(made_up(PAYMENTS, 3))
    for _ in range(KILLS):
        with worker(environment) as running, sending(kafka, transactions, payments):
            wait_until(partial(some_written, running), "snapshots are written")
            deadline = time.monotonic() + 30
            while not (left := unfinished(folder)) and time.monotonic() < deadline:
                time.sleep(0.0005)
            running.kill()
        assert left, "no kill met a snapshot that was being written: the test proved nothing"
        for partition in range(PARTITIONS):
            assert asyncio.run(both_ways(settings, partition))
    kafka.send(transactions, list(payments))
    with worker(environment) as running:
        settle(PAYMENTS, running)
        assert running.metric("stream_guard_snapshots_total", result="used") == PARTITIONS
        assert running.metric("stream_guard_state_events", result="repeated") == 0
        assert running.terminate() == 0
    for partition in range(PARTITIONS):
        assert asyncio.run(both_ways(settings, partition))
