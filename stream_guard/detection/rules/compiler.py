"""A checked pack as compiled kernels over the feature matrix.

Rules are compiled in kernels of 8 whose source depends only on what the rules compute: parameters, fixed
scores and days of validity are arguments. So a changed parameter needs no compilation, a changed rule
compiles its own kernel only, and a grid of parameters is one compiled pack evaluated again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import N
from stream_guard.detection.rules.emitter import RULES_PER_KERNEL, Emittable, source
from stream_guard.detection.rules.errors import suggestion
from stream_guard.detection.rules.expression import Number, Param
from stream_guard.detection.rules.reasons import floor_features
from stream_guard.detection.rules.rule import EVER, Pack, Rule
from stream_guard.detection.rules.store import Kernel, kernel_of
from stream_guard.detection.vocabulary import RuleState

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

NOT_FIRED: Final = 0
FIRED: Final = 1
NOT_EVALUABLE: Final = 2
"""A value that the trigger or the score needs is missing."""

FIXED_SCORE: Final = "score"
"""Name of a fixed score among a rule's parameters; no parameter can be called that."""


class RuleResults(NamedTuple):
    """What the rules say about a batch; one column a compiled rule."""

    fired: Bytes
    """uint8[n, R]: `NOT_FIRED`, `FIRED` or `NOT_EVALUABLE`."""
    score: Floats
    """float64[n, R]: 0-100; 0 where the rule did not fire."""


class _Group(NamedTuple):
    """A compiled kernel and where its rules stand."""

    kernel: Kernel
    params: slice
    """Its part of the parameter array."""


class CompiledPack:
    """A pack ready to evaluate; made by `compile_pack`.

    Attributes
    ----------
    pack
        The pack it was made from.
    rules
        Rules in the order of the results' columns; those that are off are left out.
    params
        float64[P]: parameter values of the pack, in the order of `slots`.
    slots
        Place of a parameter in `params` by rule id and name; a fixed score is named ``score``.
    features
        Names of all features that triggers, scores and reasons use, and of the counts that tell whether one
        of them is a floor: what a row must hold so that everything about it can be said.
    """

    def __init__(self, pack: Pack, folder: Path | None) -> None:
        self.pack = pack
        self.rules: tuple[Rule, ...] = tuple(rule for rule in pack.rules if rule.state is not RuleState.OFF)
        named = {name for rule in self.rules for name in rule.features}
        self.features = frozenset(named.union(*map(floor_features, named)))
        self.slots: dict[tuple[str, str], int] = {}
        self._since = np.array([rule.bounds[0] for rule in self.rules], dtype=np.int64)
        self._until = np.array([rule.bounds[1] for rule in self.rules], dtype=np.int64)
        self._groups: list[_Group] = []
        values: list[float] = []
        for first in range(0, len(self.rules), RULES_PER_KERNEL):
            first_param = len(values)
            emittable = [
                self._add(rule, values, first_param) for rule in self.rules[first : first + RULES_PER_KERNEL]
            ]
            kernel = kernel_of(source(emittable, first), folder)
            self._groups.append(_Group(kernel, slice(first_param, len(values))))
        self._params: Floats = np.array(values, dtype=np.float64)
        self.params: Floats = self._params.view()
        self.params.setflags(write=False)
        # Compiles, or reads compiled code back, so that the first payment does not wait for it.
        self.evaluate(np.full((1, N), np.nan), np.zeros(1, dtype=np.int64))

    def _add(self, rule: Rule, values: list[float], first_param: int) -> Emittable:
        given = dict(rule.values)
        score = rule.score
        if isinstance(score, Number):
            given[FIXED_SCORE] = score.value
            score = Param(FIXED_SCORE)
        slots = {}
        for name, value in given.items():
            self.slots[rule.id, name] = len(values)
            slots[name] = len(values) - first_param
            values.append(value)
        return Emittable(rule.when, score, slots, rule.bounds != (-EVER, EVER))

    def evaluate(self, matrix: Floats, ts: Longs, params: Floats | None = None) -> RuleResults:
        """Evaluate every rule on every payment.

        Parameters
        ----------
        matrix
            float64[n, N]: one row a payment, one column a feature of the catalogue, NaN where missing.
        ts
            int64[n]: event times, epoch milliseconds; they decide a rule's validity.
        params
            float64[P] to use instead of the pack's own, made by `params_with`.

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        count = len(ts)
        if matrix.shape != (count, N):
            raise ValueError(
                f"the matrix has shape {matrix.shape}, but {count} times and {N} features need ({count}, {N})"
            )
        numbers = self._params if params is None else _plain(params, np.float64)
        if numbers.shape != self._params.shape:
            raise ValueError(f"{numbers.size} parameters for a pack of {self._params.size}: use params_with")
        results = RuleResults(
            np.zeros((count, len(self.rules)), dtype=np.uint8),
            np.zeros((count, len(self.rules)), dtype=np.float64),
        )
        rows, times = _plain(matrix, np.float64), _plain(ts, np.int64)
        for group in self._groups:
            part = numbers[group.params]
            group.kernel(rows, times, self._since, self._until, part, results.fired, results.score)
        return results

    def params_with(self, changes: Mapping[tuple[str, str], float]) -> Floats:
        """Parameter values of the pack with some of them changed; nothing is compiled.

        Parameters
        ----------
        changes
            New value by rule id and parameter name (``("rapid-in-out", "min_in")``).

        Raises
        ------
        KeyError
            If no compiled rule has such a parameter.
        """
        changed = self.params.copy()
        for (rule, name), value in changes.items():
            if (rule, name) not in self.slots:
                known = [f"{known_rule}.{known_name}" for known_rule, known_name in self.slots]
                raise KeyError(
                    f"no parameter {rule}.{name} in {self.pack.label}{suggestion(f'{rule}.{name}', known)}"
                )
            changed[self.slots[rule, name]] = value
        return changed


def compile_pack(pack: Pack, cache_dir: Path | None) -> CompiledPack:
    """Compile a pack; about 0.1 s a rule the first time, a few milliseconds a kernel when `cache_dir` has it.

    Parameters
    ----------
    pack
        A checked pack.
    cache_dir
        Folder for generated sources and compiled code; None compiles in memory.

    Raises
    ------
    OSError
        If the folder cannot be used.
    """
    return CompiledPack(pack, cache_dir)


def _plain(array: npt.NDArray[Any], kind: type[Any]) -> npt.NDArray[Any]:
    """`array` as the one type the kernels are compiled for: contiguous, writable; a copy only if not."""
    if array.dtype == kind and array.flags.carray:
        return array
    return np.require(array, dtype=kind, requirements=["C", "W"])
