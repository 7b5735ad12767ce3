"""Total loss of the changelog: the state is made anew from the topics, and nobody is told anything twice."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.settings import Settings
from stream_guard.streaming.kafka_state import KafkaState
from tests.kafka.harness import Env, Kafka, Worker, settings_of
from tests.streaming.helpers import newest

StartWorker = Callable[..., AbstractContextManager[Worker]]

WITHIN_S = 60.0
MONEY = {"amount": 60_000.0, "currency": "CNY", "type": "transfer"}


def payment(number: int, payer: str, payee: str, **more: Any) -> tuple[str, bytes]:
    now = int(time.time() * 1000)
    body = {"event_id": f"e{number}", "ts": now, "account": payer, "counterparty": payee, **MONEY, **more}
    return payer, json.dumps(body).encode()


def state_of(settings: Settings) -> list[dict[bytes, bytes]]:
    """Items of every partition's changelog."""

    async def read_all() -> list[dict[bytes, bytes]]:
        backend = KafkaState(settings.topics.state, settings.app_id, settings.python_client(), lambda *_: 0)
        return [await newest(backend, number) for number in range(2)]

    return asyncio.run(read_all())


def read(value: bytes) -> Any:
    """What an item says: JSON in whatever order of its fields, or bytes."""
    try:
        said = json.loads(value)
    except ValueError:
        return value
    # Names the changelog, so that a local snapshot of another one is not taken for its own.
    return {name: it for name, it in said.items() if name != "lineage"} if isinstance(said, dict) else said


def lose_the_changelog(kafka: Kafka, settings: Settings) -> None:
    topic = settings.topics.state
    kafka.admin.delete_topics([topic])[topic].result(10)
    deadline = time.monotonic() + 30
    while main(["topics", "create"]) or topic not in kafka.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def rebuilt(capsys: pytest.CaptureFixture[str], since: str = "earliest") -> dict[str, Any]:
    # A process that was killed is a member of the group until its session ends.
    deadline = time.monotonic() + WITHIN_S
    capsys.readouterr()
    while (code := main(["state", "rebuild", "--since", since, "--json"])) == Exit.REFUSED:
        message = capsys.readouterr().err
        assert "stop them first" in message, message
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert code == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def environment(topics: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    environment = {
        **topics,
        "STREAM_GUARD_DECISIONS__EMIT": "all",
        "STREAM_GUARD_POLICY__DEADLINE_MS": "0",
        "STREAM_GUARD_POLICY__WARN_AT": "1",
        "STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "0.05",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment


def test_the_state_is_what_it_was_and_workers_go_on_from_it(
    kafka: Kafka,
    environment: Env,
    worker: StartWorker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(environment)
    names = settings.topics
    listed = {"kind": "account", "id": "a3", "level": 90, "source": "police"}
    kafka.send(names.risk_signals, [("account:a3", json.dumps(listed).encode())])
    facts = {"account": "a1", "ts": 1_700_000_000_000, "opened": 1_600_000_000_000, "holder_birth_year": 1950}
    with worker(environment) as running:
        kafka.send(names.account_updates, [("a1", json.dumps(facts).encode())])
        # One in flight at a time, with what it led to: then there is one order, and one state.
        for number in range(30):
            payer, payee = f"a{number % 7}", f"a{number % 5 + 1}" if number % 4 else "EXT_SHOP"
            # A device each: from which payment on a shared one is listed would be a matter of milliseconds.
            kafka.send(names.transactions, [payment(number, payer, payee, device_id=f"of-{payer}")])
            settle(running, number + 1)
            time.sleep(0.25)
        kafka.send(names.transactions, [("a1", b"no json")])
        alerts = kafka.read(names.alerts, at_least=1)
        warning = json.loads(alerts[0].value())
        outcome = {
            "disposition_id": "d1",
            "warning_id": warning["warning_id"],
            "account": warning["account"],
            "outcome": "confirmed",
            "role": "mule",
            "by": "t",
            "ts": int(time.time() * 1000),
        }
        kafka.send(names.dispositions, [(warning["account"], json.dumps(outcome).encode())])
        wait(lambda: running.metric("stream_guard_dispositions", outcome="confirmed") == 1)
        wait(lambda: running.metric("stream_guard_state_rejected", reason="not_json") == 1)
        assert running.terminate() == 0
    before = state_of(settings)
    told = [len(kafka.read(topic)) for topic in (names.decisions, names.alerts, names.dead_letters)]
    kafka.send(names.transactions, [payment(100 + number, f"a{number}", "a1") for number in range(5)])

    lose_the_changelog(kafka, settings)
    monkeypatch.setattr("stream_guard.streaming.rebuild.SLICE_RECORDS", 1)
    done = rebuilt(capsys)
    assert done["payments"] == 31
    assert done["lost_warnings"] == []
    assert done["open_warnings"] > 0
    after = state_of(settings)
    for was, is_now in zip(before, after, strict=True):
        assert set(is_now) == set(was)
        assert {key: read(value) for key, value in is_now.items()} == {k: read(v) for k, v in was.items()}
    assert [len(kafka.read(t)) for t in (names.decisions, names.alerts, names.dead_letters)] == told

    with worker(environment) as again:
        wait(lambda: again.metric("stream_guard_state_events", result="counted") == 35)
        assert again.terminate() == 0
    decided = [json.loads(record.value())["event_id"] for record in kafka.read(names.decisions)]
    assert len(decided) == told[0] + 5
    assert set(decided) == {f"e{number}" for number in (*range(30), *range(100, 105))}


def test_what_a_killed_worker_left_half_done_is_done_once(
    kafka: Kafka, environment: Env, worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(environment)
    total = 6_000
    stream = [payment(number, f"p{number % 97}", f"q{number % 89}") for number in range(total)]
    with worker(environment) as running:
        for start in range(0, total, 500):
            kafka.send(settings.topics.transactions, stream[start : start + 500])
        wait(lambda: running.metric("stream_guard_events_decided_total") > total / 3)
        running.kill()
    lose_the_changelog(kafka, settings)
    assert main(["state", "rebuild", "--since", "yesterday"]) == Exit.USAGE
    done = rebuilt(capsys)
    assert done["payments"] < total or done["accounts"] > 0
    assert main(["state", "rebuild", "--since", "earliest"]) == Exit.REFUSED
    assert "a rebuild replaces no state" in capsys.readouterr().err
    with worker(environment) as again:
        wait(lambda: again.metric("stream_guard_state_events", result="counted") == total)
        wait(lambda: again.metric("stream_guard_lag") == 0)
        assert again.metric("stream_guard_state_events", result="counted") == total
        assert again.terminate() == 0
    decided = {json.loads(record.value())["event_id"] for record in kafka.read(settings.topics.decisions)}
    assert decided == {f"e{number}" for number in range(total)}


def test_since_leaves_older_payments_out(
    kafka: Kafka, environment: Env, worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(environment)
    with worker(environment) as running:
        kafka.send(settings.topics.transactions, [payment(number, "old", "payee") for number in range(10)])
        settle(running, 10)
        time.sleep(0.05)
        since = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())}.{int(time.time() % 1 * 1000):03d}Z"
        time.sleep(0.05)
        kafka.send(
            settings.topics.transactions, [payment(10 + number, "new", "other") for number in range(4)]
        )
        settle(running, 14)
        assert running.terminate() == 0
    lose_the_changelog(kafka, settings)
    done = rebuilt(capsys, since)
    assert (done["payments"], done["accounts"]) == (4, 2)
    with worker(environment) as again:
        kafka.send(settings.topics.transactions, [payment(50, "old", "payee")])
        settle(again, 5)


def settle(running: Worker, counted: int) -> None:
    wait(lambda: running.metric("stream_guard_state_events", result="counted") >= counted)


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
