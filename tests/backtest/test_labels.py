"""No label reaches detection: it cannot be named, cannot be mapped, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_guard.backtest import LABELS, account_labels
from stream_guard.backtest.labels import EventLabels
from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.rules import PackError, load_pack
from stream_guard.history import CANONICAL, History, HistoryError
from tests.backtest import story

ANSWER = [0, 1, 1, 1, 0, 0, 1, 0]
"""`is_fraud` of the story, planted under other names."""


@pytest.mark.parametrize("name", ["txn.leak", "leak", "is_fraud", "txn.is_fraud", "payer.fraud_account"])
def test_a_planted_feature_cannot_be_named(name: str) -> None:
    with pytest.raises(PackError, match=name.rpartition(".")[2]):
        load_pack(story.PACK.replace("txn.amount >= 1000", f"{name} >= 1"), "leaky.yaml")


def test_a_planted_feature_cannot_be_seen(tmp_path: Path) -> None:
    plain, leaky = tmp_path / "plain", tmp_path / "leaky"
    plain.mkdir()
    leaky.mkdir()
    planted: dict[str, Any] = {
        "leak": ANSWER,
        "txn.leak": ANSWER,
        "payee.in_count_24h": [100.0 * answer for answer in ANSWER],
        "role": ["mule" if answer else "" for answer in ANSWER],
    }
    file, other = plain / "decisions.parquet", leaky / "decisions.parquet"
    where = story.context(emit_all=True)
    # Without any label on the one side, with false ones and planted ones on the other.
    story.tell(plain, where=where, decisions=file, changed={"is_fraud": None, "fraud_scenario": None})
    flipped = pa.array([1 - answer for answer in ANSWER], pa.int8())
    accounts = story.ACCOUNTS.replace(",1,", ",9,").replace(",0,", ",1,").replace(",9,", ",0,")
    story.tell(
        leaky,
        where=where,
        decisions=other,
        accounts=accounts,
        changed={**planted, "is_fraud": flipped},
    )
    assert pq.read_table(other).equals(pq.read_table(file))


@pytest.mark.parametrize("label", ["is_fraud", "fraud_scenario", "fraud_account"])
def test_a_label_cannot_be_mapped_to_a_column_that_is_read(
    tmp_path: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    history, _ = story.write(tmp_path)
    assert main(["backtest", str(history), "--map", f"payee_balance_before={label}"]) == Exit.USAGE
    assert "is a label, which detection must not see" in capsys.readouterr().err


def test_no_canonical_column_is_a_label() -> None:
    assert not set(CANONICAL) & set(LABELS)


def test_facts_of_the_accounts_file_hold_no_label(tmp_path: Path) -> None:
    from stream_guard.history import account_updates

    path = tmp_path / "accounts.csv"
    path.write_text("account,fraud_account,role,first_fraud_ts,age,salary\nA,1,mule,2024-01-01,30,5\n")
    (update,) = account_updates(path, story.T0)
    assert update == {"account": "A", "ts": story.T0 - 1, "holder_birth_year": 1994}


def test_labels_come_in_the_order_of_the_events_not_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "unordered.parquet"
    order = [3, 0, 2, 1]
    columns = {
        "event_id": [f"e{i}" for i in order],
        "ts": [story.T0 + i for i in order],
        "account": ["A"] * 4,
        "counterparty": ["B"] * 4,
        "amount": [1.0] * 4,
        "is_fraud": [bool(i in (1, 3)) for i in order],
        "fraud_scenario": [{1: "x", 3: "y"}.get(i) for i in order],
    }
    pq.write_table(pa.table(columns), path)
    labels = EventLabels(History(path))
    fraud, scenario = labels.take(3)
    assert fraud.tolist() == [False, True, False]
    last, code = labels.take(1)
    assert last.tolist() == [True]
    assert [labels.scenarios[i] for i in [*scenario.tolist(), *code.tolist()]] == ["", "x", "", "y"]


def test_a_label_that_is_none_is_refused(tmp_path: Path) -> None:
    history, _ = story.write(tmp_path, is_fraud=[0, 1, 2, 0, 0, 0, 0, 0])
    with pytest.raises(HistoryError, match="something else than 0 and 1"):
        EventLabels(History(history)).take(8)
    history, _ = story.write(tmp_path, is_fraud=["no"] * 8)
    with pytest.raises(HistoryError, match="cannot be read as 0 and 1"):
        EventLabels(History(history)).take(8)


def test_a_history_without_labels_has_none(tmp_path: Path) -> None:
    history, _ = story.write(tmp_path, is_fraud=None, fraud_scenario=None)
    labels = EventLabels(History(history))
    fraud, scenario = labels.take(8)
    assert (labels.known, bool(np.any(fraud)), bool(np.any(scenario))) == (False, False, False)


def test_account_labels_are_read_whole_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "accounts.csv"
    path.write_text(story.ACCOUNTS)
    labels = account_labels(path)
    assert labels.accounts == tuple("ABCDEFV")
    assert labels.fraud is not None
    assert [name for name in labels.accounts if labels.fraud[name]] == ["A", "C", "E", "F"]
    assert labels.victims == {"V"}
    path.write_text("account,fraud_account\nA,maybe\n")
    with pytest.raises(HistoryError, match="line 2: fraud_account is 'maybe'"):
        account_labels(path)
    path.write_text("name\nA\n")
    with pytest.raises(HistoryError, match="no accounts file"):
        account_labels(path)
    path.write_text("account,age\nA,3\n")
    assert account_labels(path).fraud is None
