"""Scenario 3: a worker frozen past its session, and woken when others have long taken over."""

from __future__ import annotations

import time

import orjson
import pytest
from confluent_kafka import ConsumerGroupTopicPartitions

from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import GO_ON_ANEW, Drill, now_ms
from tests.chaos.verifier import READ_S, stale_writes
from tests.kafka.bank import counted
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

FROZEN_S = 14.0
"""Session and lease end after 10 s."""

HANDED_OVER_S = 1.0
"""One piece of a batch may be under way when the process is stopped; all else asks for the lease first."""


def committed(run: Drill) -> dict[tuple[str, int], int]:
    """Offsets of the group by topic and partition."""
    asked = ConsumerGroupTopicPartitions(run.settings.app_id)
    (answer,) = run.kafka.admin.list_consumer_group_offsets([asked]).values()
    return {(place.topic, place.partition): place.offset for place in answer.result(30).topic_partitions}


def freeze_and_wake(run: Drill, zombie: str, portion: int) -> int:
    """Freeze it at work, let others do everything, wake it; returns the millisecond in which it woke."""
    run.send(portion)
    before = counted(run.workers[zombie])
    run.wait(lambda: counted(run.workers[zombie]) > before, "it is at work", poll_s=0.02)
    run.freeze(zombie)
    frozen = run.workers.pop(zombie)
    since = time.monotonic()
    run.send(portion)
    run.settled()
    time.sleep(max(0.0, since + FROZEN_S - time.monotonic()))
    run.workers[zombie] = frozen
    before_waking = committed(run)
    woken = now_ms()
    run.thaw(zombie)
    # It has no work of its own: whatever is decided before the next payment is sent, nobody asked for.
    time.sleep(FROZEN_S / 2)
    run.wait(run.all_open, "all have found their places")
    now = committed(run)
    assert not [place for place, offset in before_waking.items() if now[place] < offset]
    return woken


def test_frozen_workers_do_no_harm_when_they_wake(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    times = scale.of(1, 2)
    payments = scale.of(15_000, 60_000)
    quiet: list[tuple[int, int]] = []
    with drill(kafka, payments=payments) as run:
        run.start("worker-0", "worker-1", "worker-2")
        run.wait(run.all_open, "all partitions are open")
        for _ in range(times):
            zombie = run.random.choice(sorted(run.workers))
            woken = freeze_and_wake(run, zombie, payments // (2 * times + 1))
            quiet.append((woken, now_ms()))
        report("3 frozen and woken", run)
        # Fenced, it may have ended by itself; nothing else may.
        assert {code for _, code in run.ended} <= GO_ON_ANEW
        made = [
            orjson.loads(record.value())["decided_at"]
            for record in kafka.stream(run.settings.topics.decisions, timeout_s=READ_S)
        ]
        for woken, until in quiet:
            assert not [at for at in made if woken + HANDED_OVER_S * 1000 < at < until]
        assert stale_writes(kafka, run.settings) == []
