"""Bad records of every kind on every topic a bank writes, among good ones: each is a dead letter, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import orjson
import pandas as pd
import pytest
from confluent_kafka import Message, Producer
from hypothesis import strategies as st

from stream_guard.alerts import Alert
from stream_guard.events import parse_transactions
from tests.chaos.conftest import Report, Scale, Start
from tests.chaos.drill import Drill, now_ms
from tests.chaos.faulty_worker import Point
from tests.chaos.poison import (
    NOON,
    PAYEE,
    PAYER,
    Poison,
    good,
    poisoned_dispositions,
    poisoned_payments,
    poisoned_signals,
    poisoned_updates,
)
from tests.chaos.verifier import Place
from tests.kafka.bank import Tail, Wire, payment, wait_until, write
from tests.kafka.harness import Kafka

pytestmark = pytest.mark.chaos

AT_ONCE = 25
"""Bad records written before the next good ones: both share fetches, and batches."""

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
"""Compressions a bank may use."""

ACCEPTED_BYTES = 8 * 1024 * 1024
"""Topics of some banks accept such records."""


def test_every_bad_record_is_a_dead_letter_and_every_good_one_decided(
    kafka: Kafka, scale: Scale, drill: Start, report: Report
) -> None:
    with drill(kafka, payments=scale.of(6_000, 60_000), partitions=3) as run:
        topics = run.settings.topics
        inputs = (topics.transactions, topics.account_updates, topics.dispositions, topics.risk_signals)
        for topic in inputs:
            kafka.configure(topic, max_message_bytes=str(ACCEPTED_BYTES))
        _let_payer_be_known(run)
        run.start("worker-0", "worker-1")
        run.send(run.left // 4)
        with Tail(kafka, topics.alerts) as alerts:
            opened = Alert.model_validate_json(alerts.until(bool)[0].value())
        corpus = _corpus(run, opened, scale)
        expected: dict[Place, Poison] = {}
        portion = run.left * AT_ONCE // len(corpus) + 1
        for number, start in enumerate(range(0, len(corpus), AT_ONCE)):
            some = corpus[start : start + AT_ONCE]
            places = write(
                kafka,
                [Wire(topic, bad.key, bad.value, bad.partition) for topic, bad in some],
                **{
                    "compression.type": CODECS[number % len(CODECS)],
                    "message.max.bytes": ACCEPTED_BYTES,
                    "enable.idempotence": False,  # a batch too large for it alone must not hold up the others
                },
            )
            expected |= {Place(*place): bad for place, (_, bad) in zip(places, some, strict=True)}
            _give_up_a_payment(kafka, topics.transactions)
            run.send(portion)
        run.refused.update(expected)
        run.faults = len(expected)
        report("5 poison", run)
        assert run.ended == []
        letters = kafka.read(topics.dead_letters)
    for letter in letters:
        _check(letter, expected)
    once = [place for place in map(_place, letters) if place.topic != topics.risk_signals]
    assert len(once) == len(set(once)), "a record has two dead letters"
    # Every process reads the signals, and each says of a bad one that it is.
    assert len(letters) - len(once) <= 2 * sum(1 for _ in poisoned_signals())


def _let_payer_be_known(run: Drill) -> None:
    """The account that the bad payments name has paid: so they can be too old, or contradict it."""
    payments = run.history.payments
    first = payments.head(1).assign(**good("known"))
    run.history = run.history._replace(payments=pd.concat([first, payments[1:]], ignore_index=True))


def _corpus(run: Drill, opened: Alert, scale: Scale) -> list[tuple[str, Poison]]:
    topics, partitions = run.settings.topics, run.partitions
    ahead = now_ms() + 600_000  # still ahead when the last of them is written
    conflict = Poison("known id, other amount", PAYER.encode(), orjson.dumps(good("known", amount=11.0)),
                      "conflicting_id")  # fmt: skip
    corpus = [(topics.transactions, bad) for bad in poisoned_payments(partitions, ahead)]
    corpus += [(topics.transactions, bad) for bad in (conflict, *_made_by_hypothesis(scale.seed))]
    corpus += [(topics.account_updates, bad) for bad in poisoned_updates(partitions)]
    about = (partitions, opened.warning_id, opened.account)
    corpus += [(topics.dispositions, bad) for bad in poisoned_dispositions(*about)]
    corpus += [(topics.risk_signals, bad) for bad in poisoned_signals()]
    run.random.shuffle(corpus)
    return corpus


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_FIELD = st.sampled_from([*good(), "currency", "type", "channel", "payer_kind", "latitude", "device_id"])


@st.composite
def _values(draw: st.DrawFn) -> bytes:
    """A payment with fields that are anything, cut and patched with any bytes."""
    value = json.dumps(good(**draw(st.dictionaries(_FIELD, _JSON, max_size=3)))).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(value)))
        return value[:at] + draw(st.binary(max_size=6)) + value[at + draw(st.integers(0, 9)) :]
    return value


def _made_by_hypothesis(seed: int) -> Iterator[Poison]:
    found: list[Poison] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=300, database=None, deadline=None)
    @hypothesis.given(_values())
    def make(value: bytes) -> None:
        # Refused by what it says itself; why is for the parsers' own tests to judge.
        found.extend(
            Poison(f"hypothesis {len(found)}", PAYER.encode(), value, str(refused.reason))
            for refused in parse_transactions([value])[2]
        )

    make()
    assert len(found) > 100
    yield from found


def _give_up_a_payment(kafka: Kafka, topic: str) -> None:
    """A payment whose producer took it back: it was never made."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": kafka.prefix("bank")})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, orjson.dumps(good("never-made")), PAYER)
    producer.flush(10)
    producer.abort_transaction(30)


def _header(letter: Message, name: str) -> str:
    return str(dict(letter.headers())[name].decode())


def _place(letter: Message) -> Place:
    return Place(
        *(_header(letter, "topic"), int(_header(letter, "partition")), int(_header(letter, "offset")))
    )


def _check(letter: Message, expected: dict[Place, Poison]) -> None:
    """Bytes and headers of a dead letter are those of its record."""
    bad = expected[_place(letter)]
    whole = bad.value or b""
    assert _header(letter, "reason") == bad.reason, bad.kind
    assert letter.value() == (None if bad.value is None else bad.value[:65_536]), bad.kind
    assert _header(letter, "length") == str(len(whole)), bad.kind
    assert _header(letter, "sha256") == hashlib.sha256(whole).hexdigest(), bad.kind
    assert _header(letter, "message").strip(), bad.kind


def test_a_defect_of_ours_costs_that_record_alone_and_it_gets_the_fallback_decision(
    kafka: Kafka, drill: Start
) -> None:
    amount = 1_234_567.25
    with drill(kafka, payments=3_000, partitions=2) as run:
        topics = run.settings.topics
        run.start("worker-0")
        met: dict[Place, dict[str, Any]] = {}
        for point in (Point.FIRST_KERNEL, Point.SECOND_KERNEL, Point.RULES):
            run.plant("worker-0", point, amount)
            run.send(500)
            events = [payment(f"{point}-{number}", NOON, f"M{number}", PAYEE, amount) for number in range(3)]
            wires = [Wire(topics.transactions, event["account"], orjson.dumps(event)) for event in events]
            for place, event in zip(write(kafka, wires), events, strict=True):
                met[Place(*place)] = event
            run.send(500)
            with Tail(kafka, topics.dead_letters) as dead:
                dead.until(lambda records: len(records) >= len(met))
        run.send(run.left)
        wait_until(lambda: run.counted() >= run.sent, "all others are counted")
        run.terminate("worker-0")
        assert run.ended == []
        letters = kafka.read(topics.dead_letters)
        decided = [orjson.loads(record.value()) for record in kafka.read(topics.decisions)]
    assert {_place(letter): orjson.loads(letter.value()) for letter in letters} == met
    assert len(letters) == len(met)
    assert {_header(letter, "reason") for letter in letters} == {"processing_failed"}
    by_id = {decision["event_id"]: decision for decision in decided}
    assert len(by_id) == len(decided) == run.sent + len(met)
    assert {by_id[event["event_id"]]["action"] for event in met.values()} == {"confirm"}
    assert {by_id[event["event_id"]]["score"] for event in met.values()} == {None}
