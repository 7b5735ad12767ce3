"""Reads and writes single records with kafka-python, for commands that a person waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from stream_guard.settings import Settings
from stream_guard.streaming.topic_plan import LARGEST_INPUT
from stream_guard.streaming.topics import BOOTSTRAP_S, BrokerUnreachable, TopicsRefused, require_listener

POLL_MS = 500
POLL_RECORDS = 5_000
DELIVERY_S = 30.0
"""How long a record may take to be acknowledged."""

Headers = Sequence[tuple[str, bytes]]


@contextmanager
def consumer(settings: Settings) -> Iterator[KafkaConsumer]:
    """Reader without a group that sees committed records only.

    Raises
    ------
    BrokerUnreachable
        When no broker answers, or it refuses a request later.
    """
    require_listener(settings.broker, BOOTSTRAP_S)
    with _speaking_to(settings):
        client = KafkaConsumer(
            **settings.python_client(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(BOOTSTRAP_S * 1000),
            max_poll_records=POLL_RECORDS,
            max_partition_fetch_bytes=2 * LARGEST_INPUT,
        )
        try:
            yield client
        finally:
            client.close(autocommit=False)


@contextmanager
def producer(settings: Settings) -> Iterator[KafkaProducer]:
    """Idempotent writer; keys choose partitions by murmur2, as Kafka's Java client does.

    Raises
    ------
    BrokerUnreachable
        When no broker answers, or it refuses a record.
    """
    require_listener(settings.broker, BOOTSTRAP_S)
    with _speaking_to(settings):
        client = KafkaProducer(
            **settings.python_client(),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            bootstrap_timeout_ms=int(BOOTSTRAP_S * 1000),
            max_block_ms=int(DELIVERY_S * 1000),
            max_request_size=2 * LARGEST_INPUT,
        )
        try:
            yield client
        finally:
            client.close(timeout=DELIVERY_S)


def send(
    client: KafkaProducer, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
) -> None:
    """Write one record and wait until it is acknowledged."""
    client.send(topic, key=key, value=value, headers=list(headers)).get(timeout=DELIVERY_S)


def partitions_of(client: KafkaConsumer, topic: str) -> list[TopicPartition]:
    """Partitions of a topic.

    Raises
    ------
    TopicsRefused
        When there is no such topic.
    """
    numbers = client.partitions_for_topic(topic)
    if not numbers:
        raise TopicsRefused(f"Topic '{topic}' does not exist: run 'stream-guard topics create'.")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def read_to_end(client: KafkaConsumer, topic: str) -> Iterator[Any]:
    """Everything that is in a topic when this begins."""
    partitions = partitions_of(client, topic)
    client.assign(partitions)
    client.seek_to_beginning(*partitions)
    # To readers of committed records the end is where the oldest open transaction begins.
    ends = client.end_offsets(partitions)
    while any(client.position(partition) < end for partition, end in ends.items()):
        for partition, records in client.poll(POLL_MS).items():
            yield from (record for record in records if record.offset < ends[partition])


def follow(client: KafkaConsumer, topic: str, *, from_beginning: bool) -> Iterator[Any]:
    """Records of a topic as they come, without an end."""
    partitions = partitions_of(client, topic)
    client.assign(partitions)
    if from_beginning:
        client.seek_to_beginning(*partitions)
    else:
        client.seek_to_end(*partitions)
        for partition in partitions:
            client.position(partition)  # asks now: what comes after this line must not be missed
    while True:
        for records in client.poll(POLL_MS).values():
            yield from records


@contextmanager
def _speaking_to(settings: Settings) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise BrokerUnreachable(
            f"The Kafka broker on {', '.join(settings.broker)} refused: {error}"
        ) from error
