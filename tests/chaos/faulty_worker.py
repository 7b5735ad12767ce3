"""A production worker with faults planted from outside; the package itself knows nothing of them.

``python -m tests.chaos.faulty_worker worker -c FILE`` runs ``stream-guard`` after wrapping the methods at
which a process can die in a bad moment. What happens there is said by the file that CHAOS_FAULT_FILE names,
read each time: absent, nothing happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.errors import TopicAuthorizationFailedError

from stream_guard.cli import main
from stream_guard.detection.features import INDEX
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.rules import CompiledPack
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.processor import Processor
from stream_guard.streaming.transport import LoopConsumerThread

VARIABLE = "CHAOS_FAULT_FILE"


class Point(StrEnum):
    """Where a process can be made to die, or to be slow."""

    SENDING = "sending"
    """Among the outputs: some batches are on their way, others are not."""
    DELIVERED = "delivered"
    """Between the outputs and the flush."""
    TRANSACTION = "transaction"
    """Inside the transaction: everything is written, nothing committed."""
    COMMITTING = "committing"
    """While the commit of the transaction is under way: only the broker knows how it ended."""
    DURABLE = "durable"
    """Between the transaction and the commit of the group's offsets."""
    RECOVERY = "recovery"
    """After the former owner was fenced and the state was read, before any work on it."""
    FIRST_KERNEL = "first_kernel"
    """No death: counting payments of so much money at their payers fails, as by a defect of ours."""
    SECOND_KERNEL = "second_kernel"
    """No death: the same at their payees."""
    RULES = "rules"
    """No death: the same in evaluating them."""
    SLOW = "slow"
    """No death: every batch of outputs waits for so many seconds."""
    STUCK = "stuck"
    """No death: agents take no batch any more."""
    DEAF = "deaf"
    """No death: the consumer fetches nothing any more, and does not know how far the logs go."""
    DEAD_LOOP = "dead_loop"
    """No death: the event loop does nothing but to wait, for so many seconds."""
    NO_DEAD_LETTERS = "no_dead_letters"
    """No death: the broker takes no dead letter."""


class Faults:
    """What is planted at the moment.

    Parameters
    ----------
    file
        Holds a point and, where one goes with it, a number; another process writes and removes it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def seconds(self, point: Point) -> float | None:
        """Number beside `point`, 0 without one; None where something else or nothing is planted."""
        try:
            planted, _, number = self._file.read_text().partition(" ")
        except FileNotFoundError:
            return None
        return float(number or 0) if planted == point else None

    def fail(self, point: Point, amounts: Any) -> None:
        """Raise if payments of one of these amounts are to fail here."""
        amount = self.seconds(point)
        if amount is not None and amount in amounts:
            raise ZeroDivisionError(f"planted: {point}")

    def meet(self, point: Point) -> None:
        """Die here if that is planted."""
        if self.seconds(point) is not None:
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def plant(faults: Faults) -> None:
    """Wrap the methods; an AttributeError when one of them is gone."""

    async def send_batch(
        self: Any, original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        if self._txn_manager.transactional_id is not None:
            return await original(self, *args, **kwargs)
        await asyncio.sleep(faults.seconds(Point.SLOW) or 0.0)
        if "dead-letters" in args[1] and faults.seconds(Point.NO_DEAD_LETTERS) is not None:
            raise TopicAuthorizationFailedError("planted")
        sent = await original(self, *args, **kwargs)
        faults.meet(Point.SENDING)
        return sent

    async def _may_go_on(self: Any, original: Callable[..., Awaitable[Any]]) -> Any:
        while faults.seconds(Point.STUCK) is not None:
            await asyncio.sleep(0.1)
        return await original(self)

    async def fetched_records(
        self: Any, original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        time.sleep(faults.seconds(Point.DEAD_LOOP) or 0.0)
        return await original(self, *args, **kwargs)

    async def _proc_fetch_request(
        self: Any, original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        while faults.seconds(Point.DEAF) is not None:
            await asyncio.sleep(0.1)
        return await original(self, *args, **kwargs)

    async def flush(
        self: Any, original: Callable[..., Awaitable[Any]], partition: int, items: Any, records: Any
    ) -> Any:
        if items:
            faults.meet(Point.DELIVERED)
        return await original(self, partition, items, records)

    async def commit_transaction(self: Any, original: Callable[..., Awaitable[Any]]) -> Any:
        faults.meet(Point.TRANSACTION)
        commit = asyncio.ensure_future(original(self))
        if faults.seconds(Point.COMMITTING) is not None:
            await asyncio.wait({commit}, timeout=0.002)
            faults.meet(Point.COMMITTING)
        return await commit

    async def commit(self: Any, original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        faults.meet(Point.DURABLE)
        return await original(self, *args, **kwargs)

    async def _read(self: Any, original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        read = await original(self, *args, **kwargs)
        faults.meet(Point.RECOVERY)
        return read

    def payer_hop(self: Any, original: Callable[..., Any], batch: Any, *args: Any) -> Any:
        faults.fail(Point.FIRST_KERNEL, batch.amount)
        return original(self, batch, *args)

    def payee_hop(self: Any, original: Callable[..., Any], legs: Any, *args: Any) -> Any:
        faults.fail(Point.SECOND_KERNEL, legs.amount)
        return original(self, legs, *args)

    def evaluate(self: Any, original: Callable[..., Any], matrix: Any, *args: Any) -> Any:
        faults.fail(Point.RULES, matrix[:, INDEX["txn.amount"]])
        return original(self, matrix, *args)

    _wrap(Profiles, payer_hop)
    _wrap(Profiles, payee_hop)
    _wrap(CompiledPack, evaluate)
    _wrap(Processor, _may_go_on)
    _wrap(Fetcher, fetched_records)
    _wrap(Fetcher, _proc_fetch_request)
    _wrap(AIOKafkaProducer, send_batch)
    _wrap(AIOKafkaProducer, commit_transaction)
    _wrap(KafkaState, flush)
    _wrap(LoopConsumerThread, commit)
    _wrap(KafkaState, _read)


def _wrap(owner: type, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, wrapper.__name__)

    @wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(self, original, *args, **kwargs)

    setattr(owner, wrapper.__name__, wrapped)


if __name__ == "__main__":
    plant(Faults(Path(os.environ[VARIABLE])))
    sys.exit(main())
