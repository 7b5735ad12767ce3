"""The Kafka backend keeps what every state backend promises, and what only a real one can break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiokafka
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from stream_guard.detection.hashing import murmur2_partition
from stream_guard.streaming import kafka_state
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.state import Fenced, Item, Record, StateRefused
from tests.kafka.harness import Kafka
from tests.streaming.helpers import opened
from tests.streaming.state_suite import ALERTS, CASES, Seen, StateSuite

PARTITIONS = 2


class OnKafka:
    """Storage on topics of one test."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka = kafka
        self.app = kafka.prefix("state")
        self.state = f"{self.app}.state"
        self.connection: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap}
        kafka.topic(self.state, PARTITIONS, cleanup_policy="compact")
        for role in ("alerts", "cases"):
            kafka.topic(self.topic(role), PARTITIONS)

    def backend(self) -> KafkaState:
        return KafkaState(
            self.state,
            self.app,
            self.connection,
            lambda _, key: murmur2_partition(key, PARTITIONS),
            [self.topic(role) for role in (ALERTS, CASES)],
        )

    def topic(self, role: str) -> str:
        return f"{self.app}-{role}"

    def visible(self, role: str, committed: bool = True) -> Seen:
        records = self.kafka.read(self.topic(role), committed=committed)
        return [
            (
                record.key() or b"",
                record.value(),
                tuple((name, bytes(value or b"")) for name, value in record.headers() or ()),
            )
            for record in sorted(records, key=lambda record: (record.partition(), record.offset()))
        ]

    def end(self, role: str) -> int:
        """Offset after the last record or mark of partition 0."""
        tp = TopicPartition(self.topic(role), 0)
        return self.kafka.admin.list_offsets({tp: OffsetSpec.latest()})[tp].result(10).offset

    def alert(self, value: bytes = b"{}") -> Record:
        return Record(self.topic(ALERTS), b"A1", value)

    @asynccontextmanager
    async def foreign(self) -> Any:
        """Somebody else's transactional producer, which writes to our changelog."""
        producer = aiokafka.AIOKafkaProducer(**self.connection, transactional_id=f"{self.app}-somebody")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()


@pytest.fixture
def storage(kafka: Kafka) -> OnKafka:
    return OnKafka(kafka)


class TestKafkaState(StateSuite):
    """All of the suite."""


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


# -- fencing -------------------------------------------------------------------------------------------


def test_a_second_opener_fences_the_first_which_can_write_nothing_more(storage: OnKafka) -> None:
    async def test() -> None:
        first, second = storage.backend(), storage.backend()
        await first.open(0)
        await first.flush(0, [(b"A1", b"1")], [storage.alert(b"first")])
        assert await opened(second, 0) == [(b"A1", b"1")]
        with pytest.raises(Fenced, match="another process owns partition 0 now"):
            await first.flush(0, [(b"A1", b"stale")], [storage.alert(b"stale")])
        await second.flush(0, [(b"A2", b"2")], [storage.alert(b"second")])
        await first.stop()
        assert dict(await opened(second, 0)) == {b"A1": b"1", b"A2": b"2"}
        await second.stop()

    run(test)
    assert [value for _, value, _ in storage.visible(ALERTS)] == [b"first", b"second"]


def test_fencing_one_partition_leaves_the_others_alone(storage: OnKafka) -> None:
    async def test() -> None:
        first, second = storage.backend(), storage.backend()
        await first.open(0)
        await first.open(1)
        await second.open(0)
        await first.flush(1, [(b"A1", b"1")], [])
        with pytest.raises(Fenced):
            await first.flush(0, [(b"A1", b"1")], [])
        await first.flush(1, [(b"A1", b"2")], [])
        assert await opened(second, 1) == [(b"A1", b"2")]
        await asyncio.gather(first.stop(), second.stop())

    run(test)


async def held_before_the_commit(backend: KafkaState, items: list[Item], records: list[Record]) -> Any:
    """A flush that has written everything and waits before its commit: the task, and what lets it go on."""
    producer = backend._producers[0]
    commit, reached, gate = producer.commit_transaction, asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()
        await commit()

    producer.commit_transaction = wait
    flushing = asyncio.create_task(backend.flush(0, items, records))
    await reached.wait()
    return flushing, gate


def test_a_flush_that_is_overtaken_by_another_opener_leaves_nothing(storage: OnKafka) -> None:
    async def test() -> None:
        first, second = storage.backend(), storage.backend()
        await first.open(0)
        await first.flush(0, [(b"A1", b"1")], [])
        flushing, gate = await held_before_the_commit(
            first, [(b"A1", b"2"), (b"A2", b"2")], [storage.alert(b"never")]
        )
        assert await opened(second, 0) == [(b"A1", b"1")]
        gate.set()
        with pytest.raises(Fenced):
            await flushing
        await second.flush(0, [(b"A3", b"3")], [])
        assert dict(await opened(second, 0)) == {b"A1": b"1", b"A3": b"3"}
        await asyncio.gather(first.stop(), second.stop())

    run(test)
    assert storage.visible(ALERTS) == []
    # It had been written.
    assert [value for _, value, _ in storage.visible(ALERTS, committed=False)] == [b"never"]


def test_a_flush_whose_process_was_killed_leaves_nothing(storage: OnKafka) -> None:
    async def test() -> None:
        killed, restarted = storage.backend(), storage.backend()
        await killed.open(0)
        await killed.flush(0, [(b"A1", b"1")], [storage.alert(b"1")])
        flushing, _ = await held_before_the_commit(killed, [(b"A1", b"2")], [storage.alert(b"never")])
        flushing.cancel()
        # Nothing of the killed process ends its transaction: the opening does.
        assert await opened(restarted, 0) == [(b"A1", b"1")]
        await restarted.flush(0, [(b"A1", b"3")], [storage.alert(b"3")])
        assert await opened(restarted, 0) == [(b"A1", b"3")]
        await asyncio.gather(killed.stop(), restarted.stop())

    run(test)
    assert [value for _, value, _ in storage.visible(ALERTS)] == [b"1", b"3"]


def test_records_are_invisible_until_the_state_is_durable(storage: OnKafka) -> None:
    async def test() -> None:
        backend = storage.backend()
        await backend.open(0)
        flushing, gate = await held_before_the_commit(backend, [(b"A1", b"1")], [storage.alert(b"1")])
        seen = await asyncio.to_thread(storage.visible, ALERTS)
        assert seen == []
        gate.set()
        await flushing
        await backend.stop()

    run(test)
    assert [value for _, value, _ in storage.visible(ALERTS)] == [b"1"]


# -- somebody else's open transaction ------------------------------------------------------------------


@pytest.mark.parametrize("rows", [0, 3])
def test_state_hidden_by_a_foreign_open_transaction_is_refused(
    rows: int, storage: OnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_state, "OPEN_TRANSACTION_WAIT_S", 0.5)

    async def test() -> None:
        first, second = storage.backend(), storage.backend()
        await first.open(0)
        for number in range(rows):
            await first.flush(0, [(b"A%d" % number, b"1")], [])
        async with storage.foreign() as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(storage.state, b"foreign", partition=0, key=b"X")
            # Ours, committed, but behind the foreign one for readers of committed records.
            await first.flush(0, [(b"A1", b"hidden")], [])
            with pytest.raises(StateRefused) as refused:
                await opened(second, 0)
            await producer.abort_transaction()
        sentence = str(refused.value)
        assert f"partition 0 of '{storage.state}' has an open transaction at offset {2 * rows}" in sentence
        assert (
            "end the producer that left it (kafka-transactions.sh find-hanging) and start again" in sentence
        )
        await asyncio.gather(first.stop(), second.stop())

    run(test)


def test_an_opening_waits_for_a_foreign_transaction_to_end_and_then_sees_all_of_ours(
    storage: OnKafka,
) -> None:
    async def test() -> None:
        first, second = storage.backend(), storage.backend()
        await first.open(0)
        async with storage.foreign() as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(storage.state, b"foreign", partition=0, key=b"X")
            await first.flush(0, [(b"A1", b"1")], [])
            opening = asyncio.create_task(opened(second, 0))
            await asyncio.sleep(1.0)
            assert not opening.done()
            await producer.abort_transaction()
        assert await opening == [(b"A1", b"1")]
        await asyncio.gather(first.stop(), second.stop())

    run(test)


# -- a transaction that is complete and left open in a partition ---------------------------------------


@pytest.fixture
def unverified(kafka: Kafka) -> Iterator[None]:
    """A broker that lets a producer write to partitions that its transaction does not know."""
    kafka.configure_brokers(transaction_partition_verification_enable="false")
    yield
    kafka.configure_brokers(transaction_partition_verification_enable="true")


@contextmanager
def no_mark(backend: KafkaState, *topics: str) -> Iterator[None]:
    """Transactions of partition 0 leave no mark in `topics`, as where a broker takes them for deleted."""
    manager = backend._producers[0]._txn_manager
    add = manager.maybe_add_partition_to_txn
    manager.maybe_add_partition_to_txn = lambda tp: None if tp.topic in topics else add(tp)
    yield
    del manager.maybe_add_partition_to_txn


@pytest.mark.usefixtures("unverified")
class TestALeftOpenTransaction:
    def test_the_next_flush_ends_it_wherever_that_one_writes(self, storage: OnKafka) -> None:
        async def test() -> None:
            backend = storage.backend()
            await backend.open(0)
            with no_mark(backend, storage.topic(ALERTS)):
                await backend.flush(0, [(b"A1", b"1")], [storage.alert(b"1")])
            assert await asyncio.to_thread(storage.visible, ALERTS) == []
            await backend.flush(0, [(b"A1", b"2")], [])
            await backend.stop()

        run(test)
        assert [value for _, value, _ in storage.visible(ALERTS)] == [b"1"]

    def test_a_flush_of_nothing_ends_it_once(self, storage: OnKafka) -> None:
        async def test() -> None:
            backend = storage.backend()
            await backend.open(0)
            with no_mark(backend, storage.topic(ALERTS), storage.state):
                await backend.flush(0, [(b"A1", b"1")], [storage.alert(b"1")])
            assert await asyncio.to_thread(storage.visible, ALERTS) == []
            assert await backend.flush(0, [], []) is None
            marked = await asyncio.to_thread(storage.end, ALERTS)
            await backend.flush(0, [], [])
            assert await asyncio.to_thread(storage.end, ALERTS) == marked
            await backend.stop()

        run(test)
        assert [value for _, value, _ in storage.visible(ALERTS)] == [b"1"]

    def test_who_opens_the_partition_next_sees_what_was_committed(self, storage: OnKafka) -> None:
        async def test() -> None:
            first, second = storage.backend(), storage.backend()
            await first.open(0)
            with no_mark(first, storage.topic(ALERTS), storage.state):
                # The coordinator has to know of something, or the transaction was never begun.
                case = Record(storage.topic(CASES), b"A1", b"{}")
                await first.flush(0, [(b"A1", b"1")], [storage.alert(b"1"), case])
            assert await opened(second, 0) == [(b"A1", b"1")]
            await asyncio.gather(first.stop(), second.stop())

        run(test)
        assert [value for _, value, _ in storage.visible(ALERTS)] == [b"1"]

    def test_who_opens_the_partition_next_sees_nothing_of_what_was_aborted(self, storage: OnKafka) -> None:
        async def test() -> None:
            first, second, third = (storage.backend() for _ in range(3))
            await first.open(0)
            with no_mark(first, storage.topic(ALERTS), storage.state):
                records = [storage.alert(b"never"), Record(storage.topic(CASES), b"A1", b"{}")]
                flushing, _ = await held_before_the_commit(first, [(b"A1", b"1")], records)
                flushing.cancel()
            assert await opened(second, 0) == []
            await second.flush(0, [(b"A1", b"2")], [storage.alert(b"2")])
            assert await opened(third, 0) == [(b"A1", b"2")]
            await asyncio.gather(first.stop(), second.stop(), third.stop())

        run(test)
        assert [value for _, value, _ in storage.visible(ALERTS)] == [b"2"]
