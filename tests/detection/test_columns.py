from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import (
    PAYEE_ACCOUNT,
    PAYER_ACCOUNT,
    empty_legs,
    empty_payments,
    legs_of,
    payments,
    size,
    take,
)
from stream_guard.detection.features import DAY, FIRST_WIDTH, HOUR
from stream_guard.detection.hashing import murmur2_partition, text_code, text_hash_of
from stream_guard.detection.local_time import hour_of, local_ms, weekday_of
from stream_guard.detection.vocabulary import Reject
from tests.detection.streams import NOON, NOW, Event, columns_of, event

UNTIMED = settings(deadline=None)
ZONES = [
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kolkata",
]


def reasons(events: list[Event], bank: Bank | None = None, **given: Any) -> list[tuple[int, Reject]]:
    """Rejections of events; by default no keys, no partition, records without a time."""
    n = len(events)
    arguments = {"produced": [-1] * n, "keys": None, "partition": None, "now_ms": NOW} | given
    _, refused = payments(events, list(range(n)), bank=bank or Bank(), **arguments)
    return [(r.index, r.reason) for r in refused]


# Fields


def test_columns_carry_every_field_of_a_payment() -> None:
    full = event(
        7,
        amount=12.5,
        type="TRANSFER",
        channel="mobile",
        payer_balance_before=1.0,
        payee_balance_before=2.0,
        device_id="d1",
        ip="10.0.0.1",
        latitude=30.5,
        longitude=114.25,
    )
    p, refused = payments([full], [42], [NOON + 5], [b"A1"], None, Bank(), NOW)
    assert refused == []
    assert (p.offset[0], p.produced[0], p.ts[0]) == (42, NOON + 5, NOON)
    assert p.local[0] - p.ts[0] == 8 * HOUR
    assert (p.amount[0], p.amount_original[0]) == (12.5, 12.5)
    assert [p.event[0], p.payer[0], p.payee[0]] == [text_hash_of(x) for x in (b"e7", b"A1", b"A2")]
    assert [p.device[0], p.ip[0]] == [text_hash_of(x) for x in (b"d1", b"10.0.0.1")]
    assert (p.payer_balance[0], p.payee_balance[0], p.latitude[0], p.longitude[0]) == (1.0, 2.0, 30.5, 114.25)
    codes = [p.type_code[0], p.channel_code[0], p.currency_code[0]]
    assert codes == [text_code(x) for x in ("TRANSFER", "mobile", "CNY")]
    assert p.flags[0] == PAYER_ACCOUNT | PAYEE_ACCOUNT
    assert (p.payer_ids, p.leg_keys) == ([b"A1"], [b"A2"])
    assert p.texts == [b"e7\0A1\0A2\0CNY"]


def test_absent_optional_fields_are_missing_values() -> None:
    p = columns_of([event(1), event(2, device_id=None, ip=None, latitude=None, payer_balance_before=None)])
    assert p.device.tolist() == [0, 0]
    assert p.ip.tolist() == [0, 0]
    for column in (p.payer_balance, p.payee_balance, p.latitude, p.longitude):
        assert np.isnan(column).all()


optional = st.fixed_dictionaries(
    {},
    optional={
        "payer_kind": st.sampled_from([None, "account", "merchant", "cash", "external"]),
        "payee_kind": st.sampled_from([None, "account", "merchant", "cash", "external"]),
        "payer_balance_before": st.none() | st.floats(0, 1e9),
        "payee_balance_before": st.none() | st.floats(0, 1e9),
        "latitude": st.none() | st.floats(-90, 90),
        "longitude": st.none() | st.floats(-180, 180),
        "device_id": st.none() | st.text(max_size=8),
        "ip": st.none() | st.text(max_size=8),
    },
)
names = st.text(st.characters(codec="utf-8", min_codepoint=32), min_size=1, max_size=12)
random_events = st.builds(
    lambda fields, more: event(0) | fields | more,
    st.fixed_dictionaries(
        {
            "event_id": names,
            "ts": st.integers(0, 4_000_000_000_000),
            "account": names | st.just("EXT_1"),
            "counterparty": names | st.just("EXT_2"),
            "amount": st.floats(0.01, 1e11),
            "currency": st.sampled_from(["CNY", "USD"]),
            "type": names,
            "channel": names,
        }
    ),
    optional,
)


@UNTIMED
@given(st.lists(random_events, min_size=1, max_size=12))
def test_a_batch_gives_the_columns_of_its_events_one_by_one(events: list[Event]) -> None:
    bank = Bank(rates={"USD": 7.0}, partitions=12, timezone="America/New_York")
    batch = columns_of(events, bank)
    for i, one in enumerate(events):
        alone = columns_of([one], bank)
        for name, column in alone._asdict().items():
            if name != "offset":
                np.testing.assert_array_equal(getattr(batch, name)[i : i + 1], column, name)
    assert batch.payer_ids == [e["account"].encode() for e in events]
    assert batch.payer.tolist() == [text_hash_of(e["account"].encode()) for e in events]
    assert batch.payee.tolist() == [text_hash_of(e["counterparty"].encode()) for e in events]
    assert batch.event.tolist() == [text_hash_of(e["event_id"].encode()) for e in events]
    assert batch.device.tolist() == [text_hash_of((e.get("device_id") or "").encode()) for e in events]


def test_unknown_fields_are_ignored() -> None:
    assert columns_of([event(1, extra=1)]).content == columns_of([event(1)]).content


def test_same_content_has_the_same_hash_whatever_is_spelled_out() -> None:
    spelled = event(1, payer_kind="account", payee_kind=None, device_id=None, latitude=None)
    assert columns_of([spelled]).content == columns_of([event(1)]).content


@pytest.mark.parametrize(
    "change",
    [
        {"ts": NOON + 1},
        {"account": "A3"},
        {"counterparty": "A3"},
        {"amount": 100.01},
        {"currency": "USD"},
        {"type": "TRANSFER"},
        {"channel": "mobile"},
        {"payer_kind": "cash"},
        {"payee_kind": "merchant"},
        {"payer_balance_before": 0.0},
        {"payee_balance_before": 0.0},
        {"device_id": "d"},
        {"ip": "i"},
        {"latitude": 0.0},
        {"longitude": 0.0},
    ],
    ids=str,
)
def test_every_field_is_content(change: Event) -> None:
    bank = Bank(rates={"USD": 1.0})
    same, other = columns_of([event(1), event(1, **change)], bank).content.tolist()
    assert same != other


# Money


def test_other_currencies_are_converted_by_the_table() -> None:
    p = columns_of([event(1, currency="USD", amount=3.0), event(2)], Bank(rates={"USD": 7.0}))
    assert p.amount.tolist() == [21.0, 100.0]
    assert p.amount_original.tolist() == [3.0, 100.0]


def test_an_unknown_currency_is_refused_and_the_rest_is_not() -> None:
    events = [event(1), event(2, currency="XYZ"), event(3)]
    columns, refused = payments(events, [5, 6, 7], [-1] * 3, None, None, Bank(), NOW)
    assert [(r.index, r.reason) for r in refused] == [(1, Reject.UNKNOWN_CURRENCY)]
    assert "XYZ" in refused[0].message
    assert "bank.rates" in refused[0].message
    assert columns.offset.tolist() == [5, 7]
    assert columns.texts == [b"e1\0A1\0A2\0CNY", b"e3\0A1\0A2\0CNY"]


# Time


@UNTIMED
@given(st.lists(st.integers(0, 4_100_000_000_000), min_size=1, max_size=20), st.sampled_from(ZONES))
def test_local_time_is_that_of_the_time_zone(times: list[int], zone: str) -> None:
    shifted = local_ms(np.array(times), zone)
    for ts, local in zip(times, shifted.tolist(), strict=True):
        moment = datetime.fromtimestamp(ts / 1000, ZoneInfo(zone))
        offset = moment.utcoffset()
        assert offset is not None
        assert local - ts == offset.total_seconds() * 1000


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"])
def test_local_time_changes_in_the_very_second_of_the_zone(zone: str) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    seen = set()
    while moment.year == 2024:
        ts = int(moment.timestamp() * 1000)
        after = int((moment + timedelta(hours=1)).timestamp() * 1000)
        for t in (ts, after - 1, after):
            offset = datetime.fromtimestamp(t / 1000, ZoneInfo(zone)).utcoffset()
            assert offset is not None
            assert local_ms(np.array([t]), zone)[0] - t == offset.total_seconds() * 1000
            seen.add(offset)
        moment += timedelta(hours=1)
    assert len(seen) == 2


def test_hour_and_weekday_are_local() -> None:
    monday = int(datetime(2026, 11, 2, 17, 30, tzinfo=UTC).timestamp() * 1000)
    local = local_ms(np.array([monday]), "Asia/Shanghai")
    assert hour_of(local).tolist() == [1.5]
    assert weekday_of(local).tolist() == [1]


def test_future_is_more_than_five_minutes_ahead_of_the_wall_clock() -> None:
    events = [event(1, NOON + 300_000), event(2, NOON + 300_001)]
    assert reasons(events, now_ms=NOON) == [(1, Reject.FUTURE)]


def test_future_is_judged_at_the_records_time_so_that_a_second_reading_agrees() -> None:
    early = event(1, NOON + HOUR)
    assert reasons([early], produced=[NOON], now_ms=NOON + 2 * HOUR) == [(0, Reject.FUTURE)]
    assert reasons([early], produced=[NOON + HOUR], now_ms=NOON + 2 * HOUR) == []
    assert reasons([early], produced=[NOON + 2 * HOUR], now_ms=NOON) == [(0, Reject.FUTURE)]
    assert reasons([early], produced=[-1], now_ms=NOON + HOUR) == []


def test_an_event_of_2017_is_not_too_old_for_columns() -> None:
    assert reasons([event(1, 1_490_000_000_000)]) == []


# Keys and partitions


def test_a_key_that_is_not_the_account_is_refused() -> None:
    events = [event(1), event(2), event(3), event(4)]
    refused = reasons(events, keys=[b"A1", b"A2", None, b""])
    assert refused == [(1, Reject.WRONG_KEY), (2, Reject.WRONG_KEY), (3, Reject.WRONG_KEY)]


def test_a_record_on_another_partition_than_kafkas_is_refused() -> None:
    bank = Bank(partitions=12)
    events = [event(i, account=f"A{i}") for i in range(20)]
    keys = [f"A{i}".encode() for i in range(20)]
    wrong = [i for i, key in enumerate(keys) if murmur2_partition(key, 12) != 3]
    assert reasons(events, bank, keys=keys, partition=3) == [(i, Reject.WRONG_PARTITION) for i in wrong]
    _, refused = payments(events, range(20), [-1] * 20, keys, 3, bank, NOW)
    assert "murmur2_random" in refused[0].message


def test_without_keys_nothing_is_said_about_keys_and_partitions() -> None:
    assert reasons([event(1)], Bank(partitions=12), partition=5) == []


def test_the_first_reason_is_given_once() -> None:
    bad = event(1, NOW + DAY, currency="XYZ")
    assert reasons([bad], Bank(partitions=12), keys=[b"X"], partition=11) == [(0, Reject.WRONG_KEY)]
    assert reasons([bad]) == [(0, Reject.UNKNOWN_CURRENCY)]


def test_a_leg_goes_to_kafkas_partition_of_its_key() -> None:
    p = columns_of([event(1), event(2, counterparty="EXT_1")], Bank(partitions=12))
    assert (
        p.partition.tolist()
        == [murmur2_partition(key, 12) for key in p.leg_keys]
        == [
            murmur2_partition(b"A2", 12),
            murmur2_partition(b"A1", 12),
        ]
    )


# Parties


def test_a_leg_is_keyed_by_the_side_that_is_an_account() -> None:
    p = columns_of(
        [
            event(1),
            event(2, counterparty="EXT_SINK"),
            event(3, account="EXT_SOURCE"),
            event(4, account="EXT_SOURCE", counterparty="EXT_SINK"),
            event(5, payee_kind="merchant"),
            event(6, payer_kind="cash"),
            event(7, payer_kind="account", payee_kind="account"),
        ]
    )
    assert p.leg_keys == [b"A2", b"A1", b"A2", b"EXT_SINK", b"A1", b"A2", b"A2"]
    assert p.flags.tolist() == [3, 1, 2, 0, 1, 2, 3]


def test_a_pattern_holds_for_both_sides_and_against_the_kind() -> None:
    bank = Bank(not_accounts=("EXT_*", "POOL", "*-till", "T??"))
    parties = ["EXT_", "EXT", "xEXT_1", "POOL", "POOLS", "shop-till", "T12", "T123", "ext_1"]
    expected = [False, True, True, False, True, False, False, True, True]
    assert [bank.is_account(party) for party in parties] == expected
    for side, bit in (("account", PAYER_ACCOUNT), ("counterparty", PAYEE_ACCOUNT)):
        events = [event(i, **{side: party}) for i, party in enumerate(parties)]
        p = columns_of(events, bank)
        assert [bool(flag & bit) for flag in p.flags.tolist()] == expected
    assert columns_of([event(1, account="EXT_1", payer_kind="account")]).flags.tolist() == [PAYEE_ACCOUNT]


def test_no_pattern_makes_everybody_an_account() -> None:
    assert columns_of([event(1, account="EXT_1")], Bank(not_accounts=())).flags.tolist() == [3]


# Texts that would tear the batch


@pytest.mark.parametrize("field", ["event_id", "account", "counterparty", "currency"])
@pytest.mark.parametrize("text", ["a\0b", "a\1b", "\ud800", "\0", "\1"], ids=ascii)
def test_an_id_with_a_mark_or_half_a_character_is_refused_and_the_rest_is_not(field: str, text: str) -> None:
    events = [event(1), event(2, **{field: text}), event(3)]
    columns, refused = payments(events, [1, 2, 3], [-1] * 3, [b"A1"] * 3, 0, Bank(), NOW)
    assert [(r.index, r.reason) for r in refused] == [(1, Reject.BAD_TEXT)]
    assert columns.offset.tolist() == [1, 3]


def test_rejections_keep_the_batchs_numbers_when_a_text_is_bad() -> None:
    events = [event(1, account="a\0"), event(2), event(3, currency="XYZ"), event(4, event_id="\1")]
    assert reasons(events) == [(0, Reject.BAD_TEXT), (2, Reject.UNKNOWN_CURRENCY), (3, Reject.BAD_TEXT)]


@pytest.mark.parametrize("field", ["device_id", "ip", "type", "channel"])
def test_other_texts_may_hold_anything(field: str) -> None:
    assert reasons([event(1, **{field: "a\1b\0"}), event(2, **{field: "\ud800"})]) == []


def test_device_hashes_stay_apart_when_one_has_a_mark_in_it() -> None:
    p = columns_of([event(1, device_id="a\1b"), event(2, device_id="c"), event(3, device_id="\ud800")])
    assert p.device[:2].tolist() == [text_hash_of(b"a\1b"), text_hash_of(b"c")]


# Batches


def test_no_events_give_no_columns() -> None:
    columns, refused = payments([], [], [], [], 0, Bank(), NOW)
    assert (size(columns), refused) == (0, [])
    assert size(empty_payments()) == size(empty_legs()) == 0
    assert empty_legs().block.shape == (0, FIRST_WIDTH)


def test_take_by_mask_and_by_index() -> None:
    p = columns_of([event(i, account=f"A{i}") for i in range(4)])
    masked = take(p, np.array([True, False, True, False]))
    picked = take(p, np.array([2, 0]))
    assert masked.payer_ids == [b"A0", b"A2"]
    assert picked.payer_ids == [b"A2", b"A0"]
    assert masked.event.tolist() == p.event[[0, 2]].tolist()
    assert picked.event.tolist() == p.event[[2, 0]].tolist()


def test_legs_carry_the_payments_columns() -> None:
    p = columns_of([event(1), event(2)])
    legs = legs_of(p, 4, np.array([0, 3], np.uint8), np.zeros((2, FIRST_WIDTH)))
    assert legs.source_partition.tolist() == [4, 4]
    assert legs.previous.tolist() == [-1, -1]
    assert legs.stored_action.tolist() == [0, 3]
    assert legs.keys == p.leg_keys
    for name in ("offset", "ts", "local", "amount", "payer", "payee", "event", "content", "flags", "texts"):
        assert getattr(legs, name) is getattr(p, name)


# The bank


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"partitions": 0}, "partition count"),
        ({"rates": {"CNY": 2.0}}, "base currency CNY"),
        ({"rates": {"USD": 0.0}}, "USD is 0.0"),
        ({"rates": {"USD": float("nan")}}, "USD is nan"),
        ({"limits": (0.0,)}, "every limit"),
        ({"small_amount": -1.0}, "small_amount is -1.0"),
        ({"future_ms": -1}, "not be negative"),
        ({"timezone": "Mars/Olympus"}, "IANA name"),
    ],
)
def test_a_bank_that_makes_no_sense_is_refused_with_a_sentence(fields: Event, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bank(**fields)


def test_routing_hash_changes_with_whatever_decides_where_a_record_goes() -> None:
    base = Bank(partitions=12, not_accounts=("A*", "B*"))
    assert base.routing_hash() != Bank(partitions=13, not_accounts=("A*", "B*")).routing_hash()
    assert base.routing_hash() != Bank(partitions=12, not_accounts=("A*",)).routing_hash()
    same = Bank(partitions=12, not_accounts=("B*", "A*"), base_currency="EUR", timezone="UTC", limits=(1.0,))
    assert base.routing_hash() == same.routing_hash()
