"""TLS, SCRAM and the roles' grants on a real secured Kafka: what each role may do, and what it is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stream_guard.cli.common import Exit
from stream_guard.settings import Settings
from stream_guard.streaming.access import ROLES
from stream_guard.streaming.topics import BrokerUnreachable, admin_client
from tests.kafka.harness import Env, running_worker, settings_of
from tests.kafka.jars import Unavailable
from tests.kafka.secure import SecuredKafka, run, running_secured_kafka

ANSWER_S = 20.0


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A secured broker with all topics, and a user for each role."""
    try:
        with running_secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
            administrator = kafka.administrator({"STREAM_GUARD_PARTITIONS": "2"})
            for role in ROLES:
                file = str(kafka.password_file(role))
                assert run(administrator, "access", "password", role, "--file", file) == 0
                assert run(administrator, "access", "grant", role) == 0
            # Ops, not the administrator, makes the topics.
            assert run(kafka.user({"STREAM_GUARD_PARTITIONS": "2"}, "ops"), "topics", "create") == 0
            yield kafka
    except Unavailable as problem:
        pytest.fail(str(problem), pytrace=False)


class Actor:
    """One role at work, through librdkafka: not the client that made the grants."""

    def __init__(self, settings: Settings) -> None:
        self._client = {**settings.librdkafka(), "log_level": 0}

    def may_write(self, topic: str) -> bool:
        outcome: list[Any] = []
        producer = Producer({**self._client, "partitioner": "murmur2_random"})
        producer.produce(topic, b"{}", b"k", on_delivery=lambda error, _: outcome.append(error))
        assert producer.flush(ANSWER_S) == 0
        # By identity: comparing librdkafka's error with None leaves an exception behind.
        return outcome[0] is None or self._refusal(outcome[0], "TOPIC_AUTHORIZATION_FAILED")

    def may_read(self, topic: str, group: str) -> bool:
        options = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        # An empty topic answers with its end; a mere assignment says nothing about the right to read.
        consumer = Consumer({**self._client, **options, "enable.partition.eof": True})
        try:
            consumer.subscribe([topic])
            deadline = time.monotonic() + ANSWER_S
            while time.monotonic() < deadline:
                message = consumer.poll(0.2)
                if message is not None:
                    error = message.error()
                    if error is None or error.code() == KafkaError._PARTITION_EOF:
                        return True
                    return self._refusal(error, "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED")
            raise TimeoutError(f"no answer about {topic}")
        finally:
            consumer.close()

    def may_make_a_topic(self, topic: str) -> bool:
        admin = AdminClient(self._client)
        try:
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(ANSWER_S)
        except KafkaException as refusal:
            return self._refusal(
                refusal.args[0], "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"
            )
        return True

    @staticmethod
    def _refusal(error: Any, *names: str) -> bool:
        assert error.name().lstrip("_") in names, error
        return False


@pytest.fixture
def actor(secured: SecuredKafka) -> Callable[[str], Actor]:
    return lambda role: Actor(settings_of(secured.user({}, role)))


READS = {
    "core-banking": {"decisions"},
    "worker": {
        "transactions",
        "account_updates",
        "dispositions",
        "risk_signals",
        "legs",
        "cases",
        "sightings",
        "state",
    },
    "investigators": {"alerts"},
    "liaison": set(),
    "ops": {"transactions", "account_updates", "dispositions", "legs", "cases", "sightings", "dead_letters"},
}
WRITES = {
    "core-banking": {"transactions", "account_updates"},
    "worker": {
        "legs",
        "cases",
        "sightings",
        "state",
        "decisions",
        "alerts",
        "dead_letters",
        "risk_signals",
    },
    "investigators": {"dispositions"},
    "liaison": {"risk_signals"},
    "ops": set(),
}


def gets_in(environment: Env) -> bool:
    """Whether a broker lets a client with these variables in at all."""
    try:
        with admin_client(settings_of(environment).python_client(), timeout_s=3.0) as admin:
            return bool(admin.describe_cluster()["brokers"])
    except BrokerUnreachable:
        return False


GROUPS = {"worker": "stream-guard", "core-banking": "core-banking-decisions"}


# First, because what the roles write below is no state, and a worker refuses it.
def test_a_worker_with_its_role_decides_and_keeps_its_state(secured: SecuredKafka, tmp_path: Path) -> None:
    environment: Env = {"STREAM_GUARD_DECISIONS__EMIT": "all"}
    bank = Producer(
        {**settings_of(secured.user({}, "core-banking")).librdkafka(), "partitioner": "murmur2_random"}
    )
    with running_worker(secured.user(environment, "worker"), folder=tmp_path) as worker:
        for number in range(40):
            account = f"payer-{number}"
            value = {
                "event_id": f"e{number}",
                "ts": int(time.time() * 1000),
                "account": account,
                "counterparty": "payee",
                "amount": 10.0,
            }
            bank.produce("transactions", json.dumps(value), account)
        assert bank.flush(ANSWER_S) == 0
        deadline = time.monotonic() + 60
        while worker.metric("stream_guard_state_events", result="counted") < 40:
            assert time.monotonic() < deadline, worker.child.tail()
            time.sleep(0.2)
        assert worker.terminate() == 0
    with running_worker(secured.user(environment, "worker"), folder=tmp_path) as again:
        assert again.metric("stream_guard_state_events", result="counted") == 40


@pytest.mark.parametrize("role", WRITES)
def test_a_role_writes_its_topics_and_is_refused_every_other(
    role: str, actor: Callable[[str], Actor]
) -> None:
    names = Settings().topics.names
    client = actor(role)
    assert {topic for topic, name in names.items() if client.may_write(name)} == WRITES[role]


@pytest.mark.parametrize("role", ["core-banking", "investigators", "worker"])
def test_a_role_reads_its_topics_and_is_refused_every_other(role: str, actor: Callable[[str], Actor]) -> None:
    names = Settings().topics.names
    client = actor(role)
    group = GROUPS.get(role, f"{role}-desk")
    assert {topic for topic, name in names.items() if client.may_read(name, group)} == READS[role]


def test_nobody_joins_the_workers_group_but_workers(actor: Callable[[str], Actor]) -> None:
    assert not actor("core-banking").may_read("decisions", "stream-guard")
    assert not actor("investigators").may_read("alerts", "stream-guard")


def test_only_ops_makes_topics_and_only_the_products(actor: Callable[[str], Actor]) -> None:
    assert not actor("worker").may_make_a_topic("another")
    assert not actor("ops").may_make_a_topic("another")


def test_ops_examines_the_installation_and_others_may_not(
    secured: SecuredKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(secured.user({}, "ops"), "topics", "check") == 0
    capsys.readouterr()
    run(secured.user({}, "ops"), "doctor", "--json", "--listen", "0")
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"clock", "group", "lag", "transactions"} <= {finding["check"] for finding in findings}
    assert run(secured.user({}, "investigators"), "topics", "check") in (Exit.BROKER, Exit.REFUSED)


def test_only_the_administrator_changes_users_and_grants(secured: SecuredKafka) -> None:
    file = str(secured.password_file("worker"))
    for role in ("ops", "worker", "investigators"):
        assert run(secured.user({}, role), "access", "password", role, "--file", file) != 0
        assert run(secured.user({}, role), "access", "grant", "worker", role) != 0


def test_a_rotated_password_replaces_the_old_one(secured: SecuredKafka) -> None:
    environment = secured.user({}, "ops")
    assert gets_in(environment)
    file = secured.folder / "new.password"
    file.write_text("another-password-for-ops\n")
    assert run(secured.administrator({}), "access", "password", "ops", "--file", str(file)) == 0
    assert not gets_in(environment)
    rotated = {**environment, "STREAM_GUARD_SECURITY__PASSWORD_FILE": str(file)}
    assert gets_in(rotated)
    secured.password_file("ops").write_text(file.read_text())


def test_a_removed_user_is_locked_out(secured: SecuredKafka) -> None:
    administrator = secured.administrator({})
    file = str(secured.password_file("guest"))
    assert run(administrator, "access", "password", "guest", "--file", file) == 0
    assert run(administrator, "access", "grant", "ops", "guest") == 0
    assert gets_in(secured.user({}, "guest"))
    assert run(administrator, "access", "remove", "guest") == 0
    assert not gets_in(secured.user({}, "guest"))


def test_without_a_certificate_or_a_password_nobody_gets_in(secured: SecuredKafka) -> None:
    plain = {"STREAM_GUARD_BROKER": secured.clients}
    assert not gets_in(plain)
    tls = {
        **plain,
        "STREAM_GUARD_SECURITY__PROTOCOL": "SSL",
        "STREAM_GUARD_SECURITY__CA_FILE": str(secured.folder / "ca.pem"),
    }
    assert not gets_in(tls)
    assert not gets_in({**tls, "STREAM_GUARD_BROKER": secured.administration})
