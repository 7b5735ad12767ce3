"""A history on its way through one bank, or through several side by side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from stream_guard.backtest.labels import AccountLabels, EventLabels
from stream_guard.backtest.period import Period
from stream_guard.detection.batches import Payments, part_of, size
from stream_guard.detection.columns import payments_of_columns
from stream_guard.detection.in_step import InStep, Step, side_by_side
from stream_guard.detection.state import Context
from stream_guard.events import AccountUpdate, parse_account_update, parse_columns
from stream_guard.history import History

AT_ONCE: Final = 4_096
"""Payments decided in one go: a matrix of 7 MB, and calls that cost nothing beside the work."""

_NEVER_IN_THE_FUTURE: Final = 1 << 62
"""A recorded history is not judged by the wall clock."""

Flags = npt.NDArray[np.bool_]
I4 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """What a backtest reads.

    Attributes
    ----------
    history
        Payments.
    period
        What of it is judged.
    facts
        Account updates as `account_updates` gives them.
    accounts
        Labels of the accounts file; None without one.
    """

    history: History
    period: Period
    facts: tuple[Mapping[str, Any], ...] = ()
    accounts: AccountLabels | None = None


@dataclass(frozen=True)
class Progress:
    """How far it got: payments read, of how many, in how many seconds."""

    events: int
    total: int
    seconds: float

    @property
    def rate(self) -> float:
        """Payments a second; 0 before any time has passed."""
        return self.events / self.seconds if self.seconds else 0.0


class Judged(NamedTuple):
    """Payments of the judged period.

    Attributes
    ----------
    batch
        n payments.
    steps
        What each bank made of them.
    fraud, scenario
        bool[n] and i4[n], labels.
    """

    batch: Payments
    steps: list[Step]
    fraud: Flags
    scenario: I4


class Passage:
    """One pass over a history; what comes before the judged period warms profiles and detectors.

    Parameters
    ----------
    inputs
        What is read.
    contexts
        What decides, of one bank; rows are counted once for all of them.
    answer
        Whether decision messages are written in the judged period.
    tell
        Called after every piece of the file.
    clock
        Seconds.
    at_once
        Payments a batch; nothing depends on it.

    Attributes
    ----------
    labels
        Of the payments.
    facts
        Accounts with facts.
    refused
        Number of payments by reason.
    read
        Payments so far.
    """

    def __init__(
        self,
        inputs: Inputs,
        contexts: Sequence[Context],
        *,
        answer: bool = False,
        tell: Callable[[Progress], None] = lambda progress: None,
        clock: Callable[[], float] = time.perf_counter,
        at_once: int = AT_ONCE,
    ) -> None:
        self.inputs = inputs
        self.labels = EventLabels(inputs.history)
        self.refused: Counter[str] = Counter()
        self.read = 0
        first = InStep(contexts[0])
        self._banks = [first, *(InStep(context, beside=first) for context in contexts[1:])]
        self._answer = answer
        self._tell = tell
        self._total = inputs.history.count_before(inputs.period.end)
        self._clock = clock
        self._at_once = at_once
        self._started = clock()
        self.facts = take_facts(first, inputs.facts)

    @property
    def accounts(self) -> int:
        """Number of accounts so far; rows are below it."""
        return len(self._banks[0].profiles)

    def seconds(self) -> float:
        """Time since the beginning."""
        return self._clock() - self._started

    def rows_of(self, accounts: Sequence[str]) -> I8:
        """Row numbers; -1 for an account without a payment and without facts."""
        return self._banks[0].profiles.rows_of([name.encode() for name in accounts], create=False)

    def judged(self) -> Iterator[Judged]:
        """Go through the history; only once.

        Raises
        ------
        HistoryError
            The history or its labels cannot be read.
        """
        warming = True
        context = self._banks[0].context
        for batch, fraud, scenario in batches(self.inputs, context, self.labels, self._at_once, self.refused):
            if batch is None:
                self.read += len(fraud)
                self._tell(Progress(self.read, self._total, self.seconds()))
                continue
            judged = bool(batch.ts[0] >= self.inputs.period.start)
            if judged and warming:
                for bank in self._banks:
                    bank.forget_warnings()
                warming = False
            steps = side_by_side(self._banks, batch, answer=judged and self._answer)
            self.refused.update({str(reason): count for reason, count in steps[0].refused.items()})
            if judged:
                yield Judged(batch, steps, fraud, scenario)


def take_facts(bank: InStep, updates: tuple[Mapping[str, Any], ...]) -> int:
    """Give a bank the facts of its accounts; how many of the updates were any."""
    count = 0
    for update in updates:
        parsed = parse_account_update(orjson.dumps(dict(update)))
        # As live: an update that is none goes to the dead letters and changes nothing.
        if isinstance(parsed, AccountUpdate):
            bank.update_facts(parsed.account, parsed.ts, parsed.opened, parsed.holder_birth_year, parsed.kind)
            count += 1
    return count


def batches(
    inputs: Inputs, context: Context, labels: EventLabels, at_once: int, refused: Counter[str]
) -> Iterator[tuple[Payments | None, Flags, I4]]:
    """Accepted payments with their labels, those before the judged period apart from those in it.

    After those of a piece of the file comes (None, labels of the piece), which says that it was read.
    """
    offset = 0
    for columns in inputs.history.columns():
        n = len(columns["ts"])
        fraud, scenario = labels.take(n)
        ended = n and columns["ts"][-1] >= inputs.period.end
        if ended:
            n = int(np.searchsorted(np.array(columns["ts"]), inputs.period.end, side="left"))
            columns = {name: values[:n] for name, values in columns.items()}
            fraud, scenario = fraud[:n], scenario[:n]
        accepted, kept, rejected = parse_columns(columns, context.bank.base_currency)
        batch, unfit = payments_of_columns(
            accepted, np.arange(offset, offset + len(kept)), context.bank, _NEVER_IN_THE_FUTURE
        )
        offset += n
        refused.update(str(rejection.reason) for rejection in (*rejected, *unfit))
        index = np.array(kept, np.int64)
        if unfit:
            index = np.delete(index, [rejection.index for rejection in unfit])
        edge = int(np.searchsorted(batch.ts, inputs.period.start, side="left"))
        for start, stop in _cuts(size(batch), edge, at_once):
            yield part_of(batch, start, stop), fraud[index[start:stop]], scenario[index[start:stop]]
        yield None, fraud, scenario
        if ended:
            return


def _cuts(n: int, edge: int, at_once: int) -> Iterator[tuple[int, int]]:
    for begin, end in ((0, edge), (edge, n)):
        for start in range(begin, end, at_once):
            yield start, min(start + at_once, end)
