"""Reading a changelog to its end, where the broker says little; the rest is tried on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from stream_guard.streaming.kafka_state import OPEN_TRANSACTION_WAIT_S, KafkaState
from stream_guard.streaming.state import Item, StateRefused
from tests.streaming.helpers import LogRecord, Newest

TP0 = TopicPartition("app.state", 0)


class Changelog:
    """A consumer that answers fetch by fetch: records, and the high watermark known after it."""

    def __init__(self, stable: int, answers: list[tuple[list[LogRecord], int | None]]) -> None:
        self.stable = stable
        self.answers: Iterator[tuple[list[LogRecord], int | None]] = iter(answers)
        self.at = 0
        self.high: int | None = None
        self.fetches = 0

    async def getmany(self, tp: TopicPartition, **_: Any) -> dict[TopicPartition, list[LogRecord]]:
        records, self.high = next(self.answers)
        self.fetches += 1
        if records:
            self.at = records[-1].offset + 1
        return {tp: records} if records else {}

    async def position(self, tp: TopicPartition) -> int:
        return self.at

    def highwater(self, tp: TopicPartition) -> int | None:
        return self.high


def read(log: Changelog) -> list[Item]:
    seconds = iter(range(0, 10_000, 10))
    state = KafkaState("app.state", "app", {}, lambda *_: 0, clock=lambda: float(next(seconds)))
    newest = Newest()
    asyncio.run(state._read(log, TP0, log.stable, newest.take))
    return list(newest.items.items())


def row(offset: int, key: bytes, value: bytes | None) -> LogRecord:
    return LogRecord(offset, value, key)


def test_a_changelog_is_read_to_its_end_and_the_last_value_counts() -> None:
    log = Changelog(
        5, [([row(0, b"A1", b"1"), row(1, b"A2", b"1")], 5), ([row(3, b"A1", b"2"), row(4, b"A2", None)], 5)]
    )
    assert read(log) == [(b"A1", b"2")]


def test_an_empty_changelog_is_empty_only_once_a_fetch_was_answered() -> None:
    # Before that the high watermark is unknown, and somebody's open transaction may stand at offset 0.
    log = Changelog(0, [([], None), ([], None), ([], 0)])
    assert read(log) == []
    assert log.fetches == 3


def test_an_open_transaction_at_the_very_beginning_is_not_overlooked() -> None:
    log = Changelog(0, [([], None), ([], 2), ([row(1, b"A1", b"1")], 2)])
    assert read(log) == [(b"A1", b"1")]


def test_an_open_transaction_that_does_not_end_is_refused() -> None:
    log = Changelog(0, [([], 2)] * 10)
    with pytest.raises(StateRefused, match="has an open transaction at offset 0 that is not ours"):
        read(log)


def test_a_broker_that_never_answers_is_refused() -> None:
    log = Changelog(0, [([], None)] * 10)
    with pytest.raises(StateRefused, match=f"has answered a fetch .* for {OPEN_TRANSACTION_WAIT_S:g} s"):
        read(log)
