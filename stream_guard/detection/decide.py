"""From the reasons of both sides to one action a payment: the only place where anything is decided."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection import decision_kernels as kernels
from stream_guard.detection.anomaly import Detectors, SideModel
from stream_guard.detection.decision_kernels import (
    Bytes,
    Flags,
    Floats,
    decide_batch,
    quantile_update,
    settle,
)
from stream_guard.detection.features import INDEX
from stream_guard.detection.policy import Policy, RuleMeta
from stream_guard.detection.transforms import transform
from stream_guard.detection.vocabulary import Action

PAYER_REASON = kernels.PAYER_REASON
"""Bit of :attr:`Verdicts.anomaly`: the payer's score is above its running quantile, a reason."""
PAYEE_REASON = kernels.PAYEE_REASON
PAYER_WARMING = kernels.PAYER_WARMING
"""Bit of :attr:`Verdicts.anomaly`: the payer's detector has not learned enough for a reason."""
PAYEE_WARMING = kernels.PAYEE_WARMING

_LISTED = np.array([INDEX["payer.listed"], INDEX["payee.listed"]], np.int64)


class RuleResults(Protocol):
    """What the rules said."""

    @property
    def fired(self) -> NDArray[np.uint8]:
        """u1[n, R]: 0 no, 1 fired, 2 not evaluable."""
        ...

    @property
    def score(self) -> NDArray[np.float64]:
        """f8[n, R]: 0-100 where fired."""
        ...


class Verdicts(NamedTuple):
    """What was decided, one element a payment; skipped payments have ALLOW, 0 and NaN."""

    action: Bytes
    """u1: the decision (an :class:`~stream_guard.detection.vocabulary.Action`), capped where it is late."""
    uncapped: Bytes
    """u1: the decision had it been in time; what warnings and learning go by."""
    score: Floats
    """f8, 0-100: the higher of the two sides' scores."""
    payer_score: Floats
    payee_score: Floats
    payer_anomaly: Floats
    """f8: anomaly score of the payer; NaN where the payer is no account."""
    payer_quantile: Floats
    """f8: what the score was compared with; NaN where the payer is no account or nothing was scored yet."""
    payee_anomaly: Floats
    payee_quantile: Floats
    anomaly: Bytes
    """u1, bits: PAYER_REASON, PAYEE_REASON, PAYER_WARMING, PAYEE_WARMING."""


def decide(
    matrix: Floats,
    results: RuleResults,
    meta: RuleMeta,
    detectors: Detectors,
    policy: Policy,
    accounts: Bytes,
    late: Flags,
    skip: Flags,
) -> Verdicts:
    """Decide a batch of payments, one after the other, and let the detectors learn from them.

    For each payment, in this order:

    1. each side that is an account is scored by its detector, on that side's features; after its warm-up a
       score above the running quantile of the scores before it is a reason named ``anomaly``;
    2. each side's score is 100 * (1 - prod(1 - s/100)) over its live rules that fired and its anomaly;
    3. the action is the highest of what the sides' scores and the live rules that fired ask for. A side with
    no
       reason but its anomaly asks for confirm at most. A stop is granted to a police rule, and to any rule
       when a party is listed; for everything else it becomes a hold;
    4. a late decision is capped;
    5. the detectors and their quantiles learn the payment if it would have been allowed in time.

    The first call of a process compiles, or loads what was compiled; an empty batch does that ahead.

    A payment sees all that was learned before it and nothing else, so results never depend on where batches
    begin and end.

    Parameters
    ----------
    matrix
        f8[n, N], the feature matrix.
    results
        Of the rules; `meta` has one element a column.
    meta
        What the rules may do.
    detectors
        Of the partition; learns in place.
    policy
        Of the bank.
    accounts
        u1[n], bit 1: the payer is an account, bit 2: the payee is. A leg's flags will do.
    late
        bool[n], see :meth:`Policy.late`.
    skip
        bool[n]: neither scored nor learned (a payment sent again).

    Raises
    ------
    ValueError
        Shapes do not agree.

    Returns
    -------
    Verdicts
    """
    _check_shapes(matrix, results, meta, accounts, late, skip)
    payer, payee = detectors.payer.arrays(), detectors.payee.arrays()
    if payer is None or payee is None:
        return decide_slowly(matrix, results, meta, detectors, policy, accounts, late, skip)
    n = len(matrix)
    actions = np.empty((n, 3), np.uint8)
    figures = np.empty((n, 7))
    decide_batch(
        _plain(matrix, np.float64),
        _plain(results.fired, np.uint8),
        _plain(results.score, np.float64),
        _plain(meta.side, np.uint8),
        _plain(meta.action, np.uint8),
        _plain(meta.live, np.bool_),
        _plain(meta.police, np.bool_),
        _plain(accounts, np.uint8),
        _plain(late, np.bool_),
        _plain(skip, np.bool_),
        _LISTED,
        policy.figures(),
        payer,
        payee,
        actions,
        figures,
    )
    return _verdicts(actions, figures)


def decide_slowly(
    matrix: Floats,
    results: RuleResults,
    meta: RuleMeta,
    detectors: Detectors,
    policy: Policy,
    accounts: Bytes,
    late: Flags,
    skip: Flags,
) -> Verdicts:
    """As :func:`decide`, for any detector, one Python call after the other.

    A score that is not finite is no score: no reason, and nothing for the quantile.
    """
    _check_shapes(matrix, results, meta, accounts, late, skip)
    n = len(matrix)
    actions = np.zeros((n, 3), np.uint8)
    figures = np.zeros((n, 7))
    figures[:, 3:] = math.nan
    limits = policy.figures()
    models = (detectors.payer, detectors.payee)
    inputs = [transform(matrix, model.plan) for model in models]
    for i in np.flatnonzero(~skip).tolist():
        flags = 0
        present: list[tuple[SideModel, dict[str, float], float]] = []
        for s, model in enumerate(models):
            if accounts[i] & (1, 2)[s]:
                x = dict(zip(model.names, inputs[s][i].tolist(), strict=True))
                score = model.detector.score_one(x)
                limit = model.quantile.get()
                figures[i, 3 + 2 * s] = score
                figures[i, 4 + 2 * s] = math.nan if limit is None else limit
                if model.warming_up:
                    flags |= (PAYER_WARMING, PAYEE_WARMING)[s]
                elif limit is not None and score > limit:
                    flags |= (PAYER_REASON, PAYEE_REASON)[s]
                present.append((model, x, score))
        uncapped, figures[i, 1], figures[i, 2] = settle(
            results.fired[i],
            results.score[i],
            meta.side,
            meta.action,
            meta.live,
            meta.police,
            bool(flags & PAYER_REASON),
            bool(flags & PAYEE_REASON),
            bool((matrix[i, _LISTED] > 0.0).any()),
            limits,
        )
        figures[i, 0] = max(figures[i, 1], figures[i, 2])
        actions[i] = (min(uncapped, policy.on_late) if late[i] else uncapped, uncapped, flags)
        if uncapped == Action.ALLOW:
            for model, x, score in present:
                if model.detector.learned >= model.settings.window and math.isfinite(score):
                    quantile_update(model.quantile.state, score)
                model.detector.learn_one(x)
    return _verdicts(actions, figures)


def _plain(array: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """The array, copied if it is strided, read-only or of another type.

    Numba would compile the kernel anew for each of these kinds, in the middle of the stream.
    """
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.dtype == dtype:
        return array
    return np.array(array, dtype, order="C")


def _verdicts(actions: Bytes, figures: Floats) -> Verdicts:
    action, uncapped, anomaly = np.ascontiguousarray(actions.T)
    score, payer, payee, payer_anomaly, payer_quantile, payee_anomaly, payee_quantile = np.ascontiguousarray(
        figures.T
    )
    return Verdicts(
        action,
        uncapped,
        score,
        payer,
        payee,
        payer_anomaly,
        payer_quantile,
        payee_anomaly,
        payee_quantile,
        anomaly,
    )


def _check_shapes(
    matrix: Floats, results: RuleResults, meta: RuleMeta, accounts: Bytes, late: Flags, skip: Flags
) -> None:
    # The kernel does not check an index, so a wrong shape would read other memory.
    n, rules = len(matrix), len(meta.side)
    shapes = {
        "matrix": (matrix.shape, (n, len(INDEX))),
        "results.fired": (results.fired.shape, (n, rules)),
        "results.score": (results.score.shape, (n, rules)),
        "meta.action": (meta.action.shape, (rules,)),
        "meta.live": (meta.live.shape, (rules,)),
        "meta.police": (meta.police.shape, (rules,)),
        "accounts": (accounts.shape, (n,)),
        "late": (late.shape, (n,)),
        "skip": (skip.shape, (n,)),
    }
    for name, (found, wanted) in shapes.items():
        if found != wanted:
            raise ValueError(f"{name} has shape {found}, expected {wanted}")
