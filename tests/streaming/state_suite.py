"""What every state backend promises: the one suite, run on memory here and on a real Kafka in tests/kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import pytest

from stream_guard.streaming.state import Fenced, Item, OutOfLog, Record, StateBackend
from tests.streaming.helpers import opened

ALERTS, CASES = "alerts", "cases"

Seen = list[tuple[bytes, bytes | None, tuple[tuple[str, bytes], ...]]]
"""Key, value and headers of records."""


class Storage(Protocol):
    """Where the state of one test lives."""

    def backend(self) -> StateBackend:
        """A backend over this storage, as a process has one."""
        ...

    def visible(self, role: str) -> Seen:
        """What readers of committed records see on the topic of a role, in order."""
        ...

    def topic(self, role: str) -> str:
        """Its name."""
        ...


def as_dict(items: list[Item]) -> Mapping[bytes, bytes | None]:
    kept = dict(items)
    assert len(kept) == len(items), "an item came twice"
    return kept


class StateSuite:
    """Mixed into a test class that has a fixture `storage`."""

    def test_an_untouched_partition_is_empty(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            assert await opened(backend, 0) == []
            await backend.stop()

        asyncio.run(run())

    def test_what_was_flushed_is_there_when_the_partition_is_opened_again(self, storage: Storage) -> None:
        items: list[Item] = [(b"A1", b"row"), (b"\0meta", b"{}"), (b"\0warning\0A1", bytes(range(256)))]

        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, items, [])
            await backend.close(0)
            assert as_dict(await opened(backend, 0)) == dict(items)
            # Opened once more by the same owner, without closing.
            assert as_dict(await opened(backend, 0)) == dict(items)
            await backend.flush(0, [(b"A2", b"row")], [])
            await backend.stop()

        asyncio.run(run())

    def test_the_last_value_of_a_key_counts_and_none_removes_it(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, [(b"A1", b"1"), (b"A2", b"1"), (b"A3", b"1")], [])
            await backend.flush(0, [(b"A1", b"2"), (b"A2", None), (b"A4", None)], [])
            await backend.flush(0, [(b"A3", None)], [])
            await backend.flush(0, [(b"A3", b"3")], [])
            assert as_dict(await opened(backend, 0)) == {b"A1": b"2", b"A3": b"3"}
            await backend.stop()

        asyncio.run(run())

    def test_an_empty_value_is_a_value(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, [(b"A1", b"")], [])
            assert as_dict(await opened(backend, 0)) == {b"A1": b""}
            await backend.stop()

        asyncio.run(run())

    def test_partitions_are_apart(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await asyncio.gather(backend.open(0), backend.open(1))
            await asyncio.gather(
                backend.flush(0, [(b"A1", b"zero")], [Record(storage.topic(ALERTS), b"A1", b"0")]),
                backend.flush(1, [(b"A1", b"one")], [Record(storage.topic(ALERTS), b"A1", b"1")]),
            )
            await backend.close(0)
            await backend.flush(1, [(b"A2", b"one")], [])
            assert as_dict(await opened(backend, 0)) == {b"A1": b"zero"}
            assert as_dict(await opened(backend, 1)) == {b"A1": b"one", b"A2": b"one"}
            await backend.stop()

        asyncio.run(run())
        assert sorted(value for _, value, _ in storage.visible(ALERTS)) == [b"0", b"1"]

    def test_records_appear_with_the_state_once_and_in_order(self, storage: Storage) -> None:
        headers = (("schema", b"1"),)
        first = [Record(storage.topic(ALERTS), b"A1", b"%d" % number, headers) for number in range(3)]
        cases = [Record(storage.topic(CASES), b"A1", b"case"), Record(storage.topic(CASES), b"A1", None)]
        second = [Record(storage.topic(ALERTS), b"A1", b"3")]

        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, [(b"A1", b"1")], [*first, *cases])
            await backend.flush(0, [(b"A1", b"2")], [])
            await backend.flush(0, [], second)
            await backend.stop()

        asyncio.run(run())
        assert storage.visible(ALERTS) == [
            (b"A1", b"0", headers),
            (b"A1", b"1", headers),
            (b"A1", b"2", headers),
            (b"A1", b"3", ()),
        ]
        assert storage.visible(CASES) == [(b"A1", b"case", ()), (b"A1", None, ())]

    def test_what_came_with_a_flush_and_since_can_be_read_alone(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, [(b"A1", b"1"), (b"A2", b"1")], [])
            position = await backend.flush(0, [(b"A2", b"2"), (b"A3", b"2")], [])
            await backend.flush(0, [(b"A1", None), (b"A4", b"3")], [])
            if position is None:  # a backend that keeps no positions
                with pytest.raises(OutOfLog):
                    await opened(backend, 0, 0)
            else:
                since = {b"A2": b"2", b"A3": b"2", b"A4": b"3"}
                assert as_dict(await opened(backend, 0, position)) == since
                with pytest.raises(OutOfLog):
                    await opened(backend, 0, position + 1_000)
            await backend.stop()

        asyncio.run(run())

    def test_a_flush_of_nothing_is_one(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, [], [])
            assert await opened(backend, 0) == []
            await backend.stop()

        asyncio.run(run())

    def test_a_flush_larger_than_any_batch_is_whole(self, storage: Storage) -> None:
        items: list[Item] = [(b"A%d" % number, b"%d" % number * 400) for number in range(2_000)]
        items.append((b"\0detectors", b"x" * 500_000))
        records = [
            Record(storage.topic(ALERTS), b"A1", b"%04d" % number + b"y" * 900) for number in range(1_500)
        ]

        async def run() -> None:
            backend = storage.backend()
            await backend.open(0)
            await backend.flush(0, items, records)
            assert as_dict(await opened(backend, 0)) == dict(items)
            await backend.stop()

        asyncio.run(run())
        assert [value for _, value, _ in storage.visible(ALERTS)] == [record.value for record in records]

    def test_a_partition_that_is_not_open_here_cannot_be_flushed(self, storage: Storage) -> None:
        record = Record(storage.topic(ALERTS), b"A1", b"never")

        async def run() -> None:
            backend = storage.backend()
            with pytest.raises(Fenced, match="partition 0 is not open here"):
                await backend.flush(0, [(b"A1", b"1")], [record])
            await backend.open(0)
            await backend.flush(0, [(b"A1", b"1")], [])
            await backend.close(0)
            with pytest.raises(Fenced):
                await backend.flush(0, [(b"A1", b"2")], [record])
            await backend.open(0)
            await backend.open(1)
            await backend.stop()
            for partition in (0, 1):
                with pytest.raises(Fenced):
                    await backend.flush(partition, [(b"A1", b"2")], [record])
            assert as_dict(await opened(backend, 0)) == {b"A1": b"1"}
            await backend.stop()

        asyncio.run(run())
        assert storage.visible(ALERTS) == []

    def test_closing_what_is_not_open_does_nothing(self, storage: Storage) -> None:
        async def run() -> None:
            backend = storage.backend()
            await backend.close(0)
            await backend.stop()

        asyncio.run(run())
