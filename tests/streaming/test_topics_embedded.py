from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from stream_guard.settings import load_settings
from stream_guard.streaming.topics import TopicsRefused, partition_counts

TOPICS = ("transactions", "account-updates", "dispositions", "risk-signals", "stream-guard-legs")
TOPICS += ("stream-guard-cases", "stream-guard-sightings", "decisions", "alerts", "dead-letters")


@pytest.fixture(scope="module")
def embedded() -> Iterator[dict[str, str]]:
    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 2})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    for topic in TOPICS:
        cluster.list_topics(topic, timeout=10)
    yield {
        "STREAM_GUARD_BROKER": f"{broker.host}:{broker.port}",
        "STREAM_GUARD_STATE__BACKEND": "memory",
    }
    cluster.flush(1)


def test_an_embedded_broker_is_asked_for_its_partition_counts_only(embedded: dict[str, str]) -> None:
    assert partition_counts(load_settings(None, embedded)) == dict.fromkeys(TOPICS, 4)


def test_a_missing_topic_is_refused_on_an_embedded_broker_too(embedded: dict[str, str]) -> None:
    settings = load_settings(None, {**embedded, "STREAM_GUARD_TOPICS__ALERTS": "none-such"})
    with pytest.raises(TopicsRefused, match="'none-such' does not exist"):
        partition_counts(settings)


def test_another_partition_count_is_refused_on_an_embedded_broker_too(embedded: dict[str, str]) -> None:
    settings = load_settings(None, {**embedded, "STREAM_GUARD_PARTITIONS": "12"})
    with pytest.raises(TopicsRefused, match="have \\[4\\] partitions"):
        partition_counts(settings)
