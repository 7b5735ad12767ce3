"""Live and backtest agree: what a worker decides on a real Kafka is what the backtest says it would.

One payment is in flight at a time: each is sent when the decision on the one before has arrived.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from stream_guard.cli import main
from stream_guard.detection.features import DAY, HOUR
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.local_time import midnights
from stream_guard.detection.sharing import Sharing, SharingLimits, Sighting
from stream_guard.events.messages import epoch_ms
from stream_guard.history import History, account_updates
from stream_guard.simulation import write_history
from tests.kafka.harness import ROOT, Env, Kafka, Worker, settings_of

PAYMENTS = 5_200
PARTITIONS = 4
END_MS = 1_763_956_800_000
"""12:00 in Shanghai on 24 November 2025."""
COMPARED = ("decision_id", "event_id", "account", "action", "score", "reasons", "anomaly", "repeat", "pack")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The end of a simulated bank's history, with typologies and payments sent twice; accounts; settings."""
    folder = tmp_path_factory.mktemp("parity")
    whole, accounts = folder / "whole.parquet", folder / "accounts.csv.gz"
    write_history(
        whole, accounts, seed=7, end_ms=END_MS, days=200, accounts=250, zone=ZoneInfo("Asia/Shanghai")
    )
    table = pq.read_table(whole)
    table = table.slice(table.num_rows - PAYMENTS)
    # Sent again at once, the same content: answered with the stored action.
    fraud = [i for i, label in enumerate(table["is_fraud"].to_pylist()) if label]
    table = table.take(pa.array(sorted([*range(PAYMENTS), *range(0, PAYMENTS, 100), *fraud])))
    history = folder / "history.parquet"
    pq.write_table(table, history)
    anomaly = folder / "anomaly.yaml"
    shipped = (ROOT / "models" / "anomaly.yaml").read_text(encoding="utf-8")
    # Early enough for reasons within the test, on each of the partitions.
    eager = shipped.replace("warm_up: 1000", "warm_up: 300").replace("quantile: 0.995", "quantile: 0.98")
    assert eager != shipped
    anomaly.write_text(eager, encoding="utf-8")
    return history, accounts, anomaly


def wait_for(figure: Callable[[], float], least: float) -> None:
    """Wait until a figure has grown to `least`."""
    deadline = time.monotonic() + 60
    while figure() < least:
        assert time.monotonic() < deadline, f"{figure()} of {least} after 60 s"
        time.sleep(0.02)


@contextmanager
def latest_decisions(kafka: Kafka, topic: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Reads decisions as they come."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": kafka.prefix("parity"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def next_one() -> dict[str, Any]:
        message = consumer.poll(30.0)
        if message is None:
            raise TimeoutError("no decision within 30 s of its payment")
        if message.error() is not None:
            raise KafkaException(message.error())
        decision: dict[str, Any] = orjson.loads(message.value())
        return decision

    try:
        yield next_one
    finally:
        consumer.close()


class Sharers:
    """What payments lead to about shared devices and addresses: how many risk signals are written."""

    def __init__(self, updates: list[dict[str, Any]]) -> None:
        self._opened = {one["account"]: epoch_ms(one["opened"]) for one in updates if "opened" in one}
        self._sharing = [Sharing(SharingLimits(), midnights("Asia/Shanghai")) for _ in range(PARTITIONS)]
        self.written = 0

    @staticmethod
    def _day(ts: int) -> int:
        return (ts + 8 * HOUR) // DAY

    def see(self, row: dict[str, Any]) -> bool:
        """Whether the payment makes or changes a signal."""
        if row.get("payer_kind") not in (None, "account"):
            return False
        before = self.written
        account, ts = row["account"], row["ts"]
        opened = self._opened.get(account, ts + 1)
        for kind, field in (("device", "device_id"), ("ip", "ip")):
            if row.get(field):
                known = self._day(opened) if opened <= ts else None
                sighting = Sighting(f"{kind}:{row[field]}", account, ts, self._day(ts), known)
                owner = self._sharing[murmur2_partition(sighting.key.encode(), PARTITIONS)]
                self.written += len(owner.see(sighting))
        return self.written > before


def decide_live(
    kafka: Kafka, environment: Env, running: Worker, history: Path, accounts: Path
) -> list[dict[str, Any]]:
    """Send the facts, then payment by payment; the decisions in order."""
    topics = settings_of(environment).topics
    source = History(history)
    first = source.first_ts()
    assert first is not None
    updates = list(account_updates(accounts, first))
    kafka.send(topics.account_updates, [(one["account"], orjson.dumps(one)) for one in updates])
    wait_for(lambda: running.metric("stream_guard_state_rows"), len(updates))
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "log_level": 0,
        }
    )
    out = []
    sharers = Sharers(updates)
    with latest_decisions(kafka, topics.decisions) as next_one:
        for batch in source.batches():
            for row in batch.rows:
                producer.produce(topics.transactions, orjson.dumps(row), row["account"])
                producer.poll(0)
                decision = next_one()
                assert decision["event_id"] == row["event_id"]
                out.append(decision)
                if sharers.see(row):
                    # In flight until what it led to has gone round.
                    wait_for(lambda: running.metric("stream_guard_signal_records_total"), sharers.written)
    producer.flush(10)
    assert running.metric("stream_guard_signal_records_total") == sharers.written > 20
    return out


def decide_again(
    environment: Env, history: Path, accounts: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """The decisions of ``backtest --partitions 4`` under the same settings."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = folder / "decisions.parquet"
    line = ["backtest", str(history), "--accounts", str(accounts), "--partitions", str(PARTITIONS)]
    assert main([*line, "--decisions", str(file), "--json", str(folder / "figures.json")]) == 0
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    for row in rows:
        for name in ("reasons", "anomaly"):
            row[name] = json.loads(row[name])
    return rows


def test_live_and_backtest_decide_the_same(
    kafka: Kafka,
    worker: Callable[..., AbstractContextManager[Worker]],
    files: tuple[Path, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    history, accounts, anomaly = files
    environment = {
        **kafka.topics(partitions=PARTITIONS),
        "STREAM_GUARD_DECISIONS__EMIT": "all",
        "STREAM_GUARD_POLICY__DEADLINE_MS": "0",
        "STREAM_GUARD_MODELS__ANOMALY": str(anomaly),
        # Nothing is gained by gathering a single payment.
        "STREAM_GUARD_CONSUMER__GATHER_MS": "0",
        # What is learned of shared devices goes round by two flushes.
        "STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "0.25",
    }
    with worker(environment) as running:
        live = decide_live(kafka, environment, running, history, accounts)
    again = decide_again(environment, history, accounts, tmp_path, monkeypatch)
    assert len(live) == len(again) >= 5_000
    for one, other in zip(live, again, strict=True):
        for name in COMPARED:
            assert one[name] == other[name], (one["event_id"], name)
    # It must have been worth the comparison.
    rules = {reason["rule"] for one in live for reason in one["reasons"]}
    assert len(rules) >= 8
    assert {"anomaly", "shared-device", "frequent-opening", "frequent-opening-payee"} <= rules
    assert {"allow", "confirm", "delay"} <= {one["action"] for one in live}
    assert sum(one["repeat"] for one in live) == len(live) - PAYMENTS
    assert any(one["repeat"] and one["action"] != "allow" for one in live)
