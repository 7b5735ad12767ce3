"""`stream-guard doctor` on a real cluster: in health, and in each of the states it is there to find."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_guard.cli import main
from stream_guard.detection.hashing import murmur2_partition
from tests.kafka.broker import free_port
from tests.kafka.harness import Env, Kafka, Worker, settings_of

Examine = Callable[..., tuple[int, dict[str, list[tuple[str, str]]]]]


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Examine:
    """Exit code, and verdict and message of every finding by check."""

    def run(environment: Env, *arguments: str) -> tuple[int, dict[str, list[tuple[str, str]]]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = main(["doctor", "--json", "--listen", "0.2", *arguments])
        answer = json.loads(capsys.readouterr().out)
        assert answer["ok"] is (code == 0)
        found: dict[str, list[tuple[str, str]]] = {}
        for finding in answer["findings"]:
            found.setdefault(finding["check"], []).append((finding["verdict"], finding["message"]))
        return code, found

    return run


def errors(found: dict[str, list[tuple[str, str]]]) -> dict[str, str]:
    """First error of each check that has one."""
    return {
        check: message
        for check, lines in found.items()
        for verdict, message in reversed(lines)
        if verdict == "error"
    }


def payment(number: int) -> tuple[str, bytes]:
    account = f"payer-{number}"
    body: dict[str, Any] = {
        "event_id": f"e-{number}",
        "ts": int(time.time() * 1000),
        "account": account,
        "counterparty": "payee",
        "amount": 10.0,
    }
    return account, json.dumps(body).encode()


def test_a_running_worker_is_well_until_its_pack_differs_or_what_it_needs_is_deleted(
    kafka: Kafka,
    topics: Env,
    worker: Callable[..., AbstractContextManager[Worker]],
    examine: Examine,
    tmp_path: Path,
) -> None:
    settings = settings_of(topics)
    with worker(topics) as running:
        kafka.send(settings.topics.transactions, [payment(number) for number in range(20)])
        url = f"http://127.0.0.1:{running.port}"
        deadline = time.monotonic() + 30
        while running.metric("stream_guard_events_decided_total") < 20 and time.monotonic() < deadline:
            time.sleep(0.1)
        code, found = examine(topics, "--url", url)
        assert code == 0, errors(found)
        checks = ("models", "topics", "partitioner", "clock", "group", "lag", "transactions", "worker")
        assert [check for check in checks if found[check][0][0] != "ok"] == []
        assert found["partitioner"][0][1].endswith("murmur2, the newest 20 records")
        assert found["group"] == [("ok", "stable, partitions by worker: worker-0 2")]
        assert found["broker"][0] == ("ok", f"{kafka.bootstrap} 4.3")

        code, found = examine(topics, "--url", url, "--url", f"http://127.0.0.1:{free_port()}")
        assert code == 1
        assert "does not answer" in errors(found)["worker"]

        pack = tmp_path / "pack.yaml"
        text = settings.models.pack.read_text(encoding="utf-8")
        pack.write_text(text.replace("state: shadow", "state: off", 1), encoding="utf-8")
        code, found = examine({**topics, "STREAM_GUARD_MODELS__PACK": str(pack)}, "--url", url)
        assert code == 1
        assert "decide differently" in errors(found)["worker"]
        running.terminate()

    kafka.send(settings.topics.transactions, [payment(number) for number in range(40)])
    for number in range(2):
        kafka.delete_before(settings.topics.transactions, number, 20)
    code, found = examine(topics)
    assert code == 1
    assert "records were deleted before they were read" in errors(found)["lag"]


def test_payments_without_a_worker_wait_and_are_an_error(
    kafka: Kafka, topics: Env, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.send(settings_of(topics).topics.transactions, [payment(1)])
    monkeypatch.setattr("stream_guard.doctor.group.WAITING_S", 0.0)
    code, found = examine(topics)
    assert code == 1
    assert "1 records wait" in errors(found)["lag"]
    assert found["group"][0][0] == "warning"


def test_librdkafkas_own_partitioner_is_found_and_named(kafka: Kafka, topics: Env, examine: Examine) -> None:
    topic = settings_of(topics).topics.transactions
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(40):
        producer.produce(topic, b"{}", f"a{number}".encode())
    assert producer.flush(30) == 0
    code, found = examine(topics)
    assert code == 1
    assert "set partitioner=murmur2_random there" in errors(found)["partitioner"]


def test_records_without_a_key_are_found(kafka: Kafka, topics: Env, examine: Examine) -> None:
    kafka.send(settings_of(topics).topics.dispositions, [(None, b"{}")])
    code, found = examine(topics)
    assert code == 1
    assert "have no key" in errors(found)["partitioner"]


def test_a_producers_fast_clock_is_found(kafka: Kafka, topics: Env, examine: Examine) -> None:
    topic = settings_of(topics).topics.transactions
    key = b"payer"
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    soon = int((time.time() + 120) * 1000)
    producer.produce(topic, b"{}", key, murmur2_partition(key, 2), timestamp=soon)
    assert producer.flush(30) == 0
    code, found = examine(topics)
    assert code == 1
    assert "ahead of this machine's clock" in errors(found)["clock"]


def test_missing_topics_end_the_look_at_the_cluster(kafka: Kafka, examine: Examine) -> None:
    code, found = examine(kafka.environment())
    assert code == 1
    assert "run 'stream-guard topics create'" in errors(found)["topics"]
    assert "group" not in found


def test_a_compacted_topic_that_is_not_is_an_error(kafka: Kafka, topics: Env, examine: Examine) -> None:
    kafka.configure(settings_of(topics).topics.state, cleanup_policy="delete")
    code, found = examine(topics)
    assert code == 1
    assert "set cleanup.policy=compact" in errors(found)["topics"]


def test_no_broker_and_a_broken_pack_are_told_together(
    kafka: Kafka, examine: Examine, tmp_path: Path
) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text("pack: none\n", encoding="utf-8")
    environment = {
        **kafka.environment(),
        "STREAM_GUARD_BROKER": f"127.0.0.1:{free_port()}",
        "STREAM_GUARD_MODELS__PACK": str(pack),
    }
    code, found = examine(environment)
    assert code == 1
    assert set(errors(found)) == {"models", "broker"}


def test_an_open_transaction_that_hides_warnings_is_found(
    kafka: Kafka, topics: Env, examine: Examine
) -> None:
    settings = settings_of(topics)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": settings.app_id + "-x"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(settings.topics.alerts, b"{}", b"k", 0)
    producer.flush(30)
    try:
        code, found = examine(topics)
    finally:
        producer.abort_transaction(30)
    assert code == 1
    assert "find-hanging" in errors(found)["transactions"]
