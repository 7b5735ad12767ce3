from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_guard.cli import main
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.vocabulary import Reject
from stream_guard.streaming.dead_letters import dead_letter
from tests.kafka.harness import Env, Kafka, settings_of


@pytest.fixture
def environment(topics: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    for name, value in topics.items():
        monkeypatch.setenv(name, value)
    return topics


def put_source(kafka: Kafka, environment: Env, role: str, *values: tuple[str, bytes]) -> list[Any]:
    """Write records as a bank does; returns them with their places, in order of partition and offset."""
    topic = getattr(settings_of(environment).topics, role)
    before = len(kafka.read(topic))
    kafka.send(topic, values)
    return kafka.read(topic, at_least=before + len(values))


def refuse(kafka: Kafka, environment: Env, record: Any, reason: Reject, value: bytes | None = None) -> None:
    body, headers = dead_letter(
        record.topic(),
        record.partition(),
        record.offset(),
        value or record.value(),
        reason,
        f"it is {reason}",
    )
    kafka.send(settings_of(environment).topics.dead_letters, [(None, body)], **dict(headers))


def redrive(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["dead-letters", "redrive", "--json", *options]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert main(["dead-letters", "list", "--json", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_list_shows_where_from_and_why(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = put_source(kafka, environment, "transactions", ("A1", b'{"amount": "\xe5\xbf\xab"}'))
    refuse(kafka, environment, record, Reject.INVALID)
    (letter,) = listed(capsys)
    assert letter["topic"] == record.topic()
    assert (letter["partition"], letter["offset"]) == (record.partition(), record.offset())
    assert (letter["reason"], letter["message"]) == ("invalid", "it is invalid")
    assert letter["value"] == '{"amount": "快"}'
    assert main(["dead-letters", "list"]) == 0
    captured = capsys.readouterr()
    assert f"{record.topic()}/{record.partition()}@{record.offset()}  invalid: it is invalid" in captured.out
    assert "       1 invalid" in captured.err


def test_list_shows_bytes_that_are_no_text_in_base64(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = put_source(kafka, environment, "transactions", ("A1", b"\xff\xfe"))
    refuse(kafka, environment, record, Reject.NOT_UTF8)
    assert listed(capsys)[0]["value_base64"] == "//4="


def test_list_shows_a_record_once_that_was_refused_again_after_a_crash(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = put_source(kafka, environment, "transactions", ("A1", b"{"))
    for _ in range(3):
        refuse(kafka, environment, record, Reject.NOT_JSON)
    assert len(listed(capsys)) == 1


def test_list_filters_by_reason_and_shows_the_newest(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    records = put_source(kafka, environment, "transactions", *[("A1", b"%d" % i) for i in range(4)])
    for record, reason in zip(
        records, [Reject.FUTURE, Reject.EMPTY, Reject.FUTURE, Reject.FUTURE], strict=True
    ):
        refuse(kafka, environment, record, reason)
    assert len(listed(capsys, "--reason", "future")) == 3
    newest = listed(capsys, "--reason", "future", "--limit", "2")
    assert [letter["offset"] for letter in newest] == [2, 3]


def test_redrive_sends_the_source_record_again_under_its_key(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = settings_of(environment).topics.transactions
    whole = b'{"x": "' + b"y" * 1_500_000 + b'"}'
    kafka.send(topic, [("A1", whole)], origin=b"core")
    (record,) = kafka.read(topic, at_least=1)
    refuse(kafka, environment, record, Reject.TOO_LARGE)
    assert redrive(capsys) == {
        "found": 1, "redriven": 1, "gone": 0, "changed": 0, "internal": 0, "dry_run": False
    }  # fmt: skip
    _, again = kafka.read(topic, at_least=2)
    # The dead letter holds 64 KiB of it; the source has it whole.
    assert again.value() == whole
    assert again.key() == b"A1"
    assert again.partition() == record.partition()
    assert again.headers() == [("origin", b"core")]
    assert again.timestamp()[1] >= record.timestamp()[1]


def test_a_record_on_the_wrong_partition_is_sent_to_the_right_one(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = settings_of(environment).topics.transactions
    right = murmur2_partition(b"A1", 2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topic, b"{}", "A1", partition=1 - right)
    producer.flush(10)
    (record,) = kafka.read(topic, at_least=1)
    refuse(kafka, environment, record, Reject.WRONG_PARTITION)
    redrive(capsys)
    placed = sorted(one.partition() == right for one in kafka.read(topic, at_least=2))
    assert placed == [False, True]


def test_each_is_sent_again_once_unless_asked_for(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = settings_of(environment).topics.transactions
    records = put_source(kafka, environment, "transactions", ("A1", b"1"), ("A2", b"2"))
    for record in records:
        refuse(kafka, environment, record, Reject.FUTURE)
    assert redrive(capsys)["redriven"] == 2
    assert redrive(capsys)["found"] == 0
    assert redrive(capsys, "--again")["redriven"] == 2
    assert len(kafka.read(topic, at_least=6)) == 6
    (third,) = put_source(kafka, environment, "transactions", ("A3", b"3"))[-1:]
    refuse(kafka, environment, third, Reject.FUTURE)
    assert redrive(capsys)["found"] == 1


def test_a_filter_or_a_limit_leaves_the_rest_for_later(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    records = put_source(kafka, environment, "transactions", *[("A1", b"%d" % i) for i in range(6)])
    for number, record in enumerate(records):
        refuse(kafka, environment, record, Reject.FUTURE if number % 2 else Reject.TOO_OLD)
    assert redrive(capsys, "--reason", "future", "--limit", "1")["redriven"] == 1
    assert redrive(capsys, "--reason", "future")["redriven"] == 2
    assert redrive(capsys, "--limit", "2")["redriven"] == 2
    assert redrive(capsys)["redriven"] == 1
    assert redrive(capsys)["found"] == 0
    values = sorted(r.value() for r in kafka.read(settings_of(environment).topics.transactions, at_least=12))
    assert values == sorted([b"%d" % i for i in range(6)] * 2)


def test_a_dry_run_sends_and_remembers_nothing(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = put_source(kafka, environment, "transactions", ("A1", b"1"))
    refuse(kafka, environment, record, Reject.FUTURE)
    assert redrive(capsys, "--dry-run")["redriven"] == 1
    assert len(kafka.read(settings_of(environment).topics.transactions)) == 1
    assert redrive(capsys)["redriven"] == 1


def test_what_is_gone_changed_or_internal_is_reported_and_not_sent(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(environment)
    first, second = put_source(kafka, environment, "transactions", ("A1", b"1"), ("A1", b"2"))
    (leg,) = put_source(kafka, environment, "legs", ("A1", b"leg"))
    kafka.delete_before(first.topic(), first.partition(), second.offset())
    refuse(kafka, environment, first, Reject.FUTURE)
    refuse(kafka, environment, second, Reject.FUTURE, value=b"something else")
    refuse(kafka, environment, leg, Reject.PROCESSING_FAILED)
    outcome = redrive(capsys)
    assert outcome["redriven"] == 0
    assert (outcome["gone"], outcome["changed"], outcome["internal"]) == (1, 1, 1)
    assert len(kafka.read(settings.topics.legs)) == 1
    assert main(["dead-letters", "redrive", "--again"]) == 0
    text = capsys.readouterr().out
    assert (
        f"{first.topic()}/{first.partition()}@0  future: gone: its topic no longer holds the record" in text
    )
    assert "0 sent again, 1 gone, 1 changed, 1 internal." in text


def test_a_letter_that_names_a_foreign_topic_makes_us_write_nothing_there(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = kafka.prefix("foreign")
    kafka.topic(foreign)
    kafka.send(foreign, [("k", b"v")])
    (record,) = kafka.read(foreign, at_least=1)
    refuse(kafka, environment, record, Reject.FUTURE)
    assert redrive(capsys)["internal"] == 1
    assert len(kafka.read(foreign)) == 1


def test_records_without_the_headers_are_no_dead_letters(
    kafka: Kafka, environment: Env, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = settings_of(environment).topics.dead_letters
    kafka.send(topic, [(None, b"x")], topic=b"t", partition=b"one")
    assert listed(capsys) == []
