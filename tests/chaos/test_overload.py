"""Scenario 7: ten times more than a worker can take; it gets late, says so, and catches up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import Drill
from tests.chaos.verifier import READ_S
from tests.kafka.harness import Kafka, Worker
from tests.kafka.processes import in_background

pytestmark = pytest.mark.chaos

DEADLINE_MS = 2_000
TIMES_TOO_MUCH = 10
MEMORY_MB = 1_000
"""The README's bound for a worker with few accounts, whatever waits for it in the log."""

COMMITS_WITHIN_S = 30.0
"""What /healthz takes for a stall. With a tenth of a core a commit may well take longer than the lease."""

ON_S, OFF_S = 0.02, 0.18
"""The worker has a tenth of a core: so that ten times its rate is a rate that can be sent."""


def test_a_worker_with_ten_times_too_much_is_late_says_so_and_catches_up(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    policy = {
        "STREAM_GUARD_POLICY__DEADLINE_MS": str(DEADLINE_MS),
        "STREAM_GUARD_POLICY__ON_LATE": "confirm",
        "STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "1",
    }
    with drill(kafka, payments=scale.of(40_000, 400_000), partitions=4, environment=policy) as run:
        run.start("worker-0")
        worker = run.workers["worker-0"]
        with starved(worker):
            rate = sustained(run, scale.of(2_000, 10_000))
            ages: list[float] = []
            with run.flow(TIMES_TOO_MUCH * rate):
                until = time.monotonic() + scale.of(8, 60)
                while time.monotonic() < until:
                    ages.append(worker.metric("stream_guard_commit_age_seconds"))
                    time.sleep(0.5)
        run.faults += 1
        run.send(run.left)  # a slow machine did not get to it
        run.settled()
        late = worker.metric("stream_guard_decisions_late_total")
        peak = peak_mb(worker)
        verdict = report("7 overload", run)
        assert run.ended == []
        assert max(ages) < COMMITS_WITHIN_S
        assert peak < MEMORY_MB
        assert verdict.standstill_s > 0
        assert late == check_lateness(kafka, run)


@contextmanager
def starved(worker: Worker) -> Iterator[None]:
    """Let a process run for a tenth of the time."""

    def pulse(stop: threading.Event) -> None:
        while not stop.wait(ON_S):
            worker.child.send(signal.SIGSTOP)
            time.sleep(OFF_S)
            worker.child.send(signal.SIGCONT)

    with in_background(pulse):
        yield


def sustained(run: Drill, payments: int) -> float:
    """Payments/s that are decided when more than that wait."""
    run.send(payments)
    run.wait(lambda: run.counted() > 0, "it has begun", poll_s=0.05)
    before, since = run.counted(), time.monotonic()
    run.wait(lambda: run.counted() >= payments, "these are counted", poll_s=0.05)
    return (payments - before) / (time.monotonic() - since)


def peak_mb(worker: Worker) -> float:
    """Most memory that a process has held, MB."""
    status = Path(f"/proc/{worker.child.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def check_lateness(kafka: Kafka, run: Drill) -> int:
    """Hold each decision to its own lateness, and late ones to what they may ask for.

    Returns
    -------
    int
        Late ones, without the probes.
    """
    produced = dict(zip(run.history.payments["event_id"], run.produced_ms, strict=True))
    late = 0
    for record in kafka.stream(run.settings.topics.decisions, timeout_s=READ_S):
        decision = orjson.loads(record.value())
        if decision["event_id"] not in produced:
            continue
        took = decision["decided_at"] - produced[decision["event_id"]]
        assert decision["late"] == (took > DEADLINE_MS), (took, decision)
        assert not decision["late"] or decision["action"] in ("allow", "confirm"), decision
        late += decision["late"]
    assert late > 0
    return late
