from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.events import parse_transactions
from tests.kafka.harness import ROOT, Env, Kafka, settings_of

START = 1_704_067_200_000


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """3,000 payments of 40 accounts over 50 minutes, with labels and a balance now and then."""
    n = 3_000
    table = {
        "event_id": [f"e{i}" for i in range(n)],
        "ts": pa.array([START + i * 1000 for i in range(n)], pa.timestamp("ms", "UTC")),
        "account": [f"A{i * 7 % 40}" for i in range(n)],
        "counterparty": [f"A{i * 11 % 40 + 1}" for i in range(n)],
        "amount": [1.0 + i for i in range(n)],
        "payer_balance_before": [float(i) if i % 3 else None for i in range(n)],
        "is_fraud": [0] * n,
        "fraud_scenario": [""] * n,
    }
    path = tmp_path / "history.parquet"
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def environment(topics: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    for name, value in topics.items():
        monkeypatch.setenv(name, value)
    return topics


def test_a_history_arrives_whole_keyed_and_in_order_within_an_account(
    kafka: Kafka, environment: Env, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(history), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["sent"], summary["accounts"]) == (3_000, 0)
    records = kafka.read(settings_of(environment).topics.transactions, at_least=3_000)
    assert len(records) == 3_000
    order: dict[bytes, list[int]] = defaultdict(list)
    for record in records:
        event = orjson.loads(record.value())
        assert record.key().decode() == event["account"]
        assert record.partition() == murmur2_partition(record.key(), 2)
        order[record.key()].append(event["ts"])
    assert all(times == sorted(times) for times in order.values())


def test_what_arrives_is_what_the_contract_says_without_labels(
    kafka: Kafka, environment: Env, history: Path
) -> None:
    assert main(["replay", str(history), "--limit", "100"]) == 0
    values = [r.value() for r in kafka.read(settings_of(environment).topics.transactions, at_least=100)]
    events, _, refused = parse_transactions(values)
    assert len(events) == 100
    assert refused == []
    names = {name for value in values for name in orjson.loads(value)}
    assert names == {"event_id", "ts", "account", "counterparty", "amount", "payer_balance_before"}
    assert b"null" not in b"".join(values)


def test_record_timestamps_are_of_now_because_latency_counts_from_them(
    kafka: Kafka, environment: Env, history: Path
) -> None:
    before = time.time() * 1000
    assert main(["replay", str(history), "--limit", "10"]) == 0
    for record in kafka.read(settings_of(environment).topics.transactions, at_least=10):
        assert before - 1000 <= record.timestamp()[1] <= time.time() * 1000 + 1000


def test_account_facts_are_written_before_the_first_payment(
    kafka: Kafka, environment: Env, history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("account,fraud_account,role,age\nA1,1,mule,31\nA2,0,normal,\nA3,0,normal,70\n")
    arguments = ["replay", str(history), "--accounts", str(accounts), "--limit", "5", "--json"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["accounts"] == 2
    settings = settings_of(environment)
    updates = kafka.read(settings.topics.account_updates, at_least=2)
    first = min(r.timestamp()[1] for r in kafka.read(settings.topics.transactions, at_least=5))
    assert max(update.timestamp()[1] for update in updates) <= first
    facts = {update.key(): orjson.loads(update.value()) for update in updates}
    assert facts[b"A1"] == {"account": "A1", "ts": START - 1, "holder_birth_year": 2024 - 31}
    assert set(facts) == {b"A1", b"A3"}


def test_a_rate_is_kept(environment: Env, history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(history), "--limit", "400", "--rate", "400", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] >= 0.99


def test_a_speed_is_kept(environment: Env, history: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 599 seconds of history at 600 times.
    assert main(["replay", str(history), "--limit", "600", "--speed", "600", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] >= 0.99


def test_ctrl_c_writes_what_was_sent_and_says_how_far_it_got(
    kafka: Kafka, environment: Env, history: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "stream_guard", "replay", str(history), "--rate", "20", "--json"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    topic = settings_of(environment).topics.transactions
    kafka.read(topic, at_least=20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    sent = json.loads(out)["sent"]
    assert f"Interrupted after {sent:,} of 3,000 payments; all of those are written." in err
    assert len(kafka.read(topic)) == sent


def test_missing_topics_are_said_before_anything_is_sent(
    kafka: Kafka, history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in kafka.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["replay", str(history)]) == Exit.BROKER
    assert "run 'stream-guard topics create'" in capsys.readouterr().err


def test_progress_goes_to_standard_error_and_the_summary_to_standard_output(
    environment: Env, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(history)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Sent 3,000 payments in ")
    assert "not sent are is_fraud, fraud_scenario" in captured.err
