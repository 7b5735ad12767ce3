"""The changelog stays as large as the state, however much is written to it."""

from __future__ import annotations

import asyncio
import time

from stream_guard.streaming.kafka_state import KafkaState
from tests.kafka.harness import Kafka
from tests.streaming.helpers import opened

ACCOUNTS = 500
ROW = b"x" * 400
FLUSHES = 120


def size(kafka: Kafka, topic: str) -> int:
    """Records that the log of a partition holds, in all its offsets."""
    return len(kafka.read(topic, timeout_s=60))


def test_compaction_bounds_the_changelog_while_rows_go_on_being_written(kafka: Kafka) -> None:
    topic = f"{kafka.prefix('compacted')}.state"
    # As `topics create` makes it, but that the broker looks at once and a segment is full soon.
    kafka.topic(
        topic,
        cleanup_policy="compact",
        segment_bytes="1048576",
        segment_ms="1000",
        min_cleanable_dirty_ratio="0.01",
        min_compaction_lag_ms="0",
        max_compaction_lag_ms="1000",
    )

    async def write(flushes: int, first: int) -> None:
        backend = KafkaState(topic, topic, {"bootstrap_servers": kafka.bootstrap}, lambda *_: 0)
        await backend.open(0)
        for number in range(first, first + flushes):
            rows = [(b"A%05d" % at, b"%06d" % number + ROW) for at in range(ACCOUNTS)]
            await backend.flush(0, [*rows, (b"\0meta", b"%d" % number)], [])
        await backend.stop()

    async def read() -> dict[bytes, bytes | None]:
        backend = KafkaState(topic, topic, {"bootstrap_servers": kafka.bootstrap}, lambda *_: 0)
        items = dict(await opened(backend, 0))
        await backend.stop()
        return items

    sizes = []
    written = 0
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        asyncio.run(write(FLUSHES, written))
        written += FLUSHES
        sizes.append(size(kafka, topic))
        if len(sizes) > 2 and sizes[-1] < written * ACCOUNTS / 3:
            break
        time.sleep(2)
    assert sizes[-1] < written * ACCOUNTS / 3, f"{sizes} records after {written} flushes of {ACCOUNTS}"
    items = asyncio.run(read())
    assert len(items) == ACCOUNTS + 1
    assert all(value == b"%06d" % (written - 1) + ROW for key, value in items.items() if key != b"\0meta")
