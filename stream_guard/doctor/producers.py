"""Whether what others write lies where the workers look for it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from stream_guard.detection.hashing import murmur2_partition
from stream_guard.doctor.findings import Finding, error, ok
from stream_guard.settings import Settings
from stream_guard.streaming.records import POLL_MS, partitions_of

READ_S = 10.0
"""How long reading the sample of one topic may take."""

WRITTEN_BY_OTHERS = ("transactions", "account_updates", "dispositions")
"""Keyed topics whose producers are not ours."""


def partitioners(reader: KafkaConsumer, settings: Settings, sample: int) -> Iterator[Finding]:
    """Compare the partition of the newest records with that of Kafka's own partitioner."""
    for role in WRITTEN_BY_OTHERS:
        topic = getattr(settings.topics, role)
        count = len(partitions_of(reader, topic))
        yield _judge(topic, newest(reader, topic, sample), count)


def newest(reader: KafkaConsumer, topic: str, sample: int) -> list[Any]:
    """Newest records of each partition, up to `sample` of each."""
    places = partitions_of(reader, topic)
    reader.assign(places)
    first, ends = reader.beginning_offsets(places), reader.end_offsets(places)
    for place in places:
        reader.seek(place, max(first[place], ends[place] - sample))
    records = []
    give_up = time.monotonic() + READ_S
    while time.monotonic() < give_up and any(reader.position(place) < ends[place] for place in places):
        for found in reader.poll(POLL_MS).values():
            records += [record for record in found if record.offset < ends[_place(record)]]
    return records


def _place(record: Any) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _judge(topic: str, records: Sequence[Any], partitions: int) -> Finding:
    if not records:
        return ok("partitioner", f"{topic}: no records to look at")
    without = sum(record.key is None for record in records)
    if without:
        return error(
            "partitioner",
            f"{topic}: {without:,} of the newest {len(records):,} records have no key and are refused;"
            " the producer must set the account as the key.",
        )
    wrong = [record for record in records if murmur2_partition(record.key, partitions) != record.partition]
    if not wrong:
        return ok("partitioner", f"{topic}: murmur2, the newest {len(records):,} records")
    example = wrong[-1]
    return error(
        "partitioner",
        f"{topic}: {len(wrong):,} of the newest {len(records):,} records are on a partition that murmur2"
        f" does not give (offset {example.offset} of partition {example.partition}), and are refused;"
        f" {_remedy(wrong, partitions)}, then send them again with 'stream-guard dead-letters redrive'.",
    )


def _remedy(wrong: Sequence[Any], partitions: int) -> str:
    # A record that murmur2 put elsewhere agrees with CRC-32 by chance in one of `partitions` cases.
    crc = sum(zlib.crc32(record.key) % partitions == record.partition for record in wrong)
    if crc == len(wrong):
        return "their producer uses librdkafka's own partitioner: set partitioner=murmur2_random there"
    return "make their producer use Kafka's own partitioner (librdkafka: partitioner=murmur2_random)"
