from __future__ import annotations

import re

from stream_guard.detection.features import (
    ACCOUNT_WIDTH,
    FEATURES,
    FIRST,
    FIRST_WIDTH,
    INDEX,
    PAIR,
    PAYEE,
    PAYER,
    SIGNALS,
    TXN,
    WINDOWS,
    N,
)

GRAMMAR = re.compile(r"(payer|payee)\.(in|out)_(count|sum|max|distinct|mean|std)(_(\d+[mhd]))?")


def names(columns: slice) -> list[str]:
    return [feature.name for feature in FEATURES[columns]]


def test_index_is_the_matrix_column_of_every_name() -> None:
    assert [FEATURES[column].name for column in INDEX.values()] == list(INDEX)
    assert list(INDEX.values()) == list(range(N))


def test_columns_stand_as_payer_pair_txn_payee_signals() -> None:
    slices = [PAYER, PAIR, TXN, PAYEE, SIGNALS]
    assert [s.start for s in slices] == [0, *(s.stop for s in slices[:-1])]
    assert SIGNALS.stop == N
    assert (FIRST.start, FIRST.stop) == (0, PAYEE.start) == (0, FIRST_WIDTH)


def test_hops_are_where_the_figures_come_from() -> None:
    assert {feature.hop for feature in FEATURES[FIRST]} == {1}
    assert {feature.hop for feature in FEATURES[PAYEE]} == {2}
    assert {feature.hop for feature in FEATURES[SIGNALS]} == {0}


def test_both_sides_have_the_same_block_in_the_same_order() -> None:
    payer = [name.replace("payer.", "") for name in names(PAYER)]
    payee = [name.replace("payee.", "") for name in names(PAYEE)]
    assert payer == payee
    assert len(payer) == ACCOUNT_WIDTH


def test_windowed_account_names_follow_the_grammar() -> None:
    for feature in FEATURES:
        if feature.name in names(PAYER)[:64] + names(PAYEE)[:64]:
            match = GRAMMAR.fullmatch(feature.name)
            assert match is not None
            assert match[5] == feature.window
            assert match[1] == feature.side


def test_every_direction_measure_and_window_has_a_feature() -> None:
    wanted = {
        f"{side}.{way}_{measure}_{window}"
        for side in ("payer", "payee")
        for way in ("in", "out")
        for measure in ("count", "sum", "max", "distinct")
        for window in ("10m", "1h", "8h", "24h", "3d", "5d", "7d", "30d")
    }
    assert wanted <= set(INDEX)


def test_windows_rise_and_are_milliseconds() -> None:
    assert list(WINDOWS.values()) == sorted(WINDOWS.values())
    assert (WINDOWS["10m"], WINDOWS["24h"], WINDOWS["30d"]) == (600_000, 86_400_000, 2_592_000_000)


def test_kinds_follow_units() -> None:
    for feature in FEATURES:
        assert (feature.kind == "text") == (feature.unit == "code")
        assert (feature.kind == "bool") == (feature.unit == "bool")


def test_meaning_says_what_includes_the_current_payment() -> None:
    def included(name: str) -> bool:
        return "this one included" in FEATURES[INDEX[name]].meaning

    assert included("payer.out_count_24h")
    assert included("payee.in_sum_7d")
    assert included("pair.out_count_5d")
    assert not included("payer.in_count_24h")
    assert not included("payee.out_sum_7d")
    assert not included("payer.out_max_24h")
    assert not included("payer.out_mean")


def test_every_signal_source_has_a_level_on_both_sides() -> None:
    assert names(SIGNALS) == [
        *(f"payer.listed_{source}" for source in ("police", "bank", "disposition", "sharing")),
        "payer.listed",
        *(f"payee.listed_{source}" for source in ("police", "bank", "disposition", "sharing")),
        "payee.listed",
        "txn.device_listed",
        "txn.device_shared",
        "txn.ip_listed",
        "txn.ip_shared",
    ]
    assert {feature.unit for feature in FEATURES[SIGNALS]} == {"level"}
