"""The functions everything runs: live, shadow, backtest and replay.

``payer_leg`` and ``payee_leg`` are the two hops of a payment, ``apply_case`` brings what the second hop
found about a payer to the payer's own partition. They are pure: time comes in as an argument, state is
what they are given, outputs are what they return.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_guard.alerts import Alert
from stream_guard.detection.batch_kernels import (
    ACTIONS,
    COUNTS,
    LATE,
    PAYEE_ANOMALIES,
    PAYER_ANOMALIES,
    REPEATED,
    count_batch,
)
from stream_guard.detection.batches import PAYER_ACCOUNT, REPEAT, Legs, Payments, legs_of, size, take
from stream_guard.detection.conclusions import Conclusions
from stream_guard.detection.decide import Verdicts, decide
from stream_guard.detection.features import FIRST, INDEX, SHARED, N
from stream_guard.detection.findings import Finding
from stream_guard.detection.profiles import CONFLICT, SEEN, TOO_OLD
from stream_guard.detection.rules import RuleResults
from stream_guard.detection.sharing import Sighting
from stream_guard.detection.state import PartitionState
from stream_guard.detection.vocabulary import Action, Reject, Rejection, Side, SignalKind


class NotCounted(Exception):
    """A defect of ours met this batch before anything of it was counted; it may be tried record by record."""


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
    verdicts
        Scores of `legs`, for metrics.
    refused
        By position in what was given, legs that need a dead letter: payments of a payer that is no account
        under an id that its payee knows with another content, and payments that our own defect met, which
        got the fallback decision.
    """

    legs: Legs
    decisions: list[tuple[bytes, bytes]]
    alerts: list[Alert]
    cases: list[Finding]
    action: NDArray[np.uint8]
    repeat: NDArray[np.bool_]
    late: NDArray[np.bool_]
    fired: NDArray[np.int64]
    not_evaluable: NDArray[np.int64]
    verdicts: Verdicts
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

    Raises
    ------
    NotCounted
    """
    try:
        # The kernel in it is the only thing that changes rows, and it cannot fail.
        level = state.context.signals.listed(batch.payer, batch.ts)
        status, stored, block = state.profiles.payer_hop(batch, level)
    except Exception as error:
        raise NotCounted(f"counting the payment at its payer failed: {error!r}") from error
    flags = np.where(status == SEEN, batch.flags | REPEAT, batch.flags).astype(np.uint8)
    legs = legs_of(batch, partition, stored, block, flags)
    legs = legs._replace(texts=state.profiles.paths.leave(batch.texts, block))
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


def sightings(events: Sequence[Mapping[str, Any]], legs: Legs, state: PartitionState) -> list[Sighting]:
    """Who used which device or address, as far as it is new today.

    Parameters
    ----------
    events
        The payments that `legs` came of, as parsed.
    legs
        n legs, as `payer_leg` returned them.
    """
    uses = state.new_uses.of(
        legs.device,
        legs.ip,
        legs.payer,
        legs.local,
        legs.block[:, INDEX["payer.account_age_d"]],
        (legs.flags & (PAYER_ACCOUNT | REPEAT)) == PAYER_ACCOUNT,
    )
    found = []
    for at, kind, day, opened in uses:
        event = events[at]
        used = event["device_id" if kind is SignalKind.DEVICE else "ip"]
        found.append(Sighting(f"{kind.value}:{used}", event["account"], event["ts"], day, opened))
    return found


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

    Raises
    ------
    NotCounted
    """
    matrix = np.empty((size(legs), N))
    try:
        status, stored = state.profiles.payee_hop(legs, matrix)
    except Exception as error:
        raise NotCounted(f"counting the payment at its payee failed: {error!r}") from error
    good = np.flatnonzero(status != CONFLICT)
    refused: list[Rejection] = []
    if len(good) < len(status):
        refused = [_refusal(int(i), CONFLICT) for i in np.flatnonzero(status == CONFLICT)]
        legs, matrix, status, stored = take(legs, good), matrix[good], status[good], stored[good]
    repeat = status == SEEN
    stream_ts = np.maximum.accumulate(np.maximum(legs.ts, state.stream_ts))
    state.see(legs.ts)
    late = state.context.policy.late(legs.produced, now_ms)
    learned = state.detectors.undo()
    failed: list[tuple[int, str]] = []
    try:
        results, verdicts = evaluate(legs, matrix, state, late, repeat)
    except Exception:  # a defect of ours; found record by record, the others are decided
        state.detectors.rollback(learned)
        results, verdicts, failed = _one_by_one(legs, matrix, state, late, repeat, fallback)
    action = np.where(repeat, stored, verdicts.action).astype(np.uint8)
    counted = ~repeat
    remember(legs, action, counted, state)
    again = np.flatnonzero(repeat)
    action[again] = np.maximum(action[again], state.answers.of(legs, again))
    conclusions = Conclusions(legs, matrix, results, verdicts, action, repeat, late, state, now_ms)
    decided = _say(conclusions, stream_ts, failed, fallback)
    refused += [Rejection(int(good[i]), Reject.PROCESSING_FAILED, message) for i, message in failed]
    decided.refused.extend(refused)
    _tally(decided, state)
    return decided


def _say(
    conclusions: Conclusions,
    stream_ts: NDArray[np.int64],
    failed: list[tuple[int, str]],
    fallback: Action,
) -> Decided:
    """Write the decisions, group the payees' warnings, note the payers' cases, payment by payment."""
    state = conclusions.state
    fired, unknown = conclusions.sums
    action, repeat, late = conclusions.action, conclusions.repeat, conclusions.late
    verdicts = conclusions.verdicts
    decided = Decided(conclusions.legs, [], [], [], action, repeat, late, fired, unknown, verdicts, [])
    for i in conclusions.worth_saying():
        try:
            said = conclusions.about(i)
        except Exception as error:  # as in `_one_by_one`: this record alone
            failed.append((i, f"writing the decision failed: {error!r}"))
            action[i] = fallback
            decided.decisions.append(conclusions.plainly(i))
            continue
        if said.decision is not None:
            decided.decisions.append(said.decision)
        for finding in said.findings:
            if finding.side is Side.PAYEE:
                decided.alerts.extend(state.book.consider(finding, int(stream_ts[i])))
            else:
                decided.cases.append(finding)
    decided.alerts.extend(state.book.expire(state.stream_ts))
    return decided


def evaluate(
    legs: Legs,
    matrix: NDArray[np.float64],
    state: PartitionState,
    late: NDArray[np.bool_],
    skip: NDArray[np.bool_],
    shared: NDArray[np.float64] | None = None,
) -> tuple[RuleResults, Verdicts]:
    """What the rules say and what is decided, for legs that were counted; the detectors learn.

    Parameters
    ----------
    legs, matrix
        n legs of one partition in order, f8[n, N] without signals, which are filled in.
    late, skip
        bool[n]: after the deadline; not scored and not learned from (sent again).
    shared
        float64[n, 4]: levels in the order of `SHARED`, where they do not come with the signals.
    """
    context = state.context
    context.signals.fill(legs, matrix)
    if shared is not None:
        matrix[:, SHARED] = shared
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
            result, verdict = evaluate(
                take(legs, np.array([i])), matrix[one].copy(), state, late[one].copy(), skip[one].copy()
            )
        except Exception as error:  # the record at fault; it is dead-lettered with this sentence
            failed.append((i, f"evaluating the payment failed: {error!r}"))
            verdicts.action[i] = verdicts.uncapped[i] = fallback
            continue
        pairs: list[tuple[Any, Any]] = [
            *zip(results, result, strict=True),
            *zip(verdicts, verdict, strict=True),
        ]
        for into, part in pairs:
            into[i] = part[0]
    return results, verdicts, failed


def remember(
    legs: Legs, action: NDArray[np.uint8], counted: NDArray[np.bool_], state: PartitionState
) -> None:
    """Keep actions (u1[n] of `legs`) above allow in the payees' rings, where a resent payment finds them.

    And beside the rings, for one that is sent again in the same batch, or that no ring holds any more.
    """
    at = np.flatnonzero(counted & (action > Action.ALLOW))
    if len(at):
        state.answers.keep(legs, at, action)
        keys = [legs.keys[i] for i in at.tolist()]
        state.profiles.set_actions(keys, legs.event[at], action[at])


def _tally(decided: Decided, state: PartitionState) -> None:
    tallies, context, legs = state.tallies, state.context, decided.legs
    found = np.zeros(COUNTS, np.int64)
    count_batch(decided.action, decided.verdicts.anomaly, decided.repeat, decided.late, found)
    counts = found.tolist()
    decisions = counts[:ACTIONS]
    counted = sum(decisions)
    day = state.day_of(state.stream_ts)
    tallies.events(day, counted=counted, repeated=counts[REPEATED], late=counts[LATE])
    tallies.decisions(day, decisions)
    tallies.anomalies(payer=counts[PAYER_ANOMALIES], payee=counts[PAYEE_ANOMALIES])
    tallies.rules(context.rule_keys, context.shadow, counted, decided.fired, decided.not_evaluable)
    if not any(decisions[Action.DELAY :]):
        return
    for i in np.flatnonzero(~decided.repeat & (decided.action >= Action.DELAY)).tolist():
        tallies.intercepted(state.day_of(int(legs.ts[i])), float(legs.amount[i]))


def apply_case(finding: Finding, state: PartitionState) -> list[Alert]:
    """Third step: what the second hop found about a payer, in the payer's own partition.

    The payment went through here before, but after a crash its finding may be back sooner than it: without
    the payment's own time the warning would be of a time long ago, and expire as soon as the stream goes on.
    """
    state.see(np.array([finding.ts], dtype=np.int64))
    if finding.action > Action.ALLOW:
        state.profiles.set_actions(
            [finding.account.encode()],
            np.array([finding.event_hash], dtype=np.uint64),
            np.array([finding.action], dtype=np.uint8),
        )
    return state.book.consider(finding, state.stream_ts)


def carried(block: NDArray[np.float64], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    """The first hop's block as the second hop sees it: features that legs do not carry are missing.

    The backtest, where no leg travels, decides by it on what a live worker would have seen.
    """
    seen = np.full((len(block), FIRST.stop), np.nan)
    seen[:, columns] = block[:, columns]
    return seen
