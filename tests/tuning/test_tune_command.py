from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.rules import check_file
from tests.backtest import story


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    story.settle_in(monkeypatch)


def line(folder: Path, *more: str) -> list[str]:
    history, accounts = story.write(folder)
    pack = folder / "pack.yaml"
    pack.write_text(story.TUNABLE, encoding="utf-8")
    return [
        *("rules", "tune", str(history), "--accounts", str(accounts), "--pack", str(pack)),
        *("--rule", "large", "--param", "least=500:2000:6", "--from", "2024-01-02", *more),
    ]


def test_people_get_a_table_a_curve_and_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line(tmp_path, "--budget", "1.6")) == 0
    text = capsys.readouterr().out
    (chosen,) = [row for row in text.splitlines() if "chosen" in row]
    assert chosen.split() == [
        *("1_400", "1.18", "1", "0", "100.0%", "██████████", "50.0%", "█████"),
        *("1.57", "100.0%", "100.0%", "chosen"),
    ]
    assert sum("now" in row for row in text.splitlines()) == 1
    assert "of these least = 1_400 reaches most fraud accounts" in " ".join(text.split())
    assert (tmp_path / "pack.yaml").read_text(encoding="utf-8") == story.TUNABLE


def test_without_a_budget_nothing_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line(tmp_path)) == 0
    assert "Say --budget N" in capsys.readouterr().out


def test_json_is_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line(tmp_path, "--budget", "1.6", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rule"] == "large@1"
    assert [point["values"]["least"] for point in found["points"] if point["now"]] == [1_000.0]
    assert {"hit_rate", "hit_rate_interval", "recall", "warnings_a_day"} <= set(found["points"][0]["alone"])
    assert (found["budget"], found["choice"]["values"]) == (1.6, {"least": 1_400.0})


def test_the_pack_is_changed_only_where_it_is_said(tmp_path: Path) -> None:
    own, other = tmp_path / "pack.yaml", tmp_path / "other.yaml"
    assert main(line(tmp_path, "--budget", "1.6", "--out", str(other))) == 0
    assert own.read_text(encoding="utf-8") == story.TUNABLE
    rule = check_file(other).rule("large")
    assert (rule.version, rule.values["least"]) == (2, 1_400.0)
    assert main(line(tmp_path, "--budget", "1.6", "--write")) == 0
    assert own.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--rule", "lage"], "did you mean"),
        (["--param", "most=1:2:2"], "no parameter 'most'"),
        (["--param", "least"], "write NAME=lo:hi:steps"),
        (["--write"], "say --budget N"),
        (["--budget", "1", "--write", "--out", "x.yaml"], "give one of them"),
        (["--budget", "1", "--out", "no/such/x.yaml"], "there is no folder"),
    ],
)
def test_what_cannot_be_meant_is_said(
    tmp_path: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line(tmp_path, *more)) == Exit.USAGE
    assert sentence in capsys.readouterr().err


def test_nothing_is_written_where_nothing_was_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line(tmp_path, "--budget", "0.1", "--out", str(tmp_path / "x.yaml"))) == Exit.FAILED
    assert "Nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()
