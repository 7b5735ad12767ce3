"""Rule models: text that a model owner writes, checked as a whole and compiled.

The way of a pack: `document` reads the YAML with the place of every field, `model` checks the fields,
`parser` the expressions against the feature catalogue, `reasons` the sentences, `pack` all of them together.
`emitter` writes kernels from the checked trees, `compiler` compiles and runs them, `evaluator` is the plain
reference they are tested against, `explain` puts one payment's answer into words. Only `store` touches files.

What holds everywhere: a missing value is NaN and makes unknown what depends on it; a rule whose trigger or
score is unknown does not fire and is *not evaluable*, which is counted, and is never taken for "no". Nothing
of a pack's text is ever run: code is generated from checked trees and holds no text of the pack.
"""

from __future__ import annotations

from stream_guard.detection.rules.compiler import (
    FIRED,
    NOT_EVALUABLE,
    NOT_FIRED,
    CompiledPack,
    RuleResults,
    compile_pack,
)
from stream_guard.detection.rules.errors import ExpressionError, PackError, Problem
from stream_guard.detection.rules.explain import Explanation, Reason, Verdict, explain, judge, render_reason
from stream_guard.detection.rules.pack import load_pack
from stream_guard.detection.rules.reasons import TAINT_PATH
from stream_guard.detection.rules.rule import Pack, Parameter, Rule
from stream_guard.detection.rules.store import check_file

__all__ = [
    "FIRED",
    "NOT_EVALUABLE",
    "NOT_FIRED",
    "TAINT_PATH",
    "CompiledPack",
    "Explanation",
    "ExpressionError",
    "Pack",
    "PackError",
    "Parameter",
    "Problem",
    "Reason",
    "Rule",
    "RuleResults",
    "Verdict",
    "check_file",
    "compile_pack",
    "explain",
    "judge",
    "load_pack",
    "render_reason",
]
