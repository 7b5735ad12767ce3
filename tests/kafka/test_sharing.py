"""Shared devices on a real Kafka: sightings out, counted, signals back, with a worker killed in between."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson

from stream_guard.detection.features import DAY, HOUR
from stream_guard.detection.local_time import midnights
from stream_guard.detection.sharing import Sharing, SharingLimits, Sighting
from tests.kafka.harness import Kafka, Worker, settings_of

PARTITIONS = 3
START = 1_763_956_800_000
"""12:00 in Shanghai on 24 November 2025."""
DEVICES, PAYMENTS = 40, 1_500

Payment = dict[str, Any]


def stream() -> list[Payment]:
    """Small payments of some accounts through each of many devices, over eight days."""
    rng = random.Random(3)
    behind = {number: rng.choice((1, 1, 2, 3, 4, 6)) for number in range(DEVICES)}
    out = []
    for number in range(PAYMENTS):
        device = rng.randrange(DEVICES)
        out.append(
            {
                "event_id": f"e{number}",
                "ts": START + number * 8 * DAY // PAYMENTS,
                "account": f"A{device}-{rng.randrange(behind[device])}",
                "counterparty": f"P{rng.randrange(50)}",
                "amount": 10.0,
                "device_id": f"dev-{device}",
                "ip": f"192.0.2.{device % 10}",
            }
        )
    return out


def in_force(payments: list[Payment]) -> dict[str, tuple[int, int | None]]:
    """Level and end of every signal that the payments lead to."""
    sharing = Sharing(SharingLimits(), midnights("Asia/Shanghai"))
    found: dict[str, tuple[int, int | None]] = {}
    for one in payments:
        for key in (f"device:{one['device_id']}", f"ip:{one['ip']}"):
            day = (one["ts"] + 8 * HOUR) // DAY
            for raised in sharing.see(Sighting(key, one["account"], one["ts"], day, None)):
                found.pop(raised.key, None)
                if raised.signal is not None:
                    found[raised.key] = raised.signal.level, raised.signal.valid_to
    return found


def written(kafka: Kafka, topic: str) -> dict[str, tuple[int, int | None]]:
    """What the topic says now, as far as it is committed."""
    found: dict[str, tuple[int, int | None]] = {}
    for record in kafka.read(topic):
        key, value = (record.key() or b"").decode(), record.value()
        found.pop(key, None)
        if value is not None:
            signal = orjson.loads(value)
            assert (signal["source"], f"{signal['kind']}:{signal['id']}") == ("sharing", key)
            found[key] = signal["level"], signal["valid_to"]
    return found


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within 90 s"
        time.sleep(0.2)


def test_what_devices_lead_to_is_exact_after_a_kill_and_reaches_decisions(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment = {
        **kafka.topics(partitions=PARTITIONS),
        "STREAM_GUARD_POLICY__DEADLINE_MS": "0",
        "STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "0.3",
    }
    topics = settings_of(environment).topics
    payments = stream()
    half = len(payments) // 2

    def send(some: list[Payment]) -> None:
        kafka.send(topics.transactions, [(one["account"], orjson.dumps(one)) for one in some])

    with worker(environment) as running:
        send(payments[:half])
        # In the middle: some is counted, some is on its way between the topics, some is not read yet.
        until(lambda: running.metric("stream_guard_sightings_total") > 0, "a first sighting is counted")
        running.kill()
    send(payments[half:])
    expected = in_force(payments)
    assert sum(key.startswith("device:") for key in expected) >= 10
    with worker(environment) as running:
        until(
            lambda: written(kafka, topics.risk_signals) == expected, "the signals are those of a plain count"
        )
        assert running.metric("stream_guard_state_devices") == DEVICES + 10
        # And back: a large payment through a shared device is told so, one through another is not.
        (shared, *_), (other, *_) = (
            [one for one in payments if (f"device:{one['device_id']}" in expected) is wanted]
            for wanted in (True, False)
        )
        last = {"ts": payments[-1]["ts"], "counterparty": "X", "amount": 9_000.0, "ip": None}
        again = [{**one, **last, "event_id": f"last-{name}"} for name, one in (("s", shared), ("o", other))]
        until(
            lambda: running.metric("stream_guard_signals", source="sharing") == len(expected), "they are read"
        )
        send(again)
        (decision,) = [orjson.loads(m.value() or b"") for m in kafka.read(topics.decisions, at_least=1)]
        assert decision["event_id"] == "last-s"
        assert "shared-device" in {reason["rule"] for reason in decision["reasons"]}
        assert running.terminate() == 0
    # Nothing was written twice in other words, and nothing is left to be said.
    assert written(kafka, topics.risk_signals) == expected
