"""Risk signals: the compacted topic, read whole by every process and followed for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiokafka
from aiokafka.structs import TopicPartition

from stream_guard.detection.signals import Signal, Signals
from stream_guard.detection.vocabulary import Rejection
from stream_guard.events import Withdrawal, parse_risk_signal

logger = logging.getLogger(__name__)

POLL_MS = 200
"""Bound on how late a signal applies beside the broker's own delay; the contract allows a second."""


def apply_signal(record: Any, signals: Signals) -> Rejection | None:
    """Put in force what a record of the topic says; why it is refused, where it is."""
    parsed = parse_risk_signal(record.key, record.value)
    if isinstance(parsed, Rejection):
        return parsed
    key = f"{parsed.kind}:{parsed.id}"
    if isinstance(parsed, Withdrawal):
        signals.withdraw(key)
        return None
    since, until = parsed.valid_from or 0, parsed.valid_to
    signals.put(key, Signal(parsed.kind, parsed.id, parsed.level, parsed.source, since, until))
    return None


class SignalReader:
    """Follows the risk-signals topic from its beginning.

    Parameters
    ----------
    topic
        The compacted topic.
    connection
        Keyword arguments of aiokafka clients.
    apply
        Takes a partition and a record of it.
    """

    def __init__(self, topic: str, connection: dict[str, Any], apply: Callable[[int, Any], None]) -> None:
        self._topic = topic
        self._connection = connection
        self._apply = apply
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled; `caught_up` is set when all that stood at the start is applied."""
        consumer = aiokafka.AIOKafkaConsumer(
            **self._connection,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        try:
            await self._follow(consumer)
        finally:
            await consumer.stop()

    async def _follow(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        # Not consumer.partitions_for_topic: it knows only topics already in its metadata.
        await consumer._client._wait_on_metadata(self._topic)
        partitions = sorted(consumer.partitions_for_topic(self._topic) or ())
        tps = [TopicPartition(self._topic, partition) for partition in partitions]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=10_000)
            for tp, records in fetched.items():
                for record in records:
                    self._apply(tp.partition, record)
            if not self.caught_up.is_set():
                positions = [(await consumer.position(tp), ends[tp]) for tp in tps]
                if all(position >= end for position, end in positions):
                    self.caught_up.set()
