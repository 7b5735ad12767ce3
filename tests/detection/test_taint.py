"""Tainted money: the rule of `taint_kernels`, against a walk over the graph of all payments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.bank import Bank
from stream_guard.detection.features import DAY, HOUR, INDEX, N
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.taint_kernels import HALF_LIFE, KEPT, LEAST
from stream_guard.detection.taint_paths import path_of
from tests.detection.streams import NOON, Event, columns_of, event, first_hop

ACCOUNTS = "ABCD"
LISTED: Mapping[str, float] = {"A": 100.0}


def run(
    profiles: Profiles, *events: Event, listed: Mapping[str, float] = LISTED
) -> list[tuple[dict[str, float], list[str]]]:
    """Features of every payment, one in flight at a time, and the accounts by which tainted money came."""
    out = []
    for one in events:
        _, legs = first_hop(profiles, columns_of([one], profiles.bank), listed)
        matrix = np.zeros((1, N))
        profiles.payee_hop(legs, matrix)
        figures = {name: float(matrix[0, column]) for name, column in INDEX.items()}
        path = path_of(legs.texts[0], figures["txn.taint_hops"])[:-1] if figures["txn.tainted"] else []
        out.append((figures, path))
    return out


def pay(number: int, payer: str, payee: str, amount: float, hours: float = 0, **more: float) -> Event:
    return event(number, NOON + int(hours * HOUR), account=payer, counterparty=payee, amount=amount, **more)


# The walk


@dataclass(frozen=True)
class Paid:
    ts: int
    payer: str
    payee: str
    amount: float
    balance: float | None


class Walk:
    """Every path of payments from a listed account, by the definition and with no state at all."""

    def __init__(self, paid: list[Paid], listed: str) -> None:
        self.paid, self.listed = paid, listed
        self.part, self.share, self.path = cache(self._part), cache(self._share), cache(self._path)

    def _left(self, of: int, until: int) -> float:
        """How much of what payment `of` brought its payee still holds before payment `until`."""
        account = self.paid[of].payee
        spent = math.prod(1 - self.share(q) for q in range(of + 1, until) if self.paid[q].payer == account)
        return spent * 0.5 ** ((self.paid[until].ts - self.paid[of].ts) / HALF_LIFE)

    def held(self, account: str, hop: int, until: int) -> float:
        came = [p for p in range(until) if self.paid[p].payee == account]
        return math.fsum(self.part(p, hop) * self._left(p, until) for p in came)

    def _share(self, of: int) -> float:
        """Part of all its payer has that a payment takes."""
        one = self.paid[of]
        held = math.fsum(self.held(one.payer, hop, of) for hop in (1, 2, 3))
        return one.amount / max(one.amount, held, one.balance or 0.0)

    def _part(self, of: int, hop: int) -> float:
        """What a payment carries that left the listed account `hop` payments ago."""
        one = self.paid[of]
        if one.payer == self.listed:
            return one.amount if hop == 1 else 0.0
        return 0.0 if hop == 1 else KEPT * self.share(of) * self.held(one.payer, hop - 1, of)

    def _path(self, of: int, hop: int) -> tuple[str, ...]:
        """Accounts up to the payer, of the part at one hop: by way of the largest part that is left."""
        one = self.paid[of]
        if hop == 1:
            return (one.payer,)
        came = [p for p in range(of) if self.paid[p].payee == one.payer and self.part(p, hop - 1)]
        largest = max(came, key=lambda p: self.part(p, hop - 1) * self._left(p, of))
        return (*self.path(largest, hop - 1), one.payer)


@st.composite
def histories(draw: st.DrawFn) -> list[Paid]:
    count = draw(st.integers(2, 9))
    ts, out = NOON, []
    for number in range(count):
        ts += draw(st.sampled_from([0, HOUR, 3 * DAY]))
        payer, payee = draw(st.permutations(ACCOUNTS))[:2]
        # No two amounts alike: which of two equal parts came first is no question of rounding.
        amount = draw(st.sampled_from([300.0, 1_000.0, 9_000.0])) * (1 + number / 97)
        out.append(Paid(ts, payer, payee, amount, draw(st.sampled_from([None, amount, 7.3 * amount]))))
    return out


@settings(deadline=None, max_examples=60)
@given(histories())
def test_taint_and_its_path_equal_a_walk_over_the_graph_of_payments(history: list[Paid]) -> None:
    walk = Walk(history, "A")
    events = [
        event(i, p.ts, account=p.payer, counterparty=p.payee, amount=p.amount, payer_balance_before=p.balance)
        for i, p in enumerate(history)
    ]
    for i, (figures, path) in enumerate(run(Profiles(Bank()), *events)):
        parts = {hop: walk.part(i, hop) for hop in (1, 2, 3)}
        total = math.fsum(parts.values())
        assert figures["txn.tainted"] == pytest.approx(total, abs=2 * LEAST)
        after = math.fsum(walk.held(history[i].payee, hop, i) for hop in parts) + total
        assert figures["payee.tainted"] == pytest.approx(after, rel=1e-9, abs=2 * LEAST)
        if total > 1:
            mean = math.fsum(hop * part for hop, part in parts.items()) / total
            assert figures["txn.taint_hops"] == pytest.approx(mean)
            assert tuple(path) == walk.path(i, max(parts, key=parts.__getitem__))


# The rule, by hand


def test_all_that_leaves_a_listed_account_is_tainted_at_the_first_hop() -> None:
    ((first, path),) = run(Profiles(Bank()), pay(1, "A", "B", 1_000))
    assert (first["txn.tainted"], first["txn.taint_hops"], first["payee.tainted"]) == (1_000, 1, 1_000)
    assert path == ["A"]


def test_a_listing_of_level_40_taints_40_percent() -> None:
    ((first, _),) = run(Profiles(Bank()), pay(1, "A", "B", 1_000), listed={"A": 40.0})
    assert first["txn.tainted"] == pytest.approx(400)


def test_money_that_left_before_the_listing_is_not_tainted() -> None:
    profiles = Profiles(Bank())
    ((before, _),) = run(profiles, pay(1, "A", "B", 1_000), listed={})
    ((passed_on, _),) = run(profiles, pay(2, "B", "C", 1_000))
    assert (before["txn.tainted"], passed_on["txn.tainted"], passed_on["payee.tainted"]) == (0, 0, 0)
    assert math.isnan(passed_on["txn.taint_hops"])


def test_it_is_passed_on_for_three_hops_losing_a_fifth_each_time() -> None:
    steps = [pay(i, payer, payee, 1_000) for i, (payer, payee) in enumerate(["AB", "BC", "CD", "DE"])]
    found = run(Profiles(Bank()), *steps)
    assert [round(figures["txn.tainted"], 6) for figures, _ in found] == [1_000, 800, 640, 0]
    assert [figures["txn.taint_hops"] for figures, _ in found[:3]] == [1, 2, 3]
    assert [path for _, path in found] == [["A"], ["A", "B"], ["A", "B", "C"], []]
    assert found[3][0]["payer.tainted"] == pytest.approx(640)


def test_half_of_it_is_left_after_seven_days() -> None:
    _, (later, _) = run(Profiles(Bank()), pay(1, "A", "B", 1_000), pay(2, "B", "C", 1_000, hours=7 * 24))
    assert later["payer.tainted"] == pytest.approx(500)
    assert later["txn.tainted"] == pytest.approx(KEPT * 500)


def test_a_payment_takes_the_same_share_of_all_money_where_the_balance_is_known() -> None:
    _, (some, _), (rest, _) = run(
        Profiles(Bank()),
        pay(1, "A", "B", 1_000),
        pay(2, "B", "C", 500, payer_balance_before=10_000.0),
        pay(3, "B", "D", 9_500, payer_balance_before=9_500.0),
    )
    assert some["txn.tainted"] == pytest.approx(KEPT * 1_000 * 500 / 10_000)
    assert rest["payer.tainted"] == pytest.approx(950)
    assert rest["txn.tainted"] == pytest.approx(KEPT * 950)


def test_without_a_balance_the_payment_is_taken_to_be_all_there_was() -> None:
    _, (large, _), (after, _) = run(
        Profiles(Bank()), pay(1, "A", "B", 1_000), pay(2, "B", "C", 5_000), pay(3, "B", "C", 5_000)
    )
    assert large["txn.tainted"] == pytest.approx(800)
    assert after["txn.tainted"] == 0


def test_a_payment_sent_again_taints_once() -> None:
    profiles = Profiles(Bank())
    one = pay(1, "A", "B", 1_000)
    run(profiles, one, one)
    ((passed_on, _),) = run(profiles, pay(2, "B", "C", 3_000))
    assert passed_on["payer.tainted"] == pytest.approx(1_000)


def test_the_path_is_that_of_the_largest_part_that_is_left() -> None:
    listed = {"A": 100.0, "X": 100.0}
    *_, (_, path) = run(
        Profiles(Bank()), pay(1, "A", "B", 9_000), pay(2, "X", "B", 50), pay(3, "B", "C", 100), listed=listed
    )
    assert path == ["A", "B"]
    *_, (_, path) = run(
        Profiles(Bank()),
        pay(1, "A", "B", 9_000),
        pay(2, "B", "C", 8_995),
        pay(3, "X", "B", 50),
        pay(4, "B", "C", 100),
        listed=listed,
    )
    assert path == ["X", "B"]


def test_a_listed_party_that_is_no_account_taints_too_and_one_that_is_paid_holds_nothing() -> None:
    into, out = run(
        Profiles(Bank()), pay(1, "EXT_9", "B", 1_000), pay(2, "B", "EXT_1", 700), listed={"EXT_9": 100.0}
    )
    assert into[0]["payee.tainted"] == 1_000
    assert out[0]["txn.tainted"] == pytest.approx(560)
    assert math.isnan(out[0]["payee.tainted"])


def test_paths_are_stored_and_put_back() -> None:
    profiles = Profiles(Bank())
    run(profiles, pay(1, "A", "B", 1_000), pay(2, "B", "C", 400), pay(3, "A", "C", 10))
    again = Profiles(Bank())
    again.load(profiles.take_dirty())
    again.paths.load(profiles.paths.take_dirty())
    assert profiles.paths.take_dirty() == again.paths.take_dirty() == []
    for later in (pay(4, "C", "D", 50), pay(5, "B", "D", 1)):
        (stored, path), (kept, same_path) = *run(again, later), *run(profiles, later)
        assert path == same_path
        assert stored["txn.tainted"] == kept["txn.tainted"] > 0
