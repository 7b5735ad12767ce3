"""Shared devices and addresses: who is counted, when it is too many, and for how long."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.features import DAY
from stream_guard.detection.sharing import (
    LONG_DAYS,
    SHORT_DAYS,
    NewUses,
    Raised,
    Sharing,
    SharingLimits,
    Sighting,
)
from stream_guard.detection.signals import Signal
from stream_guard.detection.vocabulary import SignalKind

START = 20_000
"""A local day."""


def new(**limits: int) -> Sharing:
    return Sharing(SharingLimits(**limits), lambda day: day * DAY)


def seen(account: str, day: int, key: str = "device:d", opened: int | None = None) -> Sighting:
    return Sighting(key, account, day * DAY + 5, day, opened)


def raised_by(sharing: Sharing, *sightings: Sighting) -> list[Raised]:
    return [raised for sighting in sightings for raised in sharing.see(sighting)]


def signal_of(raised: Raised) -> Signal:
    assert raised.signal is not None
    return raised.signal


def test_three_accounts_in_seven_days_are_too_many_two_are_not() -> None:
    sharing = new()
    assert raised_by(sharing, seen("A", START), seen("B", START + 3)) == []
    (raised,) = raised_by(sharing, seen("C", START + 6))
    assert raised.key == "device:d"
    signal = signal_of(raised)
    assert (signal.kind, signal.id, signal.level, signal.source) == ("device", "d", 50, "sharing")
    assert raised.reason == "3 accounts in 7 days, 3 in 30"
    # Seven days with the first of the three in them end when the first one's do.
    assert (signal.valid_from, signal.valid_to) == ((START + 6) * DAY + 5, (START + 7) * DAY)


def test_three_accounts_in_eight_days_are_not_but_five_in_thirty_are() -> None:
    sharing = new()
    assert raised_by(sharing, *(seen(name, START + 4 * i) for i, name in enumerate("ABCD"))) == []
    (raised,) = raised_by(sharing, seen("E", START + 29))
    assert signal_of(raised).valid_to == (START + 30) * DAY
    assert raised_by(new(), *(seen(name, START + 10 * i) for i, name in enumerate("ABCDE"))) == []


def test_the_same_account_again_is_no_second_one() -> None:
    assert raised_by(new(), *(seen("A", START + i) for i in range(6)), seen("B", START + 6)) == []


def test_a_signal_is_written_anew_when_it_holds_longer_or_weighs_more_and_not_otherwise() -> None:
    sharing = new()
    (first,) = raised_by(sharing, *(seen(name, START) for name in "ABC"))
    assert raised_by(sharing, *(seen(name, START) for name in "ABCABC")) == []
    assert raised_by(sharing, seen("A", START + 1), seen("B", START + 1)) == []
    (later,) = raised_by(sharing, seen("C", START + 1))
    assert signal_of(later) == signal_of(first)._replace(valid_to=(START + 8) * DAY)
    (more,) = raised_by(sharing, seen("D", START + 1))
    assert signal_of(more) == signal_of(later)._replace(level=62)


def test_a_signal_that_ran_out_begins_anew() -> None:
    sharing = new()
    raised_by(sharing, *(seen(name, START) for name in "ABC"))
    assert raised_by(sharing, *(seen(name, START + 9) for name in "AB")) == [Raised("device:d", None)]
    (again,) = raised_by(sharing, seen("C", START + 9))
    assert signal_of(again).valid_from == (START + 9) * DAY + 5


def test_what_a_crowd_uses_is_public_and_its_signal_is_withdrawn() -> None:
    sharing = new(crowd=6)
    raised = raised_by(sharing, *(seen(f"A{i}", START, "ip:w") for i in range(9)))
    assert [one.signal.level if one.signal else None for one in raised] == [50, 62, 70, 75, None]
    # When few are left it is none any more.
    (few,) = raised_by(sharing, *(seen(f"A{i}", START + LONG_DAYS, "ip:w") for i in range(3)))
    assert signal_of(few).level == 50


def test_accounts_opened_one_after_the_other_behind_one_device_are_each_listed() -> None:
    sharing = new(accounts_7d=4)
    raised = raised_by(
        sharing,
        seen("old", START, opened=START - 900),
        seen("A", START, opened=START - 29),
        seen("B", START, opened=START - 10),
        seen("C", START, opened=START),
    )
    accounts = {one.key: signal_of(one) for one in raised if one.key.startswith("account:")}
    assert set(accounts) == {"account:A", "account:B", "account:C"}
    # Until the first of the three is no longer new.
    assert {signal.valid_to for signal in accounts.values()} == {(START + 1) * DAY}
    assert {signal.kind for signal in accounts.values()} == {SignalKind.ACCOUNT}
    assert "one of 3 accounts behind device:d opened within 30 days" in {one.reason for one in raised}


@pytest.mark.parametrize("opened", [None, START - 30])
def test_who_is_not_known_to_be_new_is_not_counted_as_new(opened: int | None) -> None:
    rest = (seen(name, START, opened=START - 1) for name in "AB")
    raised = raised_by(new(), *rest, seen("C", START, opened=opened))
    assert [one.key for one in raised] == ["device:d"]


def test_an_opening_that_becomes_known_later_counts_then() -> None:
    sharing = new()
    raised_by(sharing, *(seen(name, START, opened=START - 1) for name in "AB"), seen("C", START))
    raised = raised_by(sharing, seen("C", START, opened=START - 1))
    assert {one.key for one in raised} == {"account:A", "account:B", "account:C"}


def test_what_nobody_has_used_for_thirty_days_is_forgotten() -> None:
    sharing = new()
    raised_by(sharing, *(seen(name, START) for name in "ABC"), seen("A", START, "ip:1"))
    assert len(sharing) == 2
    sharing.take_dirty()
    assert raised_by(sharing, seen("Z", START + 29, "ip:2")) == []
    assert len(sharing) == 3
    # What it had raised ran out long ago; the record goes, too.
    assert raised_by(sharing, seen("Z", START + 30, "ip:2")) == [Raised("device:d", None)]
    assert len(sharing) == 1
    assert [key for key, value in sharing.take_dirty() if value is None] == [b"device:d", b"ip:1"]


STREAM = st.lists(
    st.tuples(
        st.sampled_from(["device:1", "device:2", "ip:1"]),
        st.sampled_from([f"A{i}" for i in range(9)]),
        st.integers(0, 45),
        st.sampled_from([None, *range(-20, 45, 7)]),
    ),
    max_size=60,
)
LIMITS = SharingLimits(crowd=6)


def plainly(stream: list[Sighting]) -> dict[str, int]:
    """Last day in force of the devices' signals, from all sightings at once."""
    out = {}
    for key in {one.key for one in stream}:
        newest = max(one.day for one in stream if one.key == key)
        last: dict[str, int] = {}
        for one in stream:
            if one.key == key and one.day > newest - LONG_DAYS:
                last[one.account] = max(last.get(one.account, one.day), one.day)
        for least, window in ((LIMITS.accounts_7d, SHORT_DAYS), (LIMITS.accounts_30d, LONG_DAYS)):
            inside = sorted((day for day in last.values() if day > newest - window), reverse=True)
            if least <= len(inside) and len(last) <= LIMITS.crowd:
                out[key] = max(out.get(key, 0), inside[least - 1] + window)
    return out


def state_of(sharing: Sharing) -> dict[bytes, Any]:
    return {key: orjson.loads(value)[1] for key, value in sharing.take_dirty() if value is not None}


def run(stream: list[Sighting]) -> tuple[Sharing, dict[str, Signal]]:
    sharing = Sharing(LIMITS, lambda day: day * DAY)
    in_force: dict[str, Signal] = {}
    for one in stream:
        for raised in sharing.see(one):
            if raised.signal is None:
                in_force.pop(raised.key, None)
            else:
                in_force[raised.key] = raised.signal
    return sharing, in_force


@settings(max_examples=60, deadline=None)
@given(STREAM)
def test_in_order_of_time_the_devices_in_force_are_those_of_a_plain_count(rows: list[Any]) -> None:
    # Within 30 days nothing is forgotten, so that the plain count may look at everything.
    stream = sorted((seen(a, START + d % 29, k, None) for k, a, d, _ in rows), key=lambda one: one.day)
    _, in_force = run(stream)
    newest = {one.key: one.day for one in stream}
    found = {
        key: (signal.valid_to or 0) // DAY
        for key, signal in in_force.items()
        if (signal.valid_to or 0) // DAY > newest[key]
    }
    assert found == plainly(stream)


@settings(max_examples=60, deadline=None)
@given(STREAM, st.randoms(use_true_random=False))
def test_counting_again_and_in_another_order_ends_in_the_same_state(rows: list[Any], rng: Any) -> None:
    stream = [seen(a, START + d % 29, k, None if o is None else START + 2 * len(a)) for k, a, d, o in rows]
    again = [*stream, *rng.sample(stream, len(stream) // 2)]
    rng.shuffle(again)
    few = [one for one in again if one.account <= f"A{LIMITS.crowd}"]
    assert state_of(run([one for one in stream if one in few])[0]) == state_of(run(few)[0])


@settings(max_examples=40, deadline=None)
@given(STREAM, st.integers(0, 60))
def test_a_restart_from_what_was_stored_changes_nothing(rows: list[Any], cut: int) -> None:
    stream = [seen(a, START + d, k, None if o is None else START + o) for k, a, d, o in rows]
    whole = new()
    expected = [whole.see(one) for one in stream]
    first, second = new(), new()
    found = [first.see(one) for one in stream[:cut]]
    second.load([(key, value) for key, value in first.take_dirty() if value is not None])
    found += [second.see(one) for one in stream[cut:]]
    # A device that is dropped at another moment is dropped all the same.
    assert [[one for one in raised if one.signal] for raised in found] == [
        [one for one in raised if one.signal] for raised in expected
    ]


def uses(new_uses: NewUses, *rows: tuple[int, int, int, float, float]) -> list[tuple[int, str, int, Any]]:
    """Uses by payments of (device, ip, payer, local day, age in days)."""
    device, ip, payer, day, age = zip(*rows, strict=True)
    found = new_uses.of(
        np.array(device, np.uint64),
        np.array(ip, np.uint64),
        np.array(payer, np.uint64),
        (np.array(day) * DAY).astype(np.int64),
        np.array(age, float),
        np.array(payer) != 0,
    )
    return [(use.at, str(use.kind), use.day, use.opened) for use in found]


def test_a_use_is_told_once_a_day_and_again_when_more_is_known_of_the_account() -> None:
    told = NewUses()
    nan = float("nan")
    assert uses(told, (1, 0, 7, 10, nan), (1, 0, 7, 10.5, nan), (1, 0, 8, 10, 3.0)) == [
        (0, "device", 10, None),
        (2, "device", 10, 7),
    ]
    assert uses(told, (1, 0, 7, 11, nan), (1, 0, 7, 10, nan)) == [
        (0, "device", 11, None),
        (1, "device", 10, None),
    ]
    assert uses(told, (1, 0, 7, 11, nan), (1, 0, 7, 11, 4.0)) == [(1, "device", 11, 7)]


def test_a_device_and_an_address_are_two_uses_and_no_account_or_neither_is_none() -> None:
    assert uses(NewUses(), (5, 5, 7, 1, 1.0)) == [(0, "device", 1, 0), (0, "ip", 1, 0)]
    assert uses(NewUses(), (5, 5, 0, 1, 1.0), (0, 0, 7, 1, 1.0)) == []
