"""Scenario 2: workers come and go under load, slowly sending ones among them, and two under one name."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.faulty_worker import Point
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

SLOW_S = 0.1
"""Delay of every batch of outputs: agents are then cut in the middle of their work."""


def test_workers_join_and_leave_every_few_seconds(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    with drill(kafka, payments=scale.of(30_000, 150_000)) as run:
        run.start("worker-0", "worker-1")
        run.wait(run.all_open, "all partitions are open")
        with run.flow(1_500):
            for guest in range(scale.of(2, 8)):
                slow = guest % 2 == 1
                if slow:
                    run.plant("worker-0", Point.SLOW, SLOW_S)
                name = f"guest-{guest}"
                run.fault(f"{name} joins")
                run.start(name, ready=run.random.random() < 0.7)
                time.sleep(run.random.uniform(0.5, 3.0))
                leaves = run.random.choice([name, "worker-1"])
                run.terminate(leaves)
                if leaves != name:
                    run.start(leaves, ready=False)
                    time.sleep(run.random.uniform(0.5, 3.0))
                    run.terminate(name)
                if slow:
                    run.clear("worker-0")
        report("2 join and leave", run)
        assert run.ended == []
