"""The everyday procedures of docker/RUNBOOK.md that no other test tries, step by step."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from tests.kafka.harness import Env, Kafka, Worker, settings_of

StartWorker = Callable[..., AbstractContextManager[Worker]]

WITHIN_S = 60.0


def payments(start: int, count: int) -> list[tuple[str, bytes]]:
    now = int(time.time() * 1000)
    return [
        (
            f"p{number % 31}",
            json.dumps(
                {
                    "event_id": f"e{number}",
                    "ts": now,
                    "account": f"p{number % 31}",
                    "counterparty": f"q{number % 29}",
                    "amount": 10.0,
                }
            ).encode(),
        )
        for number in range(start, start + count)
    ]


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def counted(*workers: Worker) -> float:
    return sum(worker.metric("stream_guard_state_events", result="counted") for worker in workers)


def test_drain_upgrade_and_move_without_losing_or_counting_twice(
    kafka: Kafka, topics: Env, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {**topics, "STREAM_GUARD_DECISIONS__EMIT": "all", "STREAM_GUARD_POLICY__DEADLINE_MS": "0"}
    settings = settings_of(environment)
    transactions = settings.topics.transactions
    with worker(environment, instance="worker-0") as first:
        with worker(environment, instance="worker-1") as second:
            kafka.send(transactions, payments(0, 200))
            wait(lambda: counted(first, second) == 200)
            # Drain one: its partitions go to the others, and it ends.
            assert second.terminate() == 0
        kafka.send(transactions, payments(200, 200))
        wait(lambda: counted(first) == 400)
        # Upgrade without loss: one after the other, each back before the next one goes.
        with worker(environment, instance="worker-1") as upgraded:
            assert first.terminate() == 0
            kafka.send(transactions, payments(400, 200))
            with worker(environment, instance="worker-0") as also:
                wait(lambda: counted(upgraded, also) == 600)
                assert [upgraded.terminate(), also.terminate()] == [0, 0]

    # Move what we write to another topic: stop, name it, make it, start.
    moved = {**environment, "STREAM_GUARD_TOPICS__DECISIONS": f"{settings.topics.decisions}-new"}
    for name, value in moved.items():
        monkeypatch.setenv(name, value)
    assert main(["topics", "create"]) == 0
    with worker(moved, instance="worker-0") as back:
        kafka.send(transactions, payments(600, 100))
        wait(lambda: counted(back) == 700)
        assert back.terminate() == 0
    old = [json.loads(record.value())["event_id"] for record in kafka.read(settings.topics.decisions)]
    new = [
        json.loads(record.value())["event_id"]
        for record in kafka.read(moved["STREAM_GUARD_TOPICS__DECISIONS"])
    ]
    assert set(old) == {f"e{number}" for number in range(600)}
    assert sorted(new) == [f"e{number}" for number in range(600, 700)]

    # Payments cannot be moved under the same application id: their offsets tell legs apart.
    elsewhere = {**moved, "STREAM_GUARD_TOPICS__TRANSACTIONS": f"{transactions}-new"}
    monkeypatch.setenv("STREAM_GUARD_TOPICS__TRANSACTIONS", elsewhere["STREAM_GUARD_TOPICS__TRANSACTIONS"])
    assert main(["topics", "create", "--partitions", "2"]) == 0
    with worker(elsewhere, instance="worker-0", ready=False) as refused:
        assert refused.child.wait(WITHIN_S * 3) == Exit.REFUSED
        assert "was built from another topic" in refused.child.tail()
