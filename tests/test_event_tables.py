"""Columns of a history are held to exactly what records are held to."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.events import parse_columns, parse_transactions, tables

TEXT = st.one_of(
    st.sampled_from(["A1", "ATM 7", "b", " ", "", "x" * 64, "x" * 65, "é", "a​b", "\x7f", "a\nb", "中国"]),
)
NUMBER = st.sampled_from([0.01, 1.0, -5.0, 0.0, 1e12, 999_999_999_999.0, 1e18, 90.0, 91.0, -181.0])
ROW = st.fixed_dictionaries(
    {
        "event_id": TEXT,
        "ts": st.sampled_from([1_700_000_000_000, 0, 4_102_444_800_000, 631_152_000_000]),
        "account": TEXT,
        "counterparty": TEXT,
        "amount": NUMBER,
        "currency": st.sampled_from([None, "CNY", "usd", "EURO", "US1"]),
        "type": st.none() | TEXT,
        "payer_kind": st.sampled_from([None, "account", "cash", "robot"]),
        "payer_balance_before": st.none() | NUMBER,
        "latitude": st.none() | NUMBER,
        "device_id": st.none() | TEXT,
    }
)


def by_records(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int], list[Any]]:
    values = [orjson.dumps({name: v for name, v in row.items() if v is not None}) for row in rows]
    events, kept, refused = parse_transactions(values, "EUR")
    return [dict(event) for event in events], kept, refused


def by_columns(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[int], list[Any]]:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    out, kept, refused = parse_columns(columns, "EUR")
    events = [dict(zip(out, values, strict=True)) for values in zip(*out.values(), strict=True)]
    return [{name: v for name, v in event.items() if v is not None} for event in events], kept, refused


def good(number: int = 1, **changed: Any) -> dict[str, Any]:
    row = {
        "event_id": f"e{number}",
        "ts": 1_700_000_000_000,
        "account": "A1",
        "counterparty": "A2",
        "amount": 1.5,
    }
    return {**row, **changed}


@given(rows=st.lists(ROW, min_size=1, max_size=5))
def test_the_same_payments_are_accepted_and_refused_as_from_records(rows: list[dict[str, Any]]) -> None:
    assert by_columns(rows) == by_records(rows)


@given(row=ROW)
def test_what_is_surely_fine_is_never_refused(row: dict[str, Any]) -> None:
    if tables._surely_fine({name: [value] for name, value in row.items()}):
        assert by_records([row])[2] == []


def test_ordinary_columns_are_not_parsed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "parse_transactions", None)
    rows = [good(1, type="TRANSFER", latitude=None), good(2, type=None, latitude=12.5)]
    events, kept, refused = by_columns(rows)
    assert (kept, refused) == ([0, 1], [])
    assert [event["type"] for event in events] == ["TRANSFER", "unknown"]
    assert [event["currency"] for event in events] == ["EUR", "EUR"]


def test_a_required_field_without_a_value_is_refused() -> None:
    _, kept, (refused,) = by_columns([good(1), good(2, amount=None)])
    assert kept == [0]
    assert (refused.index, refused.reason) == (1, "invalid")


def test_an_infinite_amount_is_refused() -> None:
    assert [refused.index for refused in by_columns([good(1, amount=math.inf)])[2]] == [0]


def test_no_payments() -> None:
    assert parse_columns({"event_id": [], "ts": [], "account": [], "counterparty": [], "amount": []})[1:] == (
        [],
        [],
    )
