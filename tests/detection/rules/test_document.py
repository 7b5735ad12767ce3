from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.rules import document
from stream_guard.detection.rules.errors import PackError


def test_plain_words_stay_words_and_numbers_are_numbers() -> None:
    text = "a: off\nb: yes\nc: true\nd: 50_000\ne: 0.9\nf: 1e3\ng: 2026-11-01\nh: 010\n"
    text += "i: 12:30\nj: ~\nk:\nl: .inf\nm: -5"
    assert document.read(text, "x").data == {
        "a": "off",
        "b": "yes",
        "c": True,
        "d": 50_000,
        "e": 0.9,
        "f": 1000.0,
        "g": "2026-11-01",
        "h": "010",
        "i": "12:30",
        "j": None,
        "k": None,
        "l": ".inf",
        "m": -5,
    }


def test_every_value_and_key_has_its_place() -> None:
    read = document.read('rules:\n  - id: one\n    reason: "{a} b"\n    when: >-\n      x\n      y\n', "x")
    assert read.place(("rules", 0, "id")) == (2, 9, True)
    assert read.place(("rules", 0, "reason")) == (3, 14, True)
    assert read.place(("rules", 0, "when")) == (4, 11, False)
    assert read.place(("rules", 0, "when", "deeper")) == (4, 11, False)
    assert read.keys[("rules", 0, "reason")].column == 5


def test_a_text_with_an_escape_has_no_exact_columns() -> None:
    assert document.read('a: "x\\ty"', "x").place(("a",)).whole is False


@pytest.mark.parametrize(
    ("text", "line", "column", "cause"),
    [
        ("a: 1\nb: 2\na: 3", 3, 1, "the field 'a' is given twice, first in line 1"),
        ("a: &x 1\nb: *x", 1, 4, "an anchor (&name) is not allowed here"),
        ("a: 1\nb: *x", 2, 4, "an alias (*name) is not allowed here"),
        ("a: !!python/object:os.system 1", 1, 4, "a tag (!name) is not allowed here"),
        ("a: 1\n---\nb: 2", 2, 1, "but found another document"),
        ("a: [1, 2", 1, 9, "expected ',' or ']'"),
        ("a: b: c", 1, 5, "mapping values are not allowed here"),
        ("? [1]\n: 2", 1, 3, "a field's name is a plain word"),
        ("1: 2", 1, 1, "a field's name is a plain word"),
        ("<<: {a: 1}\nb: 2\n1: 2", 3, 1, "a field's name is a plain word"),
        ("[" * 20 + "]" * 20, 1, 9, "more than 8 levels inside one another"),
        ("", 1, 1, "the file is empty"),
        ("# only a comment", 1, 1, "the file is empty"),
        ('a: "\\u202e"', 1, 5, "a text holds the invisible character"),
        ('a: "\\ud800"', 1, 5, "a text holds the invisible character"),
        ("a: \x07", None, None, "not YAML"),
        ("a: '" + "x" * document.MAX_BYTES + "'", None, None, "larger than 1048576 bytes"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else None,
)
def test_yaml_beyond_the_small_safe_part_is_refused(
    text: str, line: int | None, column: int | None, cause: str
) -> None:
    with pytest.raises(PackError) as refused:
        document.read(text, "bank.yaml")
    first = refused.value.problems[0]
    assert (first.line, first.column) == (line, column)
    assert cause in first.cause
    assert str(refused.value).startswith("bank.yaml")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="ab:-[]{}&*!|>'\"#,? \n10", max_size=80))
def test_any_text_is_read_or_refused_as_a_whole(text: str) -> None:
    refused: tuple[object, ...] = ()
    try:
        read = document.read(text, "x")
    except PackError as error:
        refused = error.problems
    assert refused or read.place(()).line >= 1
