"""A worker frozen past its session, and woken: others have taken over, and all go on in peace."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.kafka import histories, outside
from tests.kafka.bank import AUDIT, counted, settle, wait_until
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 6
PAYMENTS = 12_000
FROZEN_S = 12.0
"""Session and lease end after 10 s."""

pytestmark = pytest.mark.chaos


def rejoins(*workers: Worker) -> float:
    return sum(running.metric("stream_guard_rejoins_total") for running in workers)


def test_a_worker_frozen_past_its_session_and_woken_does_no_harm(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **AUDIT}
    topics = settings_of(environment).topics
    history = histories.made_up(23, PAYMENTS, busy_payments=100)
    kafka.send(topics.account_updates, histories.updates(history))
    kafka.send(topics.risk_signals, histories.signals(history))
    third = PAYMENTS // 3
    with (
        worker(environment, instance="worker-0", ready=False) as frozen,
        worker(environment, instance="worker-1", ready=False) as one,
        worker(environment, instance="worker-2", ready=False) as other,
    ):
        everybody = (frozen, one, other)
        for running in everybody:
            running.wait_ready()
        kafka.send(topics.transactions, histories.messages(history.payments[:third]))
        wait_until(lambda: counted(frozen) > third // 10, "it is at work", poll_s=0.02)
        frozen.child.send(signal.SIGSTOP)
        time.sleep(FROZEN_S / 2)
        kafka.send(topics.transactions, histories.messages(history.payments[third : 2 * third]))
        time.sleep(FROZEN_S / 2)
        wait_until(lambda: counted(one, other) == 2 * third, "the others do it all")
        frozen.child.send(signal.SIGCONT)
        kafka.send(topics.transactions, histories.messages(history.payments[2 * third :]))
        settle(PAYMENTS, *everybody)
        # It may have ended by itself, fenced; it must not fight for the partitions.
        probes = histories.probes(history)
        kafka.send(topics.transactions, histories.messages(probes))
        settle(PAYMENTS + len(probes), *everybody)
        before = rejoins(*everybody)
        time.sleep(7)  # two heartbeats
        assert rejoins(*everybody) == before
        assert one.terminate() == 0
        assert other.terminate() == 0

    decided = outside.decisions(kafka.read(topics.decisions, timeout_s=120))
    probed = decided["event_id"].str.startswith("probe-")
    first, last = outside.check_decided(history.payments, decided[~probed])
    outside.check_payers(history.payments, first, history.busy)
    outside.check_payees(history.payments, last, PARTITIONS, history.busy)
    outside.check_totals(history.payments, decided[probed], history.busy)
    outside.check_alerts(outside.alerts(kafka.read(topics.alerts)), last)
    assert kafka.read(topics.dead_letters) == []
