"""What the broker's log tells from outside: ends, times of records, and a filled topic."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.kafka.harness import Kafka

FILLER = {
    "partitioner": "murmur2_random",
    "acks": "all",
    "linger.ms": 50,
    "compression.type": "lz4",
    "queue.buffering.max.messages": 200_000,
}


class Log:
    """Reads a broker's log; not safe for several threads."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._consumer = self.reader()
        # Record timestamps are wall clock, everything measured here is monotonic.
        self._monotonic_less_wall = time.monotonic() - time.time()

    def reader(self) -> Consumer:
        """A consumer without a group's offsets, reading what is committed."""
        return Consumer(
            {
                "bootstrap.servers": self._kafka.bootstrap,
                "group.id": self._kafka.prefix("bench-reader"),
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """Partitions of a topic; none where it does not exist."""
        found = self._consumer.list_topics(topic, timeout=10).topics[topic]
        return [] if found.error is not None else sorted(found.partitions)

    def ends(self, topic: str) -> list[int]:
        """End offset of each partition."""
        places = [TopicPartition(topic, number) for number in self.partitions(topic)]
        return [self._end(place) for place in places]

    def _end(self, place: TopicPartition) -> int:
        try:
            return int(self._consumer.get_watermark_offsets(place, timeout=10)[1])
        except KafkaException as error:
            if error.args[0].code() == KafkaError.NOT_LEADER_FOR_PARTITION:  # made a moment ago
                return 0
            raise

    def first_time(self, topic: str) -> float | None:
        """Monotonic time of the earliest first record of the partitions; None for an empty topic."""
        times = [self._time(topic, number, 0) for number, end in enumerate(self.ends(topic)) if end]
        return min(times, default=None)

    def last_time(self, topic: str) -> float | None:
        """Monotonic time of the latest last record."""
        times = [self._time(topic, number, end - 1) for number, end in enumerate(self.ends(topic)) if end]
        return max(times, default=None)

    def _time(self, topic: str, partition: int, offset: int) -> float:
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            message: Message | None = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self._consumer.unassign()
                return message.timestamp()[1] / 1000 + self._monotonic_less_wall
        raise TimeoutError(f"{topic}-{partition} gave no record {offset} within 10 s")

    def warm_broker(self, topic: str, value: bytes, requests: int, timeout_s: float) -> None:
        """Have the broker take and give many single records.

        A fresh one compiles for a dozen CPU seconds under such a load, and answers seconds late meanwhile.
        """
        producer = Producer({**FILLER, "bootstrap.servers": self._kafka.bootstrap, "linger.ms": 0})
        reader = self.reader()
        reader.assign([TopicPartition(topic, number) for number in self.partitions(topic)])
        give_up = time.monotonic() + timeout_s
        for number in range(requests):
            producer.produce(topic, value, str(number))
            producer.poll(0)
            while len(producer) > 50 and time.monotonic() < give_up:
                producer.poll(0.001)
            reader.poll(0)
            if time.monotonic() > give_up:
                break
        producer.flush(30)
        reader.close()

    def fill(self, topic: str, records: Iterable[tuple[bytes, bytes]]) -> int:
        """Write records, keyed and partitioned as Kafka's Java client does; returns how many."""
        failures: list[str] = []

        def report(error: object, _: Message) -> None:
            if error is not None:
                failures.append(str(error))

        producer = Producer({"bootstrap.servers": self._kafka.bootstrap, **FILLER})
        count = 0
        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
            if count % 1_000 == 0:
                producer.poll(0)
        left = producer.flush(60)
        if failures or left:
            raise KafkaException(failures[0] if failures else f"{left} records were not taken within 60 s")
        return count
