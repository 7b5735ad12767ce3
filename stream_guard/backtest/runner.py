"""Runs a history through detection and judges what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from stream_guard.backtest.decisions_file import DecisionsFile
from stream_guard.backtest.figures import Standing, figures
from stream_guard.backtest.judge import Judge
from stream_guard.backtest.labels import AccountLabels, EventLabels
from stream_guard.backtest.period import Period, PeriodError
from stream_guard.backtest.picture import Picture, picture
from stream_guard.detection.batches import Payments, empty_payments, part_of, size
from stream_guard.detection.columns import payments_of_columns
from stream_guard.detection.in_step import InStep
from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import Rejection
from stream_guard.events import AccountUpdate, parse_account_update, parse_columns
from stream_guard.history import History

AT_ONCE: Final = 4_096
"""Payments decided in one go: a matrix of 7 MB, and calls that cost nothing beside the work."""

_NEVER_IN_THE_FUTURE: Final = 1 << 62
"""A recorded history is not judged by the wall clock."""

Flags = npt.NDArray[np.bool_]
I4 = npt.NDArray[np.int32]


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


@dataclass(frozen=True)
class Result:
    """What a backtest found: `document` is what ``--json`` writes, `picture` what the report adds to it."""

    document: dict[str, Any]
    picture: Picture | None = None


def run(
    inputs: Inputs,
    context: Context,
    *,
    decisions: Path | None = None,
    keep_picture: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.perf_counter,
    at_once: int = AT_ONCE,
) -> Result:
    """Decide a history and judge the decisions.

    Parameters
    ----------
    inputs
        What is read.
    context
        What decides: its partitions are simulated; `emit_all` is needed for `decisions`; the policy's
        deadline does not matter, nothing is late.
    decisions
        Parquet file for the decisions on the judged payments.
    keep_picture
        Whether the result has a picture, which takes about 2 KB a warning.
    tell
        Called after every batch.
    clock
        Seconds, for events/s.
    at_once
        Payments a batch; no figure depends on it.

    Raises
    ------
    HistoryError
        The history or its labels cannot be read.
    PeriodError
        No payment of the period was judged.
    OSError
        `decisions` cannot be written.
    """
    judge = Judge(context, keep_warnings=keep_picture)
    # What is compiled once an installation is no part of events/s.
    judge.sets.compile()
    InStep(context).run(empty_payments())
    started = clock()
    bank = InStep(context)
    refused: dict[str, int] = {}
    facts = take_facts(bank, inputs.facts)
    labels = EventLabels(inputs.history)
    total, read, warming = len(inputs.history), 0, True
    file = DecisionsFile(decisions) if decisions is not None else None
    try:
        for batch, fraud, scenario in batches(inputs, context, labels, at_once, refused):
            if batch is None:
                read += len(fraud)
                tell(Progress(read, total, clock() - started))
                continue
            judged = bool(batch.ts[0] >= inputs.period.start)
            if judged and warming:
                bank.forget_warnings()
                warming = False
            step = bank.run(batch, answer=judged and file is not None)
            for reason, count in step.refused.items():
                refused[str(reason)] = refused.get(str(reason), 0) + count
            if judged:
                judge.add(batch, step, fraud, scenario, len(bank.profiles))
                if file is not None:
                    file.add(batch, step)
    finally:
        if file is not None:
            file.__exit__(None, None, None)
    judge.finish()
    if not judge.events:
        raise PeriodError(_nothing_judged(inputs.period, refused))
    seconds = clock() - started
    standing = _standing(bank, judge, inputs.accounts, labels.known)
    document = {
        "events": read,
        "judged_events": judge.events,
        "seconds": round(seconds, 3),
        "events_per_second": round(read / seconds, 1) if seconds else None,
        "period": inputs.period.as_dict(),
        "pack": context.pack.pack.label,
        "pack_hash": context.pack.pack.hash,
        "partitions": context.bank.partitions,
        "currency": context.bank.base_currency,
        "accounts_with_facts": facts,
        "refused": dict(sorted(refused.items())),
        **figures(
            judge,
            standing,
            context,
            inputs.period.days,
            labelled=labels.known,
            scenarios=labels.scenarios,
        ),
    }
    return Result(document, picture(judge, standing, inputs.period.days) if keep_picture else None)


def _nothing_judged(judged: Period, refused: Mapping[str, int]) -> str:
    when = judged.as_dict()
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(refused.items()))
    return (
        f"No payment was judged from {when['from']} until {when['until']}: there is none in that time"
        + (f", or it was refused ({counts})" if counts else "")
        + ". Choose another --from or --until."
    )


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
    inputs: Inputs, context: Context, labels: EventLabels, at_once: int, refused: dict[str, int]
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
        _count(refused, rejected)
        _count(refused, unfit)
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


def _count(refused: dict[str, int], rejections: list[Rejection]) -> None:
    for rejection in rejections:
        refused[str(rejection.reason)] = refused.get(str(rejection.reason), 0) + 1


def _standing(bank: InStep, judge: Judge, accounts: AccountLabels | None, labelled: bool) -> Standing:
    """Who is a candidate, and who of them positive."""
    rows = len(judge.active)
    listed, fraud, victim = (np.zeros(rows, np.bool_) for _ in range(3))
    if accounts is None:
        listed[:] = True
        fraud[:] = True
    else:
        where = bank.profiles.rows_of([name.encode() for name in accounts.accounts], create=False)
        for name, row in zip(accounts.accounts, where.tolist(), strict=True):
            if 0 <= row < rows:
                listed[row] = True
                fraud[row] = accounts.fraud is None or accounts.fraud[name]
                victim[row] = name in accounts.victims
    candidate = listed & judge.active
    says_fraud = accounts is not None and accounts.fraud is not None
    positive = candidate & fraud & (judge.party if labelled else says_fraud)
    return Standing(candidate, positive, victim, labelled or says_fraud)
