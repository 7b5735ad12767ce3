"""The bytes of a payment as they came, for the rare dead letter written where only its leg is known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import aiokafka
from aiokafka.structs import TopicPartition

from stream_guard.streaming.outputs import Delivery

READ_WITHIN_S = 20.0
"""How long the source record may take; a broker that is away for longer ends the process anyway."""


class Originals(Protocol):
    """Reads records of the transactions topic again."""

    def bring(self, partition: int, offset: int, then: Callable[[bytes | None], Delivery]) -> Delivery:
        """Read one record and give its value to `then`; None: the log does not hold it any more.

        Returns what is done when the delivery that `then` returns is done.
        """


class KafkaOriginals:
    """Originals from the topic itself.

    Parameters
    ----------
    topic
        The transactions topic.
    connection
        Keyword arguments of aiokafka clients.
    """

    def __init__(self, topic: str, connection: dict[str, Any]) -> None:
        self._topic = topic
        self._connection = connection

    def bring(self, partition: int, offset: int, then: Callable[[bytes | None], Delivery]) -> Delivery:
        """Read in a task of its own; a flush waits for it like for any delivery."""
        return asyncio.create_task(self._bring(partition, offset, then))

    async def _bring(self, partition: int, offset: int, then: Callable[[bytes | None], Delivery]) -> None:
        await then(
            await asyncio.wait_for(self._read(TopicPartition(self._topic, partition), offset), READ_WITHIN_S)
        )

    async def _read(self, tp: TopicPartition, offset: int) -> bytes | None:
        consumer = aiokafka.AIOKafkaConsumer(
            **self._connection, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            consumer.seek(tp, offset)
            record = await consumer.getone(tp)
        finally:
            await consumer.stop()
        value: bytes | None = record.value if record.offset == offset else None
        return value
