"""What decides, made of the shipped models, and one partition to send payments through."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from stream_guard.detection import pipeline
from stream_guard.detection.anomaly import AnomalySettings, load_anomaly
from stream_guard.detection.bank import Bank
from stream_guard.detection.batches import Legs, Payments
from stream_guard.detection.columns import payments
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.pipeline import Decided
from stream_guard.detection.policy import load_policy
from stream_guard.detection.rules import CompiledPack, check_file, compile_pack
from stream_guard.detection.signals import Signal
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import SignalKind, SignalSource
from stream_guard.events import parse_transactions

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "models"
KERNELS = ROOT / ".cache" / "rules"

Event = dict[str, Any]

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOON = 1_763_956_800_000
"""12:00 in Shanghai on Monday, 24 November 2025."""
NOW = NOON + 365 * DAY

POLICY_TEXT = (MODELS / "policy.yaml").read_text(encoding="utf-8")
SHIPPED_ANOMALY = load_anomaly((MODELS / "anomaly.yaml").read_text(encoding="utf-8"), "anomaly.yaml")
EAGER_ANOMALY = load_anomaly(
    """
    version: 1
    trees: 5
    height: 4
    window: 20
    warm_up: 40
    quantile: 0.9
    payer:
      - {feature: txn.amount, transform: log, high: 1_000_000}
      - {feature: payer.out_sum_24h, transform: log, high: 1_000_000}
    payee:
      - {feature: txn.amount, transform: log, high: 1_000_000}
      - {feature: payee.in_sum_24h, transform: log, high: 1_000_000}
    """,
    "eager.yaml",
)
"""Learns enough for a reason within 40 payments."""


@cache
def pack() -> CompiledPack:
    """The shipped one, but for the rule that every account of a test is too new for."""
    shipped = check_file(MODELS / "bank-core.yaml")
    rules = tuple(rule for rule in shipped.rules if rule.id != "new-account-passes-on")
    return compile_pack(replace(shipped, rules=rules), KERNELS)


def context(
    *,
    partitions: int = 1,
    emit_all: bool = True,
    audit: bool = False,
    anomaly: AnomalySettings = SHIPPED_ANOMALY,
    policy_text: str = POLICY_TEXT,
    deadline_ms: int = 0,
    **policy: Any,
) -> Context:
    """What decides; the deadline is off unless a test is about it."""
    return Context(
        bank=Bank(partitions=partitions),
        pack=pack(),
        policy=load_policy(policy_text, "policy.yaml", deadline_ms=deadline_ms, **policy),
        anomaly=anomaly,
        emit_all=emit_all,
        audit=audit,
    )


def event(number: int | str, ts: int = NOON, **fields: Any) -> Event:
    """A payment of 100 from A1 to A2, unless `fields` say otherwise."""
    return {
        "event_id": f"e{number}",
        "ts": ts,
        "account": "A1",
        "counterparty": "A2",
        "amount": 100.0,
        **fields,
    }


def list_account(
    where: Context, account: str, source: SignalSource = SignalSource.POLICE, level: int = 90
) -> None:
    """Put an account on a list for good."""
    signal = Signal(SignalKind.ACCOUNT, account, level, source, 0, None)
    where.signals.put(f"account:{account}", signal)


class Bench:
    """One partition that holds every account; payments go through both hops.

    Offsets count up, the record's timestamp is `produced` or the event time.
    """

    def __init__(self, where: Context | None = None) -> None:
        self.context = where or context()
        self.state = PartitionState(self.context)
        self.offset = 0

    def columns(self, *events: Event, produced: int | None = None) -> Payments:
        parsed, _, refused = parse_transactions([json.dumps(one).encode() for one in events])
        assert refused == []
        offsets = np.arange(self.offset, self.offset + len(events))
        self.offset += len(events)
        times = np.array([one["ts"] if produced is None else produced for one in parsed])
        out, refused = payments(parsed, offsets, times, None, None, self.context.bank, NOW)
        assert refused == []
        return out

    def first(self, *events: Event, produced: int | None = None) -> Legs:
        """Legs of events that the first hop does not refuse."""
        legs, refused = pipeline.payer_leg(self.columns(*events, produced=produced), 0, self.state)
        assert refused == []
        return legs

    def decide(self, *events: Event, produced: int | None = None, now_ms: int = NOW) -> Decided:
        """Both hops of one batch; the cases stay where they are."""
        return pipeline.payee_leg(self.first(*events, produced=produced), self.state, now_ms)

    def settle(self, decided: Decided) -> list[Any]:
        """Bring the cases of a batch to the payers' rows; returns the alerts about payers."""
        return [alert for finding in decided.cases for alert in pipeline.apply_case(finding, self.state)]

    def pay(self, *events: Event, produced: int | None = None, now_ms: int = NOW) -> list[Event]:
        """Decisions of payments, one in flight at a time, cases applied."""
        out = []
        for one in events:
            decided = self.decide(one, produced=produced, now_ms=now_ms)
            self.settle(decided)
            out += messages(decided)
        return out


def messages(decided: Decided) -> list[Event]:
    """The decision messages of a batch."""
    return [json.loads(value) for _, value in decided.decisions]


def key_on(partition: int, partitions: int, prefix: str = "A") -> str:
    """An account id that Kafka's partitioner puts on a partition."""
    return next(
        name
        for name in (f"{prefix}{number}" for number in range(1000))
        if murmur2_partition(name.encode(), partitions) == partition
    )


def passed_on(bench: Bench, number: int = 1, mule: str = "M") -> Event:
    """80,000 arrive at a mule; the payment that passes 78,000 on, which `rapid-in-out` delays."""
    bench.pay(event(f"{number}-in", account=f"S{number}", counterparty=mule, amount=80_000.0))
    return event(f"{number}-out", NOON + HOUR, account=mule, counterparty=f"X{number}", amount=78_000.0)


def only(bench: Bench, one: Event, **how: Any) -> Event:
    """The one decision on one payment."""
    (message,) = bench.pay(one, **how)
    return message


def ordinary(count: int) -> list[Event]:
    """Small payments of changing size among ten payers and seven payees, a minute apart."""
    return [
        event(
            f"o{i}",
            NOON + i * MINUTE,
            account=f"P{i % 10}",
            counterparty=f"Q{i % 7}",
            amount=10.0 + i * 37 % 90,
        )
        for i in range(count)
    ]
