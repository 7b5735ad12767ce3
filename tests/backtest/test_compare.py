"""Two packs on the story: what differs, worked out by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stream_guard.backtest.compare import compare
from stream_guard.backtest.pack_changes import pack_changes
from stream_guard.cli import main
from stream_guard.cli.common import Exit
from stream_guard.detection.rules import load_pack
from stream_guard.detection.state import Context
from tests.backtest import story

PROPOSED = (
    story.TUNABLE.replace("least: 1_000", "least: 1_400")
    .replace("score: 55", "score: 65")
    .replace("id: second-in\n    version: 2", "id: second-in\n    version: 3")
)


def where(text: str, **changed: Any) -> Context:
    return story.context(pack=story.pack(text), **changed)


def compared(folder: Path, old: str = story.TUNABLE, new: str = PROPOSED, **options: Any) -> dict[str, Any]:
    return compare(story.inputs(folder, **options), where(old), where(new), at_once=3)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compared(tmp_path_factory.mktemp("compare"))


def test_payments_that_get_another_action(found: dict[str, Any]) -> None:
    payments = found["payments"]
    # e3, the 1,200 of B, no longer; e4 is delayed by both, with 65 instead of 60.
    assert {name: payments[name] for name in ("changed", "stricter", "milder", "rescored")} == {
        "changed": 1,
        "stricter": 0,
        "milder": 1,
        "rescored": 1,
    }
    assert payments["moves"] == [
        {
            "from": "delay",
            "to": "allow",
            "payments": 1,
            "amount": 1_200.0,
            "fraud": 0,
            "examples": [
                {
                    "event_id": "e3",
                    "ts": story.T0 + 2 * story.DAY + 12 * story.HOUR,
                    "account": "B",
                    "counterparty": "D",
                    "amount": 1_200.0,
                    "old_score": 60.0,
                    "new_score": 0.0,
                    "old_reasons": [{"rule": "large@1", "text": "1,200"}],
                    "new_reasons": [],
                    "fraud": False,
                }
            ],
        }
    ]


def test_accounts_that_are_no_longer_warned(found: dict[str, Any]) -> None:
    accounts = found["accounts"]
    assert accounts["both"] == 4  # A, C, V, X
    assert accounts["newly_warned"] == {"accounts": 0, "right": 0, "wrong": 0, "examples": []}
    assert accounts["no_longer_warned"] == {
        "accounts": 1,
        "right": 0,
        "wrong": 1,
        "examples": [
            {
                "account": "B",
                "opened_at": story.T0 + 2 * story.DAY + 12 * story.HOUR,
                "score": 60.0,
                "old_score": 60.0,
                "new_score": 0.0,
                "reasons": [{"rule": "large@1", "text": "1,200"}],
                "judged": "wrong",
            }
        ],
    }


def test_the_other_way_round_it_is_stricter_and_newly_warned(tmp_path: Path) -> None:
    found = compared(tmp_path, PROPOSED, story.TUNABLE)
    assert found["payments"]["stricter"] == 1
    (move,) = found["payments"]["moves"]
    assert (move["from"], move["to"]) == ("allow", "delay")
    assert [one["account"] for one in found["accounts"]["newly_warned"]["examples"]] == ["B"]


@pytest.mark.parametrize(("side", "text"), [("old", story.TUNABLE), ("new", PROPOSED)])
def test_figures_are_those_of_a_backtest_by_either_pack(
    found: dict[str, Any], tmp_path: Path, side: str, text: str
) -> None:
    alone = story.tell(tmp_path, where=where(text)).document
    assert found[side] == {name: alone[name] for name in found[side]}


def test_rows_are_counted_once_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = story.note_counts(monkeypatch)
    compared(tmp_path)
    assert sum(counted) == len(story.EVENTS)


def test_a_pack_does_not_differ_from_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, PROPOSED, PROPOSED)
    assert found["rules"] == []
    assert found["payments"] == {"changed": 0, "stricter": 0, "milder": 0, "rescored": 0, "moves": []}
    assert (found["accounts"]["both"], found["accounts"]["newly_warned"]["accounts"]) == (4, 0)


def test_examples_are_the_largest_and_as_many_as_asked_for(tmp_path: Path) -> None:
    none = PROPOSED.replace("least: 1_400", "least: 99_000").replace("score: 65", "score: 5")
    inputs = story.inputs(tmp_path)
    found = compare(inputs, where(story.TUNABLE), where(none), examples=2)
    (move,) = found["payments"]["moves"]
    assert (move["payments"], move["fraud"]) == (4, 2)
    assert [one["event_id"] for one in move["examples"]] == ["e6", "e4"]
    gone = found["accounts"]["no_longer_warned"]
    assert (gone["accounts"], gone["right"], gone["wrong"], len(gone["examples"])) == (5, 2, 1, 2)
    every = compare(story.inputs(tmp_path), where(story.TUNABLE), where(none), examples=9)
    judged = {one["account"]: one["judged"] for one in every["accounts"]["no_longer_warned"]["examples"]}
    assert judged == {"A": "right", "B": "wrong", "C": "right", "V": "victim", "X": "unlisted"}


def test_without_labels_nothing_is_called_right(tmp_path: Path) -> None:
    found = compared(tmp_path, accounts=None, changed={"is_fraud": None, "fraud_scenario": None})
    assert found["payments"]["moves"][0]["fraud"] is None
    assert found["payments"]["moves"][0]["examples"][0]["fraud"] is None
    assert found["accounts"]["no_longer_warned"]["right"] is None
    assert found["accounts"]["no_longer_warned"]["examples"][0]["judged"] is None


def test_changes_of_the_pack_field_by_field() -> None:
    old = load_pack(story.TUNABLE, "old")
    new = load_pack(
        PROPOSED.replace("id: shadowed", "id: tried").replace("action: delay", "action: hold"), "new"
    )
    assert pack_changes(old, new) == [
        {"rule": "large", "change": "changed", "fields": {"params.least": [1_000.0, 1_400.0]}},
        {"rule": "second-in", "change": "changed", "fields": {"version": [2, 3], "score": ["55", "65"]}},
        {"rule": "tried", "change": "added", "fields": {"state": [None, "shadow"]}},
        {"rule": "shadowed", "change": "removed", "fields": {"state": ["shadow", None]}},
    ]


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    for name in list(os.environ):
        if name.startswith("STREAM_GUARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STREAM_GUARD_BANK__TIMEZONE", "UTC")
    monkeypatch.setenv("STREAM_GUARD_DATA_DIR", str(Path(__file__).parents[2] / ".cache" / "backtest"))
    history, accounts = story.write(tmp_path)
    packs = []
    for name, text in (("a.yaml", story.TUNABLE), ("b.yaml", PROPOSED)):
        (tmp_path / name).write_text(text, encoding="utf-8")
        packs.append(str(tmp_path / name))
    return [
        *("rules", "diff", *packs, "--history", str(history), "--accounts", str(accounts)),
        *("--from", "2024-01-02"),
    ]


def test_a_reviewer_reads_what_changes(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 0
    lines = [" ".join(one.split()) for one in capsys.readouterr().out.splitlines()]
    for expected in (
        "params.least: 1,000 -> 1,400",
        "its version is the same: figures kept by version will mix the two",
        "hit rate 66.7% 100.0%",
        "Payments: 1 decided otherwise, 0 of them more strictly; 1 more have another score",
        "delay -> allow: 1 payment, 1,200, 0 fraudulent",
        "e3 2024-01-03 12:00 B to D 1,200.00 score 60.0 -> 0.0",
        "- large@1: 1,200",
        "Accounts: 4 warned by both packs",
        "no longer warned: 1 (0 right, 1 wrong)",
        "B 2024-01-03 12:00 highest score 60.0 -> 0.0 wrong",
    ):
        assert expected in lines, expected


def test_a_program_reads_json(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*line, "--json", "--examples", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["payments"]["changed"] == 1
    assert found["payments"]["moves"][0]["examples"] == []
    assert set(found) == {
        *("events", "judged_events", "period", "currency", "labelled"),
        *("old", "new", "rules", "payments", "accounts"),
    }


def test_a_pack_that_is_not_there_is_named(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    line[3] = "no-such.yaml"
    assert main(line) == Exit.USAGE
    assert "no-such.yaml: there is no such file" in capsys.readouterr().err
