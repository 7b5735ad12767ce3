"""A worker killed again and again in the middle of a replay loses nothing and counts nothing twice."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests.kafka import histories, outside
from tests.kafka.bank import AUDIT, counted, settle, wait_until
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 4
PAYMENTS = 60_000

pytestmark = pytest.mark.chaos


def kill(running: Worker, flushes: int | None, delay_s: float) -> int:
    """Kill it `delay_s` after so many flushes of partitions, or after its start where that is None.

    Returns how many payments its state held when it was loaded.
    """
    before = 0
    if flushes is not None:
        running.wait_ready()
        before = counted(running)
        flushed = lambda: running.metric("stream_guard_flush_seconds_count") >= flushes  # noqa: E731
        wait_until(flushed, f"{flushes} partitions are flushed", poll_s=0.02)
    time.sleep(delay_s)
    assert running.child.returncode is None, running.child.tail()
    running.kill()
    return before


def test_every_payment_is_decided_none_is_missed_none_counted_twice(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **AUDIT}
    topics = settings_of(environment).topics
    source = random.Random(20_261_124)
    history = histories.made_up(7, PAYMENTS)
    kafka.send(topics.account_updates, histories.updates(history))
    kafka.send(topics.risk_signals, histories.signals(history))
    # At random, but for the second life, which ends before it flushes, and the fourth, while it is starting.
    lives = ((6, 0.5), (0, 0.8), (9, 0.5), (None, 5.0), (3, 0.5))
    moments = [(flushes, source.uniform(0.0, longest)) for flushes, longest in lives]
    # A portion for each life of the worker, and what the one before left over.
    portion = PAYMENTS // (len(moments) + 1)
    restored = []
    for number, (flushes, delay_s) in enumerate(moments):
        part = history.payments[number * portion : (number + 1) * portion]
        kafka.send(topics.transactions, histories.messages(part))
        with worker(environment, ready=False) as running:
            restored.append(kill(running, flushes, delay_s))
    kafka.send(topics.transactions, histories.messages(history.payments[len(moments) * portion :]))
    with worker(environment) as running:
        settle(PAYMENTS, running)
        skipped = int(running.metric("stream_guard_leg_repeats_total"))
        probes = histories.probes(history)
        kafka.send(topics.transactions, histories.messages(probes))
        settle(PAYMENTS + len(probes), running)
        intercepted = running.metric("stream_guard_amount_intercepted", part="total")
        assert running.metric("stream_guard_state_events", result="repeated") == 0
        assert running.terminate() == 0

    decided = outside.decisions(kafka.read(topics.decisions, timeout_s=120))
    probed = decided["event_id"].str.startswith("probe-")
    first, last = outside.check_decided(history.payments, decided[~probed])
    repeats = int((~probed).sum()) - PAYMENTS
    assert repeats + skipped > 0, "no kill met work that was not durable: the test proved nothing"
    assert max(restored) > 0, "no kill met a state that held something: the test proved nothing"
    outside.check_payers(history.payments, first, history.busy)
    outside.check_payees(history.payments, last, PARTITIONS, history.busy)
    outside.check_totals(history.payments, decided[probed], history.busy)
    outside.check_alerts(outside.alerts(kafka.read(topics.alerts)), last)
    held = decided.groupby("event_id").tail(1).query("action in ('delay', 'hold', 'stop')")
    assert intercepted == pytest.approx(held["amount"].sum())
    assert kafka.read(topics.dead_letters) == []
