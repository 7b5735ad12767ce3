"""Scenario 10: SIGTERM at full load ends a worker in time, and its next start repeats nothing."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Report, Scale, Start
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos


def test_sigterm_at_full_load_repeats_nothing(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    times = scale.of(1, 3)
    payments = scale.of(30_000, 100_000)
    with drill(kafka, payments=payments) as run:
        run.start("worker-0")
        for _ in range(times):
            before = run.counted()
            run.send(payments // times)
            run.wait(lambda before=before: run.counted() > before, "it is at work", poll_s=0.02)
            # Code 0 says that it was in time by its own watch, which ends it with another after 9 s.
            run.terminate("worker-0")
            group = run.settings.app_id
            described = kafka.admin.describe_consumer_groups([group])[group].result(30)
            assert described.members == []
            run.start("worker-0")
            assert run.counted() < run.sent, "it had no work left: the test proved nothing"
        verdict = report("10 SIGTERM", run)
        assert run.ended == []
        assert run.workers == {}
    assert verdict.repeated == 0
