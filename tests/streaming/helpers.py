"""What the tests of this folder share: coroutines as tests, and records as the consumer gives them."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, ParamSpec

from stream_guard.streaming.loading import Loading
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.state import Item, StateBackend

P = ParamSpec("P")


def on_a_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine as a test on an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class LogRecord(NamedTuple):
    """A record as the consumer gives it."""

    offset: int
    value: bytes | None = b""
    key: bytes | None = None
    timestamp: int = 0
    timestamp_type: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


class Died(BaseException):
    """Stands for the end of the process: nothing may catch it and go on."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


def die_in_tests(reason: str, code: int = 70) -> None:
    """Replacement of `fatal.die`."""
    raise Died(reason, code)


def load(partition: Partition, items: Sequence[Item]) -> str | None:
    """Load a partition with what a flush gave; why its anomaly model starts anew, where it does."""
    loading = Loading(partition)
    loading.take(items)
    return loading.complete()


async def opened(backend: StateBackend, number: int, start: int | None = None) -> list[Item]:
    """Open a partition and read its state: the newest of each key."""
    await backend.open(number)
    return list((await newest(backend, number, start)).items())


class Newest:
    """What is there of a state that is read: the newest of each key."""

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}

    async def take(self, items: Sequence[Item]) -> None:
        for key, value in items:
            self.items.pop(key, None)
            if value is not None:
                self.items[key] = value


async def newest(backend: StateBackend, number: int, start: int | None = None) -> dict[bytes, bytes]:
    """Read a partition's state: the newest of each key that is there."""
    found = Newest()
    await backend.read(number, start, found.take)
    return found.items
