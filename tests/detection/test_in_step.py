"""In step: exactly what both hops give with one payment in flight at a time, however batches are cut."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.alerts import Alert, AlertStatus
from stream_guard.detection import pipeline
from stream_guard.detection.batches import Payments, empty_payments, part_of, size
from stream_guard.detection.columns import payments
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.in_step import InStep, Step, side_by_side
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import compile_pack, load_pack
from stream_guard.detection.rules.pack import EXAMPLE
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Action, Reject, SignalSource
from stream_guard.events import parse_transactions
from stream_guard.streaming import legs as frames
from tests.detection.builders import (
    DAY,
    EAGER_ANOMALY,
    HOUR,
    KERNELS,
    NOON,
    POLICY_TEXT,
    Event,
    context,
    event,
    list_account,
    ordinary,
)
from tests.detection.streams import random_stream

PARTITIONS = 3


@cache
def three() -> Context:
    return context(partitions=PARTITIONS, anomaly=EAGER_ANOMALY, audit=False)


@cache
def three_that_know_a_mule() -> Context:
    """What A6 pays is tainted, and what others pay on of it."""
    where = context(partitions=PARTITIONS, anomaly=EAGER_ANOMALY, audit=True)
    list_account(where, "A6", SignalSource.DISPOSITION, 70)
    return where


def columns_of(stream: list[Event], where: Context) -> Payments:
    parsed, _, refused = parse_transactions([json.dumps(one).encode() for one in stream])
    assert refused == []
    n = len(parsed)
    out, unfit = payments(parsed, np.arange(n), np.full(n, -1), None, None, where.bank, NOON + 9999 * DAY)
    assert unfit == []
    return out


class Live:
    """Workers of all partitions, each payment through frames and cases before the next one."""

    def __init__(self, where: Context) -> None:
        self.context = where
        self.states = [PartitionState(where) for _ in range(where.bank.partitions)]
        self.decisions: list[Event] = []
        self.alerts: list[Alert] = []
        self.refused: list[Reject] = []

    def pay(self, one: Payments) -> None:
        home = murmur2_partition(one.payer_ids[0], len(self.states))
        legs, refused = pipeline.payer_leg(one, home, self.states[home])
        self.refused += [rejection.reason for rejection in refused]
        if refused:
            return
        sent = frames.decode([frames.encode(legs, self.context.first_hop_columns)])
        assert sent is not None
        decided = pipeline.payee_leg(sent, self.states[int(one.partition[0])], int(one.ts[0]))
        self.refused += [rejection.reason for rejection in decided.refused]
        self.decisions += [json.loads(value) for _, value in decided.decisions]
        alerts = list(decided.alerts)
        for finding in decided.cases:
            alerts += pipeline.apply_case(finding, self.states[home])
        self.alerts += [alert for alert in alerts if alert.status is not AlertStatus.CLOSED]


def live(batch: Payments, where: Context) -> Live:
    out = Live(where)
    for i in range(size(batch)):
        out.pay(part_of(batch, i, i + 1))
    return out


def in_step(batch: Payments, where: Context, cuts: list[int]) -> list[Step]:
    bank = InStep(where)
    edges = sorted({0, size(batch), *(cut for cut in cuts if cut < size(batch))})
    return [bank.run(part_of(batch, a, b)) for a, b in pairwise(edges)]


def timeless(message: Event) -> Event:
    return {name: value for name, value in message.items() if name not in ("decided_at", "expires_at")}


def decisions(steps: list[Step]) -> list[Event]:
    return [
        timeless(json.loads(said.decision[1]))
        for step in steps
        for said in step.said
        if said.decision is not None
    ]


def alerts(steps: list[Step]) -> list[Alert]:
    return [alert for step in steps for said in step.said for alert in said.alerts]


def busy_stream(seed: int) -> list[Event]:
    """Everything awkward about time, and money that comes and goes, so that rules fire on both sides."""
    stream = random_stream(seed, 360, accounts=7, step=2 * HOUR)
    for number in range(0, 200, 20):
        ts = stream[number]["ts"]
        stream[number] = event(
            f"in-{number}", ts, account="A1", counterparty=f"A{number % 7}", amount=80_000.0
        )
        stream[number + 2] = event(
            f"out-{number}", ts + 60_000, account=f"A{number % 7}", counterparty="A5", amount=78_000.0
        )
        stream[number + 4] = dict(stream[number + 2])
    return stream


@pytest.mark.parametrize("seed", range(3))
def test_in_step_is_live_with_one_payment_in_flight_at_a_time(seed: int) -> None:
    batch = columns_of(busy_stream(seed), three())
    expected = live(batch, three())
    steps = in_step(batch, three(), [50, 51, 120])
    assert decisions(steps) == [timeless(message) for message in expected.decisions]
    assert alerts(steps) == expected.alerts
    counted: dict[Reject, int] = {}
    for step in steps:
        for reason, count in step.refused.items():
            counted[reason] = counted.get(reason, 0) + count
    assert counted == {reason: expected.refused.count(reason) for reason in set(expected.refused)}
    # The stream must have been worth the comparison.
    actions = {message["action"] for message in expected.decisions}
    assert {"allow", "delay"} <= actions
    assert expected.alerts
    assert any(message["repeat"] and message["action"] != "allow" for message in expected.decisions)
    assert any(reason["rule"] == "anomaly" for message in expected.decisions for reason in message["reasons"])


def test_tainted_money_is_the_same_in_step_and_live_however_batches_are_cut() -> None:
    where = three_that_know_a_mule()
    batch = columns_of(busy_stream(4), where)
    expected = [timeless(message) for message in live(batch, where).decisions]
    for cuts in ([], [50, 51, 120, 300]):
        assert decisions(in_step(batch, where, cuts)) == expected
    hops = {message.get("features", {}).get("txn.taint_hops") for message in expected} - {None}
    assert {1, 2} < hops
    assert max(hops) > 2
    tainted = [
        reason["text"]
        for message in expected
        for reason in message["reasons"]
        if reason["rule"].startswith("tainted-funds")
    ]
    assert any(text.count(" > ") == 3 for text in tainted)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 219), max_size=12))
def test_no_score_and_no_warning_depends_on_batch_boundaries(cuts: list[int]) -> None:
    batch = columns_of(busy_stream(7), three())
    whole, parts = in_step(batch, three(), []), in_step(batch, three(), cuts)
    assert decisions(parts) == decisions(whole)
    assert alerts(parts) == alerts(whole)
    for name in ("decided", "action", "payer_rows", "payee_rows"):
        joined = np.concatenate([getattr(step, name) for step in parts])
        assert np.array_equal(joined, getattr(whole[0], name)), name
    for name in ("score", "payer_score", "payee_score", "anomaly"):
        joined = np.concatenate([getattr(step.verdicts, name) for step in parts])
        assert np.array_equal(joined, getattr(whole[0].verdicts, name), equal_nan=True), name
    fired = np.concatenate([step.results.fired for step in parts])
    assert np.array_equal(fired, whole[0].results.fired)


def test_a_payment_sees_every_earlier_one_at_both_of_its_accounts() -> None:
    # M is paid and pays on within one batch: counting all payers first would miss what came in.
    stream = [
        event("in", NOON, account="S", counterparty="M", amount=80_000.0),
        event("out", NOON + HOUR, account="M", counterparty="X", amount=78_000.0),
    ]
    (step,) = in_step(columns_of(stream, three()), three(), [])
    assert step.action.tolist() == [Action.ALLOW, Action.DELAY]
    assert [alert.account for alert in alerts([step])] == ["M"]


def test_a_payment_sent_again_in_the_same_batch_is_answered_with_the_stored_action() -> None:
    out = event("out", NOON + HOUR, account="M", counterparty="X", amount=78_000.0)
    stream = [event("in", NOON, account="S", counterparty="M", amount=80_000.0), out, out]
    (step,) = in_step(columns_of(stream, three()), three(), [])
    assert step.decided.tolist() == [True, True, False]
    assert step.action.tolist() == [Action.ALLOW, Action.DELAY, Action.DELAY]
    assert step.verdicts.score[2] == 0


def test_one_anomaly_model_a_partition() -> None:
    bank = InStep(three())
    stream = ordinary(60)
    batch = columns_of(stream, three())
    bank.run(batch)
    learned = [state.detectors.payer.detector.learned for state in bank.states]
    expected: list[Any] = [int((batch.partition == p).sum()) for p in range(PARTITIONS)]
    assert learned == expected
    assert min(learned) > 0


def test_features_that_no_leg_carries_are_not_seen() -> None:
    lean, all_of_it = three(), context(partitions=PARTITIONS, anomaly=EAGER_ANOMALY, audit=True)
    assert len(lean.first_hop_columns) < len(all_of_it.first_hop_columns)
    batch = columns_of(busy_stream(3), lean)
    without = [
        {name: value for name, value in message.items() if name != "features"}
        for message in decisions(in_step(batch, all_of_it, []))
    ]
    assert decisions(in_step(batch, lean, [])) == without


def test_forgotten_warnings_are_opened_anew() -> None:
    bank = InStep(three())
    stream = busy_stream(1)
    first = bank.run(columns_of(stream, three()))
    opened = {alert.account for alert in alerts([first]) if alert.status is AlertStatus.OPENED}
    bank.forget_warnings()
    later = [{**one, "event_id": f"later-{i}", "ts": one["ts"] + DAY} for i, one in enumerate(stream)]
    second = bank.run(columns_of(later, three()))
    again = {alert.account for alert in alerts([second]) if alert.status is AlertStatus.OPENED}
    assert opened & again


def test_an_empty_batch_does_nothing() -> None:
    step = InStep(three()).run(empty_payments())
    assert (len(step.decided), step.said) == (0, [])


def test_without_answers_everything_else_is_the_same() -> None:
    batch = columns_of(busy_stream(2), three())
    spoken, silent = InStep(three()).run(batch), InStep(three()).run(batch, answer=False)
    assert alerts([silent]) == alerts([spoken])
    assert decisions([silent]) == []
    assert np.array_equal(silent.action, spoken.action)


def test_banks_side_by_side_decide_as_each_would_alone() -> None:
    batch = columns_of(busy_stream(4), three())
    strict = load_policy(POLICY_TEXT, "policy.yaml", deadline_ms=0, warn_at=20.0)
    # Fewer rules see fewer features, and learn from payments that the others interrupt.
    few = load_pack(EXAMPLE, "example.yaml")
    others = [three(), replace(three(), policy=strict, pack=compile_pack(few, KERNELS))]
    banks = [InStep(others[0])]
    banks.append(InStep(others[1], beside=banks[0]))
    edges = [0, 70, 71, size(batch)]
    together = [side_by_side(banks, part_of(batch, a, b)) for a, b in pairwise(edges)]
    for number, where in enumerate(others):
        alone = in_step(batch, where, [70, 71])
        for mine, step in zip(alone, (steps[number] for steps in together), strict=True):
            decided = mine.decided
            assert np.array_equal(decided, step.decided)
            assert np.array_equal(mine.action[decided], step.action[decided])
            assert np.array_equal(mine.results.fired[decided], step.results.fired[decided])
            for own, beside in zip(mine.verdicts, step.verdicts, strict=True):
                assert np.array_equal(own[decided], beside[decided], equal_nan=True)
            told = [
                (alert.warning_id, alert.status, alert.score) for said in mine.said for alert in said.alerts
            ]
            assert told == [
                (alert.warning_id, alert.status, alert.score) for said in step.said for alert in said.alerts
            ]
    assert any(said.alerts for steps in together for said in steps[1].said)
