"""Batched sending of decisions and legs, without waiting.

One idempotent producer. Records of one target partition leave in the order they came, in batches that
grow while an earlier one is on its way. What the caller gets is a future for each batch, which it keeps
for its next flush; a delivery that fails calls `on_failure` at that moment, because a later batch may
overtake a failed one and the leg chain would then hold a hole.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

MAX_BATCH_BYTES = 900_000
"""Below the broker's default `message.max.bytes` (1,048,588), with room for the batch header."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""Above this the agents wait before they take the next batch: bounded memory when the broker is slow."""

Headers = tuple[tuple[str, bytes], ...]
Delivery = asyncio.Future[None]


class Producer(Protocol):
    """The part of aiokafka's producer that is used here."""

    def create_batch(self) -> Any:
        """Empty batch."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Queue a batch; the future resolves when it is delivered."""


class _Pending:
    __slots__ = ("builder", "delivery", "size")

    def __init__(self, builder: Any, delivery: Delivery) -> None:
        self.builder = builder
        self.delivery = delivery
        self.size = 0


class Outputs:
    """Ordered, batched, unawaited sending.

    Parameters
    ----------
    producer
        A started idempotent producer.
    may_send
        Awaited before each batch leaves: returns at once while this process holds its lease.
    on_failure
        Called with the topic and the error of a delivery that failed for good; not expected to return.
    """

    def __init__(
        self,
        producer: Producer,
        may_send: Callable[[], Any],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._producer = producer
        self._may_send = may_send
        self._on_failure = on_failure
        self._lanes: dict[tuple[str, int], deque[_Pending]] = {}
        self._tasks: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._undelivered: set[Delivery] = set()
        self.queued_bytes = 0

    def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Delivery:
        """Queue one record; never waits. Returns the future of the batch it travels in."""
        target = (topic, partition)
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = deque()
        if not lane or not self._append(lane[-1], key, value, headers):
            pending = _Pending(self._producer.create_batch(), asyncio.get_running_loop().create_future())
            if not self._append(pending, key, value, headers):
                raise ValueError(f"a record for {topic!r} is larger than {MAX_BATCH_BYTES} bytes")
            lane.append(pending)
            self._undelivered.add(pending.delivery)
        size = len(value or b"")
        lane[-1].size += size
        self.queued_bytes += size
        if target not in self._tasks:
            task = asyncio.create_task(self._drain(target, lane), name=f"send {topic}-{partition}")
            self._tasks[target] = task
        return lane[-1].delivery

    def has_room(self) -> bool:
        """Whether the next batch may be taken: false while too much is queued."""
        return self.queued_bytes <= MAX_QUEUED_BYTES

    async def flush(self) -> None:
        """Wait until everything queued is delivered."""
        while self._undelivered:
            await asyncio.wait(self._undelivered)

    @staticmethod
    def _append(pending: _Pending, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        if pending.builder.closed():
            return False
        return pending.builder.append(timestamp=None, key=key, value=value, headers=list(headers)) is not None

    async def _drain(self, target: tuple[str, int], lane: deque[_Pending]) -> None:
        topic, partition = target
        try:
            while lane:
                await self._may_send()
                pending = lane.popleft()
                pending.builder.close()
                sent = await self._producer.send_batch(pending.builder, topic, partition=partition)
                sent.add_done_callback(partial(self._delivered, topic, pending))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever it is, a record would be missing
            self._on_failure(topic, error)
        finally:
            self._tasks.pop(target, None)

    def _delivered(self, topic: str, pending: _Pending, future: asyncio.Future[Any]) -> None:
        self.queued_bytes -= pending.size
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self._on_failure(topic, error)
        else:
            self._undelivered.discard(pending.delivery)
            pending.delivery.set_result(None)
