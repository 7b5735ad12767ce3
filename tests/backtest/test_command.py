"""The command: options, files, sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from tests.backtest import story

KEYS = {
    "events",
    "events_per_second",
    "period",
    "warnings",
    "warned_accounts",
    "hit_rate",
    "hit_rate_interval",
    "accounts",
    "transactions",
    "amount",
    "lead",
    "rules",
}


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    story.settle_in(monkeypatch)


def arguments(tmp_path: Path, *more: str) -> list[str]:
    history, accounts = story.write(tmp_path)
    pack = tmp_path / "pack.yaml"
    pack.write_text(story.PACK, encoding="utf-8")
    return ["backtest", str(history), "--accounts", str(accounts), "--pack", str(pack), *more]


def test_json_holds_the_figures_under_the_agreed_names(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    assert main(arguments(tmp_path, "--from", "2024-01-02", "--json", str(out), "--partitions", "4")) == 0
    found = json.loads(out.read_text())
    assert set(found) >= KEYS
    assert set(found["accounts"]) >= {"k", "hit_at_50", "hit_at_k", "recall_at_2k", "auc"}
    assert set(found["transactions"]) == {"auc", "average_precision", "card_precision_at_100"}
    assert set(found["amount"]) == {"fraud", "intercepted", "share"}
    assert set(found["rules"]) == {"large@1", "second-in@2", "shadowed@1", "anomaly"}
    assert (found["events"], found["warnings"], found["partitions"]) == (8, 5, 4)


def test_json_on_the_screen_is_nothing_but_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path, "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["judged_events"] == 8


def test_people_get_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path, "--warmup", "18h")) == 0
    text = capsys.readouterr().out
    assert "hit rate        66.7% (20.8% to 93.9%)" in text
    assert "4,500 of 5,300 intercepted (84.9%)" in text
    assert "recall          100.0% of 2 fraud accounts" in text


def test_a_policy_of_ones_own_is_used(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    from tests.detection.builders import POLICY_TEXT

    policy.write_text(POLICY_TEXT.replace("delay: 60", "delay: 61"), encoding="utf-8")
    out = tmp_path / "figures.json"
    assert main(arguments(tmp_path, "--policy", str(policy), "--json", str(out))) == 0
    assert json.loads(out.read_text())["amount"]["intercepted"] == 0


def test_decisions_are_written(tmp_path: Path) -> None:
    file = tmp_path / "decisions.parquet"
    assert main(arguments(tmp_path, "--decisions", str(file), "--until", "0.5")) == 0
    assert 0 < pq.read_metadata(file).num_rows < 8


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "own"
    path.mkdir()
    history, _ = story.write(path)
    table = pq.read_table(history)
    names = ["payer" if name == "account" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), history)
    out = tmp_path / "figures.json"
    line = ["backtest", str(history), "--map", "account=payer", "--json", str(out)]
    assert main(line) == 0
    assert json.loads(out.read_text())["judged_events"] == 8


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--from", "soon"], "write a date such as 2017-08-01"),
        (["--from", "0.5", "--warmup", "1d"], "give one of them"),
        (["--pack", "no-such-pack.yaml"], "there is no such file"),
        (["--json", "no/such/folder/x.json"], "there is no folder"),
        (["--decisions", "."], "it is a folder"),
        (["--map", "account"], "write CANONICAL=COLUMN"),
    ],
)
def test_what_cannot_be_used_is_said_before_anything_runs(
    tmp_path: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, *more)) == Exit.USAGE
    assert sentence in capsys.readouterr().err


def test_a_history_without_payments_cannot_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(tmp_path)
    pq.write_table(pq.read_table(line[1]).slice(0, 0), line[1])
    assert main(line) == Exit.USAGE
    assert "holds no payment" in capsys.readouterr().err


def test_a_period_without_payments_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Between e4 at nine and e3 at noon.
    line = arguments(tmp_path, "--from", "2024-01-03T10:00:00Z", "--until", "2024-01-03T11:00:00Z")
    assert main(line) == Exit.USAGE
    assert "there is none in that time" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = arguments(tmp_path)
    torn, none = tmp_path / "torn.parquet", tmp_path / "none.csv"
    torn.write_bytes(Path(line[1]).read_bytes()[:-100])
    for broken, sentence in (
        ([line[0], str(none), *line[2:]], "none.csv: there is no such file"),
        ([line[0], str(torn), *line[2:]], "torn.parquet cannot be read as a Parquet file"),
        ([*line[:3], str(none), *line[4:]], "none.csv: there is no such file"),
        ([*line[:3], str(torn), *line[4:]], "torn.parquet cannot be read as a CSV file"),
    ):
        assert main(broken) == Exit.USAGE
        assert sentence in capsys.readouterr().err


def test_a_missing_column_is_named_with_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = arguments(tmp_path)
    pq.write_table(pq.read_table(line[1]).drop_columns(["amount"]), line[1])
    assert main(line) == Exit.USAGE
    assert "no column for amount: say which it is, as in --map amount=COLUMN" in capsys.readouterr().err
