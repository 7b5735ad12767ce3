"""Scenario 1: workers killed at random and in the worst moments lose nothing and count nothing twice."""

from __future__ import annotations

import time

import pytest

from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import Drill
from tests.chaos.faulty_worker import Point
from tests.kafka.harness import Kafka

WORKERS = 3
LATEST_S = 2.5
"""Two flushes and a half."""
DEADLY = (Point.SENDING, Point.DELIVERED, Point.TRANSACTION, Point.COMMITTING, Point.DURABLE, Point.RECOVERY)

pytestmark = pytest.mark.chaos


def kill_at_random(run: Drill, victim: str, portion: int) -> None:
    """In the middle of its work: `portion` payments at most flow until then."""
    with run.flow(portion / LATEST_S):
        time.sleep(run.random.uniform(0.2, LATEST_S))
        run.kill(victim)


def kill_at(run: Drill, victim: str, portion: int, point: Point) -> None:
    """When it comes to `point`, with work before it."""
    if point is Point.RECOVERY:
        kill_at_random(run, victim, portion)
        run.plant(victim, point)
        run.start(victim, ready=False)
    else:
        run.plant(victim, point)
        run.send(portion)
    run.dies(victim)


def test_workers_are_killed_again_and_again(kafka: Kafka, scale: Scale, drill: Start, report: Report) -> None:
    payments = scale.of(20_000, 1_000_000)
    with drill(kafka, payments=payments) as run:
        # Over the seeds, the quick run comes to every point too.
        points = DEADLY * 2 if scale.full else run.random.sample(DEADLY, 1)
        deaths: list[Point | None] = [*points, *[None] * scale.of(1, 10)]
        run.random.shuffle(deaths)
        portion = payments // (len(deaths) + 1)
        run.start(*(f"worker-{number}" for number in range(WORKERS)))
        newcomers = WORKERS
        for point in deaths:
            victim = run.random.choice(sorted(run.workers))
            if point is None:
                kill_at_random(run, victim, portion)
            else:
                kill_at(run, victim, portion, point)
            # Every fourth comes back under another name, and its partitions wait for the session to end.
            if run.random.random() < 0.25:
                victim, newcomers = f"worker-{newcomers}", newcomers + 1
            run.start(victim)
            run.wait(run.all_open, "all partitions are open again")
        verdict = report("1 kill -9", run)
        assert run.ended == []
    assert verdict.repeated > 0, "no kill met work that was not durable: the test proved nothing"
