from __future__ import annotations

import difflib

import pytest

from stream_guard.detection.rules import PackError, load_pack
from stream_guard.tuning.pack_text import with_values
from tests.detection.builders import MODELS

TEXT = """\
# What a bank wrote.
pack: own
version: "1"
rules:
  - id: one   # first
    version: 7
    name: {en: one, zh: 一}
    account: payer
    when: txn.amount >= least and txn.amount < most
    params: {least: {value: 1_000, unit: base, meaning: "least, in all"}, most: 2e6 }
    score: 60
    reason: "{txn.amount:,.0f}"
  - id: two
    version: 1
    name: {en: two, zh: 二}
    account: payee
    when: payee.in_count_24h >= n
    params:
      n:
        value: 3   # by hand
    score: 10 * n
    reason: "{payee.in_count_24h:,.0f}"
"""


def changed_lines(old: str, new: str) -> list[str]:
    return [line[2:] for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line.startswith("+ ")]


def test_nothing_but_the_value_and_the_version_changes() -> None:
    new = with_values(TEXT, "own.yaml", {("two", "n"): 5.0})
    assert changed_lines(TEXT, new) == ["    version: 2", "        value: 5   # by hand"]
    assert load_pack(new, "own.yaml").rule("two").values["n"] == 5.0


def test_several_values_of_one_line_change_and_the_rule_has_one_new_version() -> None:
    new = with_values(
        TEXT, "own.yaml", {("one", "most"): 25_000.5, ("one", "least"): 0.25, ("one", "score"): 65}
    )
    assert changed_lines(TEXT, new) == [
        "    version: 8",
        '    params: {least: {value: 0.25, unit: base, meaning: "least, in all"}, most: 25000.5 }',
        "    score: 65",
    ]


def test_a_value_that_is_in_force_already_changes_nothing() -> None:
    assert with_values(TEXT, "own.yaml", {("one", "least"): 1_000.0}) == TEXT


def test_a_changed_value_no_longer_says_that_it_was_fitted() -> None:
    fitted, tuned = 'value: 1_000, origin: "quantile 0.8, of 9"', 'value: 2_000, origin: "rules tune"'
    text = TEXT.replace("value: 1_000", fitted)
    new = with_values(text, "own.yaml", {("one", "least"): 2_000.0})
    assert new == text.replace(fitted, tuned).replace("version: 7", "version: 8")


@pytest.mark.parametrize("change", [("three", "n"), ("two", "least"), ("two", "score")])
def test_what_the_pack_does_not_have_cannot_change(change: tuple[str, str]) -> None:
    with pytest.raises(KeyError):
        with_values(TEXT, "own.yaml", {change: 1.0})


def test_a_value_that_the_pack_must_not_have_is_refused() -> None:
    with pytest.raises(PackError, match="score"):
        with_values(TEXT, "own.yaml", {("one", "score"): 160.0})


def test_every_parameter_of_the_shipped_pack_can_be_changed() -> None:
    file = MODELS / "bank-core.yaml"
    text = file.read_text(encoding="utf-8")
    pack = load_pack(text, file.name)
    doubled = {(rule.id, name): 2 * value + 1 for rule in pack.rules for name, value in rule.values.items()}
    new = load_pack(with_values(text, file.name, doubled), file.name)
    assert {(rule.id, name): value for rule in new.rules for name, value in rule.values.items()} == doubled
    assert [rule.version for rule in new.rules] == [rule.version + 1 for rule in pack.rules]
