"""CPU time a row of coming back, broker and disk left out: ``python -m tests.benchmarks.bench_recovery``."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream_guard.detection.row_store import StoredRows
from stream_guard.streaming.kafka_state import MAX_BATCH_BYTES
from stream_guard.streaming.light_records import LightRecords
from stream_guard.streaming.loading import Loading
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.snapshots import SnapshotFolder
from stream_guard.streaming.worker import spare_the_collector
from tests.benchmarks.recovery import model_rows
from tests.detection.builders import context

ACCOUNTS = 200_000


def empty(number: int = 0) -> Partition:
    """A partition with nothing in it."""
    from stream_guard.detection.state import PartitionState

    where = context()
    return Partition(number, 1, PartitionState(where), where.bank.routing_hash(), "", "bench")


def batches(items: list[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Record batches of a changelog."""
    rest = iter(enumerate(items))
    builder, first = None, 0
    for offset, (key, value) in rest:
        if builder is None:
            builder = DefaultRecordBatchBuilder(2, 0, True, 7, 0, 0, MAX_BATCH_BYTES)
            first = offset
        if builder.append(offset - first, 0, key, value, []) is None:
            yield bytes(builder.build())
            builder = DefaultRecordBatchBuilder(2, 0, True, 7, 0, 0, MAX_BATCH_BYTES)
            first = offset
            builder.append(0, 0, key, value, [])
    if builder is not None:
        yield bytes(builder.build())


def timed(what: str, rows: int, function: Callable[[], Any]) -> Any:
    """Print CPU time a row."""
    start = time.thread_time()
    done = function()
    spent = time.thread_time() - start
    print(f"{what:50} {spent / rows * 1e6:6.2f} us a row, {rows / spent:10,.0f} rows a CPU second")
    return done


def records_of(batch: bytes) -> list[Any]:
    """Records of a batch, as the consumer gives them."""
    tp = TopicPartition("state", 0)
    return list(LightRecords(tp, MemoryRecords(batch), [], 0, None, None, False, READ_COMMITTED))


def main() -> None:
    models = model_rows(context().bank)
    chosen = np.random.default_rng(7).integers(len(models), size=ACCOUNTS).tolist()
    items = [(b"ACCT-0086-R%09d" % at, models[one]) for at, one in enumerate(chosen)]
    print(f"{ACCOUNTS:,} rows of {sum(len(value) for _, value in items) / ACCOUNTS:,.0f} bytes")
    Loading(empty()).take(items[:10])
    log = list(batches(items))
    spare_the_collector()
    loading = Loading(empty())
    timed("changelog: records of batches", ACCOUNTS, lambda: [len(records_of(batch)) for batch in log])
    timed(
        "changelog: the same, and into memory",
        ACCOUNTS,
        lambda: [loading.take([(one.key, one.value) for one in records_of(batch)]) for batch in log],
    )
    partition = loading.partition
    with tempfile.TemporaryDirectory() as name:
        folder = SnapshotFolder(Path(name), "bench", "state", "bench", lambda: 1)
        head = folder.head(0, "bench", 1, partition.rows)
        pieces = timed("snapshot: copying", ACCOUNTS, lambda: list(partition.pieces()))

        def write() -> None:
            writer = folder.create(head)
            for piece in pieces:
                writer.write(piece)
            writer.finish()

        timed("snapshot: writing", ACCOUNTS, write)
        reader = folder.find(0)
        assert reader is not None
        found = timed("snapshot: reading", ACCOUNTS, lambda: list(reader.pieces()))
        reader.close()
        again = Loading(empty())
        timed(
            "snapshot: into memory",
            ACCOUNTS,
            lambda: [again.take_rows(piece) for piece in found if isinstance(piece, StoredRows)],
        )


if __name__ == "__main__":
    main()
