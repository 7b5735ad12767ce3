"""The generated kernels against the plain evaluator, their reference."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream_guard.detection.features import INDEX, N
from stream_guard.detection.hashing import text_code
from stream_guard.detection.rules import compile_pack, judge, load_pack
from stream_guard.detection.rules.compiler import FIRED, NOT_EVALUABLE, NOT_FIRED, CompiledPack
from stream_guard.detection.rules.emitter import NAME, Emittable, source
from stream_guard.detection.rules.evaluator import truth, value
from stream_guard.detection.rules.pack import EXAMPLE
from stream_guard.tuning import arrays as by_column

NUMBERS = ["payer.in_sum_24h", "payer.out_sum_24h", "txn.amount", "payee.in_count_7d"]
FLAGS = ["pair.seen_before", "txn.night"]
TEXTS = ["txn.type", "txn.channel"]
PARAMS = {"alpha": 2.0, "beta": -3.5, "gamma": 0.0}
LITERALS = ["0", "1", "2.5", "50_000", "1e3"]
WORDS = ['"TRANSFER"', "'CASH_OUT'", '"转账"']
NOW = 1_800_000_000_000


def _number() -> st.SearchStrategy[str]:
    """Numbers that depend on a feature."""
    constant = st.sampled_from([*LITERALS, *PARAMS])

    def around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        either = inner | constant
        operator = st.sampled_from("+-*/")
        return st.one_of(
            st.builds("({} {} {})".format, inner, operator, either),
            st.builds("({} {} {})".format, constant, operator, inner),
            st.builds("-{}".format, inner),
            st.builds("abs({})".format, inner),
            st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), either, inner),
            st.builds("{}({}, {}, {})".format, st.sampled_from(["min", "max"]), either, inner, either),
            st.builds("{}({}, {})".format, st.sampled_from(["ratio", "if_missing"]), inner, either),
        )

    return st.recursive(st.sampled_from(NUMBERS), around, max_leaves=5)


def _condition() -> st.SearchStrategy[str]:
    """Conditions of every kind the language has."""
    constant = st.sampled_from([*LITERALS, *PARAMS])
    operator = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    inside = st.sampled_from(["in", "not in"])
    text = st.sampled_from(TEXTS)
    leaf = st.one_of(
        st.builds("{} {} {}".format, _number(), operator, _number() | constant),
        st.builds("{} {} {} {} {}".format, constant, operator, _number(), operator, constant),
        st.sampled_from(FLAGS),
        st.builds("{} {} {}".format, text, st.sampled_from(["==", "!="]), st.sampled_from([*WORDS, *TEXTS])),
        st.builds("{} {} [{}, {}]".format, text, inside, *[st.sampled_from(WORDS)] * 2),
        st.builds("{} {} ({}, {})".format, _number(), inside, *[st.sampled_from(["0", "1", "-2.5"])] * 2),
        st.builds("missing({})".format, st.sampled_from([*TEXTS, *FLAGS]) | _number()),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
            st.builds("not ({})".format, inner),
        ),
        max_leaves=5,
    )


def _rows(count: int) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Matrices whose used columns hold missing values, zeros, limits, huge numbers and texts."""
    numbers = [math.nan, 0.0, -0.0, 1.0, 2.0, 2.5, -3.5, 1000.0, 49_999.99, 50_000.0, 1e15, 1e300, -1e300]
    columns = {
        **{name: st.sampled_from(numbers) for name in NUMBERS},
        **{name: st.sampled_from([math.nan, 0.0, 1.0]) for name in FLAGS},
        **{name: st.sampled_from([math.nan, *(text_code(word[1:-1]) for word in WORDS)]) for name in TEXTS},
    }

    def fill(cells: list[list[float]]) -> np.ndarray[Any, Any]:
        matrix = np.full((count, N), np.nan)
        for name, values in zip(columns, cells, strict=True):
            matrix[:, INDEX[name]] = values
        return matrix

    lists = [st.lists(values, min_size=count, max_size=count) for values in columns.values()]
    return st.tuples(*lists).map(lambda cells: fill(list(cells)))


def _plain(text: str) -> Any:
    """The function of a generated source, as ordinary Python."""
    line = "from stream_guard.detection.kernels import kernel\n"
    assert line in text
    space: dict[str, Any] = {"kernel": lambda function: function}
    exec(compile(text.replace(line, ""), "generated", "exec"), space)
    return space[NAME]


def _pack(rules: list[tuple[str, str]], more: str = "") -> str:
    params = "{" + ", ".join(f"{name}: {value}" for name, value in PARAMS.items()) + "}"
    text = "pack: random\nversion: '1'\nrules:\n"
    for position, (when, score) in enumerate(rules):
        # Every parameter has to be used; adding nothing of each changes no score.
        used = " + ".join(f"0 * {name}" for name in PARAMS)
        text += (
            f"  - id: rule-{position}\n    version: 1\n    name: {{en: a, zh: b}}\n    account: payer\n"
            f"    when: >-\n      {when}\n    score: >-\n      {score} + {used}\n"
            f"    params: {params}\n    reason: why\n{more}"
        )
    return text


def _agree(compiled: CompiledPack, matrix: np.ndarray[Any, Any], params: dict[str, float] = PARAMS) -> None:
    changes = {(rule.id, name): value for rule in compiled.rules for name, value in params.items()}
    ts = np.full(len(matrix), NOW, np.int64)
    fired, score = compiled.evaluate(matrix, ts, compiled.params_with(changes))
    for column, rule in enumerate(compiled.rules):
        for position, row in enumerate(matrix.tolist()):
            expected = judge(rule, row, NOW, params)
            got = int(fired[position, column]), float(score[position, column])
            assert got == expected, f"{rule.when}\n{rule.score}\n{row}"


@settings(max_examples=150, deadline=None)
@given(_condition(), _number(), _rows(4))
def test_whole_columns_say_what_the_evaluator_says(
    when: str, score: str, matrix: np.ndarray[Any, Any]
) -> None:
    rule = load_pack(_pack([(when, score)]), "random").rules[0]
    with np.errstate(all="ignore"):
        found = by_column.truth(rule.when, lambda name: matrix[:, INDEX[name]], PARAMS)
        scores = np.broadcast_to(
            by_column.values(rule.score, lambda name: matrix[:, INDEX[name]], PARAMS), len(matrix)
        )
    for position, row in enumerate(matrix.tolist()):
        said = truth(rule.when, row, PARAMS)
        assert (found.true[position], found.false[position]) == (said is True, said is False)
        np.testing.assert_equal(scores[position], value(rule.score, row, PARAMS))


@settings(max_examples=150, deadline=None)
@given(_condition(), _number(), _rows(4))
def test_the_generated_source_says_what_the_evaluator_says(
    when: str, score: str, matrix: np.ndarray[Any, Any]
) -> None:
    pack = load_pack(_pack([(when, score)]), "random")
    rule = pack.rules[0]
    slots = {name: slot for slot, name in enumerate(PARAMS)}
    function = _plain(source([Emittable(rule.when, rule.score, slots, bounded=False)], 0))
    fired, scores = np.zeros((4, 1), np.uint8), np.zeros((4, 1))
    bounds, ts = np.zeros(1, np.int64), np.full(4, NOW, np.int64)
    with np.errstate(all="ignore"):
        function(matrix, ts, bounds, bounds, np.array([*PARAMS.values()]), fired, scores)
    for position, row in enumerate(matrix.tolist()):
        expected = judge(rule, row, NOW)
        assert (int(fired[position, 0]), float(scores[position, 0])) == expected


RULES = [
    ("txn.amount > alpha and payer.in_sum_24h >= beta * payer.out_sum_24h", "txn.amount / 1000"),
    ("not (pair.seen_before or txn.amount / gamma > 1)", "ratio(payer.out_sum_24h, payer.in_sum_24h) * 100"),
    ("txn.type in ['TRANSFER', '转账'] and txn.channel != 'CASH_OUT'", "50 - txn.amount"),
    ("missing(payee.in_count_7d) or 1 < payee.in_count_7d <= 1000", "if_missing(payee.in_count_7d, 7)"),
    (
        "min(txn.amount, payer.in_sum_24h, 2.5) == max(alpha, payer.out_sum_24h)",
        "max(1, abs(-txn.amount), alpha)",
    ),
    ("txn.night and not pair.seen_before or txn.type == txn.channel", "min(txn.amount, 99.5)"),
    ("txn.amount in (0, 1, -3.5) and abs(payer.in_sum_24h) > 1", "-txn.amount * beta"),
    ("txn.amount not in (1000, 50_000) or not not txn.night", "(txn.amount - 1) * (txn.amount + 1)"),
    ("if_missing(txn.amount, payer.in_sum_24h) != 0 and txn.type not in ['CASH_OUT']", "txn.amount"),
]
"""Nine, so that there are two kernels."""


@pytest.fixture(scope="module")
def compiled(kernels: Path) -> CompiledPack:
    return compile_pack(load_pack(_pack(RULES), "random"), kernels)


@settings(max_examples=150, deadline=None)
@given(matrix=_rows(5))
def test_the_kernels_say_what_the_evaluator_says(
    compiled: CompiledPack, matrix: np.ndarray[Any, Any]
) -> None:
    _agree(compiled, matrix)


@settings(max_examples=50, deadline=None)
@given(
    matrix=_rows(2),
    values=st.lists(st.sampled_from([0.0, -1.0, 1.0, 2.5, 1000.0, 1e9]), min_size=3, max_size=3),
)
def test_other_parameters_need_no_compilation(
    compiled: CompiledPack, matrix: np.ndarray[Any, Any], values: list[float]
) -> None:
    _agree(compiled, matrix, dict(zip(PARAMS, values, strict=True)))
    assert all(len(group.kernel.signatures) == 1 for group in compiled._groups)  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(matrix=_rows(6), cut=st.integers(0, 6))
def test_results_do_not_depend_on_batch_boundaries(
    compiled: CompiledPack, matrix: np.ndarray[Any, Any], cut: int
) -> None:
    ts = np.full(6, NOW, np.int64)
    whole = compiled.evaluate(matrix, ts)
    parts = [compiled.evaluate(matrix[piece], ts[piece]) for piece in (slice(0, cut), slice(cut, 6))]
    assert np.array_equal(np.concatenate([part.fired for part in parts]), whole.fired)
    assert np.array_equal(np.concatenate([part.score for part in parts]), whole.score)


@settings(max_examples=30, deadline=None)
@given(arrays(np.float64, (2, N), elements=st.floats(allow_nan=True, allow_infinity=True, width=64)))
def test_no_value_makes_a_kernel_fail_or_leave_the_scale(
    compiled: CompiledPack, matrix: np.ndarray[Any, Any]
) -> None:
    fired, score = compiled.evaluate(matrix, np.full(2, NOW, np.int64))
    assert set(np.unique(fired)) <= {NOT_FIRED, FIRED, NOT_EVALUABLE}
    assert ((score >= 0) & (score <= 100)).all()
    assert not score[fired != FIRED].any()


def test_a_rule_on_a_missing_value_is_not_evaluable(compiled: CompiledPack) -> None:
    fired, score = compiled.evaluate(np.full((1, N), np.nan), np.full(1, NOW, np.int64))
    assert fired[0].tolist() == [2, 2, 2, 1, 2, 2, 2, 2, 2]
    assert score[0].tolist() == [0, 0, 0, 7, 0, 0, 0, 0, 0]


def test_a_rule_whose_score_is_missing_is_not_evaluable_even_if_its_trigger_is_true(row: Any) -> None:
    text = EXAMPLE.replace("score: 60", "score: payer.out_mean / 100").replace("2026-11-01", "null")
    rules = compile_pack(load_pack(text, "x"), None)
    here = row(payer__in_sum_24h=60_000, payer__out_sum_24h=60_000)
    there = row(payer__in_sum_24h=60_000, payer__out_sum_24h=60_000, payer__out_mean=500)
    fired, score = rules.evaluate(np.array([here, there]), np.full(2, NOW, np.int64))
    assert fired[:, 0].tolist() == [NOT_EVALUABLE, FIRED]
    assert score[:, 0].tolist() == [0.0, 5.0]


def test_a_score_is_clipped_to_0_to_100_and_a_rule_outside_its_validity_does_not_fire(row: Any) -> None:
    text = _pack([("txn.amount > alpha", "txn.amount")], "    valid: {from: 2026-11-01, to: 2026-11-03}\n")
    rules = compile_pack(load_pack(text, "x"), None)
    first, after = 1_793_491_200_000, 1_793_664_000_000
    ts = np.array([first - 1, first, after - 1, after], np.int64)
    fired, score = rules.evaluate(np.array([row(txn__amount=1e6)] * 4), ts)
    assert fired[:, 0].tolist() == [0, 1, 1, 0]
    assert score[:, 0].tolist() == [0, 100, 100, 0]
    nothing = rules.evaluate(np.full((4, N), np.nan), ts).fired
    assert nothing[:, 0].tolist() == [0, 2, 2, 0]


def test_rules_that_are_off_have_no_column(kernels: Path) -> None:
    text = _pack(RULES)
    head, last = text[: text.rindex("  - id")], text[text.rindex("  - id") :]
    pack = load_pack(head + last + "    state: off\n", "x")
    part = compile_pack(pack, kernels)
    assert [rule.id for rule in part.rules] == [f"rule-{n}" for n in range(8)]
    assert part.evaluate(np.full((3, N), np.nan), np.zeros(3, np.int64)).fired.shape == (3, 8)
    assert "txn.channel" in part.features
    assert not any(rule == "rule-8" for rule, _ in part.slots)


def test_a_pack_without_a_rule_that_runs_has_no_columns() -> None:
    pack = load_pack(EXAMPLE.replace("state: live", "state: off"), "x")
    assert compile_pack(pack, None).evaluate(np.zeros((2, N)), np.zeros(2, np.int64)).fired.shape == (2, 0)


def test_arrays_of_another_layout_are_evaluated_the_same(compiled: CompiledPack) -> None:
    matrix = np.full((4, N), np.nan)
    matrix[:, INDEX["txn.amount"]] = [1, 1000, 50_000, 0]
    ts = np.full(4, NOW, np.int64)
    expected = compiled.evaluate(matrix, ts).fired
    fixed = matrix.copy()
    fixed.setflags(write=False)
    for other in (np.asfortranarray(matrix), fixed, np.repeat(matrix, 2, axis=0)[::2]):
        assert np.array_equal(compiled.evaluate(other, ts).fired, expected)
    assert all(len(group.kernel.signatures) == 1 for group in compiled._groups)  # type: ignore[attr-defined]


def test_shapes_that_do_not_fit_are_refused(compiled: CompiledPack) -> None:
    with pytest.raises(ValueError, match=r"the matrix has shape \(2, 3\)"):
        compiled.evaluate(np.zeros((2, 3)), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"the matrix has shape"):
        compiled.evaluate(np.zeros((2, N)), np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="use params_with"):
        compiled.evaluate(np.zeros((2, N)), np.zeros(2, np.int64), np.zeros(3))
    with pytest.raises(KeyError, match=r"no parameter rule-0\.alpa .*did you mean 'rule-0\.alpha'"):
        compiled.params_with({("rule-0", "alpa"): 1.0})


def test_a_fixed_score_is_a_parameter_like_any_other(row: Any) -> None:
    rules = compile_pack(load_pack(EXAMPLE, "x"), None)
    matrix = np.array([row(payer__in_sum_24h=60_000, payer__out_sum_24h=60_000)])
    ts = np.full(1, NOW, np.int64)
    higher = rules.params_with({("rapid-in-out", "score"): 75.0})
    assert rules.evaluate(matrix, ts).score[0, 0] == 60
    assert rules.evaluate(matrix, ts, higher).score[0, 0] == 75
    assert rules.params[rules.slots["rapid-in-out", "score"]] == 60
    with pytest.raises(ValueError, match="read-only"):
        rules.params[0] = 1


def test_no_text_of_a_pack_gets_into_the_code() -> None:
    text = (
        EXAMPLE.replace("rapid-in-out", "marker-one")
        .replace("min_in", "marker_two")
        .replace(">= marker_two", ">= marker_two and txn.type != 'marker three'")
        .replace("money does not stay", "marker four")
        .replace("has left again", "marker five")
    )
    rule = load_pack(text, "marker six").rules[0]
    slots = {name: slot for slot, name in enumerate(rule.values)}
    code = source([Emittable(rule.when, rule.score, slots, bounded=True)], 3)
    assert "marker" not in code
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
    ours = r"kernel|nan|float|range|min|max|abs|x|ts|since|until|fired|score|i|p|[fp]\d+|t\d+_\d+"
    assert all(re.fullmatch(ours, name) for name in names), names
