"""Independent readers of what the worker writes, and the investigators' mailbox.

Each reads its topic from the first record on, without a consumer group: what it sees is what any bank
system would see, whatever the worker thinks it has sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import orjson
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from stream_guard.demo.board import Board
from stream_guard.demo.errors import DemoError
from stream_guard.simulation.investigators import Desk
from stream_guard.simulation.sender import KafkaSender

POLL_S = 0.02
JOIN_S = 3.0
Options = Mapping[str, str | int | bool]


class Reader:
    """A consumer of one whole topic from its first record on.

    Parameters
    ----------
    brokers
        ``host:port``, comma separated.
    topic
        Which.
    options
        More librdkafka settings.

    Raises
    ------
    DemoError
        The topic does not exist.
    """

    def __init__(self, brokers: str, topic: str, options: Options) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "stream-guard-demo-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "log_level": 2,
                **options,
            }
        )
        found = self._consumer.list_topics(topic, timeout=10.0).topics[topic]
        if found.error is not None or not found.partitions:
            raise DemoError(f"topic {topic} does not exist on {brokers}")
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]
        self._consumer.assign(places)

    def read(self, timeout_s: float) -> Any:
        """The next record, or None when there is none in time.

        Raises
        ------
        KafkaException
            The broker refused, or the log does not hold any more what was not read yet.
        """
        record = self._consumer.poll(timeout_s)
        if record is not None and record.error() is not None:
            raise KafkaException(record.error())
        return record

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()


class Task(threading.Thread):
    """A thread whose failure is remembered and told to who asks."""

    def __init__(self, name: str, target: Callable[[threading.Event], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._body = target
        self.stopping = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Run until done or stopped."""
        try:
            self._body(self.stopping)
        except Exception as error:  # the main thread looks at it and ends everything
            self.failure = error

    def end(self) -> None:
        """Ask it to stop and wait for it."""
        self.stopping.set()
        self.join(JOIN_S)


def read_decisions(reader: Reader, board: Board) -> Callable[[threading.Event], None]:
    """Body of a thread that enters decisions on the board as they are received."""

    def body(stopping: threading.Event) -> None:
        for record, at in _records(reader, stopping):
            board.decided(orjson.loads(record.value()), at)

    return body


def read_dead_letters(reader: Reader, board: Board, topic: str) -> Callable[[threading.Event], None]:
    """Body of a thread that enters dead letters of one source topic on the board."""

    def body(stopping: threading.Event) -> None:
        for record, _ in _records(reader, stopping):
            headers = {name: value.decode() for name, value in record.headers() or []}
            if headers.get("topic") == topic:
                board.dead_letter(topic, int(headers["partition"]), int(headers["offset"]), headers["reason"])

    return body


class Spectator(Protocol):
    """Is told what investigators read and write."""

    def alert(self, alert: Mapping[str, Any], /) -> None:
        """One was read."""

    def disposed(self, outcome: str, /) -> None:
        """One was written."""


def investigate(
    reader: Reader, board: Spectator, desk: Desk, mailbox: KafkaSender, topic: str
) -> Callable[[threading.Event], None]:
    """Body of a thread that reads alerts, and writes dispositions to `topic` when they are due."""

    def body(stopping: threading.Event) -> None:
        while not stopping.is_set():
            record = reader.read(POLL_S)
            now_ms = round(time.time() * 1000)
            if record is not None:
                alert = orjson.loads(record.value())
                board.alert(alert)
                desk.take(alert, now_ms)
            for disposition in desk.finished(now_ms):
                mailbox.put(topic, disposition["account"].encode(), orjson.dumps(disposition))
                board.disposed(disposition["outcome"])
        mailbox.flush()
        reader.close()

    return body


def _records(reader: Reader, stopping: threading.Event) -> Iterator[tuple[Any, float]]:
    while not stopping.is_set():
        record = reader.read(POLL_S)
        if record is not None:
            yield record, time.time()
    reader.close()
