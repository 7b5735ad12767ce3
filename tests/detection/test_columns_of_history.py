"""Payments that come as columns are the payments that come as messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.bank import Bank
from stream_guard.detection.columns import payments, payments_of_columns
from stream_guard.detection.vocabulary import Reject
from tests.detection.streams import NOON, event

BANK = Bank(rates={"USD": 7.0}, not_accounts=("EXT_*", "*-till"), partitions=5)


def both(events: list[dict[str, Any]]) -> tuple[Any, Any]:
    names = dict.fromkeys(name for one in events for name in one)
    columns = {name: [one.get(name) for one in events] for name in names}
    offsets = np.arange(len(events))
    times = [one["ts"] for one in events]
    now = 1 << 62
    return payments(events, offsets, times, None, None, BANK, now), payments_of_columns(
        columns, offsets, BANK, now
    )


def check(events: list[dict[str, Any]]) -> list[Reject]:
    (messages, refused), (columns, refused_too) = both(events)
    assert refused == refused_too
    for name, one, other in zip(messages._fields, messages, columns, strict=True):
        if isinstance(one, list):
            assert one == other, name
        else:
            assert one.dtype == other.dtype, name
            assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f"), name
    return [rejection.reason for rejection in refused]


ODD = st.fixed_dictionaries(
    {},
    optional={
        "currency": st.sampled_from(["CNY", "USD", "EUR"]),
        "account": st.sampled_from(["A1", "EXT_1", "x-till", "a\x00b", "a\x01b", "é"]),
        "counterparty": st.sampled_from(["A2", "EXT_2", "\ud800"]),
        "payer_kind": st.sampled_from(["account", "cash"]),
        "device_id": st.sampled_from(["d1", None, "d\x01"]),
        "payee_balance_before": st.sampled_from([None, 5.0]),
    },
)


@settings(deadline=None)
@given(changes=st.lists(ODD, min_size=1, max_size=5))
def test_columns_give_the_same_payments_and_refusals(changes: list[dict[str, Any]]) -> None:
    check([event(number, NOON + number, **change) for number, change in enumerate(changes)])


def test_each_is_refused_for_its_own_reason() -> None:
    events = [event(1), event(2, currency="EUR"), event(3, account="a\x01b"), event(4, currency="USD")]
    assert check(events) == [Reject.UNKNOWN_CURRENCY, Reject.BAD_TEXT]


def test_no_payments() -> None:
    assert payments_of_columns({"ts": []}, [], BANK, 0)[1] == []
