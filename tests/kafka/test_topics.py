from __future__ import annotations

import json
import logging

import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.events import parse_transactions
from stream_guard.streaming.topic_plan import ROLES
from stream_guard.streaming.topics import (
    DEFAULT_PARTITIONS,
    BrokerUnreachable,
    TopicsRefused,
    admin_client,
    check,
    create,
    partition_counts,
    plan_for,
)
from tests.kafka.broker import free_port
from tests.kafka.harness import Env, Kafka, settings_of


def made(kafka: Kafka, environment: Env, partitions: int | None = None):
    settings = settings_of(environment)
    with admin_client(settings.python_client()) as client:
        return create(client, plan_for(settings, client, partitions))


def problems_of(environment: Env) -> list[str]:
    settings = settings_of(environment)
    with admin_client(settings.python_client()) as client:
        return [problem.message for problem in check(client, plan_for(settings, client))]


def test_create_makes_every_topic_as_check_wants_it(kafka: Kafka) -> None:
    environment = kafka.environment()
    outcome = made(kafka, environment, partitions=3)
    assert len(outcome.created) == len(ROLES)
    assert outcome.existing == ()
    assert problems_of(environment) == []


def test_create_again_changes_nothing(kafka: Kafka, topics: Env) -> None:
    outcome = made(kafka, topics)
    assert outcome.created == ()
    assert len(outcome.existing) == len(ROLES)


def test_create_replicates_as_far_as_the_cluster_can_and_says_so(kafka: Kafka) -> None:
    outcome = made(kafka, kafka.environment())
    brokers = len(kafka.admin.list_topics(timeout=10).brokers)
    assert outcome.replication == min(3, brokers)
    assert bool(outcome.warnings) is (brokers < 3)


def test_create_takes_the_partition_count_of_the_transactions_topic(kafka: Kafka) -> None:
    environment = kafka.environment()
    name = environment["STREAM_GUARD_TOPICS__TRANSACTIONS"]
    kafka.topic(name, 5)
    made(kafka, environment)
    counts = partition_counts(settings_of(environment))
    assert counts[environment["STREAM_GUARD_TOPICS__ACCOUNT_UPDATES"]] == counts[name] == 5


def test_create_takes_the_default_count_on_an_empty_cluster(kafka: Kafka) -> None:
    environment = kafka.environment()
    made(kafka, environment)
    counts = partition_counts(settings_of(environment))
    assert counts[environment["STREAM_GUARD_TOPICS__TRANSACTIONS"]] == DEFAULT_PARTITIONS
    assert counts[environment["STREAM_GUARD_TOPICS__RISK_SIGNALS"]] == 1


def test_check_names_what_is_missing(kafka: Kafka) -> None:
    messages = problems_of(kafka.environment())
    assert len(messages) == len(ROLES)
    assert all("run 'stream-guard topics create'" in message for message in messages)


def test_check_sees_settings_changed_on_the_cluster(kafka: Kafka, topics: Env) -> None:
    settings = settings_of(topics)
    kafka.configure(settings.topics.state, cleanup_policy="delete")
    kafka.configure(settings.topics.legs, retention_ms="60000")
    first, second = problems_of(topics)
    assert f"'{settings.topics.state}' has cleanup.policy=delete" in first
    assert f"'{settings.topics.legs}' keeps records for 0.0167 hours" in second


def test_a_worker_is_refused_topics_of_unequal_partition_counts(kafka: Kafka) -> None:
    environment = kafka.environment()
    settings = settings_of(environment)
    kafka.topic(settings.topics.legs, 7)
    made(kafka, environment, partitions=3)
    with pytest.raises(TopicsRefused, match="has 7 partitions where 3 are wanted"):
        partition_counts(settings)


def test_a_worker_is_refused_another_count_than_its_settings_say(kafka: Kafka, topics: Env) -> None:
    with pytest.raises(TopicsRefused, match="set STREAM_GUARD_PARTITIONS=2"):
        partition_counts(settings_of({**topics, "STREAM_GUARD_PARTITIONS": "4"}))


def test_a_worker_starts_on_what_is_merely_unwise_and_logs_it(
    kafka: Kafka, topics: Env, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(topics)
    kafka.configure(settings.topics.alerts, retention_ms="86400000")
    with caplog.at_level(logging.WARNING, "stream_guard"):
        partition_counts(settings)
    assert "keeps records for 1 days where 90 days are wanted" in caplog.text


def test_a_payload_of_a_megabyte_reaches_the_transactions_topic(kafka: Kafka, topics: Env) -> None:
    topic = settings_of(topics).topics.transactions
    kafka.send(topic, [("a", b"x" * (1024 * 1024 + 1000))])
    assert len(kafka.read(topic, at_least=1)) == 1


def test_an_unreachable_broker_is_one_sentence(kafka: Kafka) -> None:
    port = free_port()
    settings = settings_of({**kafka.environment(), "STREAM_GUARD_BROKER": f"127.0.0.1:{port}"})
    with pytest.raises(BrokerUnreachable, match=rf"127.0.0.1:{port}: Connection refused.*start it") as caught:
        partition_counts(settings)
    assert "\n" not in str(caught.value)


@pytest.fixture
def environment(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Env:
    variables = kafka.environment()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_the_commands_create_and_check(environment: Env, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "check", "--json"]) == Exit.REFUSED
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert len(answer["problems"]) == answer["topics"] == len(ROLES)
    assert main(["topics", "create", "--partitions", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["created"]) == len(ROLES)
    assert main(["topics", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["topics", "create"]) == 0
    assert capsys.readouterr().out.count("exists  ") == len(ROLES)
    assert main(["topics", "check"]) == 0
    assert capsys.readouterr().out == f"All {len(ROLES)} topics are as they should be.\n"


def test_unwise_settings_are_shown_and_do_not_fail_the_check(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["topics", "create", "--partitions", "1"])
    kafka.configure(settings_of(environment).topics.alerts, retention_ms="86400000")
    capsys.readouterr()
    assert main(["topics", "check"]) == 0
    assert capsys.readouterr().out.startswith("warning Topic ")


def test_a_simulated_bank_is_sent_to_a_broker_without_labels(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["topics", "create", "--partitions", "2"])
    capsys.readouterr()
    assert main(["simulate", "--broker", kafka.bootstrap, "--days", "2", "--json"]) == 0
    sent = json.loads(capsys.readouterr().out)["events"]
    values = [r.value() for r in kafka.read(settings_of(environment).topics.transactions, at_least=sent)]
    assert len(values) == sent > 0
    events, _, refused = parse_transactions(values)
    assert (len(events), refused) == (sent, [])
    assert not any(b"fraud" in value for value in values)
