"""Half-space trees, in mini-batches, with River's numbers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.decision_kernels import (
    Bytes,
    Counter,
    Counts,
    Floats,
    Ints,
    anomaly_score,
    find_leaves,
    learn_leaves,
    score_leaves,
    sum_leaf_scores,
)
from stream_guard.detection.kernels import kernel

PADDING = 0.15
"""River's: a split keeps this share of the interval away from both of its ends."""
MAX_FEATURES = 255
MAX_HEIGHT = 12
MAX_WINDOW = 65_535


class HalfSpaceTrees:
    """Streaming half-space trees: an anomaly detector over inputs in [0, 1].

    Stands in for ``river.anomaly.HalfSpaceTrees`` (River 0.26.1): for the same parameters, seed and stream
    both give the same scores, exactly. Three things make it 50 times faster. A tree is two flat arrays in
    heap order. Only leaves are counted, a node's mass is the sum of its leaves'. And as masses stand still
    within a window, the score of every leaf is computed once a window: to score is to find 25 leaves and add
    25 integers.

    It scores before it has learned `window_size` vectors as River does: 0.

    Parameters
    ----------
    n_trees, height, window_size, limits, seed
        As in River: number of trees, levels of splits (1-12), vectors a window (1-65,535), range of each
        feature (default [0, 1]), seed of the splits.
    features
        Names of the columns of the matrices given to :meth:`learn_many` and :meth:`score_many`. Trees are
        built from the *sorted* names, as River does. When None they come from the first mapping learned.

    Raises
    ------
    ValueError
        A parameter is out of the bounds above.

    References
    ----------
    S. C. Tan, K. M. Ting, T. F. Liu: Fast anomaly detection for streaming data. IJCAI 2011.

    Examples
    --------
    >>> trees = HalfSpaceTrees(n_trees=5, height=3, window_size=3, seed=42)
    >>> for x in [0.5, 0.45, 0.43]:
    ...     trees.learn_one({"x": x})
    >>> for x in [0.5, 0.45, 0.43, 0.44, 0.445, 0.45, 0.0]:
    ...     trees.learn_one({"x": x})
    ...     print(f"{x:.3f}: {trees.score_one({'x': x}):.3f}")
    0.500: 0.107
    0.450: 0.071
    0.430: 0.107
    0.440: 0.107
    0.445: 0.107
    0.450: 0.071
    0.000: 0.853
    """

    def __init__(
        self,
        n_trees: int = 10,
        height: int = 8,
        window_size: int = 250,
        limits: Mapping[str, tuple[float, float]] | None = None,
        seed: int | None = None,
        features: Sequence[str] | None = None,
    ) -> None:
        if n_trees < 1:
            raise ValueError(f"n_trees must be at least 1, not {n_trees}")
        if not 1 <= height <= MAX_HEIGHT:
            raise ValueError(f"height must be 1 to {MAX_HEIGHT}, not {height}")
        if not 1 <= window_size <= MAX_WINDOW:
            raise ValueError(f"window_size must be 1 to {MAX_WINDOW:,}, not {window_size}")
        self.n_trees = n_trees
        self.height = height
        self.window_size = window_size
        self.limits = dict(limits or {})
        # Without a seed two copies must differ, as River's do.
        self.seed = random.SystemRandom().getrandbits(32) if seed is None else seed
        leaves = 2**height
        self.mass: Counts = np.zeros((n_trees, leaves), np.uint16)
        self.reference: Counts = np.zeros((n_trees, leaves), np.uint16)
        self.leaf_score: Ints = np.zeros((n_trees, leaves), np.int32)
        self.count: Counter = np.zeros(1, np.int64)
        self._leaves: Ints = np.zeros(n_trees, np.int32)
        self.features: tuple[str, ...] = ()
        if features is not None:
            self._build(tuple(features))

    def _build(self, features: tuple[str, ...]) -> None:
        if not 1 <= len(features) <= MAX_FEATURES or len(set(features)) != len(features):
            raise ValueError(f"features must be 1 to {MAX_FEATURES} different names, not {list(features)}")
        self.features = features
        names = tuple(sorted(features))
        limits = tuple(self.limits.get(name, (0.0, 1.0)) for name in names)
        on, threshold = grow_trees(limits, self.n_trees, self.height, self.seed)
        # Trees know sorted names; the matrix has the caller's order.
        column = np.array([features.index(name) for name in names], np.uint8)
        self.feature: Bytes = column[on]
        self.threshold: Floats = threshold

    @property
    def learned(self) -> int:
        """Number of vectors learned so far."""
        return int(self.count[0])

    def refresh(self) -> None:
        """Recompute what follows from the masses; to be called after `reference` was written from outside."""
        score_leaves(self.reference, self.window_size, self.leaf_score)

    def learn_one(self, x: Mapping[str, float]) -> None:
        """Learn one vector; names unknown to the first are ignored, missing ones follow the mass."""
        if not self.features:
            self._build(tuple(x))
        self._find(x)
        learn_leaves(self._leaves, self.mass, self.reference, self.leaf_score, self.count, self.window_size)

    def score_one(self, x: Mapping[str, float]) -> float:
        """Score of one vector: near 1 unusual, near 0 usual; 0 while the first window is not full."""
        if self.learned < self.window_size:
            return 0.0
        self._find(x)
        total = sum_leaf_scores(self.leaf_score, self._leaves)
        return float(anomaly_score(total, self.n_trees, 2**self.height, self.window_size))

    def _find(self, x: Mapping[str, float]) -> None:
        row = np.array([x.get(name, 0.0) for name in self.features])
        absent = np.array([name not in x for name in self.features])
        if absent.any():
            _find_leaves_by_mass(row, absent, self.feature, self.threshold, self.mass, self._leaves)
        else:
            find_leaves(row, self.feature, self.threshold, self._leaves)

    def learn_many(self, matrix: NDArray[np.float64]) -> None:
        """Learn the rows of `matrix` f8[n, k] one after the other; columns are `features`."""
        self._check(matrix)
        _learn(
            matrix,
            self.feature,
            self.threshold,
            self.mass,
            self.reference,
            self.leaf_score,
            self.count,
            self.window_size,
        )

    def score_many(self, matrix: NDArray[np.float64]) -> Floats:
        """Scores f8[n] of the rows of `matrix` f8[n, k], without learning."""
        self._check(matrix)
        if self.learned < self.window_size:
            return np.zeros(len(matrix))
        out = np.empty(len(matrix))
        _score(matrix, self.feature, self.threshold, self.leaf_score, self.window_size, out)
        return out

    def _check(self, matrix: NDArray[np.float64]) -> None:
        if not self.features:
            raise ValueError("give the names of the columns as `features` to learn or score a matrix")
        if matrix.ndim != 2 or matrix.shape[1] != len(self.features):
            raise ValueError(f"expected a matrix of {len(self.features)} columns, got shape {matrix.shape}")


@lru_cache(maxsize=32)
def grow_trees(
    limits: tuple[tuple[float, float], ...], n_trees: int, height: int, seed: int
) -> tuple[NDArray[np.intp], Floats]:
    """Random splits of all trees, drawn exactly as River draws them.

    Parameters
    ----------
    limits
        Range of each feature, in the sorted order of the names.

    Returns
    -------
    tuple
        Feature number and threshold of every inner node, both [n_trees, 2**height - 1] in heap order,
        read-only: all detectors of the same settings share them, as they take 20 ms to draw.
    """
    rng = random.Random(seed)  # noqa: S311 -- River's generator, nothing secret
    on = np.zeros((n_trees, 2**height - 1), np.intp)
    threshold = np.zeros((n_trees, 2**height - 1))
    for t in range(n_trees):
        _grow(rng, list(limits), 0, on[t], threshold[t])
    on.flags.writeable = False
    threshold.flags.writeable = False
    return on, threshold


def _grow(rng: random.Random, limits: list[tuple[float, float]], node: int, on: Any, threshold: Any) -> None:
    if node >= len(on):
        return
    # The order of the draws is River's: feature, split, whole left subtree, whole right subtree.
    chosen = rng.choices(range(len(limits)), weights=[high - low for low, high in limits])[0]
    low, high = limits[chosen]
    at = rng.uniform(low + PADDING * (high - low), high - PADDING * (high - low))
    on[node], threshold[node] = chosen, at
    limits[chosen] = (low, at)
    _grow(rng, limits, 2 * node + 1, on, threshold)
    limits[chosen] = (at, high)
    _grow(rng, limits, 2 * node + 2, on, threshold)
    limits[chosen] = (low, high)


@kernel
def _find_leaves_by_mass(
    x: Floats, absent: NDArray[np.bool_], feature: Bytes, threshold: Floats, mass: Counts, leaves: Ints
) -> None:
    """As `find_leaves`; where the feature is absent, to the child with more mass in this window, or left."""
    trees, nodes = feature.shape
    for t in range(trees):
        node = 0
        span = nodes + 1
        first = 0
        while node < nodes:
            half = span // 2
            f = feature[t, node]
            if absent[f]:
                left = 0
                right = 0
                for leaf in range(half):
                    left += mass[t, first + leaf]
                    right += mass[t, first + half + leaf]
                go_left = left >= right
            else:
                go_left = x[f] < threshold[t, node]
            node = 2 * node + (1 if go_left else 2)
            first += 0 if go_left else half
            span = half
        leaves[t] = node - nodes


@kernel
def _learn(
    matrix: Floats,
    feature: Bytes,
    threshold: Floats,
    mass: Counts,
    reference: Counts,
    leaf_score: Ints,
    count: Counter,
    window: int,
) -> None:
    leaves = np.empty(feature.shape[0], np.int32)
    for i in range(matrix.shape[0]):
        find_leaves(matrix[i], feature, threshold, leaves)
        learn_leaves(leaves, mass, reference, leaf_score, count, window)


@kernel
def _score(
    matrix: Floats, feature: Bytes, threshold: Floats, leaf_score: Ints, window: int, out: Floats
) -> None:
    trees, leaves_a_tree = leaf_score.shape
    leaves = np.empty(trees, np.int32)
    for i in range(matrix.shape[0]):
        find_leaves(matrix[i], feature, threshold, leaves)
        out[i] = anomaly_score(sum_leaf_scores(leaf_score, leaves), trees, leaves_a_tree, window)
