"""The shipped pack: every rule fires on its typology, not on ordinary life, and the documentation says so."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_guard.detection.features import INDEX, PAYEE, PAYER, SIGNALS, N
from stream_guard.detection.rules import CompiledPack, Pack, check_file, compile_pack, judge, render_reason
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Side

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000_000
DAY = 86_400.0
CONFIRM_FROM = 40
"""Lowest score that interrupts a payment (models/policy.yaml)."""

Row = dict[str, float]
PASSED_ON: Row = {"payer.in_sum_24h": 80_000, "payer.out_sum_24h": 78_000}
FRESH_24H: Row = {"pair.out_sum_30d": 78_000, "pair.out_sum_24h": 78_000}

SELDOM: Row = {
    "pair.seen_before": 0,
    "txn.payee_is_account": 1,
    "payer.first_seen_s": 45 * DAY,
    "payer.out_count": 0,
}
SPREADS: Row = {
    "payer.first_seen_s": 150 * DAY,
    "payer.out_count": 0,
    "payee.out_distinct_7d": 3,
    "payee.out_count": 0,
    "payee.first_seen_s": 90 * DAY,
}

FIRES: dict[str, tuple[Row, Row, float, str]] = {
    # Rule: a payment that fires, what makes it not fire, the score, the sentence.
    "rapid-in-out": (
        PASSED_ON | FRESH_24H,
        {"pair.out_sum_30d": 80_000},
        68.125,
        "78,000 of 80,000 received in 24 h has left again, now to a new payee",
    ),
    "rapid-in-out-fast": (
        {"payer.in_sum_10m": 60_000, "payer.out_sum_10m": 58_500} | FRESH_24H,
        {"payer.out_sum_10m": 56_000},
        65.0,
        "60,000 came in and 58,500 left within 10 minutes",
    ),
    "many-in-one-out": (
        {
            "payer.in_distinct_7d": 7,
            "payer.in_sum_7d": 250_000,
            "pair.out_sum_7d": 240_000,
            "pair.out_sum_30d": 240_000,
        },
        {"payer.in_distinct_7d": 4},
        66.0,
        "7 payers sent 250,000 in 7 days; 240,000 of it went to this one new payee",
    ),
    "one-in-many-out": (
        {
            "payer.in_max_3d": 200_000,
            "payer.in_sum_3d": 210_000,
            "payer.out_distinct_3d": 6,
            "payer.out_sum_3d": 120_000,
            "pair.out_sum_30d": 20_000,
            "pair.out_sum_5d": 20_000,
        },
        {"payer.in_sum_3d": 300_000},
        70.0,
        "one credit of 200,000, then 120,000 to 6 payees within 3 days, this one new",
    ),
    "two-way-churning": (
        {
            "pair.out_count_7d": 2,
            "pair.in_count_7d": 3,
            "pair.out_sum_7d": 100_000,
            "pair.in_sum_7d": 100_000,
        },
        {"pair.in_count_7d": 1},
        62.5,
        "2 payments of 100,000 to this account and 3 of 100,000 back in 7 days",
    ),
    "mirror-pass-through": (
        {
            "payer.in_sum_24h": 100_500,
            "payer.out_sum_24h": 99_500,
            "payer.balance_mean": 1_200,
            "pair.out_sum_30d": 50_000,
            "pair.out_sum_24h": 50_000,
        },
        {"payer.balance_mean": 21_000},
        67.5,
        "100,500 in and 99,500 out in 24 h, over a mean balance of 1,200",
    ),
    "divergence": (
        {
            "payer.out_count_8h": 14,
            "payer.out_count_30d": 40,
            "payer.out_distinct_8h": 9,
            "payer.out_sum_8h": 100_000,
            "pair.out_sum_30d": 7_000,
            "pair.out_sum_24h": 7_000,
        },
        {"payer.out_count_8h": 10},
        57.5,
        "14 payments of 100,000 to 9 payees in 8 h, this one new",
    ),
    "below-limit": (
        {"payer.out_near_limit_count_30d": 6, "txn.amount": 49_999},
        {"txn.amount": 50_000},
        55.0,
        "6 payments just below a limit in 30 days, this one of 49,999.00",
    ),
    "ants-moving-house": (
        {
            "payer.out_count_7d": 25,
            "payer.out_sum_7d": 125_000,
            "payer.out_max_7d": 5_000,
            "txn.amount": 4_900,
            "payer.in_sum_7d": 126_000,
        },
        {"payer.out_max_7d": 20_000},
        56.0,
        "25 payments of at most 10,000, together 125,000, in 7 days, out of 126,000 received",
    ),
    "similar-payments": (
        {
            "pair.out_similar_count_5d": 4,
            "pair.out_sum_5d": 60_000,
            "txn.amount": 15_000,
            "pair.out_count_30d": 4,
            "txn.payee_is_account": 1,
        },
        {"pair.out_count_30d": 5},
        52.5,
        "4 near-equal payments, together 60,000, to one new payee in 5 days",
    ),
    "probe-then-drain": (
        {
            "pair.out_min_24h": 1,
            "txn.amount": 100_000,
            "pair.out_sum_30d": 100_001,
            "pair.out_sum_24h": 100_001,
            "txn.payer_balance_before": 120_000,
        },
        {"txn.payer_balance_before": 500_000},
        74.0,
        "100,000 to a new payee within 24 h of a try with 1.00",
    ),
    "small-tries": (
        {
            "payer.out_small_count_1h": 6,
            "payer.out_distinct_1h": 5,
            "pair.seen_before": 0,
            "txn.payee_is_account": 1,
        },
        {"payer.out_distinct_1h": 2},
        40.0,
        "6 small payments within 1 h, 5 payees, this one new",
    ),
    "impossible-travel": (
        {"txn.travel_km": 1_200, "txn.travel_kmh": 3_600},
        {"txn.travel_kmh": 850},
        71.25,
        "1,200 km from the payer's last payment with a place, which needs 3,600 km/h",
    ),
    "details-changed": (
        {"payer.changed_s": 5.5 * 3600, "txn.amount": 150_000, "pair.seen_before": 0},
        {"payer.changed_s": 73 * 3600},
        70.0,
        "150,000 to a new payee 5.5 hours after phone, password or device was changed",
    ),
    "night-out-of-habit": (
        {
            "txn.night": 1,
            "txn.hour": 3.25,
            "txn.amount": 200_000,
            "payer.out_night_max_90d": 60,
            "payer.first_seen_s": 200 * DAY,
        },
        {"payer.out_night_max_90d": 150_000},
        65.0,
        "200,000 at 03:15; the largest night payment of the last 90 days was 60",
    ),
    "far-above-habit": (
        {
            "txn.amount": 60_000,
            "payer.out_mean": 300,
            "payer.out_std": 500,
            "payer.out_max": 4_000,
            "payer.out_count": 65,
        },
        {"payer.out_max": 50_000},
        35.0,
        "60,000 at once; the largest of 65 earlier payments was 4,000",
    ),
    "elder-stranger-large": (
        {
            "payer.holder_age_y": 71,
            "txn.amount": 40_000,
            "pair.seen_before": 0,
            "txn.payee_is_account": 1,
        },
        {"pair.seen_before": 1},
        65.0,
        "a holder of 71 years pays 40,000 to somebody never paid before",
    ),
    "drain": (
        {
            "payer.out_sum_1h": 100_000,
            "txn.payer_balance_before": 82_000,
            "txn.amount": 80_000,
            "pair.seen_before": 0,
            "txn.payee_is_account": 1,
            "txn.channel": 7,
        },
        {"txn.payer_balance_before": 200_000},
        61.25,
        "100,000 within 1 h, of which 80,000 to a new payee, out of a balance of 82,000 before it",
    ),
    "dormant-wakes": (
        {"payee.idle_s": 200 * DAY, "payee.in_sum_24h": 75_000, "txn.payee_balance_before": 12},
        {"txn.payee_balance_before": 9_000},
        60.0,
        "75,000 received after 200 days without any movement",
    ),
    "dormant-pays": (
        {"payer.idle_s": 200 * DAY, "payer.out_sum_24h": 75_000, "pair.seen_before": 0},
        {"payer.idle_s": 100 * DAY},
        55.0,
        "75,000 paid to somebody new after 200 days without any movement",
    ),
    "new-account-high-turnover": (
        {"payee.account_age_d": 12, "txn.amount": 250_000, "payee.in_sum_30d": 300_000},
        {"payee.account_age_d": 31},
        56.0,
        "300,000 received, 250,000 of it now, by an account opened 12 days ago",
    ),
    "unaccustomed-payer": (
        SELDOM | {"payer.out_distinct_7d": 8},
        {"payer.out_distinct_7d": 5},
        65.0,
        "8 payees in 7 days, this one new, by an account with 0 earlier payments in 45 days",
    ),
    "joins-many-in": (
        SELDOM | {"payer.first_seen_s": 500 * DAY, "payee.in_distinct_7d": 6},
        {"payee.in_distinct_7d": 3},
        65.0,
        "6 payers in 7 days; this one is new and made 0 payments in 500 days before",
    ),
    "pays-a-spreader": (
        SELDOM | SPREADS,
        {"payee.out_count": 200},
        65.0,
        "3 payees in 7 days of an account with 0 payments in 90 days; the payer is new to it and made 0",
    ),
    "paid-by-unaccustomed-payer": (
        SELDOM | {"payer.out_distinct_7d": 8},
        {"pair.seen_before": 1},
        65.0,
        "8 payees in 7 days, this one new, by an account with 0 earlier payments in 45 days",
    ),
    "gathers-from-strangers": (
        SELDOM | {"payer.first_seen_s": 500 * DAY, "payee.in_distinct_7d": 6},
        {"payer.out_count": 40},
        65.0,
        "6 payers in 7 days; this one is new and made 0 payments in 500 days before",
    ),
    "spreads-strangers-money": (
        SELDOM | SPREADS,
        {"payee.out_distinct_7d": 0},
        65.0,
        "3 payees in 7 days of an account with 0 payments in 90 days; the payer is new to it and made 0",
    ),
    "spree": (
        {
            "payer.out_sum_8h": 9_000,
            "payer.out_distinct_1h": 3,
            "payer.out_mean": 100,
            "payer.out_count": 20,
            "pair.seen_before": 0,
            "txn.payee_is_account": 1,
        },
        {"payer.out_distinct_1h": 1},
        75.0,
        "9,000 paid in 8 h and 3 payees in the last hour, this one new;"
        " the mean of 20 earlier payments is 100",
    ),
    "new-account-passes-on": (
        {
            "payer.account_age_d": math.nan,
            "payer.first_seen_s": 3 * 3600,
            "payer.in_sum_24h": 40_000,
            "payer.out_sum_24h": 39_000,
        },
        {"payer.account_age_d": 90},
        89.0,
        "40,000 received in 24 h and 39,000 passed on by an account first seen 3.0 hours ago",
    ),
    "police-listed-payee": (
        {"payee.listed_police": 90},
        {"payee.listed_police": 0},
        90.0,
        "the payee is on the police list (level 90)",
    ),
    "police-listed-payer": (
        {"payer.listed_police": 40},
        {"payer.listed_police": 0},
        85.0,
        "the payer is on the police list (level 40)",
    ),
    "listed-payee": (
        {
            "payee.listed": 70,
            "payee.listed_police": 0,
            "payee.listed_bank": 70,
            "payee.listed_disposition": 0,
        },
        {"payee.listed": 10},
        70.0,
        "the payee is listed: police 0, bank 70, confirmed warnings 0",
    ),
    "listed-payer": (
        {"payer.listed": 0, "txn.device_listed": 60, "txn.ip_listed": 0},
        {"txn.device_listed": 5},
        60.0,
        "listed: payer 0, device 60, address 0",
    ),
    "tainted-funds": (
        {"txn.amount": 9_000, "txn.tainted": 8_000, "txn.taint_hops": 2, "payee.tainted": 20_000},
        {"txn.tainted": 1_500},
        63.125,
        "8,000 of this payment comes from a listed account, by unknown; the payee holds 20,000 of such money",
    ),
    "tainted-funds-passed-on": (
        {"txn.amount": 9_000, "txn.tainted": 8_000, "txn.taint_hops": 3},
        {"txn.taint_hops": 1},
        54.375,
        "8,000 of this payment comes from a listed account, by unknown",
    ),
    "shared-device": (
        {"txn.device_shared": 75, "txn.amount": 30_000, "pair.seen_before": 0},
        {"txn.device_shared": 0},
        63.333333,
        "30,000 to a new payee through a device that acts for several accounts (level 75)",
    ),
    "collection-account": (
        {"payee.in_device_distinct_7d": 3, "payee.in_device_sum_7d": 400_000},
        {"payee.in_device_distinct_7d": 2},
        67.5,
        "3 accounts behind one device paid this one 400,000 in 7 days",
    ),
    "frequent-opening": (
        {"payer.listed_sharing": 62, "txn.amount": 8_000},
        {"txn.amount": 900},
        57.741935,
        "8,000 from one of several accounts opened lately behind one device (level 62)",
    ),
    "frequent-opening-payee": (
        {"payee.listed_sharing": 50, "txn.amount": 8_000},
        {"payee.listed_sharing": 0},
        50.0,
        "8,000 to one of several accounts opened lately behind one device (level 50)",
    ),
    "many-in": (
        {
            "payee.in_distinct_7d": 4,
            "payee.in_sum_7d": 140_000,
            "payee.in_count_7d": 4,
            "payee.out_count_7d": 1,
            "payee.in_sum_30d": 150_000,
            "pair.seen_before": 0,
        },
        {"payee.out_count_7d": 2},
        55.0,
        "4 payers, this one new, sent 140,000 in 7 days; 1 payments out",
    ),
    "shared-address": (
        {"txn.ip_shared": 80, "txn.amount": 30_000, "pair.seen_before": 0},
        {"pair.seen_before": 1},
        55.0,
        "30,000 to a new payee from an address that acts for several accounts (level 80)",
    ),
}


@pytest.fixture(scope="module")
def pack() -> Pack:
    return check_file(ROOT / "models" / "bank-core.yaml")


@pytest.fixture(scope="module")
def compiled(pack: Pack) -> CompiledPack:
    return compile_pack(pack, ROOT / ".cache" / "rules")


def matrix(*rows: Row) -> Any:
    cells = np.full((len(rows), N), np.nan)
    for position, row in enumerate(rows):
        for name, value in row.items():
            cells[position, INDEX[name]] = value
    return cells


def test_every_rule_of_the_pack_is_tested(pack: Pack) -> None:
    assert [rule.id for rule in pack.rules] == list(FIRES)


@pytest.mark.parametrize("name", FIRES)
def test_the_rule_fires_on_its_typology_with_its_figures_in_the_reason(
    pack: Pack, compiled: CompiledPack, name: str
) -> None:
    row, missed, score, sentence = FIRES[name]
    column = [rule.id for rule in compiled.rules].index(name)
    rows = matrix(row, row | missed)
    results = compiled.evaluate(rows, np.full(2, NOW, np.int64))
    assert results.fired[:, column].tolist() == [1, 0]
    assert results.score[0, column] == pytest.approx(score)
    text, evidence = render_reason(pack.rule(name), rows[0])
    assert text == sentence
    assert evidence.keys() >= set(pack.rule(name).shown[0])


@pytest.mark.parametrize("name", FIRES)
def test_the_rule_is_not_evaluable_where_it_knows_nothing(compiled: CompiledPack, name: str) -> None:
    column = [rule.id for rule in compiled.rules].index(name)
    assert compiled.evaluate(matrix({}), np.full(1, NOW, np.int64)).fired[0, column] == 2


def test_the_score_rises_the_further_the_trigger_is_exceeded(pack: Pack) -> None:
    rule = pack.rule("rapid-in-out")
    sums = [50_000, 60_000, 200_000, 5_000_000]
    rows = [matrix({"payer.in_sum_24h": s, "payer.out_sum_24h": s} | FRESH_24H)[0].tolist() for s in sums]
    scores = [judge(rule, row, NOW).score for row in rows]
    assert scores == sorted(set(scores))
    assert scores[0] == 55
    assert scores[-1] < 90


QUIET: Row = {
    **{name: 0.0 for name, index in INDEX.items() if SIGNALS.start <= index},
    **{name: 0.0 for name in INDEX if re.search(r"_(count|sum|distinct)(_|$)", name)},
    "payer.out_night_max_90d": 0,
    "payee.out_night_max_90d": 0,
    "payer.idle_s": 2 * DAY,
    "payee.idle_s": DAY,
    "payer.first_seen_s": 800 * DAY,
    "payee.first_seen_s": 900 * DAY,
    "payer.account_age_d": 2_000,
    "payee.account_age_d": 3_000,
    "payer.holder_age_y": 42,
    "payee.holder_age_y": 71,
    "payer.out_mean": 400,
    "payer.out_std": 900,
    "payer.out_max": 6_000,
    "payer.out_count": 700,
    "payer.balance_mean": 9_000,
    "payer.tainted": 0,
    "payee.tainted": 0,
    "txn.tainted": 0,
    "txn.night": 0,
    "txn.hour": 14,
    "txn.payer_is_account": 1,
    "txn.payee_is_account": 1,
    "txn.channel": 7,
    "pair.seen_before": 0,
}
"""Somebody known for years, with nothing going on."""


def paid(amount: float, **more: float) -> Row:
    """A payment out of a quiet account; every window holds at least it."""
    row = dict(QUIET)
    for name in INDEX:
        if name.startswith(("payer.out_", "pair.out_", "payee.in_")):
            row[name] = (
                amount
                if "_sum_" in name
                else 1.0
                if re.search("_(count|distinct)_", name)
                else row.get(name, math.nan)
            )
    row |= {"txn.amount": amount, "payer.out_near_limit_count_30d": 0, "payer.out_small_count_1h": 0}
    return row | {name.replace("__", "."): value for name, value in more.items()}


ORDINARY: dict[str, Row] = {
    "groceries": paid(86.5, txn__payee_is_account=0, pair__seen_before=1),
    "salary in, then rent out": paid(
        4_200,
        payer__in_sum_24h=14_000,
        payer__in_sum_7d=14_000,
        payer__in_sum_3d=14_000,
        payer__in_max_3d=14_000,
    ),
    "salary in, nearly all of it put aside": paid(
        13_500, payer__in_sum_24h=14_000, payer__in_sum_7d=14_000, txn__payer_balance_before=19_000
    ),
    "a company's takings of the day swept to its parent, as every day": paid(
        200_000,
        payer__in_sum_24h=200_000,
        payer__in_sum_7d=900_000,
        payer__balance_mean=4_000,
        pair__seen_before=1,
        pair__out_sum_30d=5_000_000,
    ),
    "payroll out of what the parent sent, large balances": paid(
        100_000,
        payer__in_sum_24h=100_000,
        payer__balance_mean=300_000,
        pair__seen_before=1,
        pair__out_sum_30d=4e5,
    ),
    "an evening flight, paid from where it landed": paid(300, txn__travel_km=1_900, txn__travel_kmh=760),
    "a telephone whose place jumps within the city": paid(300, txn__travel_km=22, txn__travel_kmh=15_000),
    "a seller is paid a little by somebody who was paid by a mule": paid(
        9_000, txn__tainted=310, txn__taint_hops=2, payee__tainted=6_100
    ),
    "four parking tickets one after the other": paid(
        6, payer__out_small_count_1h=4, payer__out_distinct_1h=1, txn__payee_is_account=0
    ),
    "bonus in, then a car": paid(
        180_000,
        payer__in_sum_24h=90_000,
        payer__in_max_3d=90_000,
        payer__in_sum_3d=90_000,
        payer__in_sum_7d=90_000,
        txn__payer_balance_before=400_000,
        pair__seen_before=1,
        pair__out_sum_30d=200_000,
    ),
    "a company pays a supplier it knows out of the day's takings": paid(
        95_000,
        payer__in_sum_24h=100_000,
        payer__in_sum_7d=500_000,
        payer__in_distinct_7d=40,
        pair__seen_before=1,
        pair__out_sum_30d=300_000,
        pair__out_count_30d=4,
    ),
    "money to the children every month": paid(
        5_000, pair__seen_before=1, pair__out_count_30d=2, payer__holder_age_y=70
    ),
    "one yuan first, then the deposit out of savings": paid(
        30_000,
        pair__out_min_24h=1,
        pair__out_sum_24h=30_001,
        pair__out_sum_30d=30_001,
        txn__payer_balance_before=200_000,
    ),
    "new telephone, ordinary payment": paid(2_000, payer__changed_s=3_600),
    "an elder buys a television": paid(21_000, payer__holder_age_y=80, txn__payee_is_account=0),
    "three similar small payments": paid(
        300, pair__out_similar_count_5d=3, pair__out_count_30d=3, pair__out_sum_5d=900
    ),
    "back from half a year abroad": paid(800, payer__idle_s=200 * DAY, payee__idle_s=DAY),
    "first salary on a new account": paid(9_000, payee__account_age_d=5, payee__in_sum_30d=9_000),
    "supper at night": paid(120, txn__night=1, txn__hour=1.5, txn__payee_is_account=0),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_life_interrupts_no_payment_and_opens_no_warning(compiled: CompiledPack, name: str) -> None:
    fired, score = compiled.evaluate(matrix(ORDINARY[name]), np.full(1, NOW, np.int64))
    said = [rule for rule, one in zip(compiled.rules, fired[0], strict=True) if one == 1]
    assert all(rule.id == "far-above-habit" for rule in said), "only a weak rule may speak here"
    assert all(rule.action is Action.ALLOW for rule in said)
    assert score.sum() < CONFIRM_FROM


def test_at_least_twelve_typologies_are_live(pack: Pack) -> None:
    live = {rule.typology for rule in pack.rules if rule.state is RuleState.LIVE}
    assert live >= {1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 16, 17}


def test_only_police_rules_ask_to_stop(pack: Pack) -> None:
    stops = {rule.id for rule in pack.rules if rule.action is Action.STOP}
    assert stops == {"police-listed-payee", "police-listed-payer"}
    assert stops == {rule.id for rule in pack.rules if rule.source is RuleSource.POLICE}


def test_every_threshold_is_a_named_parameter_with_a_unit(pack: Pack) -> None:
    units = {
        "base",
        "share",
        "score",
        "count",
        "days",
        "hours",
        "years",
        "level",
        "factor",
        "standard deviations",
        "km",
        "km/h",
        "habit",
        "evidence",
    }
    for rule in pack.rules:
        assert {parameter.unit for parameter in rule.params.values()} <= units, rule.id
        assert rule.basis is not None, rule.id
        text = rule.row()["when"] + rule.row()["score"]
        # 0, 1 and the seconds of an hour, a day and a week are no thresholds.
        assert set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?", text)) <= {"0", "1", "3600", "86400", "604800"}, (
            rule.id
        )


def test_a_warning_is_about_the_account_whose_figures_made_it(pack: Pack) -> None:
    # What speaks of both sides at once: a stranger and whom it pays.
    both = {rule.id for rule in pack.rules if "limit" in rule.params} - {"spree"}
    for rule in pack.rules:
        if rule.id in both:
            continue
        sides = {name.split(".")[0] for name in rule.features} & {"payer", "payee"}
        assert sides <= {rule.account.value}, rule.id
        if rule.account is Side.PAYEE:
            assert any(
                PAYEE.start <= index < PAYEE.stop or index >= SIGNALS.start
                for index in rule.features.values()
            )
        elif sides:
            assert any(index < PAYER.stop or index >= SIGNALS.start for index in rule.features.values())


def test_the_readme_has_a_line_for_every_rule_with_its_parameters(pack: Pack) -> None:
    lines = (ROOT / "models" / "README.md").read_text(encoding="utf-8").splitlines()
    for rule in pack.rules:
        line = next((line for line in lines if line.startswith(f"| `{rule.id}` ")), None)
        assert line is not None, rule.id
        assert rule.name["zh"] in line, rule.id
        assert f"| {rule.state.value} " in line, rule.id
        assert f"| {rule.action.label} " in line, rule.id
        for name, parameter in rule.params.items():
            if parameter.unit != "score":
                assert f"`{name}` {parameter.value:,g}" in line, (rule.id, name)
