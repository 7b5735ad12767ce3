"""The Kafka driver: batches, offsets from the state, and the private parts of others that it stands on.

The first section is a contract test: it fails when faust-streaming, mode or aiokafka move what we override,
call or rely on. Read it before raising one of the three pinned versions.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import aiokafka
import pytest
from aiokafka.consumer import fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from faust.tables import recovery
from faust.transport.consumer import Consumer as BaseConsumer
from faust.transport.consumer import ThreadDelegateConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.types import TP
from mode import Service

from stream_guard.streaming.light_records import LightRecords, use_light_records
from stream_guard.streaming.transport import (
    BEHIND_WAIT_S,
    FRAMES_AHEAD,
    Batch,
    Consumer,
    LoopConsumerThread,
)
from tests.streaming.driver import Keeper, application
from tests.streaming.helpers import LogRecord, on_a_loop

PAYMENTS, LEGS, CASES = TP("payments", 0), TP("app-legs", 0), TP("app-cases", 0)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


# -- what we stand on ----------------------------------------------------------------------------------


def test_the_versions_are_the_ones_whose_private_parts_are_known() -> None:
    found = {name: version(name) for name in ("faust-streaming", "mode-streaming", "aiokafka")}
    assert found == {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}


@pytest.mark.parametrize(
    ("owner", "name", "wanted"),
    [
        # Overridden in Consumer.
        (ThreadDelegateConsumer, "_getmany", ["self", "active_partitions", "timeout"]),
        (BaseConsumer, "_wait_next_records", ["self", "timeout"]),
        (BaseConsumer, "force_commit", ["self", "topics", "start_new_transaction"]),
        (BaseConsumer, "_add_gap", ["self", "tp", "offset_from", "offset_to"]),
        (BaseConsumer, "verify_all_partitions_active", ["self"]),
        (ThreadDelegateConsumer, "seek_to_committed", ["self"]),
        (FaustConsumer, "_new_consumer_thread", ["self"]),
        # Overridden in LoopConsumerThread.
        (AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (AIOKafkaConsumerThread, "call_thread", ["self", "fun", "args", "kwargs"]),
        (AIOKafkaConsumerThread, "start", ["self"]),
        (AIOKafkaConsumerThread, "maybe_start", ["self"]),
        (AIOKafkaConsumerThread, "stop", ["self"]),
        (AIOKafkaConsumerThread, "crash", ["self", "exc"]),
        # Called.
        (AIOKafkaConsumerThread, "commit", ["self", "offsets"]),
        (AIOKafkaConsumerThread, "getmany", ["self", "active_partitions", "timeout"]),
        (AIOKafkaConsumerThread, "_ensure_consumer", ["self"]),
        (FaustConsumer, "assignment", ["self"]),
        (FaustConsumer, "highwater", ["self", "tp"]),
        (Service, "_default_stop_futures", ["self"]),
        (Service, "start", ["self"]),
        (Service, "maybe_start", ["self"]),
        (Service, "crash", ["self", "reason"]),
        (fetcher.Fetcher, "fetched_records", ["self", "partitions", "timeout", "max_records"]),
        (aiokafka.AIOKafkaConsumer, "seek", ["self", "partition", "offset"]),
        (BatchBuilder, "append", ["self", "timestamp", "key", "value", "headers"]),
        (BatchBuilder, "closed", ["self"]),
        (BatchBuilder, "close", ["self"]),
        (aiokafka.AIOKafkaProducer, "send_batch", ["self", "batch", "topic", "partition"]),
        (MessageAccumulator, "add_batch", ["self", "builder", "tp", "timeout"]),
        # Overridden in LightRecords.
        (fetcher.PartitionRecords, "_consumer_record", ["self", "tp", "record"]),
    ],
)
def test_what_is_overridden_or_called_has_the_known_signature(
    owner: Any, name: str, wanted: list[str]
) -> None:
    assert parameters(getattr(owner, name)) == wanted


def test_our_overrides_take_what_their_callers_give() -> None:
    for name in ("_getmany", "_wait_next_records", "force_commit", "_add_gap", "seek_to_committed"):
        assert parameters(getattr(Consumer, name)) == parameters(getattr(FaustConsumer, name)), name
    for name in ("_create_worker_consumer", "call_thread", "start", "maybe_start", "stop", "crash"):
        ours, theirs = getattr(LoopConsumerThread, name), getattr(AIOKafkaConsumerThread, name)
        assert parameters(ours) == parameters(theirs), name


def test_faust_fetches_through_the_methods_we_override() -> None:
    assert "self._getmany(" in inspect.getsource(BaseConsumer._wait_next_records)
    source = inspect.getsource(BaseConsumer.getmany)
    assert "await self._wait_next_records(timeout)" in source
    assert "if records is None" in source
    assert "self._add_gap(" in inspect.getsource(BaseConsumer._drain_messages)
    detector = BaseConsumer._commit_livelock_detector
    assert "self.verify_all_partitions_active()" in inspect.getsource(getattr(detector, "fun", detector))
    assert "self.force_commit(" in inspect.getsource(BaseConsumer.commit)
    assert "self._thread.getmany(" in inspect.getsource(ThreadDelegateConsumer._getmany)


def test_faust_commits_by_the_clock_even_without_new_records() -> None:
    # The lease rests on it: a commit every interval proves the membership.
    source = inspect.getsource(BaseConsumer._commit_handler.fun)
    assert "self.itertimer(interval" in source
    assert "await self.commit()" in source


def test_faust_seeks_after_a_rebalance_before_the_flow_resumes_and_bounds_it_by_the_request_timeout() -> None:
    assert "await self.seek_to_committed()" in inspect.getsource(BaseConsumer.perform_seek)
    source = inspect.getsource(recovery.Recovery._resume_streams)
    seek, resume = source.index("consumer.perform_seek()"), source.rindex("resume_flow()")
    assert seek < resume
    assert "timeout=self.app.conf.broker_request_timeout" in source[seek : seek + 200]


def test_a_shutdown_waits_for_the_agents_and_then_commits() -> None:
    source = inspect.getsource(BaseConsumer.wait_empty)
    assert "self._unacked_messages" in source
    assert source.rstrip().endswith("await T(self.commit_and_end_transactions)()")
    assert "self.commit(" in inspect.getsource(BaseConsumer.commit_and_end_transactions)


def test_a_static_member_leaves_its_group_only_without_its_instance_id() -> None:
    source = inspect.getsource(GroupCoordinator)
    assert "self.generation > 0 and self._group_instance_id is None" in source


def test_the_parsers_own_record_has_what_we_read() -> None:
    built = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=10_000
    )
    sent = [(b"k1", b"v1", [("h", b"1")]), (None, b"v2", []), (b"k3", None, [])]
    for offset, (key, value, headers) in enumerate(sent):
        built.append(offset, 1_000 + offset, key, value, headers)
    raw = bytes(built.build())

    def read(kind: Any) -> list[Any]:
        records = kind(TopicPartition("t", 3), MemoryRecords(raw), [], 0, None, None, True, 0)
        return list(records)

    plain, light = read(fetcher.PartitionRecords), read(LightRecords)
    for one, other in zip(plain, light, strict=True):
        assert (one.offset, one.timestamp, one.key, one.value, list(one.headers)) == (
            other.offset,
            other.timestamp,
            other.key,
            other.value,
            list(other.headers),
        )
    assert [(record.key, record.value) for record in light] == [sent[i][:2] for i in range(3)]


def test_light_records_go_on_where_a_fetch_stopped() -> None:
    built = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=10_000
    )
    for offset in range(10):
        built.append(offset, 1, b"k", b"v", [])
    tp = TopicPartition("t", 0)
    records = LightRecords(tp, MemoryRecords(bytes(built.build())), [], 0, None, None, True, 0)
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda offset: setattr(state, "position", offset)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    result = fetcher.FetchResult(tp, assignment=assignment, partition_records=records, backoff=0)
    assert [record.offset for record in result.getall(4)] == [0, 1, 2, 3]
    assert state.position == 4
    assert [record.offset for record in result.getall(100)] == [4, 5, 6, 7, 8, 9]
    assert (state.position, result.has_more()) == (10, False)


def test_light_records_are_what_consumers_use_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", fetcher.PartitionRecords)
    use_light_records()
    assert fetcher.PartitionRecords is LightRecords
    assert "PartitionRecords(" in inspect.getsource(fetcher.Fetcher)


def test_a_batch_builder_says_by_none_that_it_is_full_and_stays_closed() -> None:
    builder = BatchBuilder(200, 0)
    assert builder.append(timestamp=None, key=None, value=b"x" * 80, headers=[]) is not None
    assert builder.closed() is False
    assert builder.append(timestamp=None, key=None, value=b"x" * 80, headers=[]) is None
    assert builder.closed() is True
    assert builder.append(timestamp=None, key=None, value=b"x", headers=[]) is None
    assert builder.record_count() == 1


def test_a_batch_builder_takes_its_first_record_whatever_its_size() -> None:
    builder = BatchBuilder(200, 0)
    assert builder.append(timestamp=None, key=None, value=b"x" * 1000, headers=[]) is not None


@on_a_loop
async def test_the_accumulator_takes_the_next_batch_of_a_partition_when_the_one_before_is_on_its_way() -> (
    None
):
    cluster = SimpleNamespace(leader_for_partition=lambda _: 1)
    accumulator = MessageAccumulator(cluster, 1000, 0, 30)
    tp = TopicPartition("t", 0)

    def batch(value: bytes) -> BatchBuilder:
        builder = accumulator.create_builder()
        builder.append(timestamp=None, key=None, value=value)
        return builder

    first = await accumulator.add_batch(batch(b"1"), tp, 5)
    waiting = asyncio.create_task(accumulator.add_batch(batch(b"2"), tp, 5))
    other = await accumulator.add_batch(batch(b"3"), TopicPartition("t", 1), 5)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    drained, _ = accumulator.drain_by_nodes(ignore_nodes=[])
    assert len(drained[1]) == 2
    second = await waiting
    drained[1][tp].done(base_offset=0, timestamp=1)
    assert (await first).offset == 0
    assert not second.done()
    # A batch that fails for good tells so by its future, whatever became of a later one.
    drained[1][TopicPartition("t", 1)].failure(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await other


@on_a_loop
async def test_aiokafka_asks_for_a_topic_it_does_not_know_yet() -> None:
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers="localhost:1")
    assert parameters(consumer._client._wait_on_metadata) == ["topic"]
    await consumer.stop()


# -- batches -------------------------------------------------------------------------------------------


def records(*offsets: int) -> list[LogRecord]:
    return [LogRecord(offset, timestamp=1_000 + offset) for offset in offsets]


def test_a_batch_knows_where_it_stands_begins_and_ends() -> None:
    batch = Batch("t", 2, 5, records(7, 8, 11))
    assert (batch.start, batch.first, batch.end) == (5, 7, 12)


def test_a_batch_does_not_print_its_records() -> None:
    assert "1007" not in repr(Batch("t", 2, 5, records(7)))


class Thread:
    """Stands for the Kafka consumer behind ours."""

    def __init__(self) -> None:
        self.log: dict[TP, list[Any]] = {}
        self.ends: dict[TP, int] = {}
        self.assigned = {PAYMENTS, LEGS, CASES}
        self.fetches: list[tuple[set[TP], float]] = []
        self.commits: list[dict[TP, int]] = []
        self.sought: dict[TopicPartition, int] = {}
        self.states: dict[TopicPartition, Any] = {}
        self.member = True
        self.joining = False
        self.during_fetch: Callable[[], None] = lambda: None

    async def getmany(self, active: set[TP], timeout: float) -> dict[Any, list[Any]]:
        self.fetches.append((set(active), timeout))
        self.during_fetch()
        wanted = [tp for tp in self.log if tp in active and self.log[tp]]
        return {TopicPartition(*tp): self.log.pop(tp) for tp in wanted}

    def assignment(self) -> set[TP]:
        return self.assigned

    def highwater(self, tp: TP) -> int | None:
        return self.ends.get(tp)

    async def commit(self, offsets: dict[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return self.member

    def _ensure_consumer(self) -> Any:
        return SimpleNamespace(
            assignment=lambda: {TopicPartition(*tp) for tp in self.assigned},
            seek=self.sought.__setitem__,
            _coordinator=SimpleNamespace(_performed_join_prepare=self.joining),
            _subscription=SimpleNamespace(
                subscription=SimpleNamespace(assignment=SimpleNamespace(state_value=self.states.get))
            ),
        )


class Driver:
    """Our consumer in an application of its own, on a fake thread."""

    def __init__(self) -> None:
        self.keeper = Keeper()
        self.app = application(self.keeper)
        self.consumer: Any = self.app.consumer
        self.consumer._thread = self.thread = Thread()
        self.consumer.flow_active = True

    async def fetch(self, timeout: float = 1.0) -> dict[TP, Batch]:
        fetched = await self.consumer._getmany({PAYMENTS, LEGS, CASES}, timeout)
        return {TP(*tp): messages[0].value for tp, messages in fetched.items()}


@on_a_loop
async def test_a_fetch_is_one_message_a_partition() -> None:
    driver = Driver()
    driver.thread.log = {LEGS: records(3, 4, 5), CASES: records(1)}
    driver.consumer._position = {LEGS: 3, CASES: 0}
    fetched = await driver.consumer._getmany({PAYMENTS, LEGS, CASES}, 1.0)
    (message,) = fetched[TopicPartition("app-legs", 0)]
    assert (message.topic, message.partition, message.offset, message.timestamp) == ("app-legs", 0, 5, 1_005)
    assert message.value == Batch("app-legs", 0, 3, message.value.records)
    assert [record.offset for record in message.value.records] == [3, 4, 5]
    assert fetched[TopicPartition("app-cases", 0)][0].value.start == 0
    # Faust makes its own message of it.
    made = driver.consumer._to_message(LEGS, message)
    assert (made.offset, made.value, made.tp) == (5, message.value, LEGS)


class Busy:
    """A gather of a process that is busy with small batches."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def pause(self) -> float:
        return 0.001

    def fetched(self, records: int) -> None:
        self.told.append(records)


@on_a_loop
async def test_while_gathering_a_batch_is_what_was_there_and_what_came_legs_first() -> None:
    driver = Driver()
    driver.consumer.gather = busy = Busy()
    driver.consumer._position = {LEGS: 3, PAYMENTS: 7}
    looks = [{PAYMENTS: records(7), LEGS: records(3, 4)}, {LEGS: records(5), CASES: records(1)}]
    driver.thread.during_fetch = lambda: driver.thread.log.update(looks.pop(0) if looks else {})
    fetched = await driver.fetch()
    assert [tp.topic for tp in fetched] == [LEGS.topic, CASES.topic, PAYMENTS.topic]
    assert [record.offset for record in fetched[LEGS].records] == [3, 4, 5]
    assert (fetched[LEGS].start, fetched[LEGS].end, fetched[PAYMENTS].end) == (3, 6, 8)
    assert busy.told == [5]
    assert driver.consumer._position[LEGS] == 6


@pytest.mark.parametrize("look", [0, 1])
@on_a_loop
async def test_what_was_taken_around_a_new_opening_is_read_again_from_where_that_began(look: int) -> None:
    driver = Driver()
    driver.keeper.offsets = {LEGS: 2}
    driver.consumer.gather = Busy()
    driver.consumer._position = {LEGS: 3}
    original = driver.thread.getmany

    async def getmany(active: set[TP], timeout: float) -> dict[Any, list[Any]]:
        if len(driver.thread.fetches) == look:
            await driver.consumer.seek_to_committed()
            # What this take brings lies behind that seek: aiokafka stands after it now.
            driver.thread.sought = {TopicPartition(*LEGS): 4}
        driver.thread.log.update({LEGS: records(3)})
        return await original(active, timeout)

    driver.thread.getmany = getmany  # type: ignore[method-assign]
    assert await driver.fetch() == {}
    assert driver.thread.sought == {TopicPartition(*LEGS): 2}
    assert driver.consumer._position == {LEGS: 2}


@on_a_loop
async def test_each_batch_starts_where_the_one_before_ended() -> None:
    driver = Driver()
    driver.consumer._position = {LEGS: 0}
    starts = []
    for offsets in ((0, 1), (2, 5), (9,)):
        driver.thread.log = {LEGS: records(*offsets)}
        starts.append((await driver.fetch())[LEGS].start)
    assert starts == [0, 2, 6]


@on_a_loop
async def test_legs_go_before_transactions() -> None:
    driver = Driver()
    driver.thread.log = {PAYMENTS: records(0), LEGS: records(0), CASES: records(0)}
    assert set(await driver.fetch()) == {LEGS, CASES}
    assert set(await driver.fetch()) == {PAYMENTS}
    asked = driver.thread.fetches
    # What is not a transaction is looked for without waiting, and only then everything is waited for.
    assert asked[0] == ({LEGS, CASES}, 0)
    assert asked[1:] == [({LEGS, CASES}, 0), ({PAYMENTS, LEGS, CASES}, 1.0)]


@on_a_loop
async def test_no_more_transactions_while_the_log_holds_legs_that_were_not_handed_out() -> None:
    driver = Driver()
    driver.thread.log = {PAYMENTS: records(0)}
    driver.consumer._position = {LEGS: 10}
    driver.thread.ends = {LEGS: 10 + FRAMES_AHEAD + 1}
    assert await driver.fetch() == {}
    assert driver.thread.fetches == [({LEGS, CASES}, 0), ({LEGS, CASES}, BEHIND_WAIT_S)]
    driver.thread.ends = {LEGS: 10 + FRAMES_AHEAD}
    assert set(await driver.fetch()) == {PAYMENTS}


@on_a_loop
async def test_a_process_with_transactions_alone_fetches_them() -> None:
    driver = Driver()
    driver.thread.assigned = {PAYMENTS}
    driver.thread.log = {PAYMENTS: records(0)}
    fetched = await driver.consumer._getmany({PAYMENTS}, 1.0)
    assert list(fetched) == [TopicPartition("payments", 0)]
    assert driver.thread.fetches == [({PAYMENTS}, 1.0)]


@on_a_loop
async def test_records_fetched_while_the_flow_was_suspended_are_dropped() -> None:
    driver = Driver()
    driver.consumer._set_active_tps({PAYMENTS, LEGS, CASES})
    driver.thread.log = {LEGS: records(0)}
    driver.thread.during_fetch = driver.consumer.stop_flow
    fetched, _ = await driver.consumer._wait_next_records(1.0)
    assert fetched is None
    driver.thread.during_fetch = lambda: None
    driver.consumer.resume_flow()
    driver.thread.log = {LEGS: records(0)}
    fetched, active = await driver.consumer._wait_next_records(1.0)
    assert list(fetched) == [TopicPartition("app-legs", 0)]
    assert LEGS in active


@on_a_loop
async def test_the_backlog_is_what_the_log_holds_beyond_what_was_handed_out() -> None:
    driver = Driver()
    driver.thread.assigned = {LEGS, TP("app-legs", 1), PAYMENTS}
    driver.thread.ends = {LEGS: 10, TP("app-legs", 1): 4, PAYMENTS: 1_000}
    driver.consumer._position = {LEGS: 7, TP("app-legs", 1): 4}
    assert driver.consumer.backlog("app-legs") == 3


@on_a_loop
async def test_what_waits_is_what_was_handed_out_and_what_kafka_has_not_read_yet() -> None:
    driver = Driver()
    tp = TopicPartition(*CASES)
    state = SimpleNamespace(highwater=None, position=9, has_valid_position=True)
    driver.thread.states[tp] = state
    assert driver.consumer.waiting(CASES, 5, 0) is None
    state.highwater = 9
    driver.consumer._position = {CASES: 8}
    # Offset 8 ends a transaction: nobody is ever handed it, and nobody waits for it.
    assert driver.consumer.waiting(CASES, 8, 9) == 0
    assert driver.consumer.waiting(CASES, 5, 0) == 3
    state.highwater = 12
    assert driver.consumer.waiting(CASES, 5, 11) == 6
    # A client that fetches nothing any more does not know of the three that a broker knows of.
    assert driver.consumer.waiting(CASES, 5, 15) == 9
    state.highwater = None
    assert driver.consumer.waiting(CASES, 5, 15) == 9
    state.has_valid_position = False
    assert driver.consumer.waiting(CASES, 5, 15) is None
    assert driver.consumer.waiting(TP("app-cases", 7), 0, 15) is None


@on_a_loop
async def test_kafkas_position_and_end_of_log_are_where_we_look_for_them() -> None:
    kafka = aiokafka.AIOKafkaConsumer(bootstrap_servers="localhost:1")
    tp = TopicPartition("t", 0)
    kafka._subscription.assign_from_user({tp})
    kafka._subscription.subscription.assignment.state_value(tp).seek(7)
    state = kafka._subscription.subscription.assignment.state_value(tp)
    assert (state.has_valid_position, state.position, state.highwater) == (True, 7, None)
    await kafka.stop()


@on_a_loop
async def test_fausts_own_look_for_stalls_asks_the_client_nothing() -> None:
    # It would ask for positions that the client does not know while a log starts above them.
    driver = Driver()
    await driver.consumer.verify_all_partitions_active()


@on_a_loop
async def test_gaps_between_offsets_mean_nothing() -> None:
    driver = Driver()
    await driver.consumer._add_gap(LEGS, 1, 1_000_000)
    assert driver.consumer._gap.get(LEGS, []) == []


# -- offsets -------------------------------------------------------------------------------------------


@on_a_loop
async def test_after_a_rebalance_the_state_is_opened_and_says_where_to_read() -> None:
    driver = Driver()
    driver.keeper.offsets = {PAYMENTS: 40, LEGS: 7, TP("app-legs", 5): 3}
    driver.consumer._position = {CASES: 99}
    await driver.consumer.perform_seek()
    assert driver.keeper.opened == [{PAYMENTS, LEGS, CASES}]
    # Not where the state of a partition ends that was taken away meanwhile.
    assert driver.thread.sought == {TopicPartition("payments", 0): 40, TopicPartition("app-legs", 0): 7}
    assert driver.consumer._position == {PAYMENTS: 40, LEGS: 7}
    assert driver.consumer._read_offset[PAYMENTS] == 40


@on_a_loop
async def test_a_commit_makes_the_state_durable_first_and_commits_what_it_holds() -> None:
    driver = Driver()
    driver.keeper.offsets = {PAYMENTS: 40, LEGS: 7, TP("app-legs", 5): 3}
    # What Faust thinks was acknowledged does not matter.
    driver.consumer._acked[PAYMENTS] = [77]
    driver.consumer._acked_index[PAYMENTS] = {77}
    assert await driver.consumer.commit() is True
    assert driver.thread.commits == [{PAYMENTS: 40, LEGS: 7}]
    assert (driver.keeper.asked, driver.keeper.proofs, driver.consumer.commits) == (1, 1, 1)
    assert (driver.consumer._acked[PAYMENTS], driver.consumer._acked_index[PAYMENTS]) == ([], set())
    assert driver.consumer._committed_offset[PAYMENTS] == 40


@on_a_loop
async def test_nothing_is_committed_between_the_question_to_join_and_its_answer() -> None:
    # It would be of an old generation when its turn comes, and the client would join once more.
    driver = Driver()
    driver.keeper.offsets = {PAYMENTS: 40}
    driver.thread.joining = True
    assert await driver.consumer.commit() is False
    assert (driver.keeper.asked, driver.keeper.proofs) == (1, 0)
    assert driver.thread.commits == []
    driver.thread.joining = False
    assert await driver.consumer.commit() is True


def test_the_client_says_from_when_to_when_it_is_joining() -> None:
    source = inspect.getsource(GroupCoordinator.ensure_active_group)
    begins = source.index("self._performed_join_prepare = True")
    assert source.index("self._on_join_prepare(") < begins < source.index("self._do_rejoin_group(")
    assert source.index("self._performed_join_prepare = False") > source.index("self._do_rejoin_group(")


@on_a_loop
async def test_a_commit_that_was_not_taken_proves_nothing() -> None:
    driver = Driver()
    driver.keeper.offsets = {PAYMENTS: 40}
    driver.thread.member = False
    assert await driver.consumer.commit() is False
    assert driver.keeper.proofs == 0
    assert driver.consumer._committed_offset.get(PAYMENTS) is None


@on_a_loop
async def test_without_anything_owned_nothing_is_committed() -> None:
    driver = Driver()
    driver.keeper.offsets = {TP("app-legs", 5): 3}
    assert await driver.consumer.commit() is False
    assert (driver.thread.commits, driver.keeper.proofs) == ([], 0)


# -- the thread that is none ---------------------------------------------------------------------------


class FakeKafka:
    def __init__(self) -> None:
        self.did: list[str] = []
        self._coordinator = SimpleNamespace(_group_instance_id="worker-0")

    async def start(self) -> None:
        self.did.append("start")

    async def stop(self) -> None:
        self.did.append(f"stop as {self._coordinator._group_instance_id}")


@on_a_loop
async def test_the_consumer_lives_on_the_applications_loop_and_leaves_its_group_when_stopped() -> None:
    thread: Any = application(Keeper()).consumer._thread  # type: ignore[attr-defined]
    assert isinstance(thread, LoopConsumerThread)
    kafka = FakeKafka()
    thread._create_consumer = lambda loop: kafka
    assert thread.thread_loop is thread.parent_loop is asyncio.get_running_loop()
    assert await thread.maybe_start() is True
    assert await thread.maybe_start() is False

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value + 1

    assert await thread.call_thread(later, 1) == 2
    assert await thread.call_thread(lambda a, b: a - b, 5, b=2) == 3
    # Faust asks for it when a rebalance falls into a shutdown; the last commit still needs the client.
    thread.close()
    assert kafka.did == ["start"]
    await thread.stop()
    await thread.stop()
    assert kafka.did == ["start", "stop as None"]


@on_a_loop
async def test_the_consumer_is_made_with_the_settings_that_the_promise_rests_on() -> None:
    app = application(Keeper())
    thread: Any = app.consumer._thread  # type: ignore[attr-defined]
    consumer = thread._create_worker_consumer(app.transport)
    assert consumer._isolation_level == "read_committed"
    assert consumer._enable_auto_commit is False
    assert consumer._group_instance_id == "worker-0"
    assert consumer._session_timeout_ms == 10_000
    assert consumer._heartbeat_interval_ms == 3_000
    assert consumer._max_poll_records == 500
    assert consumer._fetch_max_wait_ms == 100
    (assignor,) = consumer._partition_assignment_strategy
    assert assignor is app.assignor
    # A broker that vanished is noticed long before a cold recovery would have to be given up.
    assert consumer._request_timeout_ms <= 120_000
    assert consumer._request_timeout_ms > consumer._rebalance_timeout_ms
    await consumer.stop()
