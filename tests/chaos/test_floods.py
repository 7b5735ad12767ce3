"""Scenario 8: one key for everything, a key for each payment, a payee for each payment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from tests.chaos.conftest import Scale, Start
from tests.chaos.drill import Drill, now_ms
from tests.chaos.histories import START
from tests.kafka.bank import payment
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

RING = 64
"""Payments of an account whose parties are remembered one by one."""

OF_THE_HISTORY = 600
"""These scenarios send their own payments; a drill wants a history all the same."""


def test_a_flood_on_one_account_is_counted_payment_by_payment(
    kafka: Kafka, drill: Start, scale: Scale
) -> None:
    payments = scale.of(10_000, 100_000)
    with drill(kafka, payments=OF_THE_HISTORY, partitions=3) as run:
        flood(
            run,
            payments,
            lambda n: payment(f"f{n}", START + n * 100, "FLOOD", f"P{n % 50}", float(1 + n % 7)),
        )
        features = by_number(run)
    assert [values["payer.out_count"] for values in features] == list(range(payments))
    total = sum(1 + n % 7 for n in range(payments - 1))
    assert features[-1]["payer.out_mean"] == pytest.approx(total / (payments - 1))


def test_an_account_with_thousands_of_counterparties_is_counted_payment_by_payment(
    kafka: Kafka, drill: Start, scale: Scale
) -> None:
    payments = scale.of(2_000, 10_000)
    with drill(kafka, payments=OF_THE_HISTORY, partitions=3) as run:
        flood(run, payments, lambda n: payment(f"c{n}", START + n * 100, "HUB", f"C{n}", 10.0))
        features = by_number(run)
    assert [values["payer.out_count"] for values in features] == list(range(payments))
    assert {values["payee.in_count"] for values in features} == {0}
    # A floor: what the ring can tell apart, and exact as long as it reaches.
    distinct = [values["payer.out_distinct_24h"] for values in features]
    assert distinct[:RING] == list(range(1, RING + 1))
    assert min(distinct[RING:]) >= RING
    assert all(found <= number for number, found in enumerate(distinct, 1))


def test_many_accounts_touched_once_are_as_many_rows(kafka: Kafka, drill: Start, scale: Scale) -> None:
    payments = scale.of(50_000, 1_000_000)
    plain = {"STREAM_GUARD_DECISIONS__FEATURES": "false"}
    with drill(kafka, payments=OF_THE_HISTORY, partitions=3, environment=plain) as run:
        rows = flood(run, payments, lambda n: payment(f"o{n}", START + n, f"O{n}", "EXT_SHOP", 10.0))
        decided = [
            orjson.loads(record.value())["event_id"]
            for record in kafka.stream(run.settings.topics.decisions, timeout_s=600)
        ]
    assert rows >= payments
    assert len(set(decided)) == len(decided) == payments


def flood(run: Drill, payments: int, of: Callable[[int], dict[str, Any]]) -> float:
    """Send the payments `of(0)`, `of(1)` ... to one worker and end it; returns the rows it had."""
    run.start("worker-0")
    for number in range(payments):
        event = of(number)
        run.write(event["account"], orjson.dumps(event), now_ms())
    run.sent = payments
    run.settled()
    rows = run.workers["worker-0"].metric("stream_guard_state_rows")
    run.terminate("worker-0")
    assert run.ended == []
    return rows


def by_number(run: Drill) -> list[dict[str, float]]:
    """Features of the decisions in the order of the numbers in their event ids, which are all there."""
    decisions = [
        orjson.loads(record.value())
        for record in run.kafka.stream(run.settings.topics.decisions, timeout_s=600)
    ]
    decisions.sort(key=lambda decision: int(decision["event_id"][1:]))
    assert [int(decision["event_id"][1:]) for decision in decisions] == list(range(run.sent))
    return [decision["features"] for decision in decisions]
