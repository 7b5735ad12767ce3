"""What other sets of rules would have done with the same payments and rule results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.view import Chunk, View
from stream_guard.backtest.view_kernels import settle_views
from stream_guard.detection.decide import PAYEE_REASON, PAYER_REASON
from stream_guard.detection.policy import Policy, RuleMeta
from stream_guard.detection.rules import FIRED, RuleResults
from stream_guard.detection.rules.rule import Rule
from stream_guard.detection.state import Context

Flags = npt.NDArray[np.bool_]
F8 = npt.NDArray[np.float64]
U1 = npt.NDArray[np.uint8]

ANOMALY: Final = -1
"""Stands for the anomaly model where others are columns of the rule results."""


@dataclass(frozen=True)
class Members:
    """What counts in a set: columns of the results, and whether the anomaly model does."""

    columns: frozenset[int]
    anomaly: bool


class Sets:
    """Sets of rules, each with a view of what it did.

    Parameters
    ----------
    rules
        C rules, one a column of the results that `add` is given.
    members
        By name of the set.
    policy
        That settles.

    Attributes
    ----------
    views
        By name of the set.
    """

    def __init__(
        self, rules: Sequence[Rule], members: Mapping[tuple[str, int], Members], policy: Policy
    ) -> None:
        self.views = {name: View() for name in members}
        self._meta = RuleMeta.of((rule.account, rule.action, rule.state, rule.source) for rule in rules)
        self._warns: Flags = np.array([rule.warn for rule in rules], np.bool_)
        columns = np.arange(len(rules))
        counts = [np.isin(columns, list(one.columns)) for one in members.values()]
        self._rules: Flags = np.array(counts, np.bool_).reshape(len(members), len(rules))
        self._anomaly: Flags = np.array([one.anomaly for one in members.values()], np.bool_)
        self._figures = policy.figures()
        self._warn_at = policy.warn_at
        self._ttl_ms = policy.warning_ttl_s * 1000

    def add(self, chunk: Chunk, results: RuleResults, flags: U1, frauds: npt.NDArray[np.int64]) -> None:
        """Take in a chunk.

        Parameters
        ----------
        results
            u1[n, C] and f8[n, C] of the chunk's n payments.
        flags
            u1[n]: what the anomaly model said, as in `Verdicts`.
        frauds
            Positions of fraudulent payments.
        """
        anomalous = flags & (PAYER_REASON | PAYEE_REASON) != 0
        reasoned = np.flatnonzero((results.fired == FIRED).any(axis=1) | anomalous)
        action, score, warns = self._settle(results.fired[reasoned], results.score[reasoned], flags[reasoned])
        warns |= score >= self._warn_at
        for v, view in enumerate(self.views.values()):
            told = np.flatnonzero(
                (score[v, 0] > 0) | (score[v, 1] > 0) | (action[v] > 0) | warns[v].any(axis=0)
            )
            at = reasoned[told]
            view.score(chunk, at, score[v, 0, told], score[v, 1, told], action[v, told])
            opened = view.openings(chunk, at, warns[v, 0, told], warns[v, 1, told], self._ttl_ms)
            view.warn(chunk, opened)
            if len(frauds):
                view.follow(chunk, frauds)

    def _settle(self, fired: U1, score: F8, flags: U1) -> tuple[U1, F8, Flags]:
        k, sets = len(fired), len(self.views)
        out = np.empty((sets, k), np.uint8), np.empty((sets, 2, k)), np.empty((sets, 2, k), np.bool_)
        settle_views(
            np.ascontiguousarray(fired),
            np.ascontiguousarray(score),
            self._meta.side,
            self._meta.action,
            self._meta.police,
            self._warns,
            flags & PAYER_REASON != 0,
            flags & PAYEE_REASON != 0,
            # A backtest reads no risk signals.
            np.zeros(k, np.bool_),
            self._figures,
            self._rules,
            self._anomaly,
            *out,
        )
        return out

    def compile(self) -> None:
        """Compile what `add` calls."""
        columns = len(self._warns)
        self._settle(np.empty((0, columns), np.uint8), np.empty((0, columns)), np.empty(0, np.uint8))


def each_rule(context: Context) -> Sets:
    """Sets ``("alone", column)``, of every rule and `ANOMALY`, and ``("without", column)``, of what is live.

    What the detectors learned stays as it was under the whole pack.
    """
    lives = frozenset(np.flatnonzero(context.meta.live).tolist())
    members = {
        ("alone", column): Members(frozenset({column}), False) for column in range(len(context.meta.live))
    }
    members["alone", ANOMALY] = Members(frozenset(), True)
    members |= {("without", column): Members(lives - {column}, True) for column in sorted(lives)}
    members["without", ANOMALY] = Members(lives, False)
    return Sets(context.pack.rules, members, context.policy)
