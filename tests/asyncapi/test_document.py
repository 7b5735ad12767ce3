from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stream_guard.asyncapi import document
from stream_guard.asyncapi.examples import example
from stream_guard.cli import main
from stream_guard.detection.vocabulary import Rejection
from stream_guard.events import (
    SCHEMA_NAMES,
    parse_account_update,
    parse_disposition,
    parse_risk_signal,
    parse_transactions,
    schema,
)
from stream_guard.settings import Settings
from stream_guard.streaming.topic_plan import ROLES

SPECIFICATION = Path(__file__).with_name("asyncapi-3.0.0.json")


@pytest.fixture(scope="module")
def specification() -> Any:
    return jsonschema.Draft7Validator(json.loads(SPECIFICATION.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(Settings())


def test_the_document_is_valid_by_the_specifications_own_schema(
    specification: Any, made: dict[str, Any]
) -> None:
    specification.validate(made)


def test_the_check_sees_a_document_that_is_not(specification: Any, made: dict[str, Any]) -> None:
    assert not specification.is_valid({**made, "channels": {"transactions": {"messages": ["transaction"]}}})
    assert not specification.is_valid({**made, "asyncapi": "2.6.0"})


def test_a_secured_cluster_is_described_as_such(specification: Any) -> None:
    security = {"protocol": "SASL_SSL", "username": "worker", "password": "not-in-the-document"}
    secured = document(Settings(broker="kafka-1:9093,kafka-2:9093", security=security))
    specification.validate(secured)
    assert [server["protocol"] for server in secured["servers"].values()] == ["kafka-secure"] * 2
    assert "not-in-the-document" not in json.dumps(secured)


def test_every_topic_is_described_under_the_name_that_the_settings_give_it() -> None:
    settings = Settings(app_id="bank-a", topics={"alerts": "fraud.alerts"})
    channels = document(settings)["channels"]
    assert set(channels) == set(ROLES)
    assert {role: channel["address"] for role, channel in channels.items()} == settings.topics.names


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_the_examples_validate_against_the_schemas_in_the_document(name: str, made: dict[str, Any]) -> None:
    message = made["components"]["messages"][name]
    # As a reader of the document would: by its own references.
    schemas = {"components": made["components"], **message["payload"]}
    assert message["examples"]
    for shown in message["examples"]:
        jsonschema.Draft7Validator(schemas).validate(shown["payload"])
        jsonschema.Draft202012Validator(schema(name)).validate(shown["payload"])
        if "headers" in message:
            jsonschema.Draft7Validator(message["headers"]).validate(shown["headers"])


def test_the_dead_letters_example_has_the_headers_it_promises(made: dict[str, Any]) -> None:
    letter = made["components"]["messages"]["dead-letter"]
    jsonschema.Draft7Validator(letter["headers"]).validate(letter["examples"][0]["headers"])


def test_what_a_bank_writes_like_the_examples_is_accepted() -> None:
    def value(name: str) -> bytes:
        return json.dumps(example(name)).encode()

    assert parse_transactions([value("transaction")], "CNY")[2] == []
    update, outcome = example("account-update"), example("disposition")
    assert not isinstance(
        parse_account_update(value("account-update"), update["account"].encode()), Rejection
    )
    assert not isinstance(parse_disposition(value("disposition"), outcome["account"].encode()), Rejection)
    signal = example("risk-signal")
    key = f"{signal['kind']}:{signal['id']}".encode()
    assert not isinstance(parse_risk_signal(key, value("risk-signal")), Rejection)


def test_the_command_writes_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "asyncapi"]) == 0
    assert json.loads(capsys.readouterr().out)["asyncapi"] == "3.0.0"
