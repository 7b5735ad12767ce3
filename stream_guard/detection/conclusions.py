"""What is said about a decided batch: decision messages, findings about both accounts, reasons in words."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_guard.alerts import ANOMALY_RULE, Reason, decision_id, encode_decision
from stream_guard.detection.batch_kernels import look_through
from stream_guard.detection.batches import PAYEE_ACCOUNT, PAYER_ACCOUNT, Legs
from stream_guard.detection.decide import (
    PAYEE_REASON,
    PAYEE_WARMING,
    PAYER_REASON,
    PAYER_WARMING,
    Verdicts,
)
from stream_guard.detection.decision_kernels import ALLOW
from stream_guard.detection.features import INDEX, SIGNALS
from stream_guard.detection.findings import Finding
from stream_guard.detection.rules import FIRED, TAINT_PATH, RuleResults, render_reason
from stream_guard.detection.state import FEATURE_NAMES, PartitionState
from stream_guard.detection.taint_paths import path_of
from stream_guard.detection.vocabulary import Action, Side

_ACTIONS = tuple(Action)
_TAINTED, _TAINT_HOPS = INDEX["txn.tainted"], INDEX["txn.taint_hops"]
_SIGNAL_NAMES = FEATURE_NAMES[SIGNALS]


class Conclusion(NamedTuple):
    """What is said about one payment."""

    decision: tuple[bytes, bytes] | None
    """Key (payer) and value of the decision message; None: it is not emitted."""
    findings: list[Finding]
    """At most one about each account."""


class Conclusions:
    """A batch between its verdicts and its messages.

    Parameters
    ----------
    legs, matrix, results, verdicts
        n legs, f8[n, N], what the rules said, what was decided.
    action, repeat, late
        u1[n], bool[n], bool[n]: what core banking is told; sent again; after the deadline.
    state
        Of the partition; read only.
    now_ms
        Wall clock: `decided_at`.

    Attributes
    ----------
    sums
        i8[2, R]: payments, those sent again left out, on which each rule fired, and was not evaluable.
    """

    def __init__(
        self,
        legs: Legs,
        matrix: NDArray[np.float64],
        results: RuleResults,
        verdicts: Verdicts,
        action: NDArray[np.uint8],
        repeat: NDArray[np.bool_],
        late: NDArray[np.bool_],
        state: PartitionState,
        now_ms: int,
    ) -> None:
        self.legs = legs
        self.matrix = matrix
        self.results = results
        self.verdicts = verdicts
        self.action = action
        self.repeat = repeat
        self.late = late
        self.state = state
        self.now_ms = now_ms
        self._reasoned = np.empty(len(action), np.bool_)
        self.sums = np.zeros((2, results.fired.shape[1]), np.int64)
        look_through(
            results.fired, state.context.meta.live, verdicts.anomaly, repeat, self._reasoned, self.sums
        )
        self._emit = (action > ALLOW) | state.context.emit_all

    def worth_saying(self) -> list[int]:
        """Positions of the payments that get a message or have a reason."""
        return np.flatnonzero(self._emit | self._reasoned).tolist()

    def about(self, i: int) -> Conclusion:
        """Everything that is said about payment `i`."""
        reasons = self._reasons(i) if self._reasoned[i] else {Side.PAYER: [], Side.PAYEE: []}
        decision = self._decision(i, reasons) if self._emit[i] else None
        return Conclusion(decision, self._findings(i, reasons))

    def findings(self, i: int) -> list[Finding]:
        """What is found about both accounts of payment `i`, without the message about it."""
        return self._findings(i, self._reasons(i) if self._reasoned[i] else {Side.PAYER: [], Side.PAYEE: []})

    def plainly(self, i: int) -> tuple[bytes, bytes]:
        """The decision on payment `i` without reasons and score, as `action` has it now."""
        return fallback_decision(
            *self._named(i),
            action=Action(int(self.action[i])),
            late=bool(self.late[i]),
            now_ms=self.now_ms,
            state=self.state,
        )

    def _named(self, i: int) -> tuple[str, int, str, str, float, str]:
        event_id, payer, payee, currency = self._texts(i)
        return event_id, int(self.legs.ts[i]), payer, payee, float(self.legs.amount_original[i]), currency

    def _reasons(self, i: int) -> dict[Side, list[Reason]]:
        context = self.state.context
        row = self.matrix[i]
        _, payer, payee, _ = self._texts(i)
        accounts = {Side.PAYER: payer, Side.PAYEE: payee}
        reasons: dict[Side, list[Reason]] = {Side.PAYER: [], Side.PAYEE: []}
        live = context.meta.live
        words = {}
        if row[_TAINTED] > 0.0:
            words[TAINT_PATH] = " > ".join(path_of(self.legs.texts[i], float(row[_TAINT_HOPS])))
        for column in np.flatnonzero(self.results.fired[i] == FIRED).tolist():
            if not live[column]:
                continue
            rule = context.pack.rules[column]
            text, evidence = render_reason(rule, row, words=words)
            reasons[rule.account].append(
                Reason(
                    rule=rule.id,
                    version=rule.version,
                    account=accounts[rule.account],
                    side=rule.account,
                    score=float(self.results.score[i, column]),
                    text=text,
                    evidence=evidence,
                )
            )
        for side, bit, score, quantile in (
            (Side.PAYER, PAYER_REASON, self.verdicts.payer_anomaly, self.verdicts.payer_quantile),
            (Side.PAYEE, PAYEE_REASON, self.verdicts.payee_anomaly, self.verdicts.payee_quantile),
        ):
            if self.verdicts.anomaly[i] & bit:
                model = self.state.detectors.side(side)
                text, evidence = model.explain(row, float(score[i]), float(quantile[i]))
                reasons[side].append(
                    Reason(
                        rule=ANOMALY_RULE,
                        version=context.anomaly.version,
                        account=accounts[side],
                        side=side,
                        score=context.policy.anomaly_score,
                        text=text,
                        evidence=evidence,
                    )
                )
        return reasons

    def _decision(self, i: int, reasons: dict[Side, list[Reason]]) -> tuple[bytes, bytes]:
        context, verdicts = self.state.context, self.verdicts
        event_id, ts, payer, payee, amount, currency = self._named(i)
        # A payment sent again was not evaluated: its answer has the stored action and no figures.
        evaluated = not self.repeat[i]
        levels = self.matrix[i, SIGNALS].tolist() if evaluated else []
        value = encode_decision(
            decision_id=decision_id(event_id, context.pack.pack.hash),
            event_id=event_id,
            ts=ts,
            account=payer,
            counterparty=payee,
            amount=amount,
            currency=currency,
            action=_ACTIONS[self.action[i]],
            score=float(verdicts.score[i]) if evaluated else math.nan,
            reasons=[*reasons[Side.PAYER], *reasons[Side.PAYEE]],
            payer_anomaly=self._anomaly(i, PAYER_ACCOUNT) if evaluated else None,
            payee_anomaly=self._anomaly(i, PAYEE_ACCOUNT) if evaluated else None,
            signals=_listed(levels) if any(levels) else {},
            pack=context.pack.pack.label,
            late=bool(self.late[i]),
            repeat=bool(self.repeat[i]),
            decided_at=self.now_ms,
            names=FEATURE_NAMES if context.audit else None,
            row=self.matrix[i] if context.audit else None,
        )
        return payer.encode(), value

    def _anomaly(self, i: int, side: int) -> tuple[float, float, bool] | None:
        verdicts = self.verdicts
        if not self.legs.flags[i] & side:
            return None
        if side == PAYER_ACCOUNT:
            score, quantile, warming = verdicts.payer_anomaly, verdicts.payer_quantile, PAYER_WARMING
        else:
            score, quantile, warming = verdicts.payee_anomaly, verdicts.payee_quantile, PAYEE_WARMING
        return float(score[i]), float(quantile[i]), bool(verdicts.anomaly[i] & warming)

    def _findings(self, i: int, reasons: dict[Side, list[Reason]]) -> list[Finding]:
        """At most one finding a side; the payer's also carries an action above allow to the payer's ring."""
        if self.repeat[i] or not (self._reasoned[i] or self.action[i] > ALLOW):
            return []
        legs, verdicts = self.legs, self.verdicts
        action = Action(int(self.action[i]))
        intercepted = action >= Action.DELAY
        owner = self._owner(i, reasons)
        event_id, payer, payee, _ = self._texts(i)
        findings = []
        for side, bit, account, score in (
            (Side.PAYER, PAYER_ACCOUNT, payer, verdicts.payer_score),
            (Side.PAYEE, PAYEE_ACCOUNT, payee, verdicts.payee_score),
        ):
            if not legs.flags[i] & bit:
                continue
            if not reasons[side] and not (side is Side.PAYER and action > Action.ALLOW):
                continue
            findings.append(
                Finding(
                    side=side,
                    account=account,
                    event_id=event_id,
                    event_hash=int(legs.event[i]),
                    ts=int(legs.ts[i]),
                    amount=float(legs.amount[i]),
                    action=action,
                    score=_known(score[i]),
                    reasons=tuple(reasons[side]),
                    warn=any(reason.key in self.state.context.warners for reason in reasons[side]),
                    intercepted=intercepted and side is owner,
                    pack=self.state.context.pack.pack.label,
                )
            )
        return findings

    def _owner(self, i: int, reasons: dict[Side, list[Reason]]) -> Side:
        """The side that accounts for an intercepted amount: with reasons, then by score, the payee on a tie.

        A side without a reason gets no warning, and the amount would stay undecided for ever.
        """

        def standing(side: Side, bit: int, score: float) -> tuple[bool, bool, float]:
            return bool(self.legs.flags[i] & bit), bool(reasons[side]), _known(score)

        payer = standing(Side.PAYER, PAYER_ACCOUNT, self.verdicts.payer_score[i])
        payee = standing(Side.PAYEE, PAYEE_ACCOUNT, self.verdicts.payee_score[i])
        return Side.PAYER if payer > payee else Side.PAYEE

    def _texts(self, i: int) -> list[str]:
        return self.legs.texts[i].decode().split("\0")[:4]


def _listed(levels: list[float]) -> dict[str, float]:
    return {name: level for name, level in zip(_SIGNAL_NAMES, levels, strict=True) if level > 0}


def _known(score: float) -> float:
    """0 for a side that was not scored."""
    return 0.0 if math.isnan(score) else float(score)


def fallback_decision(
    event_id: str,
    ts: int,
    payer: str,
    payee: str,
    amount: float,
    currency: str,
    *,
    action: Action,
    late: bool,
    now_ms: int,
    state: PartitionState,
) -> tuple[bytes, bytes]:
    """Key and value of the decision on a payment that could not be evaluated: no score, no reasons."""
    pack = state.context.pack.pack
    value = encode_decision(
        decision_id=decision_id(event_id, pack.hash),
        event_id=event_id,
        ts=ts,
        account=payer,
        counterparty=payee,
        amount=amount,
        currency=currency,
        action=action,
        score=math.nan,
        reasons=[],
        payer_anomaly=None,
        payee_anomaly=None,
        signals={},
        pack=pack.label,
        late=late,
        repeat=False,
        decided_at=now_ms,
    )
    return payer.encode(), value
