"""Whole fetches as one message: what Faust's Kafka driver must do differently for batches.

A plain Faust agent pays its overhead per event; here it pays per fetch. The consumer lives on the
application's own event loop (Faust's driver starts a thread and a queue for it, which costs latency
and gives nothing to a process that decides in one thread anyway). Offsets are not Faust's business
either: a commit first makes the state durable and then commits the offsets that the state holds
(:class:`OffsetKeeper`), and an assignment first opens the state and then reads from where it ends.

These overrides reach into private parts of faust-streaming 0.15.3 and aiokafka 0.14.0, which the lock
file pins; ``tests/streaming/test_transport.py`` fails when one of them moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import aiokafka
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, server_list
from faust.transport.drivers.aiokafka import Consumer as FaustConsumer
from faust.transport.drivers.aiokafka import Transport as FaustTransport
from faust.types import TP
from mode import Service

from stream_guard.streaming.gather import Gather

MAX_FETCH_BYTES = 8 * 1024 * 1024
"""Of one partition. Larger than any record a topic may hold, so that one oversized record cannot stop it."""

REQUEST_TIMEOUT_MS = 90_000
"""Longer than Faust's rebalance timeout of 60 s, for which the answer to a join may wait."""

FRAMES_AHEAD = 8
"""Frames of legs that may wait in the log before no more transactions are handed out."""

BEHIND_WAIT_S = 0.05
"""How long to wait for the frames that the log is known to hold."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One fetch of one partition.

    Attributes
    ----------
    topic, partition
        Where the records come from.
    start
        Offset the consumer stood at before this fetch.
    records
        Consumer records in offset order, at least one.
    """

    topic: str
    partition: int
    start: int
    records: list[Any] = field(repr=False)

    @property
    def first(self) -> int:
        """Offset of the first record; above `start` where the log has control records or a hole."""
        return int(self.records[0].offset)

    @property
    def end(self) -> int:
        """Offset after the last record."""
        return int(self.records[-1].offset) + 1


class OffsetKeeper(Protocol):
    """Who owns the truth about offsets: the state, not the consumer group."""

    async def open(self, assignment: set[TP]) -> Mapping[TP, int]:
        """Load the state of the assigned partitions; return the offset to read from for each."""

    async def make_durable(self) -> Mapping[TP, int]:
        """Flush every open partition; return the offsets that are durable now."""

    def committed(self) -> None:
        """The group coordinator took the offsets: this process is still a member."""


class LoopConsumerThread(AIOKafkaConsumerThread):
    """Faust's "consumer thread", without the thread."""

    consumer_options: ClassVar[dict[str, Any]] = {}
    fetch_wait_ms: ClassVar[int] = 500

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        loop = asyncio.get_event_loop()
        kwargs["loop"] = loop
        super().__init__(consumer, thread_loop=loop, **kwargs)

    async def start(self) -> None:
        """Start as a plain service on the running loop."""
        self._thread_started.set()
        await Service.start(self)

    async def maybe_start(self) -> bool:
        """Start unless started."""
        return bool(await Service.maybe_start(self))

    async def stop(self) -> None:
        """Stop the service, then the Kafka consumer: leaving the group hands the partitions on at once."""
        if not self._stopped.is_set():
            self._stopped.set()
            if self._consumer is not None:
                # A static member does not leave by itself, and its partitions would stand still until its
                # session times out. Ending on purpose is not a crash: let the others go on at once.
                self._consumer._coordinator._group_instance_id = None
                await self._consumer.stop()
            await self._default_stop_futures()
            self._shutdown.set()

    def close(self) -> None:
        """Nothing: `stop` closes the Kafka client, after the last commit.

        Faust calls this when a rebalance falls into a shutdown. Closing the client then cuts it from under
        that commit, which would wait for the coordinator for ever.
        """

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call `fun` here and now."""
        result = fun(*args, **kwargs)
        return await result if asyncio.iscoroutine(result) or isinstance(result, asyncio.Future) else result

    async def crash(self, exc: BaseException) -> None:
        """Crash as a plain service does."""
        await Service.crash(self, exc)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf = self.app.conf
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=server_list(transport.url, transport.default_port),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            # Only ever used between an assignment and our own seek; a later reset would jump over
            # what retention removed, and is caught because the batch starts where none should.
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            max_partition_fetch_bytes=MAX_FETCH_BYTES,
            fetch_max_wait_ms=self.fetch_wait_ms,
            # Not Faust's broker_request_timeout, which has to cover the loading of state: a broker that
            # vanished without a word would not be missed for as long.
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            check_crcs=conf.broker_check_crcs,
            # A bank's producers may be transactional, and our own `cases` are.
            isolation_level="read_committed",
            **self.consumer_options,
        )


class Consumer(FaustConsumer):
    """Faust's consumer with batches for messages and the state's offsets for commits."""

    keeper: ClassVar[OffsetKeeper]
    leading_topic: ClassVar[str] = ""
    deferred_topic: ClassVar[str] = ""
    gather: ClassVar[Gather]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._position: dict[TP, int] = {}
        self.commits = 0

    def _new_consumer_thread(self) -> LoopConsumerThread:
        return LoopConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> Any:
        """Fetch; give back nothing when the flow was suspended meanwhile.

        Faust would seek back at this point, in the middle of a rebalance. After one, `seek_to_committed`
        sets every position anyway.
        """
        records, active = await super()._wait_next_records(timeout)
        return (records if self.flow_active else None), active

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        """Fetch what is behind first: payments are answered in the second hop, so legs go before them.

        With a backlog the first hop ran 2.6 times ahead of the second, and the newest payments then stood
        behind a queue of legs.
        """
        active = active_partitions or set()
        pause = self.gather.pause()
        if pause > 0:
            fetched = await self._gathered(active, timeout, pause)
        else:
            fetched = await self._behind_first(active, timeout)
        self.gather.fetched(sum(map(len, fetched.values())))
        batches: dict[TP, list[Any]] = {}
        for tp, records in fetched.items():
            own = TP(tp.topic, tp.partition)
            batch = Batch(tp.topic, tp.partition, self._position.get(own, records[0].offset), records)
            self._position[own] = batch.end
            batches[tp] = [_Message(batch, records[-1])]
        return batches

    async def _gathered(self, active: set[TP], timeout: float, pause: float) -> dict[Any, list[Any]]:
        """Take what is there, wait a moment, take what came: one batch of both.

        aiokafka asks the broker for more only when everything that it got has been taken. What is there now
        is as old as the work on the last batches; a second look brings the newest records, which would
        otherwise wait for a whole round, and that at each hop.
        """
        positions = self._position
        fetched: dict[Any, list[Any]] = dict(await super()._getmany(active, timeout))
        if not fetched:
            return fetched
        await asyncio.sleep(pause)
        if self._position is positions:
            for tp, records in (await super()._getmany(active, 0)).items():
                fetched[tp] = [*fetched.get(tp, ()), *records]
        if self._position is not positions:
            # Opened anew meanwhile. Some of these may have been taken after that, and would not come again.
            self._seek_all()
            return {}
        return dict(sorted(fetched.items(), key=lambda item: item[0].topic == self.deferred_topic))

    async def _behind_first(self, active: set[TP], timeout: float) -> dict[Any, list[Any]]:
        later = {tp for tp in active if tp.topic == self.deferred_topic}
        fetched = await super()._getmany(active - later, 0) if later != active else {}
        if not fetched and not self._second_hop_behind():
            fetched = await super()._getmany(active, timeout)
        elif not fetched:
            fetched = await super()._getmany(active - later, BEHIND_WAIT_S)
        return dict(fetched)

    def _second_hop_behind(self) -> bool:
        return self.backlog(self.leading_topic) > FRAMES_AHEAD

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Open the assigned partitions and read on from the offsets their state holds.

        Faust awaits this after a rebalance, before the flow resumes: the one place where state is opened.
        """
        offsets = await self.keeper.open(set(self.assignment()))
        self._position = dict(offsets)
        self._seek_all()
        return offsets

    def _seek_all(self) -> None:
        """Read on from the positions, but for partitions that were taken away meanwhile."""
        kafka = self.kafka()
        assigned = kafka.assignment()
        for tp in list(self._position):
            kafka_tp = TopicPartition(tp.topic, tp.partition)
            if kafka_tp in assigned:
                kafka.seek(kafka_tp, self._position[tp])
            else:
                del self._position[tp]

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Flush the state, then commit the offsets it holds, whatever Faust thinks was acknowledged.

        Runs every commit interval even without a new record: the answer proves that this process is still
        a member of its group, which is what its lease rests on.
        """
        for tp in list(self._acked):
            self._acked[tp].clear()
            self._acked_index[tp].clear()
        offsets = await self.keeper.make_durable()
        assignment = self.assignment()
        owned = {tp: offset for tp, offset in offsets.items() if tp in assignment}
        if not owned or self._joining():
            return False
        if not await self._thread.commit(owned):
            return False
        self._committed_offset.update(owned)
        self.commits += 1
        self.keeper.committed()
        return True

    def _joining(self) -> bool:
        """Whether we have asked to join the group and have no answer yet.

        A commit sent then waits behind the join on the same connection and is of an old generation when its
        turn comes; the client takes the refusal for a lost membership and joins anew. With members that wait
        for each other's heartbeats the group went round like that every three seconds, for ever.
        """
        return bool(self.kafka()._coordinator._performed_join_prepare)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: messages are whole fetches, so their offsets always have gaps."""

    async def verify_all_partitions_active(self) -> None:
        """Nothing: /healthz tells a stall.

        Faust's own look for one asserts that the client knows its position, which it does not while the log
        starts above it, and the worker then died of that instead of saying so.
        """

    def kafka(self) -> aiokafka.AIOKafkaConsumer:
        """The Kafka client behind it."""
        return self._thread._ensure_consumer()

    def waiting(self, tp: TP, applied: int, end: int) -> int | None:
        """Records of `tp` that are not applied: handed out already, or still in the log; None: unknown.

        Parameters
        ----------
        tp, applied
            Which partition, and how far it is applied.
        end
            Where the log ended when a broker was last asked; the client itself knows of what it fetched.

        Notes
        -----
        The end of the log alone does not tell, because a transaction ends with a record that nobody is ever
        handed; Kafka's own position moves past it.
        """
        assigned = TopicPartition(tp.topic, tp.partition)
        kafka = self.kafka()
        if assigned not in kafka.assignment():
            return None
        state = kafka._subscription.subscription.assignment.state_value(assigned)
        if not state.has_valid_position or (state.highwater is None and not end):
            return None
        handed_out = self._position.get(tp, applied)
        ahead = max(int(state.highwater or 0), end) - int(state.position)
        return max(0, handed_out - applied) + max(0, ahead)

    def backlog(self, topic: str) -> int:
        """Records of `topic` in the log that this process has not been handed yet."""
        return sum(
            max(0, (self.highwater(tp) or 0) - self._position.get(tp, 0))
            for tp in self.assignment()
            if tp.topic == topic
        )


class _Message:
    """A consumer record as Faust reads it, with a batch for its value."""

    __slots__ = ("checksum", "headers", "key", "offset", "partition", "serialized_key_size",
                 "serialized_value_size", "timestamp", "timestamp_type", "topic", "value")  # fmt: skip

    def __init__(self, batch: Batch, last: Any) -> None:
        self.topic = batch.topic
        self.partition = batch.partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.timestamp_type = last.timestamp_type
        self.headers: Iterable[Any] = ()
        self.key = None
        self.value = batch
        self.checksum = None
        self.serialized_key_size = 0
        self.serialized_value_size = 0


class Transport(FaustTransport):
    """Transport that makes our consumer."""

    Consumer = Consumer
