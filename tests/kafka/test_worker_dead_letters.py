"""Bad records on every topic between good ones: each a dead letter, once, and nothing else suffers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Message, Producer

from stream_guard.alerts import Alert
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.settings.sections import Topics
from tests.kafka.bank import AUDIT, Place, Tail, Wire, payment, settle, wires, write
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 3
NOON = 1_763_956_800_000
DAY = 86_400_000


class Bad(NamedTuple):
    """A record to be refused, and why."""

    wire: Wire
    reason: str


def raw(event_id: str = "x", account: str = "A1", **more: Any) -> dict[str, Any]:
    return {**payment(event_id, NOON, account, "B1", 10.0), **more}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in raw().items() if key != name}


def key_on(partition: int) -> str:
    names = (f"K{number}" for number in range(100))
    return next(name for name in names if murmur2_partition(name.encode(), PARTITIONS) == partition)


def bad_payments(topic: str) -> list[Bad]:
    """One or more for every reason."""

    def value(content: bytes | None, reason: str, key: str | None = "A1") -> Bad:
        return Bad(Wire(topic, key, content), reason)

    def event(
        content: dict[str, Any], reason: str, key: str | None = "A1", partition: int | None = None
    ) -> Bad:
        return Bad(Wire(topic, key, orjson.dumps(content), partition), reason)

    def text(name: str, content: str, reason: str = "invalid") -> Bad:
        """A number as JSON may spell it and Python would not."""
        return value(orjson.dumps(without(name))[:-1] + f',"{name}":{content}}}'.encode(), reason)

    wrong = key_on(0)
    return [
        value(b'{"event_id":', "not_json"),
        value(b"NaN", "invalid"),
        value(b"[1,2]", "invalid"),
        value(b'"text"', "invalid"),
        value(b'{"event_id":"\xff\xfe"}', "not_utf8"),
        value(b"\x00\x01\x02", "not_json"),
        value(b"[" * 100_000, "not_json"),
        value(b"", "empty"),
        value(None, "empty"),
        event(raw(note="n" * 300_000), "too_large"),
        event(raw(note="n" * 1_100_000), "too_large"),
        *(
            event(without(name), "invalid")
            for name in ("event_id", "ts", "account", "counterparty", "amount")
        ),
        *(
            text("amount", number, "invalid")
            for number in ("0", "-5", "1e12", "1e400", "-0.0", '"7"', "true")
        ),
        *(text("amount", number, "not_json") for number in ("0x1", "1.")),
        text("ts", str(NOON // 1000)),
        text("ts", str(NOON * 1000)),
        text("ts", '"2025-11-24T12:00:00"'),
        text("ts", "9" * 400),
        event(raw(event_id=""), "invalid"),
        event(raw(event_id="e" * 65), "invalid"),
        event(raw(event_id=7), "invalid"),
        event(raw(account=""), "invalid", key=""),
        event(raw(counterparty=None), "invalid"),
        event(raw(payee_kind="shop"), "invalid"),
        event(raw(latitude=91.0), "invalid"),
        event(raw(counterparty="B\u202e1"), "bad_text"),
        event(raw(event_id="e\u0000"), "bad_text"),
        event(raw(currency="XXX"), "unknown_currency"),
        event(raw(currency="cny"), "unknown_currency"),
        event(raw(), "wrong_key", key="A2"),
        event(raw(), "wrong_key", key=None),
        event(raw(account=wrong), "wrong_partition", key=wrong, partition=1),
        event(raw(ts=int(time.time() * 1000) + 3_600_000), "future"),
        event(raw(ts=NOON - 32 * DAY), "too_old"),
        event(raw("first", amount=11.0), "conflicting_id"),
    ]


def bad_updates(topic: str) -> list[Bad]:
    def update(reason: str, key: str | None = "A1", partition: int | None = None, **facts: Any) -> Bad:
        return Bad(Wire(topic, key, orjson.dumps({"account": "A1", "ts": NOON, **facts}), partition), reason)

    wrong = key_on(0)
    return [
        Bad(Wire(topic, "A1", b"{"), "not_json"),
        Bad(Wire(topic, "A1", b"\xff"), "not_utf8"),
        update("invalid", holder_birth_year="1950"),
        update("invalid", changed="shoes"),
        update("invalid", opened="yesterday"),
        update("wrong_key", key="A2"),
        update("wrong_key", key=""),  # none at all is refused by the broker: the topic is compacted
        update("wrong_partition", key=wrong, account=wrong, partition=1),
    ]


def bad_dispositions(topic: str, alert: Alert) -> list[Bad]:
    same_partition = next(
        name
        for name in (f"W{number}" for number in range(100))
        if murmur2_partition(name.encode(), PARTITIONS)
        == murmur2_partition(alert.account.encode(), PARTITIONS)
    )

    def disposition(reason: str, key: str | None = alert.account, **changed: Any) -> Bad:
        value = {
            "disposition_id": "d1", "warning_id": alert.warning_id, "account": alert.account,
            "outcome": "false_positive", "by": "inv-7", "ts": NOON + DAY, **changed,
        }  # fmt: skip
        return Bad(Wire(topic, key, orjson.dumps(value)), reason)

    return [
        Bad(Wire(topic, alert.account, b"}"), "not_json"),
        disposition("invalid", outcome="confirmed"),  # of whom: a mule or a victim?
        disposition("invalid", outcome="guilty"),
        disposition("wrong_key", key="A9"),
        disposition("wrong_key", key=None),
        disposition("unknown_warning", warning_id="0" * 32),
        disposition("wrong_account", key=same_partition, account=same_partition),
    ]


def bad_signals(topic: str) -> list[Bad]:
    def signal(reason: str, key: str | None = "account:S1", **changed: Any) -> Bad:
        value = {"kind": "account", "id": "S1", "level": 50, "source": "bank", **changed}
        return Bad(Wire(topic, key, orjson.dumps(value)), reason)

    return [
        Bad(Wire(topic, "account:S1", b"not json"), "not_json"),
        signal("invalid", level=0),
        signal("invalid", source="rumour"),
        signal("wrong_key", key="S1"),
        signal("wrong_key", key="account:S2"),
        signal("wrong_key", key=""),
    ]


def aborted(kafka: Kafka, topics: Topics) -> None:
    """A payment whose producer gave it up: it was never made."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": kafka.prefix("bank")})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topics.transactions, orjson.dumps(raw("never-made")), "A1")
    producer.flush(10)
    producer.abort_transaction(30)


def test_every_bad_record_is_a_dead_letter_once_and_every_good_one_is_decided(
    kafka: Kafka, worker: Callable[..., AbstractContextManager[Worker]]
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **AUDIT}
    topics = settings_of(environment).topics
    with worker(environment) as running:
        pid = running.child.pid
        refused: dict[Place, tuple[str, bytes | None]] = {}
        good = [raw("first"), payment("opens", NOON, "A4", "P1", 5.0)]
        write(kafka, signals_of("P1", topics))
        with Tail(kafka, topics.risk_signals) as listed:
            listed.until(lambda records: len(records) == 1)
        write(kafka, wires(topics.transactions, good[:1]))
        settle(1, running)
        write(kafka, wires(topics.transactions, good[1:]))
        with Tail(kafka, topics.alerts) as alerts:
            (opened,) = alerts.until(lambda records: bool(records))
        alert = Alert.model_validate_json(opened.value())

        bads = [
            *bad_payments(topics.transactions),
            *bad_updates(topics.account_updates),
            *bad_dispositions(topics.dispositions, alert),
            *bad_signals(topics.risk_signals),
        ]
        # A good payment after every bad record, in batches of every compression a bank may use.
        codecs = ("none", "gzip", "snappy", "lz4", "zstd")
        for number, codec in enumerate(codecs):
            mixed: list[Wire] = []
            for at, bad in enumerate(bads[number :: len(codecs)]):
                fine = payment(f"good-{number}-{at}", NOON + at * 60_000, f"A{at % 7}", f"B{number}", 20.0)
                good.append(fine)
                mixed += [bad.wire, *wires(topics.transactions, [fine])]
            places = write(kafka, mixed, **{"compression.type": codec})
            for bad, place in zip(bads[number :: len(codecs)], places[::2], strict=True):
                refused[place] = (bad.reason, bad.wire.value)
            aborted(kafka, topics)
        # By an account that is none, only the payee's row can tell.
        outside = [payment("outside", NOON, "EXT_1", "C1", 1.0), payment("outside", NOON, "EXT_1", "C1", 2.0)]
        _, conflict = write(kafka, wires(topics.transactions, outside))
        good.append(outside[0])

        with Tail(kafka, topics.dead_letters) as letters:
            found = letters.until(lambda records: len(records) > len(refused))
        settle(len(good), running)
        found = kafka.read(topics.dead_letters)
        assert running.child.pid == pid
        assert running.child.returncode is None
        assert running.metric("stream_guard_rejoins_total") == 1
        assert running.metric("stream_guard_dead_letters_total") == len(refused) + 1
        assert running.terminate() == 0

    by_place = {place_of(letter): letter for letter in found}
    assert len(by_place) == len(found), "a record has two dead letters"
    assert set(by_place) == {*refused, conflict}
    reasons = {place: header(letter, "reason") for place, letter in by_place.items()}
    assert reasons == {place: reason for place, (reason, _) in refused.items()} | {conflict: "conflicting_id"}
    for place, (_, value) in refused.items():
        letter = by_place[place]
        assert letter.value() == (None if value is None else value[:65_536])
        assert header(letter, "length") == str(len(value or b""))
        assert header(letter, "sha256") == hashlib.sha256(value or b"").hexdigest()
        assert header(letter, "message").strip()
    decided = [orjson.loads(record.value())["event_id"] for record in kafka.read(topics.decisions)]
    assert sorted(decided) == sorted(event["event_id"] for event in good)


def signals_of(account: str, topics: Topics) -> list[Wire]:
    value = {"kind": "account", "id": account, "level": 90, "source": "police"}
    return [Wire(topics.risk_signals, f"account:{account}", orjson.dumps(value))]


def header(letter: Message, name: str) -> str:
    return str(dict(letter.headers())[name].decode())


def place_of(letter: Message) -> Place:
    return Place(header(letter, "topic"), int(header(letter, "partition")), int(header(letter, "offset")))
