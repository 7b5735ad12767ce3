from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stream_guard.simulation import History, write_history

NOW_MS = 1_795_500_000_123


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, Path, Path]:
    folder = tmp_path_factory.mktemp("history")
    path, accounts = folder / "history.parquet", folder / "accounts.csv.gz"
    return write_history(path, accounts, seed=2, end_ms=NOW_MS, days=60, accounts=300), path, accounts


def test_the_payments_have_canonical_columns_and_labels(written: tuple[History, Path, Path]) -> None:
    history, path, _ = written
    table = pq.read_table(path)
    assert table.num_rows == len(history)
    names = "event_id ts account counterparty amount type channel payer_kind payee_kind device_id"
    balances = "ip latitude longitude payer_balance_before payee_balance_before"
    assert table.column_names == f"{names} {balances} is_fraud fraud_scenario fraud_group".split()
    assert str(table.schema.field("ts").type) == "timestamp[ms, tz=UTC]"
    rows = table.to_pylist()
    frauds = [row for row in rows if row["is_fraud"]]
    assert len(frauds) == int(history.ledger.fraud.sum()) > 0
    assert all(row["fraud_scenario"] and row["fraud_group"] for row in frauds)
    assert all(
        row["fraud_scenario"] is None and row["fraud_group"] is None for row in rows if not row["is_fraud"]
    )
    assert [row["ts"] for row in rows] == sorted(row["ts"] for row in rows)


def test_the_file_holds_what_would_be_sent(written: tuple[History, Path, Path]) -> None:
    history, path, _ = written
    columns = [
        "event_id",
        "account",
        "counterparty",
        "amount",
        "type",
        "channel",
        "device_id",
        "ip",
        "latitude",
        "longitude",
        "payer_balance_before",
    ]
    rows = pq.read_table(path, columns=columns).to_pylist()
    assert rows == [{name: sent.get(name) for name in columns} for sent in history.transactions()]


def test_only_mules_are_fraud_accounts_and_victims_are_named(written: tuple[History, Path, Path]) -> None:
    history, _, path = written
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(history.bank.accounts)
    by_role = {role: [row for row in rows if row["role"] == role] for role in ("mule", "victim", "normal")}
    assert all(by_role.values())
    assert sum(map(len, by_role.values())) == len(rows)
    assert all((row["fraud_account"] == "1") == (row["role"] == "mule") for row in rows)
    assert all(
        int(row["n_fraud_events"]) > 0 and row["first_fraud_ts"] <= row["last_fraud_ts"]
        for row in by_role["mule"]
    )
    assert all(not row["first_fraud_ts"] and row["n_fraud_events"] == "0" for row in by_role["normal"])


def test_the_same_arguments_write_the_same_bytes(written: tuple[History, Path, Path], tmp_path: Path) -> None:
    _, path, accounts = written
    write_history(tmp_path / "h", tmp_path / "a.gz", seed=2, end_ms=NOW_MS, days=60, accounts=300)
    assert (tmp_path / "h").read_bytes() == path.read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == gzip.decompress(accounts.read_bytes())
