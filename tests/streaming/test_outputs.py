"""Sending without waiting: order, growing batches, back-pressure, the lease, and failures at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from stream_guard.streaming import outputs as module
from stream_guard.streaming.lease import Lease
from stream_guard.streaming.outputs import MAX_BATCH_BYTES, Outputs
from tests.streaming.helpers import on_a_loop

Sent = tuple[str, int, list[tuple[bytes | None, bytes | None]]]


class FakeProducer:
    """Takes batches when `free`, and delivers them when told."""

    def __init__(self, batch_bytes: int = MAX_BATCH_BYTES) -> None:
        self.batch_bytes = batch_bytes
        self.sent: list[Sent] = []
        self.headers: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.free = asyncio.Event()
        self.free.set()
        self.refuse: Exception | None = None

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.batch_bytes, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        await self.free.wait()
        if self.refuse is not None:
            raise self.refuse
        assert batch.closed()
        records = [
            record for part in iter(MemoryRecords(bytes(batch._build())).next_batch, None) for record in part
        ]
        self.sent.append((topic, partition, [(record.key, record.value) for record in records]))
        self.headers += [record.headers for record in records]
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        return future

    def deliver(self) -> None:
        for future in self.futures:
            if not future.done():
                future.set_result(None)


class Sender:
    """Outputs over a fake producer, with a lease that a test opens and closes."""

    def __init__(self, batch_bytes: int = MAX_BATCH_BYTES) -> None:
        self.now = 0.0
        self.lease = Lease(10.0, lambda: self.now)
        self.lease.renew(0.0)
        self.producer = FakeProducer(batch_bytes)
        self.failures: list[BaseException] = []
        self.outputs = Outputs(self.producer, self.lease.wait, self._fail)

    def _fail(self, topic: str, error: BaseException) -> None:
        assert topic == "t"
        self.failures.append(error)

    def put(self, value: bytes, topic: str = "t", partition: int = 0) -> asyncio.Future[None]:
        return self.outputs.put(topic, partition, b"k", value)

    def values(self, topic: str = "t", partition: int = 0) -> list[list[bytes | None]]:
        """Values by batch."""
        return [
            [value for _, value in records]
            for where, number, records in self.producer.sent
            if (where, number) == (topic, partition)
        ]


async def turn() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


@on_a_loop
async def test_putting_never_waits_and_the_record_leaves_by_itself() -> None:
    sender = Sender()
    delivery = sender.outputs.put("t", 3, b"k", b"v", (("schema", b"1"),))
    assert sender.producer.sent == []
    await turn()
    assert sender.producer.sent == [("t", 3, [(b"k", b"v")])]
    assert list(sender.producer.headers[0]) == [("schema", b"1")]
    assert not delivery.done()
    sender.producer.deliver()
    await turn()
    assert delivery.done()
    assert delivery.exception() is None


@on_a_loop
async def test_keys_and_values_may_be_missing() -> None:
    sender = Sender()
    sender.outputs.put("t", 0, None, b"frame")
    sender.outputs.put("t", 0, b"account:A1", None)
    await turn()
    assert sender.producer.sent == [("t", 0, [(None, b"frame"), (b"account:A1", None)])]


@on_a_loop
async def test_records_of_one_turn_travel_in_one_batch_in_their_order() -> None:
    sender = Sender()
    deliveries = {sender.put(b"%d" % number) for number in range(5)}
    await turn()
    assert sender.values() == [[b"0", b"1", b"2", b"3", b"4"]]
    assert len(deliveries) == 1


@on_a_loop
async def test_a_batch_grows_while_the_one_before_is_on_its_way() -> None:
    sender = Sender()
    sender.producer.free.clear()
    sender.put(b"0")
    await turn()
    for number in range(1, 4):
        sender.put(b"%d" % number)
        await turn()
    assert sender.producer.sent == []
    sender.producer.free.set()
    await turn()
    assert sender.values() == [[b"0"], [b"1", b"2", b"3"]]


@on_a_loop
async def test_the_order_holds_over_batches_of_one_target_and_targets_do_not_wait_for_each_other() -> None:
    sender = Sender(batch_bytes=200)
    values = [b"%03d" % number + b"x" * 40 for number in range(30)]
    for number, value in enumerate(values):
        sender.put(value, partition=number % 2)
    await turn()
    await asyncio.sleep(0.01)
    for partition in (0, 1):
        batches = sender.values(partition=partition)
        assert len(batches) > 3
        assert [value for batch in batches for value in batch] == values[partition::2]


@on_a_loop
async def test_a_target_that_had_rested_takes_records_again() -> None:
    sender = Sender()
    for value in (b"1", b"2"):
        sender.put(value)
        await turn()
        sender.producer.deliver()
        await turn()
    assert sender.values() == [[b"1"], [b"2"]]


@on_a_loop
async def test_without_the_lease_nothing_leaves_and_with_it_everything_does() -> None:
    sender = Sender()
    sender.now = 10.0
    sender.put(b"1")
    await turn()
    sender.put(b"2")
    await turn()
    assert sender.producer.sent == []
    sender.lease.renew(9.0)
    await turn()
    assert sender.values() == [[b"1", b"2"]]


@on_a_loop
async def test_the_lease_is_asked_for_before_each_batch() -> None:
    sender = Sender(batch_bytes=120)
    sender.producer.free.clear()
    sender.put(b"1" * 40)
    sender.put(b"2" * 40)
    await turn()
    sender.now = 11.0
    sender.producer.free.set()
    await turn()
    # The first was with the producer already.
    assert sender.values() == [[b"1" * 40]]


@on_a_loop
async def test_there_is_no_room_while_too_much_is_queued_and_there_is_again_once_it_is_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", 100)
    sender = Sender()
    sender.put(b"x" * 100)
    assert sender.outputs.has_room()
    sender.put(b"x")
    assert not sender.outputs.has_room()
    await turn()
    assert not sender.outputs.has_room()
    sender.producer.deliver()
    await turn()
    assert sender.outputs.has_room()
    assert sender.outputs.queued_bytes == 0


@on_a_loop
async def test_a_failed_delivery_is_told_at_that_moment_and_its_future_never_comes_true() -> None:
    sender = Sender()
    delivery = sender.put(b"1")
    await turn()
    error = ConnectionError("gone for good")
    sender.producer.futures[0].set_exception(error)
    await turn()
    assert sender.failures == [error]
    assert not delivery.done()


@on_a_loop
async def test_a_cancelled_delivery_is_a_failed_one() -> None:
    sender = Sender()
    delivery = sender.put(b"1")
    await turn()
    sender.producer.futures[0].cancel()
    await turn()
    assert [type(error) for error in sender.failures] == [asyncio.CancelledError]
    assert not delivery.done()


@on_a_loop
async def test_a_batch_that_the_producer_does_not_take_is_a_failed_one() -> None:
    sender = Sender()
    sender.producer.refuse = TimeoutError("no free slot")
    sender.put(b"1")
    await turn()
    assert sender.failures == [sender.producer.refuse]


@on_a_loop
async def test_a_lease_that_fails_to_wait_is_told_too() -> None:
    sender = Sender()

    async def broken() -> None:
        raise RuntimeError("no clock")

    outputs = Outputs(sender.producer, broken, sender._fail)
    outputs.put("t", 0, None, b"1")
    await turn()
    assert [str(error) for error in sender.failures] == ["no clock"]


@on_a_loop
async def test_flush_waits_for_everything_that_is_queued() -> None:
    sender = Sender()
    await asyncio.wait_for(sender.outputs.flush(), 1)
    sender.put(b"1")
    sender.put(b"2", partition=1)
    flushing = asyncio.create_task(sender.outputs.flush())
    await turn()
    sender.producer.futures[0].set_result(None)
    await turn()
    assert not flushing.done()
    sender.put(b"3")
    await turn()
    sender.producer.futures[1].set_result(None)
    await turn()
    assert not flushing.done()
    sender.producer.deliver()
    await asyncio.wait_for(flushing, 1)


@on_a_loop
async def test_a_record_larger_than_a_batch_travels_alone() -> None:
    sender = Sender(batch_bytes=200)
    for value in (b"a", b"B" * 500, b"c"):
        sender.put(value)
    await turn()
    await asyncio.sleep(0.01)
    assert sender.values() == [[b"a"], [b"B" * 500], [b"c"]]


@on_a_loop
async def test_a_producer_that_takes_no_record_at_all_is_an_error() -> None:
    sender = Sender()
    closed = sender.producer.create_batch()
    closed.close()
    sender.producer.create_batch = lambda: closed  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="is larger than"):
        sender.put(b"1")
