from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.rules.errors import PackError, Problem
from stream_guard.detection.rules.explain import judge
from stream_guard.detection.rules.pack import EXAMPLE, load_pack
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Side

MINIMAL = """\
pack: small
version: "1"
rules:
  - id: large
    version: 1
    name: {en: large, zh: 大额}
    account: payer
    when: txn.amount >= 100
    score: 10
    reason: "{txn.amount:,.0f}"
"""


def problems(text: str) -> list[Problem]:
    with pytest.raises(PackError) as refused:
        load_pack(text, "bank.yaml")
    return list(refused.value.problems)


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


def test_the_example_of_the_design_loads_whole() -> None:
    pack = load_pack(EXAMPLE, "example.yaml")
    rule = pack.rules[0]
    assert (pack.name, pack.version, pack.source) == ("bank-core", "2026.11.1", "example.yaml")
    assert (rule.label, rule.account, rule.action) == ("rapid-in-out@3", Side.PAYER, Action.DELAY)
    assert (rule.state, rule.source, rule.platform_code) == (RuleState.LIVE, RuleSource.BANK, None)
    assert (rule.valid_from, rule.valid_to) == (date(2026, 11, 1), None)
    assert dict(rule.values) == {"min_in": 50_000.0, "share": 0.9}
    assert rule.name["zh"] == "快进快出"
    assert set(rule.features) == {"payer.in_sum_24h", "payer.out_sum_24h"}


def test_what_is_not_written_has_a_default_that_does_nothing() -> None:
    rule = load_pack(MINIMAL, "x").rules[0]
    assert (rule.action, rule.state, rule.source, rule.warn) == (
        Action.ALLOW,
        RuleState.LIVE,
        RuleSource.BANK,
        False,
    )
    assert (rule.platform_code, rule.typology, rule.basis, rule.valid_from) == (None, None, None, None)


@pytest.mark.parametrize("state", ["live", "shadow", "off"])
def test_off_is_a_state_and_no_boolean(state: str) -> None:
    assert load_pack(MINIMAL + f"    state: {state}\n", "x").rules[0].state == state


def replaced(old: str, new: str) -> str:
    assert old in MINIMAL
    return MINIMAL.replace(old, new)


@pytest.mark.parametrize(
    ("text", "place", "rule", "field", "cause"),
    [
        (
            MINIMAL + "    typolgy: 3\n",
            (11, 5),
            "large",
            "typolgy",
            "unknown field; did you mean 'typology'?",
        ),
        (MINIMAL + "    notes: x\n", (11, 5), "large", "notes", "unknown field"),
        (
            replaced("{en: large, zh: 大额}", "{en: large}"),
            (6, 11),
            "large",
            "name.zh",
            "the field is missing",
        ),
        (replaced("大额}", "大额, fr: grand}"), (6, 31), "large", "name.fr", "unknown field"),
        (replaced("large, zh", '"", zh'), (6, 12), "large", "name.en", "at least 1 character"),
        (
            replaced("version: 1", "version: 0"),
            (5, 5),
            "large",
            "version",
            "greater than or equal to 1, not '0'",
        ),
        (replaced("version: 1", "version: 1.5"), (5, 5), "large", "version", "valid integer, not '1.5'"),
        (replaced("version: 1", "version: true"), (5, 5), "large", "version", "valid integer, not 'True'"),
        (
            replaced("id: large", "id: Large"),
            (4, 5),
            "Large",
            "id",
            "small letters, digits and single hyphens only",
        ),
        (
            replaced("id: large", "id: large-"),
            (4, 5),
            "large-",
            "id",
            "small letters, digits and single hyphens",
        ),
        (replaced("id: large", "id: 7"), (4, 5), "#1", "id", "valid string, not '7'"),
        (replaced("payer\n", "both\n"), (7, 5), "large", "account", "'payer' or 'payee', not 'both'"),
        (replaced("score: 10", "score: 101"), (9, 5), "large", "score", "a fixed score lies from 0 to 100"),
        (
            replaced("score: 10", "score: true"),
            (9, 5),
            "large",
            "score",
            "a number from 0 to 100 or an expression",
        ),
        (
            replaced("score: 10", "score: .nan"),
            (9, 12),
            "large",
            "score",
            "a number needs a digit before its point",
        ),
        (replaced("score: 10", "score: txn.night"), (9, 12), "large", "score", "a number is needed here"),
        (
            replaced(">= 100", ">= 100 and payer.kynd == 'A'"),
            (8, 33),
            "large",
            "when",
            "unknown feature 'payer.kynd'",
        ),
        (
            replaced("when: txn", "when:  txn").replace(">= 100", "= 1"),
            (8, 23),
            "large",
            "when",
            "a single '='",
        ),
        (replaced("txn.amount >= 100", "100"), (8, 5), "large", "when", "should be a valid string"),
        (replaced("txn.amount >= 100", "1 > 0"), (8, 15), "large", "when", "two constants are compared"),
        (
            replaced("{txn.amount:,.0f}", "{txn.amont}"),
            (10, 14),
            "large",
            "reason",
            "did you mean 'txn.amount'?",
        ),
        (
            MINIMAL + "    params: {low: 5}\n",
            (11, 14),
            "large",
            "params.low",
            "used neither in 'when' nor in 'score'",
        ),
        (MINIMAL + "    params: {Low: 5}\n", (11, 5), "large", "params", "'Low' cannot name a parameter"),
        (MINIMAL + "    params: {max: 5}\n", (11, 5), "large", "params", "'max' is a word of the language"),
        (
            MINIMAL + "    params: {lambda: 5}\n",
            (11, 5),
            "large",
            "params",
            "'lambda' is a word of the language",
        ),
        (
            MINIMAL + "    params: {low: five}\n",
            (11, 14),
            "large",
            "params.low",
            "valid number, not 'five'",
        ),
        (
            MINIMAL + "    params: {low: .inf}\n",
            (11, 14),
            "large",
            "params.low",
            "valid number, not '.inf'",
        ),
        (MINIMAL + "    params: {low: 1e400}\n", (11, 14), "large", "params.low", "finite number"),
        (
            MINIMAL + "    params: {low: 1e16}\n",
            (11, 14),
            "large",
            "params.low",
            "less than or equal to",
        ),
        (
            MINIMAL + "    params: {low: true}\n",
            (11, 14),
            "large",
            "params.low",
            "valid number, not 'True'",
        ),
        (
            MINIMAL + "    params: {low: {value: 5, unti: s}}\n",
            (11, 30),
            "large",
            "params.low.unti",
            "did you mean 'unit'?",
        ),
        (
            MINIMAL + "    action: block\n",
            (11, 5),
            "large",
            "action",
            "'allow', 'confirm', 'delay', 'hold' or 'stop'",
        ),
        (
            MINIMAL + "    action: stop\n",
            (11, 5),
            "large",
            "action",
            "stop is for police rules and for listed parties",
        ),
        (MINIMAL + "    state: on\n", (11, 5), "large", "state", "'live', 'shadow' or 'off', not 'on'"),
        (MINIMAL + "    source: sharing\n", (11, 5), "large", "source", "'bank' or 'police'"),
        (MINIMAL + "    warn: yes\n", (11, 5), "large", "warn", "valid boolean, not 'yes'"),
        (
            MINIMAL + "    valid: {from: 2026-13-01}\n",
            (11, 13),
            "large",
            "valid.from",
            "month must be in 1..12",
        ),
        (
            MINIMAL + "    valid: {from: 1.11.2026}\n",
            (11, 13),
            "large",
            "valid.from",
            "written as 2026-11-01",
        ),
        (
            MINIMAL + "    valid: {form: 2026-11-01}\n",
            (11, 13),
            "large",
            "valid.form",
            "did you mean 'from'?",
        ),
        (
            MINIMAL + "    valid: {from: 2026-11-02, to: 2026-11-02}\n",
            (11, 5),
            "large",
            "valid",
            "'from' must lie before 'to'",
        ),
        (
            replaced("pack: small", "pack: Small!"),
            (1, 1),
            None,
            "pack",
            "small letters, digits and single hyphens only",
        ),
        (
            replaced('version: "1"', "version: 2026.11"),
            (2, 1),
            None,
            "version",
            'put it in quotes ("2026.11")',
        ),
        (replaced('"1"', '"1 beta"'), (2, 1), None, "version", "letters, digits, points and hyphens only"),
        (replaced("pack: small\n", ""), (1, 1), None, "pack", "the field is missing"),
        ("pack: small\nversion: '1'\nrules: []", (3, 1), None, "rules", "at least 1 item"),
        ("pack: small\nversion: '1'\nrules: [7]", (3, 9), "#1", "", "should be a valid dictionary"),
        ("- a list", (1, 1), None, None, "a pack is a mapping with pack, version and rules"),
    ],
)
def test_every_error_names_file_line_column_rule_field_and_cause(
    text: str, place: tuple[int, int], rule: str | None, field: str | None, cause: str
) -> None:
    found = only(text)
    assert found.source == "bank.yaml"
    assert cause in found.cause
    assert (found.line, found.column, found.rule, found.field) == (*place, rule, field)


def test_one_run_shows_everything_that_is_wrong_in_the_order_of_the_file() -> None:
    second = (
        MINIMAL[MINIMAL.index("  - id") :].replace("id: large", "id: other").replace("amount >=", "amont >=")
    )
    text = MINIMAL.replace("score: 10", "score: base") + "    params: {left: 1}\n" + second
    assert [str(problem) for problem in problems(text)] == [
        "bank.yaml:9:12: rule large: score: unknown parameter 'base'",
        "bank.yaml:16:11: rule other: when: unknown feature 'txn.amont'; did you mean 'txn.amount'?",
    ]


def test_one_bad_rule_refuses_the_whole_pack() -> None:
    good = MINIMAL[MINIMAL.index("  - id") :].replace("id: large", "id: other")
    assert len(load_pack(MINIMAL + good, "x").rules) == 2
    assert only(MINIMAL + good.replace("txn.amount >=", "txn.amont >=")).rule == "other"


def test_an_id_is_given_once() -> None:
    found = only(MINIMAL + MINIMAL[MINIMAL.index("  - id") :])
    assert (found.line, found.column, found.rule, found.field) == (11, 5, "large", "id")
    assert found.cause == "the id is given twice, first in line 4"


def test_a_place_in_a_folded_text_is_given_by_its_character() -> None:
    found = only(replaced("txn.amount >= 100", ">-\n      txn.amount >= 100\n      and txn.amont > 1"))
    assert (found.line, found.column) == (8, None)
    assert found.cause == "unknown feature 'txn.amont'; did you mean 'txn.amount'? (character 23 of the text)"


@pytest.mark.parametrize(
    ("when", "params", "allowed"),
    [
        ("payee.listed_police >= 1", "", True),
        ("payee.listed > 0 and txn.amount > 1", "", True),
        ("payee.listed >= level", "{level: 50}", True),
        ("payee.listed_bank >= 1 or payer.listed_disposition >= 1", "", True),
        ("payee.listed >= level", "{level: 0}", False),
        ("payee.listed >= 0", "", False),
        ("payee.listed_bank >= 1 or txn.amount > 1", "", False),
        ("not payee.listed_bank >= 1", "", False),
        ("payee.listed_sharing >= 1", "", False),
        ("txn.device_listed >= 1", "", False),
        ("payee.listed < 5", "", False),
    ],
)
def test_a_banks_rule_may_ask_to_stop_listed_parties_only(when: str, params: str, allowed: bool) -> None:
    text = (
        replaced("txn.amount >= 100", when)
        + "    action: stop\n"
        + (f"    params: {params}\n" if params else "")
    )
    if allowed:
        assert load_pack(text, "x").rules[0].action is Action.STOP
    else:
        assert "stop is for police rules" in only(text).cause
    police = text + "    source: police\n"
    assert load_pack(police, "x").rules[0].action is Action.STOP


def test_validity_is_in_event_time_from_00_00_utc_and_the_last_day_is_excluded(row: Any) -> None:
    rule = load_pack(MINIMAL + "    valid: {from: 2026-11-01, to: 2026-11-03}\n", "x").rules[0]
    first, after = 1_793_491_200_000, 1_793_664_000_000
    assert rule.bounds == (first, after)
    fires = [judge(rule, row(txn__amount=100), ts).fired for ts in (first - 1, first, after - 1, after)]
    assert fires == [0, 1, 1, 0]


SAME = [
    ("comment", "score: 10", "score: 10  # why"),
    ("blank lines", "    score", "\n\n    score"),
    ("spaces", "txn.amount >= 100", "txn.amount>=100 "),
    ("brackets", "txn.amount >= 100", "((txn.amount) >= (100))"),
    ("digits", ">= 100", ">= 1_00.0"),
    ("quotes", "txn.amount >= 100", '"txn.amount >= 100"'),
    ("number", "score: 10", "score: 10.0"),
    ("default written out", "score: 10", "score: 10\n    state: live\n    valid: {from: null}"),
    (
        "order of fields",
        "    account: payer\n    when: txn.amount >= 100",
        "    when: txn.amount >= 100\n    account: payer",
    ),
]
OTHER = [
    ("pack", "pack: small", "pack: other"),
    ("pack version", '"1"', '"2"'),
    ("id", "id: large", "id: larger"),
    ("rule version", "version: 1\n", "version: 2\n"),
    ("english name", "en: large", "en: big"),
    ("chinese name", "大额", "大"),
    ("account", "account: payer", "account: payee"),
    ("operator", ">= 100", "> 100"),
    ("literal", ">= 100", ">= 101"),
    ("feature", "txn.amount >=", "payer.out_sum_24h >="),
    ("score", "score: 10", "score: 11"),
    ("score expression", "score: 10", "score: txn.amount / 10"),
    ("reason", ":,.0f", ":,.2f"),
    ("action", "score: 10", "score: 10\n    action: confirm"),
    ("state", "score: 10", "score: 10\n    state: shadow"),
    ("source", "score: 10", "score: 10\n    source: police"),
    ("platform code", "score: 10", "score: 10\n    platform_code: 3006"),
    ("validity", "score: 10", "score: 10\n    valid: {to: 2027-01-01}"),
    ("warn", "score: 10", "score: 10\n    warn: true"),
    ("typology", "score: 10", "score: 10\n    typology: 3"),
    ("parameter", "txn.amount >= 100", "txn.amount >= low\n    params: {low: 100}"),
]


@pytest.mark.parametrize(("old", "new"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_the_hash_does_not_change_with_the_way_a_pack_is_written(old: str, new: str) -> None:
    assert load_pack(replaced(old, new), "y").hash == load_pack(MINIMAL, "x").hash


@pytest.mark.parametrize(("old", "new"), [case[1:] for case in OTHER], ids=[case[0] for case in OTHER])
def test_the_hash_changes_with_everything_a_pack_means(old: str, new: str) -> None:
    assert load_pack(replaced(old, new), "x").hash != load_pack(MINIMAL, "x").hash


def test_a_changed_parameter_changes_the_hash() -> None:
    assert load_pack(EXAMPLE.replace("0.9", "0.95"), "x").hash != load_pack(EXAMPLE, "x").hash


def test_the_hash_is_the_same_on_every_machine() -> None:
    assert load_pack(EXAMPLE, "x").label == "bank-core@2026.11.1+9963f8a662be"


def test_the_catalogue_has_a_line_a_rule_for_the_command_line() -> None:
    line = load_pack(EXAMPLE, "x").catalogue()[0]
    assert line["rule"] == "rapid-in-out@3"
    assert line["when"] == "payer.in_sum_24h >= min_in and payer.out_sum_24h >= share * payer.in_sum_24h"
    assert line["params"]["min_in"] == {"value": 50_000.0, "unit": None, "meaning": None}
    assert line["valid_from"] == "2026-11-01"
    assert line["features"] == ["payer.in_sum_24h", "payer.out_sum_24h"]


def test_a_rule_is_found_by_its_id() -> None:
    pack = load_pack(EXAMPLE, "x")
    assert pack.rule("rapid-in-out") is pack.rules[0]
    with pytest.raises(KeyError, match=re.escape("did you mean 'rapid-in-out'?")):
        pack.rule("rapid-in-ou")


def test_more_rules_than_can_be_compiled_in_reasonable_time_are_refused() -> None:
    rule = MINIMAL[MINIMAL.index("  - id") :]
    text = MINIMAL + "".join(rule.replace("id: large", f"id: large-{n}") for n in range(256))
    assert "at most 256 items" in only(text).cause


@settings(max_examples=100, deadline=None)
@given(
    at=st.integers(0, len(EXAMPLE)),
    cut=st.integers(0, 12),
    put=st.text(max_size=3)
    | st.sampled_from(["{", "[", ": ", "\n", "- ", "&a ", "*a", "!!x ", "null", "true", "1e99", "'", '"']),
)
def test_a_damaged_pack_is_refused_as_a_whole_or_is_another_pack(at: int, cut: int, put: str) -> None:
    damaged = EXAMPLE[:at] + put + EXAMPLE[at + cut :]
    refused = None
    try:
        pack = load_pack(damaged, "bank.yaml")
    except PackError as error:
        refused = error
    if refused is None:
        assert load_pack(damaged, "again").hash == pack.hash
    else:
        assert all(str(problem).startswith("bank.yaml") for problem in refused.problems)
