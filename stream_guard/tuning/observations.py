"""A history's features, decided once and looked at as often as one likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.backtest.passage import AT_ONCE, Inputs, Passage, Progress
from stream_guard.detection.batches import Payments
from stream_guard.detection.in_step import Step
from stream_guard.detection.state import Context

Flags = npt.NDArray[np.bool_]


class Observed(NamedTuple):
    """Payments of the period, and what the pack in force made of them.

    Attributes
    ----------
    batch, step
        n payments and what became of them; `step.matrix` holds the features, `step.decided` says which
        count: neither refused nor sent again.
    fraud
        bool[n], `is_fraud`; all False where the history does not say.
    accounts
        Number of accounts so far; `step.payer_rows` and `step.payee_rows` are below it.
    """

    batch: Payments
    step: Step
    fraud: Flags
    accounts: int


def observe(
    inputs: Inputs,
    context: Context,
    *,
    tell: Callable[[Progress], None] = lambda progress: None,
    at_once: int = AT_ONCE,
) -> Iterator[Observed]:
    """Go through a history once; what comes before the period warms profiles and detectors.

    A grid of parameters is evaluated on each batch as it passes: `context.pack.evaluate` takes the features
    and another array of parameters (`params_with`), and compiles nothing. What is kept is up to the caller;
    here nothing is.

    Parameters
    ----------
    inputs
        What is read; of the labels `is_fraud` alone.
    context
        What decides meanwhile. Legs carry the features that its pack names: no others can be looked at.
    tell
        Called after every piece of the file.
    """
    passage = Passage(inputs, [context], tell=tell, at_once=at_once)
    for batch, (step,), fraud, _ in passage.judged():
        yield Observed(batch, step, fraud, passage.accounts)
