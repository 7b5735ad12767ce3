"""Runs a history through detection and judges what came out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.decisions_file import DecisionsFile
from stream_guard.backtest.figures import Standing, figures
from stream_guard.backtest.judge import Judge
from stream_guard.backtest.passage import AT_ONCE, Inputs, Passage, Progress
from stream_guard.backtest.period import PeriodError
from stream_guard.backtest.picture import Picture, picture
from stream_guard.detection.batches import empty_payments
from stream_guard.detection.in_step import InStep
from stream_guard.detection.state import Context

Flags = npt.NDArray[np.bool_]


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
    passage = Passage(
        inputs, [context], answer=decisions is not None, tell=tell, clock=clock, at_once=at_once
    )
    file = DecisionsFile(decisions) if decisions is not None else None
    try:
        for batch, (step,), fraud, scenario in passage.judged():
            judge.add(batch, step, fraud, scenario, passage.accounts)
            if file is not None:
                file.add(batch, step)
    finally:
        if file is not None:
            file.__exit__(None, None, None)
    judge.finish()
    seconds, labels = passage.seconds(), passage.labels
    standing = standing_of(passage, judge)
    document = {
        "events": passage.read,
        "judged_events": judge.events,
        "seconds": round(seconds, 3),
        "events_per_second": round(passage.read / seconds, 1) if seconds else None,
        "period": inputs.period.as_dict(),
        "pack": context.pack.pack.label,
        "pack_hash": context.pack.pack.hash,
        "partitions": context.bank.partitions,
        "currency": context.bank.base_currency,
        "accounts_with_facts": passage.facts,
        "refused": dict(sorted(passage.refused.items())),
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


def _check_judged(passage: Passage, judge: Judge) -> None:
    if judge.events:
        return
    when = passage.inputs.period.as_dict()
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(passage.refused.items()))
    raise PeriodError(
        f"No payment was judged from {when['from']} until {when['until']}: there is none in that time"
        + (f", or it was refused ({counts})" if counts else "")
        + ". Choose another --from or --until."
    )


def standing_of(passage: Passage, judge: Judge) -> Standing:
    """Who is a candidate, and who of them positive, after a passage that `judge` was told of.

    Raises
    ------
    PeriodError
        No payment of the period was judged.
    """
    _check_judged(passage, judge)
    accounts, labelled = passage.inputs.accounts, passage.labels.known
    rows = len(judge.active)
    listed, fraud, victim = (np.zeros(rows, np.bool_) for _ in range(3))
    if accounts is None:
        listed[:] = True
        fraud[:] = True
    else:
        where = passage.rows_of(accounts.accounts)
        for name, row in zip(accounts.accounts, where.tolist(), strict=True):
            if 0 <= row < rows:
                listed[row] = True
                fraud[row] = accounts.fraud is None or accounts.fraud[name]
                victim[row] = name in accounts.victims
    candidate = listed & judge.active
    says_fraud = accounts is not None and accounts.fraud is not None
    positive = candidate & fraud & (judge.party if labelled else says_fraud)
    return Standing(candidate, positive, victim, labelled or says_fraud)
