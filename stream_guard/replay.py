"""Sends a recorded history to the transactions topic, as a bank's own producer would.

Payments go out in event order, keyed by the payer and partitioned by murmur2, one idempotent producer for
all, so that the order of an account's payments survives retries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_guard.history import Events

PRODUCER = {
    # librdkafka's default partitioner is not Kafka's: accounts would land on other partitions.
    "partitioner": "murmur2_random",
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "linger.ms": 5,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 256 * 1024,
}

POLL_EVERY = 1_000
"""Records between two looks at the producer's reports: often enough to stop soon after a failure."""

FLUSH_S = 60.0
"""How long the records in flight may take at the end; a healthy broker needs well under a second."""

LONGEST_SLEEP_S = 0.1
"""A long wait for the next payment is slept in pieces, so that progress and reports keep coming."""


class ReplayError(Exception):
    """The broker did not take a record; the message is one sentence."""


@dataclass(frozen=True)
class Pace:
    """How fast payments go out: at most one of both, or neither for as fast as the broker takes them.

    Attributes
    ----------
    rate
        Payments a second.
    speed
        Event time over wall time: 60 sends an hour of history in a minute.
    """

    rate: float | None = None
    speed: float | None = None

    def due(self, index: int, elapsed_ms: int) -> float:
        """Seconds after the start at which a payment goes out.

        Parameters
        ----------
        index
            Its number in the history, from 0.
        elapsed_ms
            Event time since the first payment.

        Examples
        --------
        >>> Pace(rate=1000).due(500, 99), Pace(speed=60).due(500, 120_000), Pace().due(500, 99)
        (0.5, 2.0, 0.0)
        """
        if self.rate is not None:
            return index / self.rate
        return 0.0 if self.speed is None else elapsed_ms / 1000 / self.speed


@dataclass
class Sent:
    """How far a replay got.

    Attributes
    ----------
    sent
        Payments handed over; all of them acknowledged once `Replay.finish` has returned.
    accounts
        Account updates handed over.
    seconds
        Wall time so far.
    """

    sent: int = 0
    accounts: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, int | float]:
        """Summary for programs."""
        return {**asdict(self), "seconds": round(self.seconds, 3)}


class Replay:
    """One run of a replay.

    Parameters
    ----------
    connection
        librdkafka settings: ``bootstrap.servers`` and security.
    clock, sleep
        Monotonic seconds, and how to wait.

    Attributes
    ----------
    progress
        How far it got; up to date after every batch and every wait.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._producer = Producer({**PRODUCER, **connection, "log_level": 0})
        self._clock = clock
        self._sleep = sleep
        self._start = clock()
        self._failure: str | None = None
        self.progress = Sent()

    def require_topics(self, names: Iterable[str], timeout_s: float = 10.0) -> None:
        """Raise `ReplayError` unless the topics exist; a producer would wait minutes for one."""
        for name in names:
            try:
                # One by one: a listing of the whole cluster does not fail on what is missing.
                topic = self._producer.list_topics(name, timeout=timeout_s).topics[name]
            except KafkaException as error:
                raise ReplayError(f"The broker does not answer: {error.args[0].str()}.") from error
            if topic.error is not None:
                raise ReplayError(
                    f"Topic '{name}' cannot be written to ({topic.error.str()}):"
                    " run 'stream-guard topics create'."
                )

    def send_accounts(self, topic: str, updates: Iterable[Mapping[str, Any]]) -> None:
        """Send account updates and wait until all are written, so that they precede the payments."""
        for update in updates:
            self._produce(topic, str(update["account"]), orjson.dumps(update))
            self.progress.accounts += 1
            if self.progress.accounts % POLL_EVERY == 0:
                self._serve()
        self.finish()

    def send_events(
        self,
        topic: str,
        batches: Iterable[Events],
        pace: Pace,
        tell: Callable[[Sent], None] = lambda sent: None,
    ) -> None:
        """Send payments at a pace.

        Parameters
        ----------
        batches
            Payments in event order.
        tell
            Called a few times a second at least with how far it got.

        Raises
        ------
        ReplayError
            When the broker refuses a record; some of those after it may have been sent.
        """
        begin = self._clock()
        first: int | None = None
        for batch in batches:
            first = batch.ts[0] if first is None and batch.ts else first
            for ts, row in zip(batch.ts, batch.rows, strict=True):
                due = begin + pace.due(self.progress.sent, ts - (first or 0))
                while due > begin and (left := due - self._clock()) > 0:
                    self._serve()
                    tell(self.progress)
                    self._sleep(min(left, LONGEST_SLEEP_S))
                self._produce(topic, row.get("account"), orjson.dumps(row))
                self.progress.sent += 1
                if self.progress.sent % POLL_EVERY == 0:
                    self._serve()
                    tell(self.progress)
        self._serve()
        tell(self.progress)

    def finish(self) -> Sent:
        """Wait until everything handed over is written.

        Raises
        ------
        ReplayError
            When a record was refused, or some are still on their way after `FLUSH_S`.
        """
        left = self._producer.flush(FLUSH_S)
        self._serve()
        if left:
            raise ReplayError(
                f"{left:,} records were not acknowledged within {FLUSH_S:.0f} s: check the broker and run the"
                " replay again; payments sent twice are recognised by their event_id."
            )
        return self.progress

    def _produce(self, topic: str, key: str | None, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._report)
            except BufferError:  # the broker is slower than we are
                self._serve(0.05)
            else:
                return

    def _serve(self, timeout_s: float = 0.0) -> None:
        self._producer.poll(timeout_s)
        self.progress.seconds = self._clock() - self._start
        if self._failure is not None:
            raise ReplayError(self._failure)

    def _report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = f"Topic '{message.topic()}' did not take a record: {error.str()}."
