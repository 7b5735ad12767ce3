from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from stream_guard.detection.hashing import murmur2_partition
from stream_guard.history import Events
from stream_guard.replay import Pace, Replay, ReplayError


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    """librdkafka's mock cluster: enough for a producer."""
    cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 2})
    (node,) = cluster.list_topics(timeout=10).brokers.values()
    yield f"{node.host}:{node.port}"
    cluster.flush(1)


def batches(times: list[int], size: int = 2) -> Iterator[Events]:
    for start in range(0, len(times), size):
        part = times[start : start + size]
        yield Events(part, [{"event_id": str(ts), "ts": ts, "account": "A"} for ts in part])


@pytest.fixture
def run(broker: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[float, dict[str, Any]]]]:
    """Replays some payments and returns when each was handed to the producer, after the start."""

    def replayed(times: list[int], pace: Pace) -> list[tuple[float, dict[str, Any]]]:
        clock = Clock()
        replay = Replay({"bootstrap.servers": broker}, clock=clock, sleep=clock.sleep)
        handed: list[tuple[float, dict[str, Any]]] = []
        original = replay._produce

        def note(topic: str, key: str | None, value: bytes) -> None:
            handed.append((round(clock.now - 100.0, 6), orjson.loads(value)))
            original(topic, key, value)

        monkeypatch.setattr(replay, "_produce", note)
        replay.send_events("paced", batches(times), pace)
        assert replay.finish().sent == len(times)
        return handed

    return replayed


def test_a_rate_spaces_payments_evenly_whatever_their_times(run: Any) -> None:
    assert [at for at, _ in run([0, 0, 7_000_000, 7_000_001], Pace(rate=4))] == [0.0, 0.25, 0.5, 0.75]


def test_a_speed_keeps_the_gaps_of_event_time(run: Any) -> None:
    assert [at for at, _ in run([5_000, 65_000, 65_000, 245_000], Pace(speed=60))] == [0.0, 1.0, 1.0, 4.0]


def test_without_a_pace_nothing_waits(run: Any) -> None:
    assert {at for at, _ in run([0, 10**9, 2 * 10**9], Pace())} == {0.0}


def test_progress_is_told_during_a_long_wait(broker: str) -> None:
    clock = Clock()
    replay = Replay({"bootstrap.servers": broker}, clock=clock, sleep=clock.sleep)
    told: list[float] = []
    replay.send_events("paced", batches([0, 60_000]), Pace(speed=60), lambda sent: told.append(sent.seconds))
    assert len(told) >= 10
    assert told == sorted(told)


def test_a_missing_topic_or_broker_is_said_at_once(broker: str) -> None:
    nowhere = Replay({"bootstrap.servers": "127.0.0.1:1"})
    with pytest.raises(ReplayError, match="The broker does not answer"):
        nowhere.require_topics(["transactions"], timeout_s=0.5)


def test_murmur2_puts_records_where_java_does(broker: str) -> None:
    placed: dict[bytes, int] = {}
    replay = Replay({"bootstrap.servers": broker})
    partitions = len(replay._producer.list_topics("placed", timeout=10).topics["placed"].partitions)
    report = replay._report

    def note(error: Any, message: Any) -> None:
        placed[message.key()] = message.partition()
        report(error, message)

    replay._report = note  # type: ignore[method-assign]
    for number in range(50):
        replay._produce("placed", f"account-{number}", b"{}")
    replay.finish()
    assert placed == {key: murmur2_partition(key, partitions) for key in placed}
    assert len(placed) == 50
