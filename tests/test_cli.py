from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_guard import __version__
from stream_guard.cli import EXPECTED, main
from stream_guard.cli.common import Exit, default_config
from stream_guard.events import SCHEMA_NAMES
from tests.kafka.broker import free_port

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GUARD_BROKER", f"127.0.0.1:{free_port()}")


def test_the_module_runs_as_a_program() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "stream_guard", "--version"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.stdout.strip() == __version__


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "worker",
        "demo",
        "topics",
        "doctor",
        "access",
        "state",
        "compile",
        "replay",
        "backtest",
        "alerts",
        "rules",
        "schema",
        "dead-letters",
        "simulate",
    ):
        assert f"\n  {command} " in text
    assert "4 topics or" in text


def test_every_expected_error_exists() -> None:
    for name in EXPECTED:
        module, _, attribute = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), attribute), Exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["replay"],
        ["alerts", "dispose", "w", "guilty", "--by", "me"],
        ["alerts", "dispose", "w", "confirmed"],
        ["topics", "create", "--partitions", "0"],
        ["dead-letters", "list", "--reason", "ugly"],
    ],
)
def test_wrong_arguments_end_with_2_and_say_why_on_standard_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "create"],
        ["topics", "check", "--json"],
        ["alerts", "tail"],
        ["alerts", "dispose", "w", "inconclusive", "--by", "me"],
        ["dead-letters", "list"],
        ["dead-letters", "redrive"],
        ["worker"],
    ],
)
def test_an_unreachable_broker_is_one_sentence_and_exit_code_3(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == Exit.BROKER
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("No Kafka broker answers (127.0.0.1:")
    assert captured.err.count("\n") == 1


def test_broker_option_beats_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert main(["topics", "check", "--broker", f"127.0.0.1:{port}"]) == Exit.BROKER
    assert f"127.0.0.1:{port}:" in capsys.readouterr().err


def test_settings_that_cannot_be_used_end_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.yaml"
    assert main(["topics", "check", "-c", str(missing)]) == Exit.USAGE
    assert f"{missing} cannot be read" in capsys.readouterr().err
    monkeypatch.setenv("STREAM_GUARD_HTTP__PROT", "1")
    assert main(["worker"]) == Exit.USAGE
    assert "did you mean STREAM_GUARD_HTTP__PORT?" in capsys.readouterr().err


def test_the_default_settings_are_those_of_the_working_directory_else_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert default_config() == ROOT / "configs" / "production.yaml"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "production.yaml").touch()
    assert default_config() == tmp_path / "configs" / "production.yaml"


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_schema_writes_json_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["$schema"].endswith("2020-12/schema")
    assert document["type"] == "object"


def test_schema_of_an_unknown_message_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "payment"]) == Exit.USAGE
    assert "there are transaction, account-update" in capsys.readouterr().err


def test_rules_check_accepts_the_shipped_pack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "check", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    assert answer["rules"]["live"] >= 12


def test_rules_check_shows_all_that_is_wrong_with_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "models" / "bank-core.yaml").read_text().replace("payer.out_sum_24h", "payer.out_smu_24h")
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    assert main(["rules", "check", str(bad)]) == Exit.USAGE
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith(f"{bad}:") for line in said)
    assert "did you mean 'payer.out_sum_24h'?" in said[0]
    assert main(["rules", "check", str(bad), "--json"]) == Exit.USAGE
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert len(answer["problems"]) == len(said)
    assert answer["problems"][0]["line"] > 0


def test_rules_list_shows_every_rule_with_both_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["rules", "list"]) == 0
    text = capsys.readouterr().out
    for row in rows:
        assert row["rule"] in text
        assert row["name_zh"] in text


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "h.parquet"
    ts = pa.array([1_704_067_200_000], pa.timestamp("ms", "UTC"))
    table = {"event_id": ["e"], "ts": ts, "account": ["A"], "counterparty": ["B"], "amount": [1.0]}
    pq.write_table(pa.table(table), path)
    return path


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--rate", "5", "--speed", "2"], "exclude each other"),
        (["--max", "--rate", "5"], "exclude each other"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--speed", "inf"], "--speed must be above 0"),
        (["--map", "account"], "write CANONICAL=COLUMN"),
        (["--map", "account=x", "--map", "account=y"], "names account twice"),
        (["--map", "is_fraud=x"], "'is_fraud' is no canonical column"),
        (["--accounts", "none.csv"], "none.csv: there is no such file"),
    ],
)
def test_replay_refuses_options_that_cannot_be_meant(
    history: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(history), *options]) == Exit.USAGE
    assert sentence in capsys.readouterr().err


def test_a_confirmed_warning_needs_a_role_before_anything_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["alerts", "dispose", "w", "confirmed", "--by", "me"]) == Exit.USAGE
    assert "--role mule or --role victim" in capsys.readouterr().err


def test_simulate_writes_files_that_replay_and_backtests_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stream_guard.history import History, account_updates

    out = tmp_path / "bank.parquet"
    assert main(["simulate", "--out", str(out), "--days", "2", "--accounts", "60", "--json"]) == 0
    answer = orjson.loads(capsys.readouterr().out)
    history = History(out)
    assert answer["events"] == len(history) > 0
    assert "is_fraud" in history.ignored
    assert list(account_updates(Path(answer["accounts_file"]), history.first_ts() or 0))


def test_simulate_needs_exactly_one_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate"]) == Exit.USAGE
    assert "either --out FILE or --broker HOST:PORT" in capsys.readouterr().err


def test_a_defect_of_ours_is_not_dressed_up_as_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("stream_guard.cli.write_json", fail)
    with pytest.raises(ZeroDivisionError):
        main(["schema", "alert"])


def test_access_shows_what_each_role_may_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["access", "show", "--json"]) == 0
    roles = json.loads(capsys.readouterr().out)
    assert {"core-banking", "worker", "investigators", "ops"} <= set(roles)
    writes = {entry["name"] for entry in roles["investigators"] if entry["operation"] == "write"}
    assert writes == {"dispositions"}


def test_access_refuses_a_role_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["access", "grant", "king"]) == Exit.USAGE
    assert "There is no role 'king'" in capsys.readouterr().err
