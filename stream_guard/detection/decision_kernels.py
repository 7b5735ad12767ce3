"""The machine code of a decision: transforms, half-space trees, running quantile, score, action.

Everything that is compiled into :func:`decide_batch` stands in this one file, because numba's disk
cache only notices changes of the file of the function it loads: a helper compiled into it from
another file could change without the cached code changing.

What the functions mean is documented where they are used: :mod:`~stream_guard.detection.transforms`,
:mod:`~stream_guard.detection.half_space_trees`, :mod:`~stream_guard.detection.quantile`,
:mod:`~stream_guard.detection.decide`.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.kernels import kernel

Floats: TypeAlias = NDArray[np.float64]
Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int32]
Counts: TypeAlias = NDArray[np.uint16]
Counter: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

SideArrays: TypeAlias = tuple[Ints, Floats, Bytes, Floats, Counts, Counts, Ints, Counter, Floats, Counter]
"""(inputs, bounds, feature, threshold, mass, reference, leaf_score, learned, quantile, limits) of one
side; a plain tuple, which numba takes apart without looking at Python types."""

LINEAR: Final = 0
LOG: Final = 1
SHARE: Final = 2
LOG_RATIO: Final = 3

ALLOW: Final = 0
CONFIRM: Final = 1
DELAY: Final = 2
HOLD: Final = 3
STOP: Final = 4

PAYER_REASON: Final = 1
PAYEE_REASON: Final = 2
PAYER_WARMING: Final = 4
PAYEE_WARMING: Final = 8

QUANTILE_SIZE: Final = 17
"""Floats of a running quantile: count, q, 5 heights, 5 positions, 5 desired positions."""


@kernel
def transform_row(row: Floats, inputs: Ints, bounds: Floats, out: Floats) -> None:
    """Write the detector's inputs, each in [0, 1], for one row of the feature matrix.

    `inputs` i4[k, 3]: kind, column, second column; `bounds` f8[k, 3]: low, scale, neutral value.
    """
    for j in range(inputs.shape[0]):
        kind = inputs[j, 0]
        value = row[inputs[j, 1]]
        if kind == LINEAR:
            x = (value - bounds[j, 0]) * bounds[j, 1]
        elif kind == LOG:
            x = math.log1p(0.0 if value < 0.0 else value) * bounds[j, 1]
        elif kind == SHARE:
            x = value / (value + row[inputs[j, 2]])
        else:
            x = 0.5 + math.log(value / row[inputs[j, 2]]) * bounds[j, 1]
        if x != x:
            out[j] = bounds[j, 2]
        elif x < 0.0:
            out[j] = 0.0
        elif x > 1.0:
            out[j] = 1.0
        else:
            out[j] = x


@kernel
def find_leaves(x: Floats, feature: Bytes, threshold: Floats, leaves: Ints) -> None:
    """Walk one input vector down every tree; `leaves` i4[trees] gets the leaf it ends in.

    `feature` and `threshold` are [trees, 2**height - 1] in heap order (children of i: 2i+1, 2i+2).
    Level by level over all trees, so that the processor has independent loads to overlap.
    """
    trees, nodes = feature.shape
    for t in range(trees):
        leaves[t] = 0
    first_leaf = 0
    while first_leaf < nodes:
        for t in range(trees):
            node = leaves[t]
            # River goes left where value < threshold, right otherwise, so also right on NaN.
            leaves[t] = 2 * node + (1 if x[feature[t, node]] < threshold[t, node] else 2)
        first_leaf = 2 * first_leaf + 1
    for t in range(trees):
        leaves[t] -= nodes


@kernel
def sum_leaf_scores(leaf_score: Ints, leaves: Ints) -> int:
    """Add up what every tree says about the leaves; an exact integer, as in River."""
    total = 0
    for t in range(leaves.shape[0]):
        total += leaf_score[t, leaves[t]]
    return total


@kernel
def anomaly_score(total: int, trees: int, leaves: int, window: int) -> float:
    """River's normalisation: 1 is the emptiest place there is, 0 the most crowded."""
    return 1.0 - total / (trees * window * (2 * leaves - 1))


@kernel
def score_leaves(reference: Counts, window: int, leaf_score: Ints) -> None:
    """Compute the score of every leaf from the leaf masses of the last full window.

    River walks from the root and adds mass * 2**depth until a mass is below a tenth of the window.
    The masses stand still between two pivots, so the walk's result depends on the leaf only.
    """
    trees, leaves = reference.shape
    size_limit = 0.1 * window
    mass = np.zeros(2 * leaves - 1, np.int64)
    score = np.zeros(2 * leaves - 1, np.int64)
    ended = np.zeros(2 * leaves - 1, np.bool_)
    for t in range(trees):
        for leaf in range(leaves):
            mass[leaves - 1 + leaf] = reference[t, leaf]
        for node in range(leaves - 2, -1, -1):
            mass[node] = mass[2 * node + 1] + mass[2 * node + 2]
        score[0] = mass[0]
        ended[0] = mass[0] < size_limit
        weight = 1
        level_end = 1
        for node in range(1, 2 * leaves - 1):
            if node == level_end:
                level_end = 2 * level_end + 1
                weight *= 2
            parent = (node - 1) // 2
            score[node] = score[parent]
            ended[node] = ended[parent]
            if not ended[parent]:
                score[node] += mass[node] * weight
                ended[node] = mass[node] < size_limit
        for leaf in range(leaves):
            leaf_score[t, leaf] = score[leaves - 1 + leaf]


@kernel
def learn_leaves(
    leaves: Ints, mass: Counts, reference: Counts, leaf_score: Ints, learned: Counter, window: int
) -> None:
    """Count one input vector; at the end of a window its masses become the reference."""
    for t in range(leaves.shape[0]):
        mass[t, leaves[t]] += 1
    learned[0] += 1
    if learned[0] % window == 0:
        reference[:] = mass
        mass[:] = 0
        score_leaves(reference, window, leaf_score)


@kernel
def quantile_value(state: Floats) -> float:
    """Value of a running quantile; NaN before the first observation."""
    count = int(state[0])
    if count == 0:
        return math.nan
    if count <= 5:
        return float(state[2 + int(min(count - 1.0, count * state[1]))])
    return float(state[4])


@kernel
def quantile_update(state: Floats, x: float) -> None:
    """Add one observation to a running quantile (P2 algorithm, in the order River computes it)."""
    count = int(state[0])
    state[0] += 1.0
    height = state[2:7]
    position = state[7:12]
    desired = state[12:17]
    if count < 5:
        i = count
        while i > 0 and height[i - 1] > x:
            height[i] = height[i - 1]
            i -= 1
        height[i] = x
        return
    k = 4
    if x < height[0]:
        height[0] = x
        k = 1
    elif x >= height[4]:
        height[4] = x
    else:
        for i in range(1, 5):
            if height[i - 1] <= x < height[i]:
                k = i
                break
    for i in range(k, 5):
        position[i] += 1.0
    q = state[1]
    desired[1] += q / 2.0
    desired[2] += q
    desired[3] += (1.0 + q) / 2.0
    desired[4] += 1.0
    for i in range(1, 4):
        at = position[i]
        d = desired[i] - at
        after, before = position[i + 1], position[i - 1]
        if (d >= 1.0 and after - at > 1.0) or (d <= -1.0 and before - at < -1.0):
            d = 1.0 if d > 0.0 else -1.0
            here = height[i]
            left = (at - before + d) * (height[i + 1] - here) / (after - at)
            right = (after - at - d) * (here - height[i - 1]) / (at - before)
            moved = here + d / (after - before) * (left + right)
            if height[i - 1] < moved < height[i + 1]:
                height[i] = moved
            else:
                j = i + int(d)
                height[i] = here + d * (height[j] - here) / (position[j] - at)
            position[i] = at + d


@kernel
def side_score(product: float, highest: float, reasons: int) -> float:
    """100 * (1 - prod(1 - s/100)), free of the noise of binary fractions.

    One reason of 55 is 55 and not 55.00000000000001, so that a threshold means what it says.
    """
    if reasons == 0:
        return 0.0
    score = math.floor(100.0 * (1.0 - product) * 1e9 + 0.5) / 1e9
    return min(100.0, max(highest, score))


@kernel
def settle(
    fired: Bytes,
    scores: Floats,
    side: Bytes,
    action: Bytes,
    live: Flags,
    police: Flags,
    payer_anomaly: bool,
    payee_anomaly: bool,
    listed: bool,
    policy: Floats,
) -> tuple[int, float, float]:
    """Turn the reasons of one payment into (uncapped action, payer's score, payee's score).

    `fired`, `scores` and the rule arrays have one element a rule; `policy` is f8[4]: thresholds of
    confirm, delay and hold, score of an anomaly.
    """
    asked = ALLOW
    product0, product1 = 1.0, 1.0
    highest0, highest1 = 0.0, 0.0
    rules0, rules1 = 0, 0
    for r in range(fired.shape[0]):
        if fired[r] == 1 and live[r]:
            wanted = int(action[r])
            if wanted >= STOP and not (police[r] or listed):
                wanted = HOLD
            asked = max(asked, wanted)
            s = scores[r]
            s = min(100.0, s) if s > 0.0 else 0.0
            if side[r] == 0:
                rules0 += 1
                product0 *= 1.0 - s / 100.0
                highest0 = max(highest0, s)
            else:
                rules1 += 1
                product1 *= 1.0 - s / 100.0
                highest1 = max(highest1, s)
    s = policy[3]
    if payer_anomaly:
        product0 *= 1.0 - s / 100.0
        highest0 = max(highest0, s)
    if payee_anomaly:
        product1 *= 1.0 - s / 100.0
        highest1 = max(highest1, s)
    payer = side_score(product0, highest0, rules0 + int(payer_anomaly))
    payee = side_score(product1, highest1, rules1 + int(payee_anomaly))
    by_payer = action_of_score(payer, policy)
    by_payee = action_of_score(payee, policy)
    if rules0 == 0:
        by_payer = min(by_payer, CONFIRM)
    if rules1 == 0:
        by_payee = min(by_payee, CONFIRM)
    return max(asked, by_payer, by_payee), payer, payee


@kernel
def action_of_score(score: float, policy: Floats) -> int:
    """Action that a side's score asks for; a score never asks for a stop."""
    if score >= policy[2]:
        return HOLD
    if score >= policy[1]:
        return DELAY
    if score >= policy[0]:
        return CONFIRM
    return ALLOW


@kernel
def decide_batch(
    matrix: Floats,
    fired: Bytes,
    scores: Floats,
    side: Bytes,
    action: Bytes,
    live: Flags,
    police: Flags,
    accounts: Bytes,
    late: Flags,
    skip: Flags,
    listed: Counter,
    policy: Floats,
    payer: SideArrays,
    payee: SideArrays,
    actions: Bytes,
    figures: Floats,
) -> None:
    """Decide a batch, strictly one event after the other (see :func:`decide.decide`).

    `listed` i8[2]: columns of ``payer.listed`` and ``payee.listed``; `policy` f8[5]: as for
    :func:`settle`, then the action that caps a late decision. Writes `actions` u1[n, 3] (action,
    uncapped action, anomaly flags) and `figures` f8[n, 7] (score, payer's score, payee's score,
    payer's anomaly score and quantile, payee's anomaly score and quantile).
    """
    inputs0, bounds0, feature0, threshold0, mass0, last0, leaf_score0, learned0, quantile0, limits0 = payer
    inputs1, bounds1, feature1, threshold1, mass1, last1, leaf_score1, learned1, quantile1, limits1 = payee
    x0 = np.empty(inputs0.shape[0], np.float64)
    x1 = np.empty(inputs1.shape[0], np.float64)
    leaves0 = np.empty(feature0.shape[0], np.int32)
    leaves1 = np.empty(feature1.shape[0], np.int32)
    window0, warm_up0 = limits0[0], limits0[1]
    window1, warm_up1 = limits1[0], limits1[1]
    on_late = int(policy[4])
    for i in range(matrix.shape[0]):
        for j in range(3):
            actions[i, j] = 0
            figures[i, j] = 0.0
        for j in range(3, 7):
            figures[i, j] = math.nan
        if skip[i]:
            continue
        row = matrix[i]
        flags = 0
        has0 = accounts[i] & 1 != 0
        has1 = accounts[i] & 2 != 0
        if has0:
            transform_row(row, inputs0, bounds0, x0)
            find_leaves(x0, feature0, threshold0, leaves0)
            flags |= judge(
                leaves0,
                leaf_score0,
                learned0[0],
                window0,
                warm_up0,
                quantile0,
                figures[i, 3:5],
                PAYER_REASON,
                PAYER_WARMING,
            )
        if has1:
            transform_row(row, inputs1, bounds1, x1)
            find_leaves(x1, feature1, threshold1, leaves1)
            flags |= judge(
                leaves1,
                leaf_score1,
                learned1[0],
                window1,
                warm_up1,
                quantile1,
                figures[i, 5:7],
                PAYEE_REASON,
                PAYEE_WARMING,
            )
        uncapped, score0, score1 = settle(
            fired[i],
            scores[i],
            side,
            action,
            live,
            police,
            flags & PAYER_REASON != 0,
            flags & PAYEE_REASON != 0,
            row[listed[0]] > 0.0 or row[listed[1]] > 0.0,
            policy,
        )
        actions[i, 0] = min(uncapped, on_late) if late[i] else uncapped
        actions[i, 1] = uncapped
        actions[i, 2] = flags
        figures[i, 0] = max(score0, score1)
        figures[i, 1] = score0
        figures[i, 2] = score1
        if uncapped == ALLOW:
            if has0:
                if learned0[0] >= window0:
                    quantile_update(quantile0, figures[i, 3])
                learn_leaves(leaves0, mass0, last0, leaf_score0, learned0, window0)
            if has1:
                if learned1[0] >= window1:
                    quantile_update(quantile1, figures[i, 5])
                learn_leaves(leaves1, mass1, last1, leaf_score1, learned1, window1)


@kernel
def judge(
    leaves: Ints,
    leaf_score: Ints,
    learned: int,
    window: int,
    warm_up: int,
    quantile: Floats,
    figures: Floats,
    reason: int,
    warming: int,
) -> int:
    """Score one side and compare with its running quantile; returns the flags of the side."""
    score = 0.0
    if learned >= window:
        total = sum_leaf_scores(leaf_score, leaves)
        score = anomaly_score(total, leaf_score.shape[0], leaf_score.shape[1], window)
    limit = quantile_value(quantile)
    figures[0] = score
    figures[1] = limit
    if learned < warm_up:
        return warming
    return reason if score > limit else 0
