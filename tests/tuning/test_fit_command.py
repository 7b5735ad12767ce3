"""``rules fit``: what it may read, and what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.rules import check_file
from tests.backtest import story


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    story.settle_in(monkeypatch)


PACK = story.PACK.replace(
    "    when: txn.amount >= 1000\n    score: 60\n",
    "    when: txn.amount >= least  # what is large\n"
    "    params: {least: {value: 1_000, unit: base}}\n    score: 60\n",
)


def fit(folder: Path, *more: str, until: str = "2024-01-04", pack: str = PACK, **changed: object) -> str:
    folder.mkdir(exist_ok=True)
    accounts = str(changed.pop("accounts", story.ACCOUNTS))
    history, beside = story.write(folder, accounts=accounts, **changed)
    file, out = folder / "pack.yaml", folder / "out.yaml"
    file.write_text(pack, encoding="utf-8")
    arguments = ["rules", "fit", str(history), "--accounts", str(beside), "--pack", str(file)]
    assert main([*arguments, "--until", until, "--out", str(out), *more]) == Exit.OK
    return out.read_text(encoding="utf-8")


def test_same_rules_and_parameters_and_each_value_says_where_it_is_from(tmp_path: Path) -> None:
    text = fit(tmp_path)
    old, new = check_file(tmp_path / "pack.yaml"), check_file(tmp_path / "out.yaml")
    for one, other in zip(old.rules, new.rules, strict=True):
        assert (one.label, one.when, one.state, list(one.params)) == (
            other.label,
            other.when,
            other.state,
            list(other.params),
        )
    parameter = new.rule("large").params["least"]
    assert parameter.origin is not None
    assert parameter.origin.startswith("quantile")
    assert "# what is large" in text
    assert "  method: tuned\n" in text
    assert '  until: "2024-01-04T00:00:00' in text


def test_where_a_value_is_from_is_no_part_of_what_a_pack_means(tmp_path: Path) -> None:
    fit(tmp_path)
    bare = tmp_path / "bare.yaml"
    text = (tmp_path / "out.yaml").read_text(encoding="utf-8")
    bare.write_text(text.replace('origin: "quantile', 'origin: "what was'), encoding="utf-8")
    assert check_file(bare).hash == check_file(tmp_path / "out.yaml").hash


def test_a_fitted_pack_can_be_fitted_again(tmp_path: Path) -> None:
    once = fit(tmp_path / "a")
    twice = fit(tmp_path / "b", pack=once)
    assert once.count("origin:") == twice.count("origin:")
    assert twice.count("fitted:") == 1


def test_the_same_history_gives_the_same_pack(tmp_path: Path) -> None:
    assert fit(tmp_path) == fit(tmp_path)


def test_nothing_from_until_on_is_read(tmp_path: Path) -> None:
    labels = [event[5] for event in story.EVENTS]
    amounts = [event[4] for event in story.EVENTS]
    later = fit(tmp_path, is_fraud=[*labels[:6], 1, 1], amount=[*amounts[:6], 1.0, 9e6])
    assert later == fit(tmp_path)


def test_what_the_accounts_file_says_about_fraud_is_not_read(tmp_path: Path) -> None:
    other = story.ACCOUNTS.replace(",0,normal", ",1,mule").replace("A,1,mule", "A,0,normal")
    assert fit(tmp_path, accounts=other) == fit(tmp_path)


def test_cold_reads_no_label(tmp_path: Path) -> None:
    plain = fit(tmp_path, "--cold")
    assert "  method: cold\n" in plain
    assert "  fraud: null\n" in plain
    assert plain == fit(tmp_path, "--cold", is_fraud=[1] * 8)
    assert plain == fit(tmp_path, "--cold", is_fraud=None, fraud_scenario=None)


def test_without_labels_it_is_cold_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = fit(tmp_path, is_fraud=[0] * 8)
    assert "  method: cold\n" in text
    assert "derived as with --cold" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_said_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history, _ = story.write(tmp_path)
    assert main(["rules", "fit", str(history), "--out", str(tmp_path / "no" / "p.yaml")]) == Exit.USAGE
    assert "there is no folder" in capsys.readouterr().err
