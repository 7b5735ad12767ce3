"""The memory backend keeps what every state backend promises, as far as memory can."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stream_guard.streaming.state import MemoryState, Record, StateBackend
from tests.streaming.helpers import opened
from tests.streaming.state_suite import Seen, StateSuite


class Memory:
    """Storage of a memory backend: itself."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.broken = False
        self._backend = MemoryState(self.send)

    async def send(self, records: Sequence[Record]) -> None:
        if self.broken:
            raise ConnectionError("no broker")
        await asyncio.sleep(0)
        self.sent += records

    def backend(self) -> StateBackend:
        return self._backend

    def topic(self, role: str) -> str:
        return role

    def visible(self, role: str) -> Seen:
        return [(record.key, record.value, record.headers) for record in self.sent if record.topic == role]


@pytest.fixture
def storage() -> Memory:
    return Memory()


class TestMemoryState(StateSuite):
    """All of the suite."""


def test_a_flush_whose_records_cannot_be_sent_leaves_no_state(storage: Memory) -> None:
    async def run() -> None:
        backend = storage.backend()
        await backend.open(0)
        await backend.flush(0, [(b"A1", b"1")], [])
        storage.broken = True
        with pytest.raises(ConnectionError):
            await backend.flush(0, [(b"A1", b"2")], [Record("alerts", b"A1", b"lost")])
        assert await opened(backend, 0) == [(b"A1", b"1")]

    asyncio.run(run())
    assert storage.sent == []
