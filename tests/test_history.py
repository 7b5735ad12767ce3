from __future__ import annotations

import gzip
import math
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.events import AccountUpdate, parse_account_update, parse_transactions
from stream_guard.history import BATCH_ROWS, History, HistoryError, account_updates

START = 1_704_067_200_000  # 2024-01-01T00:00:00Z


def columns(**changed: Any) -> dict[str, Any]:
    return {
        "event_id": ["e1", "e2", "e3"],
        "ts": pa.array([START, START + 5, START + 9], pa.timestamp("ms", "UTC")),
        "account": ["A", "B", "A"],
        "counterparty": ["B", "C", "C"],
        "amount": [10.0, 20.5, 30.0],
        **changed,
    }


def write(tmp_path: Path, **changed: Any) -> Path:
    path = tmp_path / "history.parquet"
    table = {name: values for name, values in columns(**changed).items() if values is not None}
    pq.write_table(pa.table(table), path)
    return path


def rows(history: History, limit: int | None = None) -> list[dict[str, Any]]:
    return [row for batch in history.batches(limit) for row in batch.rows]


def test_rows_are_transactions_of_the_contract(tmp_path: Path) -> None:
    path = write(tmp_path, type=["TRANSFER"] * 3, device_id=["d", None, "d"])
    events, _, refused = parse_transactions([orjson.dumps(row) for row in rows(History(path))], "CNY")
    assert not refused
    assert [event["ts"] for event in events] == [START, START + 5, START + 9]


def test_label_columns_are_never_sent(tmp_path: Path) -> None:
    path = write(tmp_path, is_fraud=[1, 0, 1], fraud_scenario=["x", "", "y"], step=[1, 2, 3])
    history = History(path)
    assert history.ignored == ("is_fraud", "fraud_scenario", "step")
    assert set(rows(history)[0]) == {"event_id", "ts", "account", "counterparty", "amount"}


def test_columns_of_other_names_are_mapped(tmp_path: Path) -> None:
    path = write(tmp_path, account=None, payer=["P1", "P2", "P3"], place=["x", "y", "z"])
    history = History(path, {"account": "payer", "channel": "place"})
    assert [(row["account"], row["channel"]) for row in rows(history)] == [
        ("P1", "x"),
        ("P2", "y"),
        ("P3", "z"),
    ]


def test_a_missing_required_column_says_how_to_map_it(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"no column for account: .*--map account=COLUMN; it has .*payer"):
        History(write(tmp_path, account=None, payer=["P1", "P2", "P3"]))


@pytest.mark.parametrize("mapping", [{"acount": "payer"}, {"is_fraud": "label"}, {"account": "nobody"}])
def test_a_mapping_that_cannot_be_is_refused(tmp_path: Path, mapping: dict[str, str]) -> None:
    with pytest.raises(HistoryError, match=r"is no canonical column|has no column"):
        History(write(tmp_path), mapping)


def test_missing_values_and_nan_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, payer_balance_before=[1.0, math.nan, None], device_id=["d", None, "e"])
    first, second, third = rows(History(path))
    assert first["payer_balance_before"] == 1.0
    assert "payer_balance_before" not in second
    assert "device_id" not in second
    assert "payer_balance_before" not in third


def test_events_come_in_event_order_and_ties_in_file_order(tmp_path: Path) -> None:
    ts = pa.array([START + 9, START, START], pa.timestamp("ms"))
    assert [row["event_id"] for row in rows(History(write(tmp_path, ts=ts)))] == ["e2", "e3", "e1"]


@given(st.lists(st.integers(START, START + 50), max_size=60), st.integers(0, 70))
def test_any_order_is_sorted_stably_and_limited(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], limit: int
) -> None:
    n = len(times)
    table = columns(
        event_id=[str(i) for i in range(n)],
        ts=pa.array(times, pa.int64()),
        account=["A"] * n,
        counterparty=["B"] * n,
        amount=[1.0] * n,
    )
    path = tmp_path_factory.mktemp("history") / "h.parquet"
    pq.write_table(pa.table(table), path)
    expected = [str(i) for i, _ in sorted(enumerate(times), key=lambda pair: pair[1])]
    assert [row["event_id"] for row in rows(History(path), limit)] == expected[:limit]


def test_batch_boundaries_lose_nothing(tmp_path: Path) -> None:
    n = 2 * BATCH_ROWS + 17
    path = write(
        tmp_path,
        event_id=[str(i) for i in range(n)],
        ts=pa.array(range(START, START + n), pa.int64()),
        account=["A"] * n,
        counterparty=["B"] * n,
        amount=[1.0] * n,
    )
    assert [row["event_id"] for row in rows(History(path))] == [str(i) for i in range(n)]
    assert len(rows(History(path), BATCH_ROWS + 1)) == BATCH_ROWS + 1


@pytest.mark.parametrize(
    "ts",
    [
        pa.array([1_704_067_200], pa.timestamp("s")),
        pa.array([START], pa.timestamp("ms", "Asia/Shanghai")),
        pa.array([START * 1000 + 999], pa.timestamp("us", "UTC")),
        pa.array([START * 1_000_000 + 999_999], pa.timestamp("ns")),
        pa.array([START], pa.int64()),
        pa.array([datetime(2024, 1, 1, tzinfo=UTC).date()], pa.date32()),
    ],
    ids=str,
)
def test_times_of_any_type_become_epoch_milliseconds(tmp_path: Path, ts: pa.Array) -> None:
    path = write(tmp_path, event_id=["e"], ts=ts, account=["A"], counterparty=["B"], amount=[1.0])
    assert [row["ts"] for row in rows(History(path))] == [START]


def test_times_that_are_text_or_missing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="holds string and not times"):
        rows(History(write(tmp_path, ts=["2024", "2025", "2026"])))
    with pytest.raises(HistoryError, match="has no time in 1 rows"):
        rows(History(write(tmp_path, ts=pa.array([START, None, START], pa.int64()))))


def test_ids_that_are_numbers_and_amounts_that_are_decimals_are_converted(tmp_path: Path) -> None:
    path = write(tmp_path, event_id=[1, 2, 3], amount=pa.array([Decimal("1.10")] * 3, pa.decimal128(12, 2)))
    row = rows(History(path))[0]
    assert (row["event_id"], row["amount"]) == ("1", 1.1)


def test_dictionary_encoded_texts_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, type=pa.array(["T", "T", "S"]).dictionary_encode())
    assert [row["type"] for row in rows(History(path))] == ["T", "T", "S"]


def test_an_amount_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="Column 'amount' cannot be read as double"):
        rows(History(write(tmp_path, amount=["1", "two", "3"])))


def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    with pytest.raises(HistoryError, match="there is no such file"):
        History(path)
    path.write_text("no parquet")
    with pytest.raises(HistoryError, match="cannot be read as a Parquet file"):
        History(path)


def test_an_empty_history_has_no_first_time(tmp_path: Path) -> None:
    empty = columns(event_id=[], ts=pa.array([], pa.int64()), account=[], counterparty=[], amount=[])
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table(empty), path)
    assert History(path).first_ts() is None
    assert rows(History(path)) == []


def accounts(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    path = tmp_path / "accounts.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return list(account_updates(path, START))


def test_birth_year_is_the_first_events_year_minus_age(tmp_path: Path) -> None:
    (update,) = accounts(tmp_path, "account,age\nA1,31\n")
    assert update == {"account": "A1", "ts": START - 1, "holder_birth_year": 2024 - 31}


def test_account_facts_are_sent_as_the_file_has_them(tmp_path: Path) -> None:
    first, second = accounts(
        tmp_path,
        "account,opened,kind,holder_birth_year,age\nA1,2019-03-01,person,1954,3\nA2,1551398400000,,,\n",
    )
    assert first == {
        "account": "A1",
        "ts": START - 1,
        "opened": "2019-03-01",
        "holder_birth_year": 1954,
        "kind": "person",
    }
    assert second == {"account": "A2", "ts": START - 1, "opened": 1551398400000}


def test_labels_of_accounts_are_never_sent_and_accounts_without_facts_get_no_update(tmp_path: Path) -> None:
    text = "account,fraud_account,role,first_fraud_ts,age\nA1,1,mule,2024-01-02,\nA2,0,normal,,40\n"
    assert [set(update) for update in accounts(tmp_path, text)] == [{"account", "ts", "holder_birth_year"}]


def test_account_updates_are_updates_of_the_contract(tmp_path: Path) -> None:
    for update in accounts(tmp_path, "account,opened,age\nA1,2019-03-01T08:00:00+08:00,31.5\nA2,,70\n"):
        assert isinstance(parse_account_update(orjson.dumps(update)), AccountUpdate)


@pytest.mark.parametrize(
    ("text", "message"),
    [("id,age\nA,1\n", "has no column 'account'"), ("account,age\nA,old\n", "line 2: age is 'old'")],
)
def test_an_accounts_file_with_a_mistake_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(HistoryError, match=message):
        accounts(tmp_path, text)


def test_an_accounts_file_that_is_no_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"account\nA\n")
    with pytest.raises(HistoryError, match="cannot be read as a CSV file"):
        list(account_updates(path, START))


def test_payments_before_a_time_are_counted_in_any_order(tmp_path: Path) -> None:
    ts = pa.array([START + 9, START, START + 5], pa.timestamp("ms", "UTC"))
    history = History(write(tmp_path, ts=ts))
    assert [history.count_before(START + shift) for shift in (0, 1, 5, 6, 10)] == [0, 1, 1, 2, 3]
