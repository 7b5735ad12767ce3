"""Two workers share the partitions; when one goes, the other takes over, and nothing is lost on the way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.kafka import histories, outside
from tests.kafka.bank import AUDIT, counted, settle, wait_until
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 4
PAYMENTS = 16_000
STOPS_WITHIN_S = 10.0


def partitions_of(running: Worker) -> set[str]:
    """Partitions that a worker has open."""
    return set(re.findall(r'stream_guard_state_rows\{partition="(\d+)"\}', running.get("/metrics")[1]))


def test_one_of_two_workers_is_terminated_and_the_other_takes_over(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **AUDIT}
    topics = settings_of(environment).topics
    history = histories.made_up(11, PAYMENTS, busy_payments=200)
    half = PAYMENTS // 2
    everything = {str(number) for number in range(PARTITIONS)}
    kafka.send(topics.account_updates, histories.updates(history))
    kafka.send(topics.risk_signals, histories.signals(history))
    with (
        worker(environment, instance="worker-0", ready=False) as one,
        worker(environment, instance="worker-1", ready=False) as other,
    ):
        one.wait_ready()
        other.wait_ready()
        wait_until(lambda: bool(partitions_of(one)) and bool(partitions_of(other)), "both have partitions")
        wait_until(lambda: partitions_of(one) | partitions_of(other) == everything, "all are open")
        assert not partitions_of(one) & partitions_of(other)
        # Half of the history, a payment before the other, while one of the two goes in the middle of it.
        kafka.send(topics.transactions, histories.messages(history.payments[:half]))
        wait_until(lambda: counted(one, other) > half // 4, "both are at work")
        began = time.monotonic()
        assert one.terminate() == 0
        assert time.monotonic() - began < STOPS_WITHIN_S
        wait_until(lambda: partitions_of(other) == everything, "the other one takes over")
        kafka.send(topics.transactions, histories.messages(history.payments[half:]))
        settle(PAYMENTS, other)
        # And back: a new member gets its share again while there is work.
        with worker(environment, instance="worker-0", ready=False) as one:
            probes = histories.probes(history)
            wait_until(lambda: bool(partitions_of(one)), "the new one has partitions")
            kafka.send(topics.transactions, histories.messages(probes))
            settle(PAYMENTS + len(probes), one, other)
            assert partitions_of(one) | partitions_of(other) == everything
            assert one.terminate() == 0
        assert other.child.returncode is None
        assert other.terminate() == 0

    decided = outside.decisions(kafka.read(topics.decisions, timeout_s=120))
    probed = decided["event_id"].str.startswith("probe-")
    first, last = outside.check_decided(history.payments, decided[~probed])
    outside.check_payers(history.payments, first, history.busy)
    outside.check_payees(history.payments, last, PARTITIONS, history.busy)
    outside.check_totals(history.payments, decided[probed], history.busy)
    outside.check_alerts(outside.alerts(kafka.read(topics.alerts)), last)
    assert kafka.read(topics.dead_letters) == []
