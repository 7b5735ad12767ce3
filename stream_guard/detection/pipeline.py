"""The functions everything runs: live, shadow, backtest and replay.

``payer_leg`` and ``payee_leg`` are the two hops of a payment, ``apply_case`` brings what the second hop
found about a payer to the payer's own partition. They are pure: time comes in as an argument, state is
what they are given, outputs are what they return.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_guard.alerts import ANOMALY_RULE, Alert, Reason, decision_id, encode_decision
from stream_guard.detection.batches import (
    PAYEE_ACCOUNT,
    PAYER_ACCOUNT,
    REPEAT,
    Legs,
    Payments,
    legs_of,
    size,
    take,
)
from stream_guard.detection.decide import (
    PAYEE_REASON,
    PAYEE_WARMING,
    PAYER_REASON,
    PAYER_WARMING,
    Verdicts,
    decide,
)
from stream_guard.detection.features import FIRST, SIGNALS, N
from stream_guard.detection.findings import Finding
from stream_guard.detection.profiles import CONFLICT, SEEN, TOO_OLD
from stream_guard.detection.rules import FIRED, NOT_EVALUABLE, RuleResults, render_reason
from stream_guard.detection.state import FEATURE_NAMES, PartitionState
from stream_guard.detection.vocabulary import Action, Reject, Rejection, Side

ANOMALY_VERSION = 1
_SIGNAL_NAMES = FEATURE_NAMES[SIGNALS]


class Case(NamedTuple):
    """What is said about a payer, for the payer's partition."""

    account: bytes
    finding: Finding


class Decided(NamedTuple):
    """What a batch of legs led to.

    Attributes
    ----------
    legs
        The legs that were decided; `action` and the other arrays are about them.
    decisions
        Key (payer) and value of each decision message that is to be sent.
    alerts
        About payees, in order.
    cases
        About payers, in order.
    action, repeat, late
        u1[n], bool[n], bool[n] of `legs`.
    fired, not_evaluable
        i8[R], payments of the batch by rule.
    refused
        By position in what was given, legs that need a dead letter: payments of a payer that is no account under an id that its payee knows
        with another content, and payments that our own defect met, which got the fallback decision.
    """

    legs: Legs
    decisions: list[tuple[bytes, bytes]]
    alerts: list[Alert]
    cases: list[Case]
    action: NDArray[np.uint8]
    repeat: NDArray[np.bool_]
    late: NDArray[np.bool_]
    fired: NDArray[np.int64]
    not_evaluable: NDArray[np.int64]
    refused: list[Rejection]


def payer_leg(batch: Payments, partition: int, state: PartitionState) -> tuple[Legs, list[Rejection]]:
    """First hop: count the payments in their payers' rows and compute the payer's features.

    Parameters
    ----------
    batch
        n payments of partition `partition`, in source order.

    Returns
    -------
    (Legs, list of Rejection)
        A leg for each payment that is counted or was counted before (flag `REPEAT`); rejections by position
        in `batch`: too old, or another payment under a known id.
    """
    status, stored, block = state.profiles.payer_hop(batch)
    flags = np.where(status == SEEN, batch.flags | REPEAT, batch.flags).astype(np.uint8)
    legs = legs_of(batch, partition, stored, block, flags)
    refused = (status == TOO_OLD) | (status == CONFLICT)
    if not refused.any():
        state.see(batch.ts)
        return legs, []
    rejections = [_refusal(int(i), int(status[i])) for i in np.flatnonzero(refused)]
    state.see(batch.ts[~refused])
    return take(legs, ~refused), rejections


def _refusal(position: int, status: int) -> Rejection:
    if status == TOO_OLD:
        return Rejection(
            position, Reject.TOO_OLD, "the payment lies more than 31 days behind the payer's newest event"
        )
    return Rejection(
        position, Reject.CONFLICTING_ID, "another payment of this account has the same event_id; use a new id"
    )


def payee_leg(legs: Legs, state: PartitionState, now_ms: int, fallback: Action = Action.CONFIRM) -> Decided:
    """Second hop: count the payments in their payees' rows, evaluate everything once, decide.

    Parameters
    ----------
    legs
        n legs of one partition, in order.
    state
        Of that partition.
    now_ms
        Wall clock: lateness counts from the Kafka timestamp to it, and it is `decided_at`.
    fallback
        What a payment gets that our own defect met.
    """
    matrix = np.empty((size(legs), N))
    status, stored = state.profiles.payee_hop(legs, matrix)
    good = np.flatnonzero(status != CONFLICT)
    refused = [_refusal(int(i), CONFLICT) for i in np.flatnonzero(status == CONFLICT)]
    if refused:
        legs, matrix, status, stored = take(legs, good), matrix[good], status[good], stored[good]
    repeat = status == SEEN
    stream_ts = np.maximum.accumulate(np.maximum(legs.ts, state.stream_ts))
    state.see(legs.ts)
    late = state.context.policy.late(legs.produced, now_ms)
    learned = state.detectors.undo()
    failed: list[tuple[int, str]] = []
    try:
        results, verdicts = _evaluate(legs, matrix, state, late, repeat)
    except Exception:  # a defect of ours; found record by record, the others are decided
        state.detectors.rollback(learned)
        results, verdicts, failed = _one_by_one(legs, matrix, state, late, repeat, fallback)
    action = np.where(repeat, stored, verdicts.action).astype(np.uint8)
    counted = ~repeat
    _remember(legs, action, counted, state)
    work = _Work(legs, matrix, state, results, verdicts, action, repeat, late, stream_ts, now_ms)
    decided = work.messages(failed, fallback)
    refused += [Rejection(int(good[i]), Reject.PROCESSING_FAILED, message) for i, message in failed]
    decided = decided._replace(refused=refused)
    _tally(decided, verdicts, counted, state)
    return decided


def _evaluate(
    legs: Legs,
    matrix: NDArray[np.float64],
    state: PartitionState,
    late: NDArray[np.bool_],
    skip: NDArray[np.bool_],
) -> tuple[RuleResults, Verdicts]:
    context = state.context
    context.signals.fill(legs, matrix)
    results = context.pack.evaluate(matrix, legs.ts)
    verdicts = decide(
        matrix, results, context.meta, state.detectors, context.policy, legs.flags & np.uint8(3), late, skip
    )
    return results, verdicts


def _one_by_one(
    legs: Legs,
    matrix: NDArray[np.float64],
    state: PartitionState,
    late: NDArray[np.bool_],
    skip: NDArray[np.bool_],
    fallback: Action,
) -> tuple[RuleResults, Verdicts, list[tuple[int, str]]]:
    """Evaluate each record by itself; the detectors are as before the batch."""
    n, rules = size(legs), len(state.context.pack.rules)
    results = RuleResults(np.zeros((n, rules), np.uint8), np.zeros((n, rules)))
    nothing, unknown = np.zeros((3, n), np.uint8), np.full((7, n), math.nan)
    verdicts = Verdicts._make([nothing[0], nothing[1], *unknown, nothing[2]])
    failed = []
    for i in range(n):
        one = slice(i, i + 1)
        try:
            result, verdict = _evaluate(
                take(legs, np.array([i])), matrix[one].copy(), state, late[one].copy(), skip[one].copy()
            )
        except Exception as error:  # the record at fault; it is dead-lettered with this sentence
            failed.append((i, f"evaluating the payment failed: {error!r}"))
            verdicts.action[i] = verdicts.uncapped[i] = fallback
            continue
        pairs: list[tuple[Any, Any]] = [*zip(results, result, strict=True), *zip(verdicts, verdict, strict=True)]
        for into, part in pairs:
            into[i] = part[0]
    return results, verdicts, failed


def _remember(
    legs: Legs, action: NDArray[np.uint8], counted: NDArray[np.bool_], state: PartitionState
) -> None:
    """Keep the actions above allow in the payees' rings, where a resent payment finds them."""
    at = np.flatnonzero(counted & (action > Action.ALLOW))
    if len(at):
        keys = [legs.keys[i] for i in at.tolist()]
        state.profiles.set_actions(keys, legs.event[at], action[at])


class _Work:
    """One batch between its verdicts and its messages."""

    def __init__(
        self,
        legs: Legs,
        matrix: NDArray[np.float64],
        state: PartitionState,
        results: RuleResults,
        verdicts: Verdicts,
        action: NDArray[np.uint8],
        repeat: NDArray[np.bool_],
        late: NDArray[np.bool_],
        stream_ts: NDArray[np.int64],
        now_ms: int,
    ) -> None:
        self.legs = legs
        self.matrix = matrix
        self.state = state
        self.results = results
        self.verdicts = verdicts
        self.action = action
        self.repeat = repeat
        self.late = late
        self.stream_ts = stream_ts
        self.now_ms = now_ms
        live = results.fired[:, state.context.meta.live] == FIRED
        flagged = (verdicts.anomaly & (PAYER_REASON | PAYEE_REASON)) != 0
        self.reasoned = (live.any(axis=1) | flagged) & ~repeat

    def messages(self, failed: list[tuple[int, str]], fallback: Action) -> Decided:
        """Write the decisions, group the warnings, note the cases."""
        context = self.state.context
        decisions: list[tuple[bytes, bytes]] = []
        alerts: list[Alert] = []
        cases: list[Case] = []
        emit = np.ones(len(self.action), np.bool_) if context.emit_all else self.action > Action.ALLOW
        for i in np.flatnonzero(emit | self.reasoned).tolist():
            try:
                reasons = self._reasons(i) if self.reasoned[i] else {Side.PAYER: [], Side.PAYEE: []}
                if emit[i]:
                    decisions.append(self._decision(i, reasons))
                findings = self._findings(i, reasons)
            except Exception as error:  # as in `_one_by_one`: this record alone
                failed.append((i, f"writing the decision failed: {error!r}"))
                self.action[i] = fallback
                decisions.append(self._decision(i, {Side.PAYER: [], Side.PAYEE: []}, plain=True))
                continue
            for finding in findings:
                if finding.side is Side.PAYEE:
                    alerts += self.state.book.consider(finding, int(self.stream_ts[i]))
                else:
                    cases.append(Case(finding.account.encode(), finding))
        alerts += self.state.book.expire(self.state.stream_ts)
        fired = (self.results.fired == FIRED) & ~self.repeat[:, None]
        unknown = (self.results.fired == NOT_EVALUABLE) & ~self.repeat[:, None]
        return Decided(
            self.legs,
            decisions,
            alerts,
            cases,
            self.action,
            self.repeat,
            self.late,
            fired.sum(axis=0),
            unknown.sum(axis=0),
            [],
        )

    def _reasons(self, i: int) -> dict[Side, list[Reason]]:
        context = self.state.context
        row = self.matrix[i]
        _, payer, payee, _ = self._texts(i)
        accounts = {Side.PAYER: payer, Side.PAYEE: payee}
        reasons: dict[Side, list[Reason]] = {Side.PAYER: [], Side.PAYEE: []}
        live = context.meta.live
        for column in np.flatnonzero(self.results.fired[i] == FIRED).tolist():
            if not live[column]:
                continue
            rule = context.pack.rules[column]
            text, evidence = render_reason(rule, row)
            reasons[rule.account].append(
                Reason.model_construct(
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
                    Reason.model_construct(
                        rule=ANOMALY_RULE,
                        version=ANOMALY_VERSION,
                        account=accounts[side],
                        side=side,
                        score=context.policy.anomaly_score,
                        text=text,
                        evidence=evidence,
                    )
                )
        return reasons

    def _decision(
        self, i: int, reasons: dict[Side, list[Reason]], plain: bool = False
    ) -> tuple[bytes, bytes]:
        context, legs, verdicts = self.state.context, self.legs, self.verdicts
        event_id, payer, payee, currency = self._texts(i)
        evaluated = not (plain or self.repeat[i])
        audit = context.audit and not plain
        signals = self.matrix[i, SIGNALS]
        value = encode_decision(
            decision_id=decision_id(event_id, context.pack.pack.hash),
            event_id=event_id,
            ts=int(legs.ts[i]),
            account=payer,
            counterparty=payee,
            amount=float(legs.amount_original[i]),
            currency=currency,
            action=Action(int(self.action[i])),
            score=float(verdicts.score[i]) if evaluated else math.nan,
            reasons=[*reasons[Side.PAYER], *reasons[Side.PAYEE]],
            payer_anomaly=self._anomaly(i, PAYER_ACCOUNT) if evaluated else None,
            payee_anomaly=self._anomaly(i, PAYEE_ACCOUNT) if evaluated else None,
            signals={
                name: level
                for name, level in zip(_SIGNAL_NAMES, signals.tolist(), strict=True)
                if evaluated and level > 0
            },
            pack=context.pack.pack.label,
            late=bool(self.late[i]),
            repeat=bool(self.repeat[i]),
            decided_at=self.now_ms,
            names=FEATURE_NAMES if audit else None,
            row=self.matrix[i] if audit else None,
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
        if self.repeat[i]:
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
                    warn=self._asks_to_warn(i, side),
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

    def _asks_to_warn(self, i: int, side: Side) -> bool:
        rules = self.state.context.pack.rules
        live = self.state.context.meta.live
        fired = np.flatnonzero((self.results.fired[i] == FIRED) & live).tolist()
        return any(rules[column].warn and rules[column].account is side for column in fired)

    def _texts(self, i: int) -> list[str]:
        return self.legs.texts[i].decode().split("\0")


def _known(score: float) -> float:
    """0 for a side that was not scored."""
    return 0.0 if math.isnan(score) else float(score)


def _tally(decided: Decided, verdicts: Verdicts, counted: NDArray[np.bool_], state: PartitionState) -> None:
    tallies, context, legs = state.tallies, state.context, decided.legs
    day = state.day_of(state.stream_ts)
    tallies.events(
        day,
        counted=int(counted.sum()),
        repeated=int(decided.repeat.sum()),
        late=int((decided.late & counted).sum()),
    )
    tallies.decisions(day, np.bincount(decided.action[counted], minlength=len(Action)))
    flags = verdicts.anomaly
    tallies.anomalies(
        payer=int(((flags & PAYER_REASON) != 0).sum()), payee=int(((flags & PAYEE_REASON) != 0).sum())
    )
    tallies.rules(context.rule_keys, context.shadow, int(counted.sum()), decided.fired, decided.not_evaluable)
    for i in np.flatnonzero(counted & (decided.action >= Action.DELAY)).tolist():
        tallies.intercepted(state.day_of(int(legs.ts[i])), float(legs.amount[i]))


def apply_case(finding: Finding, state: PartitionState) -> list[Alert]:
    """Third step: what the second hop found about a payer, in the payer's own partition."""
    if finding.action > Action.ALLOW:
        state.profiles.set_actions(
            [finding.account.encode()],
            np.array([finding.event_hash], dtype=np.uint64),
            np.array([finding.action], dtype=np.uint8),
        )
    return state.book.consider(finding, state.stream_ts)


def carried(block: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """The first hop's block as the second hop sees it: features that legs do not carry are missing.

    The backtest passes its legs through this, so that it decides on what a live worker would have seen.
    """
    seen = np.full((len(block), FIRST.stop), np.nan)
    seen[:, columns] = block[:, columns]
    return seen
