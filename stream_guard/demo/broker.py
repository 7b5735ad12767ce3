"""The embedded broker: librdkafka's mock cluster in a process of its own, on loopback.

What it has: Kafka's protocol, consumer groups, the idempotent producer. What it has not:

- transactions, topic administration, other partition counts than four;
- room: a partition keeps its newest 5 MB and drops what is older, so senders have to wait for readers
  (:data:`stream_guard.demo.site.ROOM`);
- haste: an empty fetch is answered when its wait is over (:data:`FETCH_WAIT_MS`), and a fetch brings one
  batch of each partition, however small, so that a history has to leave in large batches.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from confluent_kafka import Producer

from stream_guard.demo.child import Child
from stream_guard.demo.errors import ChildError

FETCH_WAIT_MS = 5
"""An empty fetch is answered only when its wait is over, even if a record has come meanwhile: with the usual
500 ms every hop would take up to that much longer."""

_START_TIMEOUT_S = 15.0


class EmbeddedBroker(Child):
    """The broker process. It ends when this process does, however that comes about."""

    def __init__(self, topics: Iterable[str]) -> None:
        super().__init__(
            "embedded broker",
            [sys.executable, "-m", "stream_guard.demo.broker", *topics],
            stdin=subprocess.PIPE,
        )
        self.address = ""

    def start(self) -> None:
        """Start it, and wait until its topics are there.

        Raises
        ------
        ChildError
            It did not come up; with its last words.
        """
        super().start()
        line = self.first_line(_START_TIMEOUT_S)
        if not line.startswith("listening "):
            raise ChildError(f"the embedded broker did not start: {line or 'no answer'}\n{self.last_words()}")
        self.address = line.split()[1]


def main(topics: list[str]) -> None:
    """Serve until standard input ends."""
    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 2})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    for topic in topics:
        # Asking for a topic makes it.
        cluster.list_topics(topic, timeout=10)
    sys.stdout.write(f"listening {broker.host}:{broker.port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
