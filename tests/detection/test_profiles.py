from __future__ import annotations

import math
import random
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import REPEAT, Legs, legs_of, size, take
from stream_guard.detection.features import (
    DAY,
    FEATURES,
    FIRST,
    HOUR,
    INDEX,
    MINUTE,
    PAYEE,
    SIGNALS,
    TXN,
    WINDOWS,
    N,
)
from stream_guard.detection.hashing import text_code, text_hash
from stream_guard.detection.profiles import CONFLICT, COUNTED, SEEN, TOO_OLD, Profiles
from stream_guard.detection.row_store import RowRefused
from stream_guard.detection.rows import ROW
from tests.detection.reference import ReferenceProfiles
from tests.detection.streams import (
    NOON,
    Event,
    both_hops,
    columns_of,
    event,
    first_hop,
    levels,
    random_stream,
    some,
)

THOROUGH = settings(deadline=None, max_examples=15)
OF_THE_ROW = ("txn.tainted", "txn.taint_hops", "txn.travel_km", "txn.travel_kmh")
"""Figures of the payment that its payer's row tells."""
ZONES = ["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"]
streams = st.builds(
    random_stream,
    seed=st.integers(0, 2**32),
    count=st.sampled_from([10, 60, 180]),
    accounts=st.sampled_from([1, 2, 4]),
    step=st.sampled_from([10 * MINUTE, HOUR, 3 * DAY]),
    devices=st.sampled_from([0, 1, 3]),
)


def profiles_of(*events: Event, bank: Bank | None = None) -> Profiles:
    profiles = Profiles(bank or Bank())
    both_hops(profiles, list(events))
    return profiles


def rows(profiles: Profiles) -> dict[bytes, bytes]:
    """What storage would see of every row, without touching what is dirty."""
    store = profiles._store
    return {account: store.words[row].tobytes() for row, account in enumerate(store._accounts)}


def same_figure(name: str, got: float, want: float) -> bool:
    # A standard deviation of equal amounts may come out as a rounding error of the mean instead of 0.
    absolute = 1e-6 if name.endswith(("_std", "_km", "_kmh")) else 1e-9
    return math.isclose(got, want, rel_tol=1e-9, abs_tol=absolute) or (math.isnan(got) and math.isnan(want))


# The reference


@THOROUGH
@given(streams, st.sampled_from(ZONES), st.randoms(use_true_random=False), st.sampled_from([0, 30, 100]))
def test_every_feature_equals_the_reference(
    events: list[Event], zone: str, rng: random.Random, level: int
) -> None:
    bank = Bank(timezone=zone)
    profiles, reference = Profiles(bank, capacity=1), ReferenceProfiles(bank)
    p = columns_of(events, bank)
    listed = {"A0": level, "EXT_1": level}
    for i, one in enumerate(events):
        piece = some(p, i, i + 1)
        status, action, block = profiles.payer_hop(piece, levels(piece, listed))
        want_status, want_action, want = reference.payer_hop(one, listed.get(one["account"], 0))
        assert (status[0], action[0]) == (want_status, want_action)
        for feature in [*FEATURES[: TXN.start], *(FEATURES[INDEX[name]] for name in OF_THE_ROW)]:
            if feature.side == "txn" and want_status != COUNTED:
                continue
            got = block[0, INDEX[feature.name]]
            assert same_figure(feature.name, got, want.get(feature.name, math.nan)), feature.name
        if want_status > SEEN:
            continue
        repeat = want_status == SEEN
        flags = p.flags[i : i + 1] | np.uint8(REPEAT * repeat)
        matrix = np.full((1, N), -1.0)
        legs = legs_of(some(p, i, i + 1), 0, action, block, flags)
        status, action = profiles.payee_hop(legs, matrix)
        carried = [float(block[0, INDEX[name]]) for name in ("txn.tainted", "txn.taint_hops")]
        want_status, want_action, want = reference.payee_hop(one, repeat, want_action, *carried)
        assert (status[0], action[0]) == (want_status, want_action)
        for feature in FEATURES[PAYEE]:
            got = matrix[0, INDEX[feature.name]]
            assert same_figure(feature.name, got, want.get(feature.name, math.nan)), feature.name
        np.testing.assert_array_equal(matrix[:, FIRST], block)
        assert (matrix[:, SIGNALS] == -1.0).all()
        account = rng.choice([one["account"], one["counterparty"]])
        if rng.random() < 0.2:
            decided = rng.randrange(5)
            profiles.set_actions([account.encode()], p.event[i : i + 1], np.array([decided], np.uint8))
            reference.set_action(account, one["event_id"], decided)
        if rng.random() < 0.1:
            ts = one["ts"] - rng.choice([0, HOUR, 40 * DAY])
            opened, born, kind = (
                rng.choice([None, ts - DAY]),
                rng.choice([None, 1950]),
                rng.choice([None, "k"]),
            )
            changed = rng.choice([None, "phone", "password", "device", "address"])
            profiles.update_facts(account.encode(), ts, opened, born, kind, changed)
            reference.update_facts(account, ts, changed, opened=opened, birth_year=born, kind=kind)


@THOROUGH
@given(streams, st.randoms(use_true_random=False))
def test_results_do_not_depend_on_where_batches_end(events: list[Event], rng: random.Random) -> None:
    p = columns_of(events)
    listed = {"A0": 80.0}
    whole = Profiles(Bank())
    status, legs = first_hop(whole, p, listed)
    matrix = np.zeros((size(legs), N))
    payee_status, payee_action = whole.payee_hop(legs, matrix)

    cut = Profiles(Bank())
    at, cut_status, parts = 0, [], []
    while at < size(p):
        end = min(size(p), at + rng.randrange(1, 40))
        piece_status, piece = first_hop(cut, some(p, at, end), listed)
        cut_status += piece_status
        parts.append(piece)
        at = end
    assert cut_status == status
    at = 0
    for piece in parts:
        n = size(piece)
        if n == 0:
            continue
        got = np.zeros((n, N))
        piece_result = cut.payee_hop(piece, got)
        np.testing.assert_array_equal(got, matrix[at : at + n])
        np.testing.assert_array_equal(piece_result[0], payee_status[at : at + n])
        np.testing.assert_array_equal(piece_result[1], payee_action[at : at + n])
        at += n
    assert rows(cut) == rows(whole)
    assert cut.paths.take_dirty() == whole.paths.take_dirty()


# Figures


def test_windows_are_half_open_and_include_the_current_payment() -> None:
    for window, length in WINDOWS.items():
        at_edge, inside = (
            both_hops(Profiles(Bank()), [event(1), event(2, NOON + length)])[1],
            event(2, NOON + length - 1),
        )
        assert at_edge[f"payer.out_count_{window}"] == 1
        assert at_edge[f"payee.in_sum_{window}"] == 100
        within = both_hops(Profiles(Bank()), [event(1), inside])[1]
        assert within[f"payer.out_count_{window}"] == 2
        assert within[f"payee.in_sum_{window}"] == 200


def test_max_mean_std_idle_and_seen_before_exclude_the_current_payment() -> None:
    first, second, third = both_hops(
        Profiles(Bank()), [event(1, amount=10.0), event(2, NOON + 5000, amount=30.0), event(3, NOON + 6000)]
    )
    for name in ("out_max_24h", "out_max", "out_mean", "out_std", "idle_s", "first_seen_s"):
        assert math.isnan(first[f"payer.{name}"]), name
    assert (first["payer.out_count"], second["payer.out_count"]) == (0, 1)
    assert (first["pair.seen_before"], second["pair.seen_before"]) == (0, 1)
    assert (second["payer.out_max_24h"], second["payer.out_max"], second["payer.out_mean"]) == (10, 10, 10)
    assert math.isnan(second["payer.out_std"])
    assert (second["payer.idle_s"], second["payer.first_seen_s"], third["payer.first_seen_s"]) == (5, 5, 6)
    assert third["payer.out_std"] == pytest.approx(math.sqrt(200))
    assert third["payee.in_std"] == pytest.approx(math.sqrt(200))


def test_an_account_has_one_row_for_both_directions() -> None:
    figures = both_hops(
        Profiles(Bank()),
        [event(1), event(2, NOON + 1, account="A2", counterparty="A3", amount=95.0)],
    )[1]
    assert figures["payer.in_sum_10m"] == 100
    assert figures["payer.out_sum_10m"] == 95
    assert figures["payer.in_distinct_10m"] == 1
    assert figures["payer.in_max_10m"] == 100


def test_pair_figures_come_from_the_payers_row_in_both_directions() -> None:
    figures = both_hops(
        Profiles(Bank()),
        [
            event(1, amount=100.0),
            event(2, NOON + 1, account="A2", counterparty="A1", amount=40.0),
            event(3, NOON + 2, counterparty="A3", amount=7.0),
            event(4, NOON + 3, amount=109.0),
            event(5, NOON + 4, amount=111.0),
        ],
    )
    last = figures[-1]
    assert (last["pair.out_count_24h"], last["pair.out_sum_24h"]) == (3, 320)
    assert (last["pair.in_count_24h"], last["pair.in_sum_24h"]) == (1, 40)
    assert last["pair.out_min_24h"] == 100
    assert last["pair.out_similar_count_5d"] == 3
    assert figures[3]["pair.out_similar_count_5d"] == 2
    assert math.isnan(figures[2]["pair.out_min_24h"])
    assert figures[2]["pair.seen_before"] == 0


@pytest.mark.parametrize("window", ["24h", "5d", "7d", "30d"])
def test_pair_windows_are_half_open(window: str) -> None:
    def last(since: int) -> dict[str, float]:
        back = event(0, account="A2", counterparty="A1")
        return both_hops(Profiles(Bank()), [back, event(1), event(2, NOON + since)])[-1]

    length = WINDOWS[window]
    inside, outside = last(length - 1), last(length)
    assert (inside[f"pair.out_count_{window}"], inside[f"pair.in_count_{window}"]) == (2, 1)
    assert (outside[f"pair.out_count_{window}"], outside[f"pair.in_count_{window}"]) == (1, 0)
    assert (inside["pair.out_similar_count_5d"] == 2) == (length <= 5 * DAY)
    assert (outside["pair.out_similar_count_5d"] == 2) == (length < 5 * DAY)
    assert math.isnan(inside["pair.out_min_24h"]) == (window != "24h")
    assert math.isnan(outside["pair.out_min_24h"])
    assert outside["pair.seen_before"] == 1


def test_a_late_payment_sees_only_what_is_not_after_it() -> None:
    later = [event(i, NOON + HOUR + i, counterparty=f"A{i}") for i in range(2, 6)]
    late = both_hops(Profiles(Bank()), [event(1), *later, event(9, NOON + MINUTE, counterparty="A3")])[-1]
    assert late["payer.out_count_24h"] == 2
    assert late["payer.out_distinct_24h"] == 2
    assert late["payer.idle_s"] == 60
    assert late["pair.seen_before"] == 0
    assert late["payee.in_count_24h"] == 1


def test_a_late_payment_takes_its_place_in_time() -> None:
    profiles = profiles_of(event(1), event(3, NOON + 2 * HOUR), event(2, NOON + HOUR, counterparty="A3"))
    figures = both_hops(profiles, [event(4, NOON + 2 * HOUR + 1)])[0]
    assert figures["payer.out_count_8h"] == 4
    assert figures["payer.out_distinct_8h"] == 2
    assert figures["payer.out_count_1h"] == 2


def test_more_than_64_payments_in_a_window_make_its_figures_floors() -> None:
    events = [event(i, NOON + i, counterparty=f"B{i}") for i in range(100)]
    last = both_hops(Profiles(Bank()), events)[-1]
    assert last["payer.out_count_24h"] == 65
    assert last["payer.out_distinct_24h"] == 65
    assert last["payer.out_sum_24h"] == 6500
    assert last["payer.out_count"] == 99


def test_day_buckets_raise_long_windows_beyond_the_ring() -> None:
    days = 6
    events = [event(d * 40 + i, NOON + d * DAY + i, amount=1.0) for d in range(days) for i in range(40)]
    last = both_hops(Profiles(Bank()), events)[-1]
    assert last["payer.out_count_24h"] == 40
    assert last["payer.out_count_7d"] == 240
    assert last["payer.out_sum_30d"] == 240
    # Of the day on which the window begins, the buckets cannot say what lies inside.
    assert last["payer.out_count_3d"] == 3 * 40
    assert last["payee.in_count_7d"] == 240


def test_a_day_whose_first_payment_is_at_the_windows_edge_is_not_inside() -> None:
    def figures(since: int) -> dict[str, float]:
        start = [event(0, NOON), *(event(i, NOON + i, amount=1.0) for i in range(1, 100))]
        more = [event(i, NOON + DAY + i, amount=1.0) for i in range(100, 200)]
        return both_hops(Profiles(Bank()), [*start, *more, event(300, NOON + since)])[-1]

    assert figures(7 * DAY - 1)["payer.out_count_7d"] == 201
    assert figures(7 * DAY)["payer.out_count_7d"] == 101


def test_a_late_payment_makes_its_day_begin_earlier() -> None:
    day = [event(i, NOON + i, amount=1.0) for i in range(100)]
    late = event(100, NOON - HOUR, amount=1.0)  # older than all of the ring: only the bucket knows it
    last = event(101, NOON + 7 * DAY - HOUR // 2, amount=1.0)
    assert both_hops(Profiles(Bank()), [*day, last])[-1]["payer.out_count_7d"] == 101
    assert both_hops(Profiles(Bank()), [*day, late, last])[-1]["payer.out_count_7d"] == 65


@pytest.mark.parametrize("days", [30, 31, 32, 62])
def test_a_late_payment_never_lands_in_another_days_bucket(days: int) -> None:
    today = [event(i, NOON + i, amount=1.0) for i in range(100)]
    late = event(100, NOON - days * DAY, account="A9", counterparty="A1", amount=1000.0)
    figures = both_hops(Profiles(Bank()), [*today, late, event(101, NOON + 100, amount=1.0)])[-1]
    assert (figures["payer.out_count_7d"], figures["payer.in_count_7d"]) == (101, 0)
    assert (figures["payer.out_sum_30d"], figures["payer.in_sum_30d"]) == (101, 0)


def test_day_buckets_follow_the_local_day() -> None:
    # 15:59 and 16:00 UTC are one day in UTC and two in Shanghai; the window begins between them.
    evening = NOON + 12 * HOUR - MINUTE
    events = [event(i, evening, amount=1.0) for i in range(10)]
    events += [event(i, evening + MINUTE, amount=1.0) for i in range(10, 110)]
    events += [event(200, evening + 3 * DAY + MINUTE // 2, amount=1.0)]
    shanghai = both_hops(Profiles(Bank(timezone="Asia/Shanghai")), events)[-1]
    utc = both_hops(Profiles(Bank(timezone="UTC")), events)[-1]
    assert shanghai["payer.out_count_3d"] == 101
    assert utc["payer.out_count_3d"] == 65


def test_night_is_from_midnight_to_six_local() -> None:
    midnight = NOON - 12 * HOUR
    times = [midnight - 1, midnight, midnight + 6 * HOUR - 1, midnight + 6 * HOUR]
    figures = both_hops(Profiles(Bank()), [event(i, ts, amount=10.0 + i) for i, ts in enumerate(times)])
    assert [f["txn.night"] for f in figures] == [0, 1, 1, 0]
    assert [f["payer.out_night_max_90d"] for f in figures] == [0, 0, 11, 12]
    assert [f["txn.hour"] for f in figures[1:]] == [0, pytest.approx(6, abs=1e-6), 6]
    assert figures[0]["txn.weekday"] == (figures[1]["txn.weekday"] - 1) % 7


def test_night_habit_reaches_90_days_and_at_most_105() -> None:
    night = event(1, NOON - 10 * HOUR, amount=5.0)
    seen = [
        both_hops(Profiles(Bank()), [night, event(2, night["ts"] + days * DAY)])[1]["payer.out_night_max_90d"]
        for days in range(120)
    ]
    assert all(seen[1:91])
    assert not any(seen[105:])


def test_near_limit_is_within_one_percent_below() -> None:
    amounts = [49_499.99, 49_500.0, 49_999.99, 50_000.0, 4_999.0, 199_999.0]
    figures = both_hops(Profiles(Bank()), [event(i, NOON + i, amount=a) for i, a in enumerate(amounts)])
    assert [f["payer.out_near_limit_count_30d"] for f in figures] == [0, 1, 2, 2, 3, 4]


def test_small_payments_are_up_to_the_banks_small_amount() -> None:
    amounts = [500.0, 500.01, 1.0]
    figures = both_hops(Profiles(Bank()), [event(i, NOON + i, amount=a) for i, a in enumerate(amounts)])
    assert [f["payer.out_small_count_1h"] for f in figures] == [1, 1, 2]
    assert [f["payer.out_small_sum_7d"] for f in figures] == [500, 500, 501]
    assert [f["payee.out_small_count_1h"] for f in figures] == [0, 0, 0]


def test_figures_are_in_base_currency() -> None:
    bank = Bank(rates={"USD": 7.0})
    figures = both_hops(Profiles(bank), [event(1, currency="USD", amount=3.0)])[0]
    assert figures["txn.amount"] == figures["payer.out_sum_24h"] == figures["payee.in_sum_24h"] == 21


def test_txn_columns_carry_the_payments_own_fields() -> None:
    one = event(1, type="T", channel="c", payer_balance_before=5.0, payee_kind="merchant")
    figures = both_hops(Profiles(Bank()), [one])[0]
    assert figures["txn.type"] == text_code("T")
    assert figures["txn.channel"] == text_code("c")
    assert figures["txn.currency"] == text_code("CNY")
    assert figures["txn.payer_balance_before"] == 5
    assert math.isnan(figures["txn.payee_balance_before"])
    assert (figures["txn.payer_is_account"], figures["txn.payee_is_account"]) == (1, 0)


# Parties that are no account


def test_a_party_that_is_no_account_has_missing_values_and_no_row() -> None:
    profiles = Profiles(Bank())
    source, sink, neither = both_hops(
        profiles,
        [
            event(1, account="EXT_1"),
            event(2, counterparty="EXT_2"),
            event(3, account="EXT_1", counterparty="EXT_2"),
        ],
    )
    assert all(
        math.isnan(v) for k, v in source.items() if k.startswith(("payer.", "pair.")) and "listed" not in k
    )
    assert source["payee.in_count_24h"] == 1
    assert all(math.isnan(v) for k, v in sink.items() if k.startswith("payee.") and "listed" not in k)
    assert (sink["payer.out_count_24h"], sink["pair.out_count_24h"]) == (1, 1)
    assert math.isnan(neither["payer.out_count_24h"])
    assert len(profiles) == 2


def test_the_payees_ring_knows_repeats_where_the_payer_is_no_account() -> None:
    profiles = profiles_of(event(1, account="EXT_1"))
    again, other = event(1, account="EXT_1"), event(1, account="EXT_1", amount=1.0)
    _, legs = first_hop(profiles, columns_of([again, other]))
    matrix = np.zeros((2, N))
    status, _ = profiles.payee_hop(legs, matrix)
    assert status.tolist() == [SEEN, CONFLICT]
    assert np.isnan(matrix[:, PAYEE]).all()


# Repeats and refusals


def test_a_payment_sent_again_is_not_counted_and_keeps_its_action() -> None:
    profiles = profiles_of(event(1))
    profiles.set_actions([b"A1"], text_hash([b"e1"]), np.array([3], np.uint8))
    before = rows(profiles)
    status, action, block = profiles.payer_hop(columns_of([event(1), event(1)]))
    assert (status.tolist(), action.tolist()) == ([SEEN, SEEN], [3, 3])
    assert np.isnan(block[:, : TXN.start]).all()
    assert block[0, INDEX["txn.amount"]] == 100
    assert rows(profiles) == before


def test_the_higher_of_both_rows_actions_is_the_stored_one() -> None:
    for payer_action, payee_action in ((1, 3), (3, 1)):
        profiles = profiles_of(event(1))
        profiles.set_actions([b"A1"], text_hash([b"e1"]), np.array([payer_action], np.uint8))
        profiles.set_actions([b"A2"], text_hash([b"e1"]), np.array([payee_action], np.uint8))
        _, legs = first_hop(profiles, columns_of([event(1)]))
        status, action = profiles.payee_hop(legs, np.zeros((1, N)))
        assert (status.tolist(), action.tolist()) == ([SEEN], [3])


def test_a_known_id_with_other_content_is_a_conflict() -> None:
    profiles = profiles_of(event(1))
    status, _, block = profiles.payer_hop(columns_of([event(1, amount=100.01)]))
    assert status.tolist() == [CONFLICT]
    assert np.isnan(block[:, : TXN.start]).all()


def test_an_id_is_known_among_the_last_64_payments_and_then_forgotten() -> None:
    profiles = profiles_of(event(0), *(event(i, NOON + i) for i in range(1, 64)))
    assert profiles.payer_hop(columns_of([event(0)]))[0].tolist() == [SEEN]
    both_hops(profiles, [event(64, NOON + 64)])
    assert profiles.payer_hop(columns_of([event(0, NOON + 65)]))[0].tolist() == [COUNTED]


def test_payments_of_two_payers_with_one_id_do_not_touch_each_other() -> None:
    figures = both_hops(Profiles(Bank()), [event(1), event(1, account="A3", amount=5.0)])
    assert figures[1]["payee.in_count_24h"] == 2


def test_a_leg_that_the_payees_ring_knows_is_not_counted_again() -> None:
    profiles = Profiles(Bank())
    _, legs = first_hop(profiles, columns_of([event(1)]))
    for expected in (COUNTED, SEEN):
        status, _ = profiles.payee_hop(legs, np.zeros((1, N)))
        assert status.tolist() == [expected]


def test_too_old_is_more_than_31_days_behind_the_payers_newest_payment() -> None:
    profiles = profiles_of(event(1, NOON + 31 * DAY))
    assert profiles.payer_hop(columns_of([event(2, NOON - 1), event(3, NOON)]))[0].tolist() == [
        TOO_OLD,
        COUNTED,
    ]


def test_what_the_payer_received_never_makes_its_payments_too_old() -> None:
    # With a backlog the partitions run apart: a leg may come from far ahead of the account's own payments.
    profiles = profiles_of(event(1, NOON + 62 * DAY, account="A9", counterparty="A1"))
    assert profiles.payer_hop(columns_of([event(2, NOON - 1)]))[0].tolist() == [COUNTED]


def test_a_refused_payment_leaves_no_trace() -> None:
    profiles = profiles_of(event(1, NOON + 31 * DAY))
    profiles.take_dirty()
    before = rows(profiles)
    profiles.payer_hop(columns_of([event(2, NOON - 1), event(1, amount=1.0)]))
    assert rows(profiles) == before
    assert profiles.take_dirty() == []


def test_a_repeat_is_answered_however_old_it_is() -> None:
    profiles = profiles_of(event(1), event(2, NOON + 40 * DAY))
    assert profiles.payer_hop(columns_of([event(1)]))[0].tolist() == [SEEN]


def test_legs_are_never_refused_for_age() -> None:
    profiles = profiles_of(event(1, NOON + 90 * DAY, account="A9"))
    late = both_hops(profiles, [event(2)])[0]
    assert late["payee.in_count_24h"] == 1
    now = both_hops(profiles, [event(3, NOON + 90 * DAY, account="A9")])[0]
    assert now["payee.in_count_30d"] == 2
    assert now["payee.in_count"] == 2


def test_a_payment_older_than_a_full_ring_is_counted_but_evicts_nothing() -> None:
    profiles = profiles_of(*(event(i, NOON + i, amount=1.0) for i in range(64)))
    both_hops(profiles, [event(100, NOON - HOUR, amount=7.0)])
    figures = both_hops(profiles, [event(101, NOON + 64, amount=1.0)])[0]
    assert figures["payer.out_count_10m"] == 65
    assert figures["payer.out_count"] == 65
    assert figures["payer.out_max"] == 7
    assert figures["payer.out_sum_7d"] == 72  # from the buckets
    assert profiles.payer_hop(columns_of([event(0)]))[0].tolist() == [COUNTED]  # left when 101 came


# An account that pays itself


def test_a_payment_to_oneself_is_an_out_and_then_an_in_of_one_row() -> None:
    profiles = Profiles(Bank())
    first, second = both_hops(
        profiles,
        [event(1, counterparty="A1", amount=10.0), event(2, NOON + 1000, counterparty="A1", amount=5.0)],
    )
    assert len(profiles) == 1
    assert (first["payer.in_count_24h"], first["payer.out_count_24h"]) == (0, 1)
    assert (first["payee.in_count_24h"], first["payee.out_count_24h"]) == (1, 1)
    assert first["payee.idle_s"] == 0
    assert (second["payer.in_count_24h"], second["payer.out_count_24h"]) == (1, 2)
    assert (second["pair.out_count_24h"], second["pair.in_count_24h"]) == (2, 1)
    assert (second["payer.idle_s"], second["payee.idle_s"]) == (1, 0)
    assert second["payee.in_sum_24h"] == 15


def test_a_payment_to_oneself_sent_again_is_a_repeat_on_both_sides() -> None:
    me = event(1, counterparty="A1")
    profiles = profiles_of(me)
    profiles.set_actions([b"A1"], text_hash([b"e1"]), np.array([2], np.uint8))
    before = rows(profiles)
    status, legs = first_hop(profiles, columns_of([me]))
    payee_status, action = profiles.payee_hop(legs, np.zeros((1, N)))
    assert (status, payee_status.tolist(), action.tolist()) == ([SEEN], [SEEN], [2])
    assert rows(profiles) == before


# Facts


def test_facts_are_missing_until_an_update_says_them() -> None:
    profiles = Profiles(Bank())
    unknown = both_hops(profiles, [event(1)])[0]
    names = ("account_age_d", "holder_age_y", "kind", "changed_s", "address_changed_s")
    assert all(math.isnan(unknown[f"payer.{name}"]) for name in names)
    profiles.update_facts(b"A1", NOON, NOON - 10 * DAY, 1950, "personal", "phone")
    known = both_hops(profiles, [event(2, NOON + HOUR)])[0]
    assert known["payer.account_age_d"] == pytest.approx(10 + 1 / 24)
    assert known["payer.holder_age_y"] == 2023 - 1950
    assert known["payer.kind"] == text_code("personal")
    assert known["payer.changed_s"] == 3600
    assert math.isnan(known["payer.address_changed_s"])
    assert math.isnan(known["payee.kind"])


def test_the_holders_age_goes_by_the_local_calendar_year() -> None:
    profiles = Profiles(Bank())
    profiles.update_facts(b"A1", 0, None, 1950, None, None)
    edges = [(12, 31), (1, 1), (2, 28), (3, 1), (6, 15), (2, 29), (12, 30)]
    days = [
        (y, m, d)
        for y in (1970, 1999, 2000, 2023, 2024, 2052)
        for m, d in edges
        if (m, d) != (2, 29) or y % 4 == 0
    ]
    moments = sorted(datetime(*day, 23, 59, tzinfo=ZoneInfo("Asia/Shanghai")) for day in days)
    events = [event(i, int(moment.timestamp() * 1000)) for i, moment in enumerate(moments)]
    ages = [figures["payer.holder_age_y"] for figures in both_hops(profiles, events)]
    assert ages == [moment.year - 1950 for moment in moments]


def test_an_account_opened_at_the_payment_has_age_0_and_one_opened_later_none() -> None:
    for opened, age in ((NOON, 0.0), (NOON + 1, math.nan)):
        profiles = Profiles(Bank())
        profiles.update_facts(b"A1", NOON, opened, None, None, None)
        assert both_hops(profiles, [event(1)])[0]["payer.account_age_d"] == pytest.approx(age, nan_ok=True)


def test_the_newest_update_wins_field_by_field_whatever_comes_first() -> None:
    profiles = Profiles(Bank())
    profiles.update_facts(b"A1", NOON - 1000, None, 1960, "new", None)
    profiles.update_facts(b"A1", NOON - 5000, NOON - DAY, 1950, "old", None)
    figures = both_hops(profiles, [event(1)])[0]
    assert figures["payer.holder_age_y"] == 2023 - 1960
    assert figures["payer.kind"] == text_code("new")
    assert figures["payer.account_age_d"] == 1


def test_a_change_after_the_payment_is_not_seen_but_the_one_before_is() -> None:
    profiles = Profiles(Bank())
    for ts in (NOON - 9000, NOON + 9000, NOON - 9000):
        profiles.update_facts(b"A1", ts, None, None, None, "device")
    profiles.update_facts(b"A1", NOON + 1, None, None, None, "address")
    figures = both_hops(profiles, [event(1)])[0]
    assert figures["payer.changed_s"] == 9
    assert math.isnan(figures["payer.address_changed_s"])


def test_an_unknown_change_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="give phone, password, device, address"):
        Profiles(Bank()).update_facts(b"A1", 0, None, None, None, "hair")


def test_an_update_makes_a_row_that_is_stored() -> None:
    profiles = Profiles(Bank())
    profiles.update_facts(b"A1", NOON, None, 1950, None, None)
    assert [account for account, _ in profiles.take_dirty()] == [b"A1"]


# Rows


def test_rows_keep_their_numbers_while_memory_grows() -> None:
    profiles = Profiles(Bank(), capacity=1)
    first = both_hops(profiles, [event(i, NOON + i, account=f"P{i % 300}") for i in range(600)])
    numbers = profiles.rows_of([b"P%d" % i for i in range(300)], create=False)
    assert len(profiles) == 301
    assert len(set(numbers.tolist())) == 300
    assert all(f["payer.out_count_24h"] == 2 for f in first[300:])
    assert profiles.rows_of([b"nobody", b"P0"], create=False).tolist() == [-1, numbers[0]]


def test_rows_are_created_once_within_a_batch() -> None:
    profiles = Profiles(Bank())
    assert profiles.rows_of([b"x", b"y", b"x"], create=True).tolist() == [0, 1, 0]


def test_stream_time_is_the_newest_time_counted() -> None:
    profiles = Profiles(Bank())
    assert profiles.newest_ts < 0
    both_hops(profiles, [event(1), event(2, NOON - HOUR), event(3, NOON - 1, account="EXT_1")])
    assert profiles.newest_ts == NOON
    both_hops(profiles, [event(4, NOON + 1, account="EXT_1", counterparty="EXT_2")])
    assert profiles.newest_ts == NOON + 1


def test_take_dirty_gives_what_changed_since_the_last_time_once() -> None:
    profiles = profiles_of(event(1), event(2, account="A3"))
    assert [account for account, _ in profiles.take_dirty()] == [b"A1", b"A2", b"A3"]
    assert profiles.take_dirty() == []
    both_hops(profiles, [event(3, account="A3", counterparty="EXT_1")])
    profiles.set_actions([b"A1", b"A2"], text_hash([b"e1", b"e9"]), np.array([2, 2], np.uint8))
    assert [account for account, _ in profiles.take_dirty()] == [b"A3", b"A1"]
    profiles.set_actions([b"A1", b"nobody"], text_hash([b"e1", b"e1"]), np.array([2, 2], np.uint8))
    assert profiles.take_dirty() == []


def test_a_row_is_stored_without_what_it_does_not_use() -> None:
    profiles = profiles_of(event(1))
    (_, one), _ = profiles.take_dirty()
    both_hops(profiles, [event(2)])
    (_, two), _ = profiles.take_dirty()
    assert len(one) < 420
    assert len(two) - len(one) == 48
    both_hops(profiles, [event(i, NOON + i) for i in range(3, 70)])
    assert [len(value) for _, value in profiles.take_dirty()] == [ROW.itemsize] * 2


@THOROUGH
@given(streams, st.integers(1, 50))
def test_loaded_rows_go_on_as_if_nothing_had_happened(events: list[Event], every: int) -> None:
    p = columns_of(events)
    going = Profiles(Bank())
    stored: dict[bytes, bytes] = {}
    for at in range(0, size(p), every):
        piece = some(p, at, min(size(p), at + every))
        resumed = Profiles(Bank(), capacity=1)
        resumed.load(stored.items())
        expected_status, expected = first_hop(going, piece)
        got_status, got = first_hop(resumed, piece)
        assert got_status == expected_status
        np.testing.assert_array_equal(got.block, expected.block)
        ours, theirs = np.zeros((size(got), N)), np.zeros((size(got), N))
        resumed.payee_hop(got, ours)
        going.payee_hop(expected, theirs)
        np.testing.assert_array_equal(ours, theirs)
        stored |= dict(going.take_dirty())
    final = Profiles(Bank())
    final.load(stored.items())
    assert {k: v for k, v in rows(going).items() if k in stored} == rows(final)
    assert final.take_dirty() == []


def test_loading_replaces_what_is_there_and_the_last_of_two_rows_counts() -> None:
    light = profiles_of(event(1)).take_dirty()
    heavy = profiles_of(*(event(i, NOON + i) for i in range(100)))
    full = heavy.take_dirty()
    heavy.load([*full, *light])
    assert rows(heavy) == rows(profiles_of(event(1)))
    assert both_hops(heavy, [event(2)])[0]["payer.out_count_30d"] == 2


def test_loading_tells_the_stream_time() -> None:
    stored = profiles_of(event(1)).take_dirty()
    profiles = Profiles(Bank())
    profiles.load(stored)
    assert profiles.newest_ts == NOON


@pytest.mark.parametrize("change", ["short", "odd", "long", "used", "empty"])
def test_what_is_no_row_is_refused(change: str) -> None:
    ((account, value), *_) = profiles_of(event(1)).take_dirty()
    damaged = {
        "short": value[:-8],
        "odd": value[:-1],
        "long": value + bytes(8),
        "used": (999).to_bytes(8, "little") + value[8:],
        "empty": b"",
    }[change]
    with pytest.raises(RowRefused, match="is none of any release") as refused:
        Profiles(Bank()).load([(account, damaged)])
    assert refused.value.account == b"A1"
    assert "A1" not in str(refused.value)


# A way back


@THOROUGH
@given(streams, st.integers(0, 180), st.booleans())
def test_rollback_makes_a_batch_as_if_it_had_never_been(events: list[Event], at: int, flushed: bool) -> None:
    p = columns_of(events)
    at = min(at, size(p))
    profiles, never = Profiles(Bank(), capacity=1), Profiles(Bank())
    for one in (profiles, never):
        _, legs = first_hop(one, some(p, 0, at))
        one.payee_hop(legs, np.zeros((size(legs), N)))
        if flushed:
            one.take_dirty()
    rest = some(p, at, size(p))
    token = profiles.undo([*rest.payer_ids, *rest.leg_keys])
    _, legs = first_hop(profiles, rest)
    profiles.payee_hop(legs, np.zeros((size(legs), N)))
    profiles.set_actions(rest.leg_keys, rest.event, np.full(size(rest), 4, np.uint8))
    for account in {*rest.payer_ids, *rest.leg_keys}:
        profiles.update_facts(account, NOON, NOON, 1950, "x", "phone")
    profiles.rollback(token)

    assert rows(profiles) == rows(never)
    assert len(profiles) == len(never)
    assert profiles.newest_ts == never.newest_ts
    again, expected = first_hop(profiles, rest), first_hop(never, rest)
    assert again[0] == expected[0]
    np.testing.assert_array_equal(again[1].block, expected[1].block)
    assert profiles.take_dirty() == never.take_dirty()


def test_rollback_after_a_flush_is_refused() -> None:
    profiles = profiles_of(event(1))
    token = profiles.undo([b"A1"])
    profiles.take_dirty()
    with pytest.raises(ValueError, match="roll back before the next flush"):
        profiles.rollback(token)


def test_an_empty_batch_does_nothing() -> None:
    profiles = Profiles(Bank())
    status, legs = first_hop(profiles, columns_of([]))
    assert status == []
    assert isinstance(legs, Legs)
    assert profiles.payee_hop(legs, np.zeros((0, N)))[0].size == 0
    assert profiles.rows_of([], create=True).size == 0
    profiles.load([])
    assert take(legs, np.array([], np.int64)).keys == []
