"""Every alert, seen firing on a real Prometheus by injecting its cause; docker/RUNBOOK.md has the table.

The tests of this file go through one story in order, on the same workers. Rules run 60 times faster; the two
alerts that compare with last week are in test_backfilled.py.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import aiokafka
import orjson
import pytest

from stream_guard.streaming.fatal import EXIT_FENCED
from tests.kafka.bank import payment, wait_until
from tests.kafka.broker import Broker
from tests.kafka.harness import ROOT, Kafka
from tests.ops.stage import Stage, open_stage

HOUR = 3_600_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    anomaly = folder / "anomaly.yaml"
    shipped = (ROOT / "models" / "anomaly.yaml").read_text(encoding="utf-8")
    anomaly.write_text(shipped.replace("warm_up: 1000", "warm_up: 100000"), encoding="utf-8")
    settings = {
        "models__anomaly": str(anomaly),
        "policy__interception_budget": "1000",
        "policy__hit_rate_floor": "0.5",
    }
    # A broker of its own, because it is frozen.
    with Broker() as broker, open_stage(Kafka(broker.bootstrap, broker), folder, **settings) as running:
        running.start("worker-0")
        yield running


def test_in_health_nothing_fires(stage: Stage) -> None:
    for _ in range(6):
        stage.pay(20)
        time.sleep(1)
    assert stage.prometheus.firing() == {}
    assert stage.prometheus.failed_rules() == []


def test_payments_that_are_old_when_they_come_are_beyond_the_deadline(stage: Stage) -> None:
    stage.quiet("LatencyBeyondDeadline")
    stage.rings("LatencyBeyondDeadline", meanwhile=lambda: stage.pay(20, age_s=3))


def test_twelve_thousand_payments_do_not_warm_a_model_that_wants_more(stage: Stage) -> None:
    stage.quiet("AnomalyStuckInWarmUp")
    stage.pay(12_000)
    stage.rings("AnomalyStuckInWarmUp")


def test_records_that_nobody_can_read(stage: Stage) -> None:
    wait_until(lambda: not stage.prometheus.firing().keys() - {"AnomalyStuckInWarmUp"}, "all is well again")
    stage.rings(
        "NoDecisions",
        "PoisonSource",
        "DeadLettersRising",
        meanwhile=lambda: stage.write([b"{"] * 10, ["A1"] * 10),
    )


def test_payments_to_listed_accounts_cost_the_budget_and_their_warnings_wait(stage: Stage) -> None:
    stage.quiet("InterceptionBudgetExceeded", "WarningsPendingTooLong", "HitRateBelowFloor")
    topics = stage.topics
    accounts = [f"P{number}" for number in range(40)]
    signals = [
        (f"account:{one}", orjson.dumps({"kind": "account", "id": one, "level": 90, "source": "police"}))
        for one in accounts
    ]
    stage.kafka.send(topics.risk_signals, signals)
    wait_until(
        lambda: stage.workers["worker-0"].metric("stream_guard_signals", source="police") == 40,
        "40 are listed",
    )
    now = stage.now
    stage.write(
        [orjson.dumps(payment(f"p-{one}", now, "A1", one, 100.0)) for one in accounts],
        ["A1"] * len(accounts),
    )
    stage.rings("InterceptionBudgetExceeded")
    wanted = len(accounts)
    alerts = [orjson.loads(record.value()) for record in stage.kafka.read(topics.alerts, at_least=wanted)]
    opened = {alert["account"]: alert["warning_id"] for alert in alerts if alert["account"] in accounts}
    outcomes = [
        {
            "disposition_id": f"d-{account}",
            "warning_id": opened[account],
            "account": account,
            "outcome": "false_positive",
            "by": "desk",
            "ts": now,
        }
        for account in accounts[:35]
    ]
    stage.kafka.send(topics.dispositions, [(one["account"], orjson.dumps(one)) for one in outcomes])
    # Two hours pass at the bank: its clock stands at the newest payment.
    stage.behind_ms -= 2 * HOUR
    stage.pay(20)
    stage.rings("HitRateBelowFloor", "WarningsPendingTooLong")


def test_a_second_worker_with_another_pack_and_little_memory(stage: Stage, tmp_path: Path) -> None:
    stage.quiet("PacksDiffer", "MemoryNearBound")
    other = tmp_path / "other.yaml"
    shipped = (ROOT / "models" / "bank-core.yaml").read_text(encoding="utf-8")
    other.write_text(shipped.replace("version: 2026.11.1", "version: 2026.11.2"), encoding="utf-8")
    assert other.read_text(encoding="utf-8") != shipped
    stage.start("worker-1", models__pack=str(other), state__memory_mb="10")
    stage.rings("PacksDiffer", "MemoryNearBound")


def test_a_worker_that_is_killed_leaves_partitions_to_nobody(stage: Stage) -> None:
    stage.quiet("WorkerDown", "PartitionsUnassigned")
    stage.workers["worker-1"].kill()
    stage.rings("PartitionsUnassigned", "WorkerDown", timeout_s=30)


def test_a_worker_that_starts_again_and_again(stage: Stage) -> None:
    stage.quiet("WorkerRestarting")
    address = f"127.0.0.1:{stage.workers['worker-1'].port}"
    seen = f'changes(stream_guard_start_time_seconds{{instance="{address}"}}[30m])'
    for restart in range(1, 4):
        worker = stage.start("worker-1")
        wait_until(
            lambda restart=restart: any(  # type: ignore[misc]
                sample.value >= restart for sample in stage.prometheus.query(seen)
            ),
            "Prometheus has seen the restart",
        )
        worker.kill()
    stage.rings("WorkerRestarting")


def owns_all(stage: Stage) -> bool:
    """Whether the first worker has both partitions."""
    return stage.workers["worker-0"].metric("stream_guard_partitions_owned") == 2


def test_a_worker_whose_partition_somebody_else_opens(stage: Stage) -> None:
    stage.quiet("WorkerFenced")
    wait_until(lambda: owns_all(stage), "the worker that is left owns everything")
    worker = stage.workers["worker-0"]
    app_id = stage.environment["STREAM_GUARD_APP_ID"]

    async def open_as_another() -> None:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=stage.kafka.bootstrap, transactional_id=f"{app_id}-0"
        )
        await producer.start()
        await producer.stop()

    asyncio.run(open_as_another())
    deadline = time.monotonic() + 60
    while worker.child.returncode is None and time.monotonic() < deadline:
        stage.pay(20)
        time.sleep(0.2)
    assert worker.child.wait(5) == EXIT_FENCED
    stage.start("worker-0")
    stage.rings("WorkerFenced")


def test_a_broker_that_stands_still_while_payments_wait(stage: Stage) -> None:
    """Shorter than the 40 seconds after which a worker gives a request up, and itself."""
    broker = stage.kafka.broker
    assert broker is not None
    wait_until(lambda: owns_all(stage), "the worker is back", 300)
    stage.quiet("CommitsStalled", "BacklogBeyondDeadline")
    worker = stage.workers["worker-0"]
    worker.child.send(signal.SIGSTOP)
    try:
        stage.pay(15_000, padding="." * 4_000)  # more than it fetches at once
    finally:
        worker.child.send(signal.SIGCONT)
    wait_until(
        lambda: worker.metric("stream_guard_lag", role="transactions") > 0, "payments wait", poll_s=0.01
    )
    broker.freeze()
    try:
        stage.rings("BacklogBeyondDeadline", "NoDecisions", "CommitsStalled", timeout_s=39)
    finally:
        broker.thaw()


def test_everybody_heard_what_was_meant_for_them(stage: Stage) -> None:
    audiences = {"ops", "ops-pager", "fraud-desk", "fraud-desk-now"}
    assert set(stage.inbox.received) == audiences
    assert "MemoryNearBound" in stage.inbox.received["ops"]
    assert {"PacksDiffer", "WorkerFenced"} <= stage.inbox.received["ops-pager"]
    assert stage.inbox.received["fraud-desk-now"] == {"InterceptionBudgetExceeded"}
