"""Risk signals: who is listed, by whom, since when, and what the features say."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.features import FEATURES, FIRST, PAYEE, SIGNALS, N
from stream_guard.detection.signals import Signal, Signals
from stream_guard.detection.vocabulary import SignalKind, SignalSource
from tests.detection.builders import DAY, NOON, Bench, event, only

NAMES = [feature.name for feature in FEATURES]
ACCOUNT, DEVICE, IP = SignalKind.ACCOUNT, SignalKind.DEVICE, SignalKind.IP
POLICE, BANK, DISPOSITION, SHARING = SignalSource


def put(
    signals: Signals,
    name: str,
    source: SignalSource = POLICE,
    level: int = 90,
    kind: SignalKind = ACCOUNT,
    valid_from: int = 0,
    valid_to: int | None = None,
) -> None:
    signals.put(f"{kind}:{name}", Signal(kind, name, level, source, valid_from, valid_to))


NUMBERS = itertools.count()


@cache
def bench() -> Bench:
    return Bench()


def features(signals: Signals, *payments: dict[str, Any]) -> list[dict[str, float]]:
    """Signal features of payments, those that are not 0."""
    legs = bench().first(*({**payment, "event_id": f"n{next(NUMBERS)}"} for payment in payments))
    matrix = np.full((len(payments), N), np.nan)
    signals.fill(legs, matrix)
    assert not np.isnan(matrix[:, SIGNALS]).any()
    assert np.isnan(matrix[:, FIRST]).all()
    assert np.isnan(matrix[:, PAYEE]).all()
    rows = [dict(zip(NAMES[SIGNALS], row, strict=True)) for row in matrix[:, SIGNALS].tolist()]
    return [{name: level for name, level in row.items() if level} for row in rows]


def test_without_signals_nobody_is_listed_and_nothing_is_missing() -> None:
    assert features(Signals(), event(1), event(2)) == [{}, {}]


def test_a_listed_account_is_told_on_the_side_it_stands_on() -> None:
    signals = Signals()
    put(signals, "A1", POLICE, 90)
    as_payer, as_payee, other = features(
        signals,
        event(1, account="A1", counterparty="B1"),
        event(2, account="B2", counterparty="A1"),
        event(3, account="B1", counterparty="B2"),
    )
    assert as_payer == {"payer.listed_police": 90.0, "payer.listed": 90.0}
    assert as_payee == {"payee.listed_police": 90.0, "payee.listed": 90.0}
    assert other == {}


@pytest.mark.parametrize("source", [POLICE, BANK, DISPOSITION])
def test_police_bank_and_disposition_make_a_party_listed(source: SignalSource) -> None:
    signals = Signals()
    put(signals, "A2", source, 40)
    assert features(signals, event(1)) == [{f"payee.listed_{source}": 40.0, "payee.listed": 40.0}]


def test_sharing_a_device_alone_makes_nobody_listed() -> None:
    signals = Signals()
    put(signals, "A2", SHARING, 99)
    assert features(signals, event(1)) == [{"payee.listed_sharing": 99.0}]


def test_a_device_or_address_is_listed_by_a_list_and_shared_by_its_accounts() -> None:
    signals = Signals()
    put(signals, "dev-1", SHARING, 70, DEVICE)
    put(signals, "203.0.113.9", BANK, 30, IP)
    found = features(
        signals,
        event(1, device_id="dev-1"),
        event(2, ip="203.0.113.9"),
        event(3, device_id="203.0.113.9", ip="dev-1"),
        event(4),
    )
    assert found == [{"txn.device_shared": 70.0}, {"txn.ip_listed": 30.0}, {}, {}]


def test_a_device_is_not_an_account_of_the_same_name() -> None:
    signals = Signals()
    put(signals, "A1", kind=DEVICE)
    assert features(signals, event(1, device_id="other")) == [{}]


def test_validity_is_event_time_and_half_open() -> None:
    signals = Signals()
    put(signals, "A2", valid_from=NOON, valid_to=NOON + 10)
    times = (NOON - 1, NOON, NOON + 9, NOON + 10)
    found = features(signals, *(event(i, ts) for i, ts in enumerate(times)))
    assert [bool(row) for row in found] == [False, True, True, False]


def test_a_signal_without_an_end_holds_until_it_is_withdrawn() -> None:
    signals = Signals()
    put(signals, "A2")
    assert features(signals, event(1, NOON + 20 * DAY))[0]
    signals.withdraw("account:A2")
    assert features(signals, event(2, NOON + 20 * DAY)) == [{}]
    assert len(signals) == 0


def test_withdrawing_what_is_not_there_changes_nothing() -> None:
    signals = Signals()
    put(signals, "A2")
    signals.withdraw("account:A1")
    signals.withdraw("device:A2")
    assert len(signals) == 1
    assert features(signals, event(1))[0]


def test_a_new_signal_of_a_key_replaces_the_old_one_even_of_another_source() -> None:
    signals = Signals()
    put(signals, "A2", POLICE, 90)
    features(signals, event(1))
    put(signals, "A2", BANK, 20)
    assert features(signals, event(2)) == [{"payee.listed_bank": 20.0, "payee.listed": 20.0}]
    assert len(signals) == 1


def test_one_more_signal_beside_many_is_merged_into_their_table() -> None:
    signals = Signals()
    for number in range(20_000):
        put(signals, f"L{number}")
    legs = Bench().first(event(1, account="L7", counterparty="A2"))
    matrix = np.zeros((1, N))
    signals.fill(legs, matrix)
    put(signals, "A2", level=33)
    signals.fill(legs, matrix)
    names = dict(zip(NAMES[SIGNALS], matrix[0, SIGNALS].tolist(), strict=True))
    assert (names["payer.listed"], names["payee.listed"]) == (90.0, 33.0)


def test_who_listed_a_key_is_known() -> None:
    signals = Signals()
    put(signals, "A2", DISPOSITION)
    assert signals.source_of("account:A2") is DISPOSITION
    assert signals.source_of("account:A1") is None


def test_signals_are_counted_by_source() -> None:
    signals = Signals()
    put(signals, "A1", POLICE)
    put(signals, "A2", POLICE)
    put(signals, "dev", SHARING, kind=DEVICE)
    assert signals.by_source() == {POLICE: 2, BANK: 0, DISPOSITION: 0, SHARING: 1}


def test_a_signal_applies_to_payments_decided_after_it_arrived() -> None:
    bench = Bench()
    before = only(bench, event(1))
    put(bench.context.signals, "A2", POLICE, 95)
    after = only(bench, event(2))
    bench.context.signals.withdraw("account:A2")
    withdrawn = only(bench, event(3))
    assert [one["action"] for one in (before, after, withdrawn)] == ["allow", "stop", "allow"]
    assert after["signals"] == {"payee.listed_police": 95.0, "payee.listed": 95.0}


def test_a_party_that_is_no_account_may_be_listed() -> None:
    signals = Signals()
    put(signals, "EXT_1")
    assert features(signals, event(1, counterparty="EXT_1"))[0]["payee.listed"] == 90.0


IDS = st.sampled_from(["A1", "A2", "A3", "d1"])
SIGNAL = st.tuples(
    st.sampled_from([ACCOUNT, DEVICE, IP]),
    IDS,
    st.integers(1, 100),
    st.sampled_from(list(SignalSource)),
    st.integers(NOON - 3, NOON + 3),
    st.none() | st.integers(NOON - 3, NOON + 3),
)


@settings(max_examples=60, deadline=None)
@given(
    given_signals=st.lists(SIGNAL, max_size=12),
    withdrawn=st.lists(st.tuples(st.sampled_from([ACCOUNT, DEVICE]), IDS), max_size=2),
    payer=IDS,
    payee=IDS,
    device=st.none() | IDS,
    ip=st.none() | IDS,
    ts=st.integers(NOON - 3, NOON + 3),
)
def test_the_tables_say_what_a_plain_search_says(
    given_signals: list[Any],
    withdrawn: list[Any],
    payer: str,
    payee: str,
    device: str | None,
    ip: str | None,
    ts: int,
) -> None:
    signals, plain = Signals(), {}
    for number, (kind, name, level, source, since, until) in enumerate(given_signals):
        put(signals, name, source, level, kind, since, until)
        plain[kind, name] = (source, level, since, until)
        if number % 3 == 0:  # what changes later is merged into what is there
            features(signals, event(0))
    for kind, name in withdrawn:
        signals.withdraw(f"{kind}:{name}")
        plain.pop((kind, name), None)

    def level_of(kind: SignalKind, name: str | None, sources: tuple[SignalSource, ...]) -> float:
        source, level, since, until = plain.get((kind, name), (None, 0, 0, None))
        holds = source in sources and since <= ts and (until is None or ts < until)
        return float(level) if holds else 0.0

    wanted = {}
    for side, name in (("payer", payer), ("payee", payee)):
        for source in SignalSource:
            wanted[f"{side}.listed_{source}"] = level_of(ACCOUNT, name, (source,))
        wanted[f"{side}.listed"] = level_of(ACCOUNT, name, (POLICE, BANK, DISPOSITION))
    for kind, name in ((DEVICE, device), (IP, ip)):
        wanted[f"txn.{kind}_listed"] = level_of(kind, name, (POLICE, BANK, DISPOSITION))
        wanted[f"txn.{kind}_shared"] = level_of(kind, name, (SHARING,))
    fields = {"device_id": device, "ip": ip}
    payment = event(1, ts, account=payer, counterparty=payee, **{k: v for k, v in fields.items() if v})
    (found,) = features(signals, payment)
    assert found == {name: level for name, level in wanted.items() if level}
