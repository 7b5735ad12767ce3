from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import orjson
import pytest
from confluent_kafka import Producer

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.events import Disposition, parse_disposition
from tests.kafka.harness import ROOT, Env, Kafka, settings_of


def alert(warning_id: str, account: str, revision: int = 1, **changed: Any) -> dict[str, Any]:
    reason = {
        "rule": "rapid-in-out",
        "version": 3,
        "account": account,
        "side": "payer",
        "score": 61.0,
        "text": "95,000 of 100,000 received in 24 h has left again",
        "evidence": {},
    }
    return {
        "warning_id": warning_id,
        "revision": revision,
        "account": account,
        "side": "payer",
        "status": "opened" if revision == 1 else "updated",
        "severity": "low",
        "score": 61.0,
        "reasons": [reason],
        "event_ids": ["e1"],
        "amount": 95_000.0,
        "opened_at": 1_704_067_200_000,
        "updated_at": 1_704_067_200_000,
        "closed_by": None,
        "outcome": None,
        "pack": "bank-core@1",
        **changed,
    }


@pytest.fixture
def environment(topics: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    for name, value in topics.items():
        monkeypatch.setenv(name, value)
    return topics


def put(kafka: Kafka, environment: Env, *alerts: dict[str, Any]) -> None:
    topic = settings_of(environment).topics.alerts
    kafka.send(topic, [(one["account"], orjson.dumps(one)) for one in alerts])


def put_in_transaction(kafka: Kafka, environment: Env, one: dict[str, Any], *, commit: bool) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": kafka.prefix("tx")})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings_of(environment).topics.alerts, orjson.dumps(one), one["account"])
    producer.flush(10)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def dispositions(kafka: Kafka, environment: Env, at_least: int) -> list[Any]:
    return kafka.read(settings_of(environment).topics.dispositions, at_least=at_least)


def test_tail_shows_alerts_with_their_reasons_in_words(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1"), alert("w2", "A2", severity="critical", score=96.0))
    assert main(["alerts", "tail", "--from-beginning", "--limit", "2"]) == 0
    text = capsys.readouterr().out
    # 2024-01-01T00:00Z in the bank's time zone.
    assert "2024-01-01 08:00:00 opened  low  score 61  account A1  warning w1 revision 1" in text
    assert "critical  score 96  account A2" in text
    assert "    rapid-in-out@3 61: 95,000 of 100,000 received in 24 h has left again" in text


def test_tail_writes_one_json_document_a_line_as_it_is_on_the_topic(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1"), alert("w1", "A1", 2))
    assert main(["alerts", "tail", "--from-beginning", "--no-follow", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [alert("w1", "A1"), alert("w1", "A1", 2)]


def test_tail_shows_committed_alerts_only(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put_in_transaction(kafka, environment, alert("aborted", "A1"), commit=False)
    put_in_transaction(kafka, environment, alert("committed", "A1"), commit=True)
    assert main(["alerts", "tail", "--no-follow", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["warning_id"] for line in lines] == ["committed"]


def test_tail_waits_for_new_alerts_and_leaves_out_old_ones(kafka: Kafka, environment: Env) -> None:
    put(kafka, environment, alert("old", "A1"))
    command = [sys.executable, "-m", "stream_guard", "alerts", "tail", "--json", "--limit", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    # It says nothing when it is ready, so new ones come until one is seen.
    number = 0
    while process.poll() is None and number < 200:
        put(kafka, environment, alert(f"new-{number}", "A1"))
        number += 1
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert json.loads(out)["warning_id"].startswith("new-")


def test_tail_escapes_what_could_deceive_a_terminal(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1\x1b[2J\u202e"))
    assert main(["alerts", "tail", "--no-follow"]) == 0
    text = capsys.readouterr().out
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert "A1\\x1b[2J\\u202e" in text


def test_tail_skips_what_is_no_alert_and_says_so(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    kafka.send(settings_of(environment).topics.alerts, [("A1", b"{"), ("A1", None), ("A1", b"[]")])
    put(kafka, environment, alert("w1", "A1"))
    assert main(["alerts", "tail", "--no-follow", "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("it is no alert") == 3
    assert json.loads(captured.out)["warning_id"] == "w1"


def test_dispose_finds_the_account_and_writes_a_disposition_of_the_contract(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1"), alert("w2", "A2"))
    arguments = [
        "alerts",
        "dispose",
        "w2",
        "confirmed",
        "--by",
        "inv-7",
        "--role",
        "mule",
        "--note",
        "rang back",
    ]
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (record,) = dispositions(kafka, environment, 1)
    assert record.key() == b"A2"
    assert record.partition() == murmur2_partition(b"A2", 2)
    parsed = parse_disposition(record.value(), record.key())
    assert isinstance(parsed, Disposition)
    assert (parsed.warning_id, parsed.outcome, parsed.role, parsed.by) == ("w2", "confirmed", "mule", "inv-7")
    assert parsed.note == "rang back"
    assert answer["disposition_id"] == parsed.disposition_id
    assert answer["corrects"] is None


def test_every_dispose_has_an_id_of_its_own(kafka: Kafka, environment: Env) -> None:
    put(kafka, environment, alert("w1", "A1"))
    for _ in range(2):
        assert main(["alerts", "dispose", "w1", "inconclusive", "--by", "me"]) == 0
    first, second = (orjson.loads(record.value()) for record in dispositions(kafka, environment, 2))
    assert first["disposition_id"] != second["disposition_id"]
    assert first["ts"] <= second["ts"]


def test_a_closed_warning_may_be_corrected(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = alert("w1", "A1", 2, status="closed", outcome="false_positive", closed_by="disposition")
    put(kafka, environment, alert("w1", "A1"), closed)
    assert main(["alerts", "dispose", "w1", "confirmed", "--by", "me", "--role", "victim"]) == 0
    assert "Warning w1 on A1: confirmed, which corrects false_positive." in capsys.readouterr().out


def test_an_unknown_warning_writes_nothing(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1"))
    assert main(["alerts", "dispose", "w", "inconclusive", "--by", "me"]) == Exit.FAILED
    assert "names the warning 'w': copy its id" in capsys.readouterr().err
    assert dispositions(kafka, environment, 0) == []


def test_a_warning_seen_only_in_an_aborted_transaction_is_unknown(kafka: Kafka, environment: Env) -> None:
    put_in_transaction(kafka, environment, alert("w1", "A1"), commit=False)
    assert main(["alerts", "dispose", "w1", "inconclusive", "--by", "me"]) == Exit.FAILED


def test_a_name_out_of_bounds_is_refused_and_nothing_written(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    put(kafka, environment, alert("w1", "A1"))
    assert main(["alerts", "dispose", "w1", "inconclusive", "--by", "x" * 65]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("--by: ")
    assert dispositions(kafka, environment, 0) == []


def test_missing_topics_end_with_4(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in kafka.environment().items():
        monkeypatch.setenv(name, value)
    assert main(["alerts", "tail"]) == Exit.REFUSED
    assert "does not exist: run 'stream-guard topics create'" in capsys.readouterr().err
