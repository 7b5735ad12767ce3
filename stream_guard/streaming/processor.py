"""What a worker does with batches, assignments and commits: the glue between Kafka and `detection`.

Order of side effects for one batch of partition p, under p's lock: skip what is applied already, refuse
what is missing, decide, queue the outputs, move the applied offset. Applying is synchronous, so neither a
cancellation nor a shutdown can cut it; an exception in it ends the process, which then goes on from what
is durable. A flush copies the changes under the lock, waits for the outputs queued before, writes state
and alerts in one transaction, and only then are the group's offsets committed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP

from stream_guard.metrics import Metrics
from stream_guard.streaming.fatal import EXIT_FENCED, EXIT_REFUSED, die
from stream_guard.streaming.handlers import Handlers
from stream_guard.streaming.lease import Lease
from stream_guard.streaming.legs import ForeignFrame
from stream_guard.streaming.logs import described
from stream_guard.streaming.outputs import Outputs
from stream_guard.streaming.partition import Flush, LegGap, Partition
from stream_guard.streaming.recovery import recover
from stream_guard.streaming.snapshots import SnapshotFolder
from stream_guard.streaming.state import Fenced, StateBackend, StateRefused
from stream_guard.streaming.transport import Batch

logger = logging.getLogger(__name__)

Bounds = Callable[[set[TP]], Awaitable[Mapping[TP, tuple[int, int]]]]
"""First and end offset of the log of each topic partition."""

POLL_S = 0.002
"""How often a waiting batch looks whether it may go on."""

LEASE_LOOK_S = 0.05
"""How often a flush that waits for outputs looks whether the lease still holds."""

WHY_FENCED = (
    "This one was away for longer than its session, or another worker runs under the same instance id: each "
    "needs its own"
)

CHUNK = 1_000
"""Records of one fetch applied at a time: 5-10 ms, then sockets, heartbeats and flushes get their turn."""


class Processor:
    """The keeper of offsets and the handler of batches.

    Parameters
    ----------
    keyed
        Topic names by role, of the topics that share partitioning.
    new_partition
        Makes the empty partition of a number.
    backend, outputs, lease, metrics
        As their names say.
    handlers
        What is done with the records of each role.
    """

    def __init__(
        self,
        keyed: Mapping[str, str],
        new_partition: Callable[[int], Partition],
        backend: StateBackend,
        outputs: Outputs,
        lease: Lease,
        metrics: Metrics,
        handlers: Handlers,
    ) -> None:
        self._keyed = dict(keyed)
        self._new_partition = new_partition
        self._backend = backend
        self._outputs = outputs
        self._lease = lease
        self._metrics = metrics
        self._handlers = handlers
        self._open: dict[int, Partition] = {}
        self._opening: asyncio.Task[dict[TP, int]] | None = None
        self._asked_at = float("-inf")
        # One batch a turn of the event loop, however many agents are ready: a flush needs a few round trips
        # to the broker, and each would otherwise wait for a batch of every partition.
        self._turn = asyncio.Lock()
        self.last_durable = self.last_progress = lease.now()
        self._committed: Mapping[TP, int] = {}
        self.bounds: Bounds = _no_bounds
        self.snapshots: SnapshotFolder | None = None
        self.flow_suspended: Callable[[], bool] = lambda: False

    def partitions(self) -> Iterable[Partition]:
        """The partitions that are open here."""
        return list(self._open.values())

    # -- assignment ---------------------------------------------------------------------------------------

    async def open(self, assignment: set[TP]) -> Mapping[TP, int]:
        """Open what is assigned, close what is not; return the offsets to read from."""
        if self._opening is not None and not self._opening.done():
            await asyncio.wait({self._opening})
        self._opening = asyncio.create_task(self._reassign(assignment))
        # Faust drops the call when another rebalance starts; half an opening would be worse than a late one.
        return await asyncio.shield(self._opening)

    async def _reassign(self, assignment: set[TP]) -> dict[TP, int]:
        try:
            return await self._reassign_or_raise(assignment)
        except StateRefused as refusal:
            die(str(refusal), EXIT_REFUSED)
        except Exception as error:
            logger.exception("opening the assigned partitions failed")
            die(f"opening the assigned partitions failed: {described(error)}")

    async def _reassign_or_raise(self, assignment: set[TP]) -> dict[TP, int]:
        asked_at = self._lease.now()
        self._metrics.rejoins.inc()
        topics = set(self._keyed.values())
        numbers = {tp.partition for tp in assignment if tp.topic in topics}
        for number in numbers:
            missing = topics - {tp.topic for tp in assignment if tp.partition == number}
            if missing:
                raise StateRefused(
                    f"partition {number} was assigned without {', '.join(sorted(missing))}: the keyed topics "
                    "are split over processes. They need equal partition counts, and every process of the "
                    "group must run the same version; stop all of them and start again"
                )
        before = set(self._open)
        await asyncio.gather(*(self._close(number) for number in before - numbers))
        await asyncio.gather(*(self._ensure_open(number) for number in sorted(numbers)))
        offsets = await self._starting_offsets(assignment)
        self._lease.renew(asked_at)
        self.last_durable = self._lease.now()
        if not numbers <= before:
            # Loading took its time. Being assigned the same again is no progress, however often it happens.
            self.last_progress = self.last_durable
        return offsets

    async def _ensure_open(self, number: int) -> None:
        partition = self._open.get(number)
        if partition is not None:
            try:
                # Nobody else can have owned it without fencing our producer: a write that succeeds proves it.
                async with partition.lock:
                    partition.advance(
                        self._keyed["transactions"], partition.applied.get(self._keyed["transactions"], 0)
                    )
                if await self._flush(partition):
                    return
            except Fenced:
                logger.warning("partition %d was somebody else's meanwhile", number)
            await self._close(number)
        started = time.monotonic()
        recovered = await recover(
            number, self._new_partition, self._backend, self.snapshots, self._make_progress
        )
        partition, source = recovered.partition, "the changelog"
        if recovered.refused is not None:
            self._metrics.snapshots.labels("ignored").inc()
            logger.warning("the snapshot of partition %d is not used: %s", number, recovered.refused)
        if recovered.from_snapshot:
            self._metrics.snapshots.labels("used").inc()
            source = "its snapshot and the changelog since"
        if recovered.anew is not None:
            self._metrics.anomaly_restarts.inc()
            logger.warning("partition %d: %s", number, recovered.anew)
        self._open[number] = partition
        seconds = time.monotonic() - started
        self._metrics.recovery.labels(str(number)).set(seconds)
        logger.info(
            "partition %d open: %d accounts in %.2f s from %s", number, partition.rows, seconds, source
        )

    def _make_progress(self) -> None:
        self.last_progress = self._lease.now()

    async def _close(self, number: int) -> None:
        partition = self._open.pop(number, None)
        if partition is not None:
            async with partition.lock:
                partition.closed = True
            # A flush under way needs its producer to the end.
            async with partition.flush_lock:
                await self._backend.close(number)

    async def _starting_offsets(self, assignment: set[TP]) -> dict[TP, int]:
        transactions = self._keyed["transactions"]
        for opened in self._open.values():
            # Legs are told apart by payments' offsets: those of another topic would pass for repeats.
            if opened.applied and transactions not in opened.applied:
                raise StateRefused(
                    f"the state of partition {opened.number} was built from another topic than"
                    f" {transactions}: put topics.transactions back, or start under a new application id"
                )
        bounds = await self.bounds(assignment)
        offsets = {}
        for tp in assignment:
            partition = self._open.get(tp.partition)
            if partition is None or tp.topic not in self._keyed.values():
                continue
            first, end = bounds[tp]
            offset = partition.applied.get(tp.topic)
            if offset is None:
                # Nothing is in the state yet, which a commit of this offset says truly; without one the
                # lease could never be renewed.
                offset = first
                partition.applied[tp.topic] = partition.durable[tp.topic] = offset
            check_bounds(tp, offset, first, end)
            partition.ends[tp.topic] = end
            offsets[tp] = offset
        return offsets

    # -- durability ---------------------------------------------------------------------------------------

    async def make_durable(self) -> Mapping[TP, int]:
        """Flush every open partition; a flush that fails ends the process."""
        partitions = list(self._open.values())
        # Outputs wait for the lease and a flush waits for outputs: without it, prove the membership first.
        if self._lease.held():
            await asyncio.gather(*(self.flush(partition) for partition in partitions))
        # The coordinator is asked when this returns, however long the flush took.
        self._asked_at = self._lease.now()
        return self._durable(partitions)

    @staticmethod
    def _durable(partitions: Iterable[Partition]) -> dict[TP, int]:
        return {
            TP(topic, partition.number): offset
            for partition in partitions
            if not partition.closed
            for topic, offset in partition.durable.items()
        }

    def committed(self) -> None:
        """The coordinator took our offsets: the lease runs from when we asked."""
        self._lease.renew(self._asked_at)
        self.last_durable = self._asked_at
        # Commits go on when nothing moves any more: what tells a stall is the offsets in them.
        committed = self._durable(self._open.values())
        if committed != self._committed or not any(sum(p.lag().values()) for p in self._open.values()):
            self._committed, self.last_progress = committed, self._asked_at

    async def flush(self, partition: Partition) -> bool:
        """Make everything applied to a partition durable; False: not now. A failure ends the process."""
        try:
            return await self._flush(partition)
        except Fenced as fenced:
            die(f"fenced: {fenced}. {WHY_FENCED}", EXIT_FENCED)
        except Exception as error:
            logger.exception("a flush failed")
            die(f"a flush failed: {described(error)}")

    async def _flush(self, partition: Partition) -> bool:
        """Make everything applied so far durable; False: put off, because the lease was lost meanwhile."""
        async with partition.flush_lock:
            if partition.unfinished is not None and not await self._write(partition, partition.unfinished):
                return False
            async with partition.lock:
                if partition.closed:
                    return True
                if partition.dirty:
                    partition.unfinished = partition.take()
            if partition.unfinished is not None:
                return await self._write(partition, partition.unfinished)
            await self._backend.flush(partition.number, (), ())
            return True

    async def _write(self, partition: Partition, flush: Flush) -> bool:
        started = time.monotonic()
        if not await self._delivered(flush.deliveries):
            return False
        partition.position = await self._backend.flush(partition.number, flush.items, flush.records)
        partition.unsaved += len(flush.items)
        partition.unfinished = None
        partition.durable = flush.applied
        self._metrics.flush.observe(time.monotonic() - started)
        self._metrics.flushed_rows.inc(len(flush.items))
        return True

    async def _delivered(self, deliveries: Sequence[asyncio.Future[None]]) -> bool:
        """Wait for outputs; False: they wait for the lease, and who waits for us would have to renew it."""
        waiting = set(deliveries)
        while waiting:
            _, waiting = await asyncio.wait(waiting, timeout=LEASE_LOOK_S)
            if waiting and not self._lease.held():
                return False
        for delivery in deliveries:
            delivery.result()
        return True

    # -- batches ------------------------------------------------------------------------------------------

    async def on_transactions(self, batch: Batch) -> None:
        """First hop."""
        await self._run(batch, self._handlers.transactions)

    async def on_legs(self, batch: Batch) -> None:
        """Second hop."""
        await self._run(batch, self._handlers.legs)

    async def on_cases(self, batch: Batch) -> None:
        """Findings about payers."""
        await self._run(batch, self._handlers.cases)

    async def on_sightings(self, batch: Batch) -> None:
        """Who used which device or address."""
        await self._run(batch, self._handlers.sightings)

    async def on_dispositions(self, batch: Batch) -> None:
        """Investigators' outcomes."""
        await self._run(batch, self._handlers.dispositions)

    async def on_account_updates(self, batch: Batch) -> None:
        """Facts about accounts."""
        await self._run(batch, self._handlers.account_updates)

    async def _run(self, batch: Batch, handle: Callable[[Partition, Sequence[Any]], None]) -> None:
        partition = self._open.get(batch.partition)
        if partition is None:
            return
        for start in range(0, len(batch.records), CHUNK):
            # Opened anew between two pieces, the partition stands where its state ended, before this piece.
            if not await self._may_go_on() or self._open.get(batch.partition) is not partition:
                return
            async with partition.lock:
                if partition.closed:
                    return
                if start == 0:
                    await self._check_position(partition, batch)
                async with self._turn:
                    self._apply(partition, batch.topic, batch.records[start : start + CHUNK], handle)
                    await asyncio.sleep(0)

    def _apply(
        self,
        partition: Partition,
        topic: str,
        records: Sequence[Any],
        handle: Callable[[Partition, Sequence[Any]], None],
    ) -> None:
        end = records[-1].offset + 1
        fresh = partition.admit(topic, records)
        try:
            if fresh:
                handle(partition, fresh)
        except (LegGap, ForeignFrame, StateRefused) as refusal:
            die(str(refusal), EXIT_REFUSED)
        except BaseException as error:
            logger.exception("a batch of %s-%d was interrupted", topic, partition.number)
            die(f"a batch of {topic}-{partition.number} was interrupted after it began: {described(error)}")
        partition.advance(topic, max(end, partition.applied[topic]))
        partition.ends[topic] = max(end, partition.ends.get(topic, 0))

    async def _check_position(self, partition: Partition, batch: Batch) -> None:
        applied = partition.applied[batch.topic]
        if batch.start > applied:
            die(
                f"records {applied} to {batch.start - 1} of {batch.topic}-{batch.partition} were lost on the "
                "way from the consumer to the agent; they are read again after the restart"
            )
        if batch.first > max(batch.start, applied):
            tp = TP(batch.topic, batch.partition)
            first, end = (await self.bounds({tp}))[tp]
            try:
                check_bounds(tp, applied, first, max(end, batch.end))
            except StateRefused as refusal:
                die(str(refusal), EXIT_REFUSED)

    async def _may_go_on(self) -> bool:
        """Wait for room and the lease; False: the flow was suspended meanwhile, the batch comes again."""
        while not self.flow_suspended():
            if self._lease.held() and self._outputs.has_room():
                return True
            await asyncio.sleep(POLL_S)
        return False


def check_bounds(tp: TP, offset: int, first: int, end: int) -> None:
    """Refuse to read on where the log does not hold what comes next.

    Raises
    ------
    StateRefused
        The log starts above `offset` or ends below it.
    """
    if offset < first:
        raise StateRefused(
            f"{tp.topic}-{tp.partition} starts at offset {first} but the state ends at {offset}: records "
            "were deleted before they were read (retention too short for the outage). Raise retention.ms; if "
            "the loss is accepted, start under a new application id"
        )
    if offset > end:
        raise StateRefused(
            f"{tp.topic}-{tp.partition} ends at offset {end} but the state has read to {offset}: the topic "
            "was made anew. Start under a new application id, or restore the topic"
        )


async def _no_bounds(tps: set[TP]) -> Mapping[TP, tuple[int, int]]:
    return dict.fromkeys(tps, (0, 0))
