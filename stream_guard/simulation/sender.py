"""Puts the simulated bank on Kafka as a bank does: keyed, idempotent, partitioned by murmur2."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import orjson
from confluent_kafka import KafkaError, Message, Producer

from stream_guard.simulation.history import History
from stream_guard.simulation.stream import Live, Record, Topic

CHUNK = 1_500
"""Payments of a history that leave together, as few large batches. A broker may hand out one batch a fetch
(the embedded one does), so that many small ones would be read slowly however fast they were sent."""

TICK_S = 0.002
"""How often a live stream looks at the clock: the grain of its event times."""

CROWDED_TICK_S = 0.15
"""The same while answers are slow to come: fewer and larger batches, which are read faster."""

Sent = Callable[[Record, float], None]
"""Told of each record and the wall clock (seconds) just before it was handed to the producer."""


class SendError(Exception):
    """The broker did not take a record; the sentence says which topic and why."""


class Sender(Protocol):
    """Something that takes records for Kafka."""

    def send(self, record: Record) -> None:
        """Hand over one record."""

    def flush(self) -> None:
        """Wait until all of them are delivered."""


class KafkaSender:
    """Producer of all topics that a bank writes.

    Parameters
    ----------
    brokers
        ``host:port``, comma separated.
    topics
        Name of each topic.
    options
        More librdkafka settings, for a secured cluster.
    linger_ms
        How long to gather records for a batch.
    """

    def __init__(
        self,
        brokers: str,
        topics: Mapping[Topic, str],
        options: Mapping[str, str | int | bool] | None = None,
        linger_ms: float = 0,
    ) -> None:
        self._topics = dict(topics)
        self._failure: str | None = None
        settings: dict[str, Any] = {
            "bootstrap.servers": brokers,
            # As Java clients do; by its own default librdkafka would choose other partitions.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "log_level": 2,
            **(options or {}),
        }
        self._producer = Producer(settings)

    def send(self, record: Record) -> None:
        """Hand over one record of the bank.

        Raises
        ------
        SendError
            An earlier record was not delivered.
        """
        self.put(self._topics[record.topic], record.key, record.value)

    def put(self, topic: str, key: bytes, value: bytes) -> None:
        """Hand over a record for any topic; waits while the producer's buffer is full.

        Raises
        ------
        SendError
            An earlier record was not delivered.
        """
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.05)
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until everything is delivered.

        Raises
        ------
        SendError
            A record was not delivered within 30 s.
        """
        left = self._producer.flush(30.0)
        self._check()
        if left:
            raise SendError(f"{left} records are still not delivered after 30 s; is the broker reachable?")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = f"a record for topic {message.topic()} was not delivered: {error.str()}"

    def _check(self) -> None:
        if self._failure is not None:
            raise SendError(self._failure)


def send_history(
    history: History,
    sender: Sender,
    *,
    room: Callable[[], bool] = lambda: True,
    on_sent: Sent = lambda record, at: None,
    stopped: threading.Event | None = None,
) -> None:
    """Send the accounts' facts, then the history at full speed, in order.

    Parameters
    ----------
    history
        What to send.
    sender
        Where to.
    room
        Asked before each chunk of :data:`CHUNK`; while it says no, nothing is sent.
    on_sent
        Told of every transaction.
    stopped
        Ends it early.
    """
    stop = stopped or threading.Event()
    for update in history.account_updates():
        sender.send(Record(Topic.ACCOUNT_UPDATES, update["account"].encode(), orjson.dumps(update)))
    sender.flush()
    for number, (event_id, (key, value)) in enumerate(zip(history.event_ids, history.records(), strict=True)):
        if number % CHUNK == 0:
            sender.flush()
            while not room():
                if stop.wait(TICK_S):
                    return
        record = Record(Topic.TRANSACTIONS, key, value, event_id)
        on_sent(record, time.time())
        sender.send(record)
    sender.flush()


def send_live(
    live: Live,
    sender: Sender,
    *,
    until_s: float,
    on_sent: Sent = lambda record, at: None,
    crowded: Callable[[], bool] = lambda: False,
    stopped: threading.Event | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Send a live stream as its time comes.

    Parameters
    ----------
    live
        The stream.
    sender
        Where to.
    until_s
        Wall clock at which it ends, seconds; may be infinite.
    on_sent
        Told of every record.
    crowded
        Whether answers are slow to come.
    stopped
        Ends it early.
    clock
        The wall clock, seconds.
    """
    stop = stopped or threading.Event()
    while (now := clock()) < until_s and not stop.is_set():
        _send_all(live.due(round(now * 1000)), sender, on_sent, clock)
        stop.wait(CROWDED_TICK_S if crowded() else TICK_S)
    sender.flush()


def _send_all(records: Iterable[Record], sender: Sender, on_sent: Sent, clock: Callable[[], float]) -> None:
    for record in records:
        on_sent(record, clock())
        sender.send(record)
