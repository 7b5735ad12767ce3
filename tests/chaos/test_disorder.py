"""Scenario 6: what is sent twice, late and in the wrong order counts once, in the windows of its own time."""

from __future__ import annotations

import orjson
import pandas as pd
import pytest

from stream_guard.detection.hashing import murmur2_partitions
from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import Drill, now_ms
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

SENT_AGAIN = 0.05
BATCH = 60
"""Payments of one partition that change places with the next ones: half a day of the history."""


def test_what_comes_twice_or_in_the_wrong_order_counts_once_in_its_own_time(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    # The history itself has 3 % of the payments up to two hours late.
    with drill(kafka, payments=scale.of(8_000, 100_000), partitions=3) as run:
        swap_batches(run, times=scale.of(5, 50))
        run.start("worker-0", "worker-1")
        while run.left:
            run.send(1_000)
            send_some_again(run)
        verdict = report("6 twice and in disorder", run)
        assert verdict.answered_again == run.faults - scale.of(5, 50)
        actions: dict[str, set[str]] = {}
        for record in kafka.stream(run.settings.topics.decisions):
            decision = orjson.loads(record.value())
            if decision["event_id"] in run.resent:
                actions.setdefault(decision["event_id"], set()).add(decision["action"])
    assert {event for event, answers in actions.items() if len(answers) > 1} == set()
    assert run.ended == []


def swap_batches(run: Drill, times: int) -> None:
    """Let two batches of a partition that follow each other be sent the wrong way round."""
    payments = run.history.payments
    home = murmur2_partitions([account.encode() for account in payments["account"]], run.partitions)
    order = payments.index.to_numpy().copy()
    for _ in range(times):
        (places,) = (home == run.random.randrange(run.partitions)).nonzero()
        start = run.random.randrange(len(places) - 2 * BATCH)
        chosen = places[start : start + 2 * BATCH]
        order[chosen] = [*order[chosen[BATCH:]], *order[chosen[:BATCH]]]
        run.faults += 1
    run.history = run.history._replace(payments=payments.loc[order].reset_index(drop=True))


def send_some_again(run: Drill) -> None:
    """Send payments once more that are still among their account's last 64."""
    sent: pd.DataFrame = run.history.payments[: run.sent].tail(3_000)
    quiet = sent[~sent["account"].isin(run.history.busy) & ~sent["event_id"].isin(run.resent)]
    again = quiet.sample(n=int(1_000 * SENT_AGAIN), random_state=run.random.randrange(1 << 30))
    for payment in again.to_dict("records"):
        run.write(payment["account"], orjson.dumps(payment), now_ms())
    run.resent.update(again["event_id"])
    run.faults += len(again)
