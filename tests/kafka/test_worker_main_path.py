"""The main job on a real Kafka: payments, decisions, warnings, dispositions, figures, and a restart."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import orjson
import pytest
from confluent_kafka import Message

from stream_guard.alerts import Alert, Decision
from stream_guard.detection.features import FEATURES
from stream_guard.detection.hashing import murmur2_partition
from tests.kafka.bank import AUDIT, SHARED, Tail, Wire, payment, settle, wait_until, wires, write
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 3
NOON = 1_763_956_800_000
"""12:00 in Shanghai on Monday, 24 November 2025."""
MINUTE, DAY = 60_000, 86_400_000

STATE_GAUGES = re.compile(
    r"^stream_guard_(warnings(?!_oldest)|state_|dispositions|hits|hit_rate|amount_intercepted|anomaly_(?!score))"
)


class Bank:
    """What the bank, its investigators and the police write, and what they read."""

    def __init__(self, kafka: Kafka, environment: Env) -> None:
        self.kafka = kafka
        self.topics = settings_of(environment).topics
        self.decisions = Tail(kafka, self.topics.decisions)
        self.alerts = Tail(kafka, self.topics.alerts)
        self.signals = Tail(kafka, self.topics.risk_signals)

    def pay(self, *payments: dict[str, Any]) -> None:
        write(self.kafka, wires(self.topics.transactions, payments))

    def update(self, **facts: Any) -> None:
        write(self.kafka, wires(self.topics.account_updates, [{"ts": NOON - DAY, **facts}]))

    def list_account(self, account: str, level: int) -> None:
        value = {"kind": "account", "id": account, "level": level, "source": "police", "reason": "case 1"}
        write(self.kafka, [Wire(self.topics.risk_signals, f"account:{account}", orjson.dumps(value))])

    def dispose(self, number: int, alert: Alert, outcome: str, role: str | None = None) -> None:
        value = {
            "disposition_id": f"d{number}", "warning_id": alert.warning_id, "account": alert.account,
            "outcome": outcome, "role": role, "by": "inv-7", "ts": NOON + 2 * DAY + number,
        }  # fmt: skip
        write(self.kafka, wires(self.topics.dispositions, [value]))

    def decision(self, event_id: str, repeat: bool = False) -> Decision:
        def wanted(record: Message) -> bool:
            value = orjson.loads(record.value())
            return bool(value["event_id"] == event_id and value["repeat"] is repeat)

        record = self.decisions.find(wanted)
        decision = Decision.model_validate_json(record.value())
        assert record.key() == decision.account.encode()
        assert record.partition() == murmur2_partition(record.key(), PARTITIONS)
        assert record.headers() == [("schema", b"1")]
        return decision

    def alert(self, account: str, status: str, number: int = 1) -> Alert:
        """The n-th alert of a status on an account."""

        def of_account(records: list[Message]) -> list[Alert]:
            alerts = [Alert.model_validate_json(r.value()) for r in records if r.key() == account.encode()]
            return [alert for alert in alerts if alert.status == status]

        return of_account(self.alerts.until(lambda records: len(of_account(records)) >= number))[number - 1]

    def signal(self, account: str, withdrawn: bool) -> Message:
        def wanted(record: Message) -> bool:
            return bool(
                record.key() == f"account:{account}".encode() and (record.value() is None) is withdrawn
            )

        return self.signals.find(wanted)


@pytest.fixture
def environment(kafka: Kafka) -> Env:
    return {**kafka.topics(partitions=PARTITIONS), "STREAM_GUARD_BANK__RATES__USD": "7"}


def test_payments_become_decisions_warnings_and_a_hit_rate_that_survive_a_restart(
    kafka: Kafka, environment: Env, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    bank = Bank(kafka, environment)
    with worker({**environment, **AUDIT}, ready=False) as running:
        codes = {running.get("/readyz")[0]}
        while 200 not in codes and running.child.returncode is None:
            codes.add(running.get("/readyz")[0])
            time.sleep(0.05)
        running.wait_ready()
        assert codes <= {0, 503, 200}
        assert running.get("/healthz")[0] == 200
        bank.update(account="E1", holder_birth_year=1950)
        bank.update(account="E2", holder_birth_year=1941)
        bank.update(account="N1", opened=NOON - 5 * DAY)
        bank.update(account="M1", opened=NOON - 1_000 * DAY)
        bank.list_account("P1", 90)
        settle(0, running)
        wait_until(lambda: running.metric("stream_guard_signals", source="police") == 1, "the list is read")
        decide_and_warn(bank)
        settle(8, running)
        dispose(bank, running)
        settle(13, running)
        page = running.get("/metrics")[1]
        before = state_gauges(page)
        check_figures(running, page)
        assert running.terminate() == 0

    # Again, and now as a bank would run it: only interceptions are written, and without features.
    with worker({**environment, **SHARED}) as again:
        assert state_gauges(again.get("/metrics")[1]) == before
        assert again.metric("stream_guard_events_decided_total") == 0
        bank.pay(payment("quiet", NOON + 3 * DAY, "A9", "B9", 20.0))
        bank.pay(payment("stopped", NOON + 3 * DAY, "A9", "P1", 20.0))
        assert bank.decision("stopped").action == "stop"
        assert bank.decision("stopped").features is None
        settle(15, again)
        assert not [r for r in bank.decisions.records if orjson.loads(r.value())["event_id"] == "quiet"]
        assert again.terminate() == 0
    every_alert_once_and_in_order(bank)


def decide_and_warn(bank: Bank) -> None:
    """Eight payments of seven kinds, one of them sent twice."""
    names = {feature.name for feature in FEATURES}
    bank.pay(payment("plain", NOON, "A1", "B1", 25.5, type="transfer", channel="mobile"))
    plain = bank.decision("plain")
    assert (plain.action, plain.expires_at, plain.score, plain.reasons) == ("allow", None, 0.0, [])
    assert (plain.currency, plain.amount, plain.late, plain.repeat) == ("CNY", 25.5, False, False)
    assert plain.anomaly.payer is not None
    assert plain.anomaly.payer.warming_up
    assert plain.pack.startswith("bank-core@")
    assert plain.features is not None
    assert set(plain.features) == names
    assert (plain.features["payer.out_sum_24h"], plain.features["payee.in_count_24h"]) == (25.5, 1.0)

    # A till has no profile: its features are missing, and the leg stays with the payer.
    bank.pay(payment("till", "2025-11-24T12:01:00+08:00", "A1", "EXT_SHOP", 3.0))  # type: ignore[arg-type]
    till = bank.decision("till")
    assert till.ts == NOON + MINUTE
    assert till.anomaly.payee is None
    assert till.features is not None
    assert till.features["payee.in_count_24h"] is None
    assert till.features["payer.out_count_24h"] == 2.0

    bank.pay(payment("elder", NOON + 2 * MINUTE, "E1", "S1", 50_000.0))
    elder = bank.decision("elder")
    assert elder.action == "delay"
    assert elder.expires_at == elder.decided_at + DAY
    (reason,) = elder.reasons
    assert (reason.rule, reason.account, reason.side) == ("elder-stranger-large", "E1", "payer")
    assert reason.evidence["payer.holder_age_y"] == 75.0
    opened = bank.alert("E1", "opened")
    assert (opened.revision, opened.side, opened.severity, opened.amount) == (1, "payer", "low", 50_000.0)
    assert opened.event_ids == ["elder"]
    assert opened.score == pytest.approx(elder.score)

    # Sent again: not counted, answered with the same action and the same id.
    bank.pay(payment("elder", NOON + 2 * MINUTE, "E1", "S1", 50_000.0))
    again = bank.decision("elder", repeat=True)
    assert (again.action, again.decision_id) == ("delay", elder.decision_id)

    bank.pay(payment("dollars", NOON + 3 * MINUTE, "E2", "S2", 10_000.0, currency="USD"))
    dollars = bank.decision("dollars")
    assert (dollars.action, dollars.currency, dollars.amount) == ("delay", "USD", 10_000.0)
    assert dollars.features is not None
    assert dollars.features["txn.amount"] == 70_000.0

    bank.pay(payment("listed", NOON + 4 * MINUTE, "A1", "P1", 100.0))
    listed = bank.decision("listed")
    assert listed.action == "stop"
    assert listed.signals["payee.listed_police"] == 90.0
    assert bank.alert("P1", "opened").severity == "critical"

    bank.pay(payment("new", NOON + 5 * MINUTE, "A2", "N1", 300_000.0))
    assert [reason.rule for reason in bank.decision("new").reasons] == ["new-account-high-turnover"]
    assert bank.alert("N1", "opened").side == "payee"

    # Money that does not stay: the second payment is judged by what the first one brought.
    bank.pay(payment("in", NOON + 6 * MINUTE, "A3", "M1", 60_000.0))
    assert bank.decision("in").action == "allow"
    bank.pay(payment("out", NOON + 36 * MINUTE, "M1", "X1", 58_000.0))
    out = bank.decision("out")
    assert (out.action, [reason.rule for reason in out.reasons]) == ("delay", ["rapid-in-out"])
    assert out.reasons[0].text == "58,000 of 60,000 received in 24 h has left again, now to a new payee"


def dispose(bank: Bank, running: Worker) -> None:
    """A mule, a false positive, a victim, a duplicate, a correction; two payments to the mule in between."""
    mule = bank.alert("M1", "opened")
    bank.dispose(1, mule, "confirmed", "mule")
    closed = bank.alert("M1", "closed")
    assert (closed.warning_id, closed.revision, closed.closed_by) == (mule.warning_id, 2, "disposition")
    assert closed.outcome == "confirmed"
    listing = orjson.loads(bank.signal("M1", withdrawn=False).value())
    assert (listing["kind"], listing["id"], listing["source"]) == ("account", "M1", "disposition")
    wait_until(
        lambda: running.metric("stream_guard_signals", source="disposition") == 1, "the mule is listed"
    )
    bank.pay(payment("to-mule", NOON + 3 * DAY, "A4", "M1", 10.0))
    to_mule = bank.decision("to-mule")
    assert [reason.rule for reason in to_mule.reasons] == ["listed-payee"]
    assert to_mule.action == "hold"
    second = bank.alert("M1", "opened", 2)
    assert second.warning_id != mule.warning_id

    # The first hop knows the listing (of level 90) too: what the mule pays is followed, and what that pays.
    bank.pay(payment("from-mule", NOON + 3 * DAY, "M1", "T1", 20.0))
    from_mule = bank.decision("from-mule")
    assert [reason.rule for reason in from_mule.reasons] == ["listed-payer"]
    bank.pay(payment("passed-on", NOON + 3 * DAY, "T1", "T2", 20.0))
    tainted = [bank.decision(name).features for name in ("from-mule", "passed-on")]
    assert [each and each["txn.taint_hops"] for each in tainted] == [1.0, 2.0]
    assert [each and each["payee.tainted"] for each in tainted] == pytest.approx([18.0, 14.4])

    bank.dispose(2, bank.alert("N1", "opened"), "false_positive")
    bank.alert("N1", "closed")
    bank.dispose(3, bank.alert("E1", "opened"), "confirmed", "victim")
    bank.alert("E1", "closed")
    bank.dispose(3, bank.alert("E1", "opened"), "false_positive")  # the same id: a duplicate
    wait_until(lambda: running.metric("stream_guard_hits", standing="confirmed") == 2, "two are confirmed")
    assert running.metric("stream_guard_hit_rate") == pytest.approx(2 / 3)

    # The correction replaces the outcome, lowers the figures and takes the listing back.
    bank.dispose(4, mule, "false_positive")
    assert bank.alert("M1", "closed", 2).revision == 3
    bank.signal("M1", withdrawn=True)
    wait_until(
        lambda: running.metric("stream_guard_signals", source="disposition") == 0, "the listing is gone"
    )
    bank.pay(payment("to-nobody", NOON + 3 * DAY + MINUTE, "A5", "M1", 11.0))
    to_nobody = bank.decision("to-nobody")
    assert (to_nobody.action, to_nobody.reasons) == ("allow", [])
    bank.pay(payment("last", NOON + 3 * DAY + 2 * MINUTE, "A5", "B1", 12.0))
    assert bank.decision("last").action == "allow"


def check_figures(running: Worker, page: str) -> None:
    """What /metrics says after all that."""

    def figure(name: str, **labels: str) -> float:
        return running.metric(f"stream_guard_{name}", **labels)

    assert figure("hit_rate") == pytest.approx(1 / 3)
    standings = {name: figure("hits", standing=name) for name in ("confirmed", "false_positive", "pending")}
    # Pending: E2, P1 and the second warning of M1.
    assert standings == {"confirmed": 1, "false_positive": 2, "pending": 3}
    assert figure("hits_by_rule", rule="rapid-in-out@1", standing="false_positive") == 1
    assert figure("dispositions", outcome="confirmed") == 2
    assert figure("dispositions", outcome="false_positive") == 2
    assert figure("warnings", event="opened") == 6
    intercepted = {
        part: figure("amount_intercepted", part=part) for part in ("total", "confirmed", "released")
    }
    # The victim is confirmed, N1 and M1 were released; E2 paid 70,000 in base currency, P1 100, M1 got 10 and
    # paid 20.
    assert intercepted == {"total": 478_130.0, "confirmed": 50_000.0, "released": 358_000.0}
    assert figure("amount_intercepted", part="undecided") == 70_130.0
    decided = {name: figure("state_decisions", action=name) for name in ("allow", "delay", "hold", "stop")}
    assert decided == {"allow": 6, "delay": 4, "hold": 2, "stop": 1}
    assert figure("state_events", result="repeated") == 1
    assert figure("events_in_total") == 14
    assert figure("events_decided_total") == 13
    assert figure("events_duplicate_total") == 1
    assert figure("latency_seconds_count") == 14
    assert figure("build_info") == 1
    assert figure("rejoins_total") == 1
    assert figure("dead_letters_total") == 0
    for account in ("E1", "M1", "P1", "EXT_SHOP", "elder", "to-mule"):
        assert f'"{account}"' not in page, "an account or an event is a label"


def every_alert_once_and_in_order(bank: Bank) -> None:
    revisions: dict[str, list[int]] = {}
    for record in bank.kafka.read(bank.topics.alerts):
        alert = Alert.model_validate_json(record.value())
        assert record.key() == alert.account.encode()
        assert record.partition() == murmur2_partition(record.key(), PARTITIONS)
        assert record.headers() == [("schema", b"1")]
        revisions.setdefault(alert.warning_id, []).append(alert.revision)
    assert all(found == list(range(1, len(found) + 1)) for found in revisions.values())


def state_gauges(page: str) -> dict[str, str]:
    """Figures that live in the state, by name and labels."""
    lines = [line.rpartition(" ") for line in page.splitlines() if STATE_GAUGES.match(line)]
    return {name: value for name, _, value in lines}  # as text: a quantile not known yet is NaN
