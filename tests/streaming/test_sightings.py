"""Sightings from payments to their own topic, counted there, and back as risk signals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.sharing import Sighting
from stream_guard.detection.vocabulary import SignalSource
from stream_guard.streaming.legs import ForeignFrame
from stream_guard.streaming.partition import SHARING_PREFIX, Partition
from stream_guard.streaming.sightings import MOST_IN_A_RECORD, decode, encode
from stream_guard.streaming.state import Record
from tests.detection.builders import DAY, HOUR, NOON, Event, event, list_account
from tests.streaming.conftest import MakePartition
from tests.streaming.helpers import load
from tests.streaming.test_handlers import NAMES, PARTITIONS, Bank

SHARED: dict[str, Any] = {"device_id": "dev-1"}


def by(account: str, ts: int = NOON, **fields: Any) -> Event:
    return event(f"{account}-{ts}", ts, account=account, **fields)


def flush(bank: Bank) -> list[Record]:
    """Make everything durable, hand sightings to who counts them; the other records that were written."""
    records = [record for partition in bank.partitions for record in partition.take().records]
    for record in records:
        if record.topic == NAMES.sightings:
            number = murmur2_partition(record.key, PARTITIONS)
            given = bank.records(NAMES.sightings, number, (record.key, record.value), at=NOON)
            bank.handlers.sightings(bank.partitions[number], given)
    return [record for record in records if record.topic != NAMES.sightings]


def signals_of(bank: Bank) -> dict[str, Any]:
    """What is queued for the risk signals."""
    return {
        record.key.decode(): None if record.value is None else json.loads(record.value)
        for record in bank.queued(NAMES.risk_signals)
    }


def test_a_device_that_acts_for_three_accounts_becomes_a_risk_signal() -> None:
    bank = Bank()
    bank.pay(*(by(name, ip="192.0.2.1", **SHARED) for name in ("A", "B", "C")))
    assert bank.queued(NAMES.risk_signals) == []
    flush(bank)
    found = signals_of(bank)
    assert set(found) == {"device:dev-1", "ip:192.0.2.1"}
    value = found["device:dev-1"]
    assert (value["kind"], value["id"], value["source"], value["level"]) == ("device", "dev-1", "sharing", 50)
    assert value["reason"] == "3 accounts in 7 days, 3 in 30"
    assert value["valid_from"] == NOON
    # The end of the sixth day after, in Shanghai.
    assert value["valid_to"] == NOON - 12 * HOUR + 7 * DAY


def test_two_accounts_and_payments_without_a_device_are_nothing() -> None:
    bank = Bank()
    bank.pay(by("A", **SHARED), by("B", **SHARED), by("C"), by("EXT_1", **SHARED))
    flush(bank)
    assert signals_of(bank) == {}
    assert sum(partition.devices for partition in bank.partitions) == 1


def test_a_payment_that_is_refused_or_sent_again_is_no_use() -> None:
    bank = Bank()
    bank.now = NOON + 41 * DAY
    bank.pay(by("A", **SHARED), by("B", NOON, **SHARED), by("C", NOON + 40 * DAY), at=bank.now)
    bank.pay(by("C", NOON, **SHARED))  # too old
    bank.pay(by("A", **SHARED))
    assert [reason for reason, *_ in bank.letters()] == ["too_old"]
    assert [sighting.account for one in bank.partitions for sighting in one.sightings] in (
        ["A", "B"],
        ["B", "A"],
    )


def test_accounts_opened_lately_behind_one_device_are_listed_each() -> None:
    bank = Bank()
    for name in ("A", "B", "C"):
        number = murmur2_partition(name.encode(), PARTITIONS)
        fact = {"account": name, "ts": NOON - DAY, "opened": NOON - 3 * DAY}
        bank.update(json.dumps(fact).encode(), number=number, keys=[name.encode()])
    bank.pay(*(by(name, **SHARED) for name in ("A", "B", "C")))
    flush(bank)
    assert set(signals_of(bank)) == {"device:dev-1", "account:A", "account:B", "account:C"}


@pytest.mark.parametrize("source", [SignalSource.POLICE, SignalSource.BANK, SignalSource.DISPOSITION])
def test_a_listing_of_somebody_else_is_not_overwritten(source: SignalSource) -> None:
    bank = Bank()
    list_account(bank.context, "A", source)
    for name in ("A", "B", "C"):
        number = murmur2_partition(name.encode(), PARTITIONS)
        fact = {"account": name, "ts": NOON - DAY, "opened": NOON - 3 * DAY}
        bank.update(json.dumps(fact).encode(), number=number, keys=[name.encode()])
    bank.pay(*(by(name, **SHARED) for name in ("A", "B", "C")))
    flush(bank)
    assert set(signals_of(bank)) == {"device:dev-1", "account:B", "account:C"}


def test_sightings_that_come_again_change_nothing() -> None:
    bank = Bank()
    seen = [Sighting("device:dev-1", name, NOON, NOON // DAY, None) for name in ("A", "B", "C")]
    number = murmur2_partition(b"device:dev-1", PARTITIONS)
    (record,) = encode(seen, NAMES.sightings, PARTITIONS)
    for _ in range(2):
        given = bank.records(NAMES.sightings, number, (record.key, record.value), at=NOON)
        bank.handlers.sightings(bank.partitions[number], given)
    assert len(bank.queued(NAMES.risk_signals)) == 1


def test_sightings_leave_with_the_next_flush_in_order_and_on_their_keys_partition() -> None:
    seen = [Sighting(f"device:{i % 7}", f"A{i}", i, 0, None) for i in range(3 * MOST_IN_A_RECORD)]
    records = list(encode(seen, "s", 3))
    assert max(len(decode(record.value or b"")) for record in records) <= MOST_IN_A_RECORD
    for key in {one.key for one in seen}:
        target = murmur2_partition(key.encode(), 3)
        found = [
            one
            for record in records
            if murmur2_partition(record.key, 3) == target
            for one in decode(record.value or b"")
            if one.key == key
        ]
        assert found == [one for one in seen if one.key == key]
    assert sum(len(decode(record.value or b"")) for record in records) == len(seen)


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b"[9, []]", b"[1, [[1]]]", b"\xff"])
def test_what_is_no_record_of_ours_is_refused_with_a_sentence(value: bytes | None) -> None:
    with pytest.raises(ForeignFrame, match="a record on the sightings topic cannot be read"):
        decode(value)


def test_who_used_what_is_part_of_the_state(make_partition: MakePartition) -> None:
    first: Partition = make_partition()
    for name in ("A", "B"):
        first.state.sharing.see(Sighting("device:d", name, NOON, NOON // DAY, None))
    first.advance("app-sightings", 1)
    items = first.take().items
    assert [key for key, _ in items if key.startswith(SHARING_PREFIX)] == [SHARING_PREFIX + b"device:d"]
    second = make_partition()
    load(second, items)
    assert second.devices == 1
    (raised,) = second.state.sharing.see(Sighting("device:d", "C", NOON, NOON // DAY, None))
    assert raised.signal is not None
    # What was loaded is not written again, what changed since is.
    assert [key for key, _ in second.state.sharing.take_dirty()] == [b"device:d"]
