"""The pipeline with one payment in flight at a time, over all partitions: what a backtest runs.

A live worker decides payments as their legs arrive; where only one is under way, every result is determined.
`InStep` gives those very results, by the functions of `pipeline`, for many payments at once: rows are
counted payment by payment in one kernel, everything else is done as in the second hop, partition by
partition. Only the order of warnings is left to see to: what is found is brought to both accounts payment by
payment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.alerts import Alert, AlertStatus
from stream_guard.detection.batches import PAYER_ACCOUNT, REPEAT, Legs, Payments, legs_of, part_of, size, take
from stream_guard.detection.conclusions import Conclusion, Conclusions
from stream_guard.detection.decide import Verdicts
from stream_guard.detection.features import FIRST, INDEX, N
from stream_guard.detection.hashing import murmur2_partitions
from stream_guard.detection.pipeline import apply_case, carried, evaluate, remember
from stream_guard.detection.profiles import CONFLICT, SEEN, TOO_OLD
from stream_guard.detection.rules import RuleResults
from stream_guard.detection.sharing_in_step import SharingInStep
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Reject, Side
from stream_guard.detection.warning_book import WarningBook

I8 = npt.NDArray[np.int64]

NEVER = -(1 << 62)
"""Before every time."""


class Said(NamedTuple):
    """What one payment led to in words.

    Attributes
    ----------
    at
        Position of the payment in the batch.
    decision
        Key and value of its decision message; None: not emitted.
    alerts
        About the payee, then about the payer; not those that close an expired warning.
    """

    at: int
    decision: tuple[bytes, bytes] | None
    alerts: list[Alert]


class Step(NamedTuple):
    """What a batch led to; arrays have one element a payment of the batch, refused ones included.

    Attributes
    ----------
    decided
        bool[n]: judged anew, neither refused nor sent again.
    refused
        Number of payments refused, by reason.
    action
        u1[n]: the answer; for a payment sent again the stored action.
    results, verdicts
        Of the rules and of all together; what they hold for a payment that was not decided means nothing.
    payer_rows, payee_rows
        i8[n]: numbers of the accounts, which stay; -1 for a party that is no account.
    said
        In order of the payments; those about which nothing is said are left out.
    matrix
        f8[n, N]: the features that it was decided on.
    """

    decided: npt.NDArray[np.bool_]
    refused: dict[Reject, int]
    action: npt.NDArray[np.uint8]
    results: RuleResults
    verdicts: Verdicts
    payer_rows: I8
    payee_rows: I8
    said: list[Said]
    matrix: npt.NDArray[np.float64]


class Counted(NamedTuple):
    """A batch after its rows were counted: all that is left to do depends on what decides.

    Attributes
    ----------
    matrix
        f8[n, N] without risk signals.
    status, stored, flags, payer_rows, payee_rows, texts
        As `Profiles.both_hops` gives them.
    """

    matrix: npt.NDArray[np.float64]
    status: npt.NDArray[np.uint8]
    stored: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]
    payer_rows: I8
    payee_rows: I8
    texts: list[bytes]


class InStep:
    """All partitions of a bank, in one place.

    Parameters
    ----------
    context
        What decides; `context.bank.partitions` are simulated, each with detectors and warnings of its own.
    beside
        A bank whose rows this one shares; the two decide the same batches, by `side_by_side`.
    """

    def __init__(self, context: Context, beside: InStep | None = None) -> None:
        self.context = context
        self.states = [PartitionState(context) for _ in range(context.bank.partitions)]
        # An account has one partition, so that common rows are what rows apart would be.
        self.profiles = (beside or self).states[0].profiles
        for state in self.states:
            state.profiles = self.profiles
        self._sharing = SharingInStep(context)

    def run(self, batch: Payments, *, answer: bool = True) -> Step:
        """Decide payments one after the other.

        No result depends on where batches begin and end.

        Parameters
        ----------
        batch
            n payments in order, of whatever partitions.
        answer
            Whether decision messages are written, which takes as long as all the rest where many are.
        """
        return side_by_side([self], batch, answer=answer)[0]

    def count(self, batch: Payments) -> Counted:
        """Count payments in the rows of both accounts; none is sent twice."""
        matrix = np.empty((size(batch), N))
        level = self.context.signals.listed(batch.payer, batch.ts)
        return Counted(matrix, *self.profiles.both_hops(batch, matrix, level))

    def decide(self, batch: Payments, counted: Counted, answer: bool) -> Step:
        """Decide payments that were counted."""
        n = size(batch)
        status, stored, flags, payer_rows, payee_rows, texts = counted[1:]
        matrix = counted.matrix.copy()
        at_payer = (status <= SEEN) & ((flags & (PAYER_ACCOUNT | REPEAT)) == PAYER_ACCOUNT)
        shared = self._sharing.levels(batch, at_payer, matrix[:, INDEX["payer.account_age_d"]])
        # As in legs: what they do not carry is not seen.
        matrix[:, FIRST] = carried(matrix[:, FIRST], self.context.first_hop_columns)
        good, repeat = status <= SEEN, status == SEEN
        legs = legs_of(batch, 0, stored, np.empty((n, 0)), flags)._replace(texts=texts)
        step = Step(
            decided=good & ~repeat,
            refused={
                reason: count
                for reason, code in ((Reject.TOO_OLD, TOO_OLD), (Reject.CONFLICTING_ID, CONFLICT))
                if (count := int((status == code).sum()))
            },
            action=np.where(repeat, stored, 0).astype(np.uint8),
            results=_nothing_fired(n, len(self.context.pack.rules)),
            verdicts=_no_verdicts(n),
            payer_rows=payer_rows,
            payee_rows=payee_rows,
            said=[],
            matrix=matrix,
        )
        home, clocks = self._clocks(batch, status, flags)
        worth: list[tuple[int, int, int]] = []
        conclusions: dict[int, Conclusions] = {}
        for p, state in enumerate(self.states):
            which = np.flatnonzero(good & (batch.partition == p))
            if not len(which):
                continue
            conclusions[p] = self._evaluate(state, which, legs, matrix, repeat, shared, step)
            worth += [(int(which[i]), p, i) for i in conclusions[p].worth_saying()]
        worth.sort()
        step.said.extend(self._say(worth, conclusions, home, clocks, answer))
        for state, clock in zip(self.states, clocks, strict=True):
            if n:
                state.stream_ts = int(clock[-1])
            # Nobody reads what expires, but it must not be kept for ever.
            state.book.expire(state.stream_ts)
        return step

    def _clocks(
        self, batch: Payments, status: npt.NDArray[np.uint8], flags: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int32], list[I8]]:
        """Partition of every payer, and every partition's stream time after each payment."""
        home = murmur2_partitions(batch.payer_ids, len(self.states))
        clocks = []
        for p, state in enumerate(self.states):
            # The first hop sees what it does not refuse, the second one what it is sent and does not refuse.
            seen = ((home == p) | (batch.partition == p)) & (status <= SEEN)
            clocks.append(np.maximum.accumulate(np.maximum(np.where(seen, batch.ts, NEVER), state.stream_ts)))
        return home, clocks

    def _evaluate(
        self,
        state: PartitionState,
        which: npt.NDArray[np.intp],
        legs: Legs,
        matrix: npt.NDArray[np.float64],
        repeat: npt.NDArray[np.bool_],
        shared: npt.NDArray[np.float64] | None,
        step: Step,
    ) -> Conclusions:
        """Second hop of the payments `which` of one partition; results go into `step`."""
        if len(which) < len(matrix):
            legs, matrix, repeat = take(legs, which), matrix[which], repeat[which]
            shared = None if shared is None else shared[which]
        late = np.zeros(len(which), np.bool_)
        results, verdicts = evaluate(legs, matrix, state, late, repeat, shared)
        if len(which) < len(step.matrix):
            step.matrix[which] = matrix
        action = np.where(repeat, legs.stored_action, verdicts.action).astype(np.uint8)
        remember(legs, action, ~repeat, state)
        step.action[which] = action
        pairs: list[tuple[Any, Any]] = [
            *zip(step.results, results, strict=True),
            *zip(step.verdicts, verdicts, strict=True),
        ]
        for into, part in pairs:
            into[which] = part
        now_ms = int(legs.ts[-1])
        return Conclusions(legs, matrix, results, verdicts, action, repeat, late, state, now_ms)

    def _say(
        self,
        worth: list[tuple[int, int, int]],
        conclusions: dict[int, Conclusions],
        home: npt.NDArray[np.int32],
        clocks: list[I8],
        answer: bool,
    ) -> Iterator[Said]:
        for index, p, i in worth:
            about = conclusions[p]
            said = about.about(i) if answer else Conclusion(None, about.findings(i))
            alerts: list[Alert] = []
            for finding in sorted(said.findings, key=lambda finding: finding.side is Side.PAYER):
                if finding.side is Side.PAYEE:
                    alerts += self.states[p].book.consider(finding, int(clocks[p][index]))
                    continue
                of_payer = int(home[index])
                state = self.states[of_payer]
                state.stream_ts = int(clocks[of_payer][index])
                alerts += apply_case(finding, state)
            alerts = [alert for alert in alerts if alert.status is not AlertStatus.CLOSED]
            if said.decision is not None or alerts:
                yield Said(index, said.decision, alerts)

    def update_facts(
        self, account: str, ts: int, opened: int | None, birth_year: int | None, kind: str | None
    ) -> None:
        """Facts of an account, as `Profiles.update_facts` takes them."""
        self.profiles.update_facts(account.encode(), ts, opened, birth_year, kind, None)

    def forget_warnings(self) -> None:
        """Begin anew with warnings: none is open, and nothing is silenced."""
        for state in self.states:
            state.book = WarningBook(self.context.policy, state.tallies, state.day_of)


def side_by_side(banks: Sequence[InStep], batch: Payments, *, answer: bool = True) -> list[Step]:
    """Decide the same payments in several banks that share their rows, which are counted once.

    Each bank's results are what it would have given alone, but for payments sent again: these are answered
    with the action that the last bank stored.

    Parameters
    ----------
    banks
        The first one, and others made beside it.
    batch, answer
        As for `InStep.run`.
    """
    steps: list[list[Step]] = [[] for _ in banks]
    for part in _without_twins(batch):
        counted = banks[0].count(part)
        for bank, done in zip(banks, steps, strict=True):
            done.append(bank.decide(part, counted, answer))
    return [done[0] if len(done) == 1 else _joined(done) for done in steps]


def _without_twins(batch: Payments) -> Iterator[Payments]:
    """The batch in parts without a payment sent twice: the second is answered from what the first left."""
    first = 0
    seen: set[int] = set()
    if len(np.unique(batch.event)) < size(batch):
        for i, event in enumerate(batch.event.tolist()):
            if event in seen:
                yield part_of(batch, first, i)
                first, seen = i, set()
            seen.add(event)
    yield batch if first == 0 else part_of(batch, first, size(batch))


def _joined(steps: Sequence[Step]) -> Step:
    starts = np.cumsum([0] + [len(step.decided) for step in steps]).tolist()
    refused: dict[Reject, int] = {}
    for step in steps:
        for reason, count in step.refused.items():
            refused[reason] = refused.get(reason, 0) + count
    return Step(
        decided=np.concatenate([step.decided for step in steps]),
        refused=refused,
        action=np.concatenate([step.action for step in steps]),
        results=RuleResults._make(map(np.concatenate, zip(*(step.results for step in steps), strict=True))),
        verdicts=Verdicts._make(map(np.concatenate, zip(*(step.verdicts for step in steps), strict=True))),
        payer_rows=np.concatenate([step.payer_rows for step in steps]),
        payee_rows=np.concatenate([step.payee_rows for step in steps]),
        said=[
            said._replace(at=start + said.at)
            for start, step in zip(starts, steps, strict=False)
            for said in step.said
        ],
        matrix=np.concatenate([step.matrix for step in steps]),
    )


def _nothing_fired(n: int, rules: int) -> RuleResults:
    return RuleResults(np.zeros((n, rules), np.uint8), np.zeros((n, rules)))


def _no_verdicts(n: int) -> Verdicts:
    figures = [np.full(n, np.nan) for _ in range(7)]
    return Verdicts._make([np.zeros(n, np.uint8), np.zeros(n, np.uint8), *figures, np.zeros(n, np.uint8)])
