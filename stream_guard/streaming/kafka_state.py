"""Partition state in a compacted Kafka topic, one transactional producer a partition.

Order of side effects of a flush: begin a transaction; append the changed items to the changelog and the
exactly-once records to their topics; commit. A commit that fails leaves nothing behind. Opening a
partition starts its producer first: that aborts what a previous owner left open and fences it, so what
is read afterwards cannot change under us any more. Then it ends what the brokers may have left open of a
transaction that was complete (`stream_guard.streaming.marks`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import aiokafka
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)
from aiokafka.structs import TopicPartition

from stream_guard.streaming.light_records import in_one_piece
from stream_guard.streaming.logged_items import LoggedItems
from stream_guard.streaming.marks import last_committed, mark_again, mark_too
from stream_guard.streaming.state import Fenced, Item, OutOfLog, Record, StateRefused, Take

MAX_BATCH_BYTES = 900_000
"""Below the broker's default `message.max.bytes` (1,048,588), with room for the batch header."""

FETCH_BYTES = 4 * 1024 * 1024
LOAD_POLL_MS = 200
LOAD_POLL_RECORDS = 20_000

OPEN_TRANSACTION_WAIT_S = 20.0
"""How long a foreign open transaction may hide our state before we refuse; the broker aborts an
abandoned one after its own transaction timeout."""

TRANSACTION_TIMEOUT_MS = 60_000
"""Longer than a broker's restart, so that a flush caught in one survives it. Our own abandoned transactions
do not wait for it: opening a partition aborts them at once."""


class KafkaState:
    """State backend on a changelog topic.

    Parameters
    ----------
    topic
        The changelog: compacted, as many partitions as the keyed topics.
    app_id
        Prefix of the transactional ids (``{app_id}-{partition}``), which fence an older owner.
    connection
        Keyword arguments of aiokafka clients: bootstrap servers and security.
    partition_for
        Partition of a record by topic and key.
    records_to
        Topics of the records that are written with the state.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        topic: str,
        app_id: str,
        connection: dict[str, Any],
        partition_for: Callable[[str, bytes], int],
        records_to: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._app_id = app_id
        self._connection = connection
        self._partition_for = partition_for
        self._records_to = records_to
        self._clock = clock
        self._producers: dict[int, aiokafka.AIOKafkaProducer] = {}
        self._written: dict[int, set[TopicPartition]] = {}  # by the last transaction of a partition

    async def open(self, partition: int) -> None:
        """Fence the previous owner."""
        await self.close(partition)
        transactional_id = f"{self._app_id}-{partition}"
        committed = await last_committed(self._connection, transactional_id)
        producer = aiokafka.AIOKafkaProducer(
            **self._connection,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_BATCH_BYTES + 100_000,
        )
        await producer.start()
        self._producers[partition] = producer
        if committed is not None:
            targets = [TopicPartition(self._topic, partition)]
            for topic in self._records_to:
                targets += [TopicPartition(topic, number) for number in await producer.partitions_for(topic)]
            with _owned(partition):
                await mark_again(producer, targets, committed)

    async def flush(self, partition: int, items: Sequence[Item], records: Sequence[Record]) -> int | None:
        """Write items and records in one transaction; the offset of the batch that holds the last item."""
        producer = self._producers.get(partition)
        if producer is None:
            raise Fenced(f"partition {partition} is not open here")
        before = self._written.pop(partition, set())
        if not items and not records:
            if before:
                with _owned(partition):
                    await mark_again(producer, before, True)
            return None
        with _owned(partition):
            await producer.begin_transaction()
            mark_too(producer, before)
            appender = _Appender(producer)
            for key, value in items:
                await appender.add(self._topic, partition, key, value, ())
            for record in records:
                target = self._partition_for(record.topic, record.key)
                await appender.add(record.topic, target, record.key, record.value, record.headers)
            ends = await appender.finish()
            await producer.commit_transaction()
        self._written[partition] = {TopicPartition(*target) for target in ends}
        # Unknown where a repeated request was taken for one that the broker had already.
        position = ends.get((self._topic, partition), -1)
        return position if position >= 0 else None

    async def close(self, partition: int) -> None:
        """Stop the producer of `partition`."""
        self._written.pop(partition, None)
        producer = self._producers.pop(partition, None)
        if producer is not None:
            try:
                await producer.stop()
            except KafkaError:
                # A fenced producer cannot end its last transaction; the new owner aborted it already.
                return

    async def stop(self) -> None:
        """Stop all producers."""
        await asyncio.gather(*(self.close(partition) for partition in list(self._producers)))

    async def read(self, partition: int, start: int | None, take: Take) -> None:
        """Read the changelog from `start`, or from its beginning, to its end."""
        tp = TopicPartition(self._topic, partition)
        consumer = aiokafka.AIOKafkaConsumer(
            **self._connection,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=LOAD_POLL_MS // 2,
            check_crcs=False,
            value_deserializer=in_one_piece,
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            first = (await consumer.beginning_offsets([tp]))[tp]
            stable = (await consumer.end_offsets([tp]))[tp]
            if start is not None and not first <= start < stable:
                raise OutOfLog(f"the changelog has offsets {first} to {stable - 1}, not {start}")
            consumer.seek(tp, first if start is None else start)
            await self._read(consumer, tp, stable, take)
        finally:
            await consumer.stop()

    async def _read(
        self, consumer: aiokafka.AIOKafkaConsumer, tp: TopicPartition, stable: int, take: Take
    ) -> None:
        give_up = self._clock() + OPEN_TRANSACTION_WAIT_S
        while True:
            fetched = await consumer.getmany(tp, timeout_ms=LOAD_POLL_MS, max_records=LOAD_POLL_RECORDS)
            records = fetched.get(tp)
            if records:
                await take(_piece(records))
                give_up = self._clock() + OPEN_TRANSACTION_WAIT_S
            position = await consumer.position(tp)
            # The high watermark is above the last stable offset as long as anyone's transaction is open.
            # Ours was aborted when our producer started. It is unknown until a fetch was answered.
            high = consumer.highwater(tp)
            if high is not None and position >= max(stable, high):
                return
            if not records and self._clock() > give_up:
                if high is None:
                    raise StateRefused(
                        f"no broker has answered a fetch of partition {tp.partition} of {self._topic!r} for "
                        f"{OPEN_TRANSACTION_WAIT_S:g} s; check its leader and start again"
                    )
                raise StateRefused(
                    f"partition {tp.partition} of {self._topic!r} has an open transaction at offset "
                    f"{position} that is not ours and hides our own state; end the producer that left it "
                    "(kafka-transactions.sh find-hanging) and start again"
                )


@contextmanager
def _owned(partition: int) -> Iterator[None]:
    """What a broker answers to a producer that another one has taken the place of."""
    try:
        yield
    except (ProducerFenced, InvalidProducerEpoch, OutOfOrderSequenceNumber, UnknownProducerId) as error:
        raise Fenced(f"another process owns partition {partition} now: {error}") from error


def _piece(records: Sequence[Any]) -> Sequence[Item]:
    """Records of one fetch, or the fetch in one piece."""
    piece = records[0]
    return piece if isinstance(piece, LoggedItems) else [(record.key, record.value) for record in records]


class _Appender:
    """Fills batches by target and sends each when it is full."""

    def __init__(self, producer: aiokafka.AIOKafkaProducer) -> None:
        self._producer = producer
        self._builders: dict[tuple[str, int], Any] = {}
        self._futures: list[asyncio.Future[Any]] = []
        self._last: dict[tuple[str, int], asyncio.Future[Any]] = {}

    async def add(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...],
    ) -> None:
        target = (topic, partition)
        builder = self._builders.get(target)
        if builder is None:
            builder = self._builders[target] = self._producer.create_batch()
        if builder.append(timestamp=None, key=key, value=value, headers=list(headers)) is not None:
            return
        await self._send(target, builder)
        builder = self._builders[target] = self._producer.create_batch()
        if builder.append(timestamp=None, key=key, value=value, headers=list(headers)) is None:
            raise StateRefused(f"a record for {topic!r} is larger than {MAX_BATCH_BYTES} bytes")

    async def finish(self) -> dict[tuple[str, int], int]:
        """Wait for all; the offset of each target's last batch."""
        for target, builder in self._builders.items():
            await self._send(target, builder)
        self._builders = {}
        await asyncio.gather(*self._futures)
        return {target: future.result().offset for target, future in self._last.items()}

    async def _send(self, target: tuple[str, int], builder: Any) -> None:
        topic, partition = target
        builder.close()
        future = await self._producer.send_batch(builder, topic, partition=partition)
        self._futures.append(future)
        self._last[target] = future
