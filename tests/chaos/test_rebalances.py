"""Scenario 2: workers come and go under load, slowly sending ones among them, and two under one name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stream_guard.streaming.fatal import EXIT_FENCED
from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.faulty_worker import Point
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

SLOW_S = 0.1
"""Delay of every batch of outputs: agents are then cut in the middle of their work."""


def test_workers_join_and_leave_every_few_seconds(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    with drill(kafka, payments=scale.of(30_000, 100_000)) as run:
        run.start("worker-0", "worker-1")
        run.wait(run.all_open, "all partitions are open")
        with run.flow(1_500):
            for number in range(scale.of(2, 6)):
                slow = number % 2 == 1
                if slow:
                    run.plant("worker-0", Point.SLOW, SLOW_S)
                guest = f"guest-{number}"
                run.fault(f"{guest} joins")
                run.start(guest, ready=run.random.random() < 0.7)
                time.sleep(run.random.uniform(0.5, 3.0))
                leaves = run.random.choice([guest, "worker-1"])
                run.terminate(leaves)
                if leaves != guest:
                    run.start(leaves, ready=False)
                    time.sleep(run.random.uniform(0.5, 3.0))
                    run.terminate(guest)
                if slow:
                    run.clear("worker-0")
        report("2 join and leave", run)
        assert run.ended == []


@pytest.mark.chaos_full
def test_one_worker_becomes_four_and_one_again(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    others = ("worker-1", "worker-2", "worker-3")
    with drill(kafka, payments=scale.of(20_000, 60_000), partitions=8) as run:
        run.start("worker-0")
        with run.flow(1_500):
            for slow in (False, True):
                if slow:
                    run.plant("worker-0", Point.SLOW, SLOW_S)
                run.fault("one becomes four")
                run.start(*others)
                run.wait(run.all_open, "all partitions are open")
                for name in others:
                    run.terminate(name)
                run.clear("worker-0")
                run.wait(run.all_open, "all partitions are open in one")
        report("2 one, four, one", run)
        assert run.ended == []


@pytest.mark.chaos_full
def test_two_workers_under_one_name_raise_an_alarm_and_lose_nothing(
    kafka: Kafka, scale: Scale, drill: Start, report: Report, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with drill(kafka, payments=scale.of(15_000, 30_000)) as run:
        run.start("worker-0", "worker-1")
        run.wait(run.all_open, "all partitions are open")
        with run.flow(500):
            first = run.workers["worker-0"]
            run.fault("a second worker-0")
            twin = run.launch("worker-0", folder=elsewhere)
            try:
                run.wait(lambda: bool(run.ended), "one of the two gives way")
                # The supervisor's worker-0 takes over again, and the twin gives way in its turn.
                assert twin.child.wait(60) == EXIT_FENCED
            finally:
                twin.child.end()
        for log in (first.child.log, twin.child.log):
            assert "another worker runs under the same instance id" in log.read_text()
        assert run.ended == [("worker-0", EXIT_FENCED)]
        again = run.workers["worker-0"]
        run.wait(lambda: again.metric("stream_guard_last_exit", cause="fenced") == 1, "it says why it ended")
        report("2 two under one name", run)
