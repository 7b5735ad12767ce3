"""One look at a decided batch: what fired, what is worth saying, what is counted."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.decision_kernels import PAYEE_REASON, PAYER_REASON
from stream_guard.detection.kernels import kernel

ACTIONS: Final = 5
REPEATED: Final = 5
LATE: Final = 6
PAYER_ANOMALIES: Final = 7
PAYEE_ANOMALIES: Final = 8
COUNTS: Final = 9
"""Elements of what `count_batch` writes: one for each action, then these."""


@kernel
def look_through(
    fired: NDArray[np.uint8],
    live: NDArray[np.bool_],
    anomaly: NDArray[np.uint8],
    repeat: NDArray[np.bool_],
    reasoned: NDArray[np.bool_],
    sums: NDArray[np.int64],
) -> None:
    """Tell which payments have a live reason, and how often each rule fired or could not be evaluated.

    Parameters
    ----------
    fired
        u1[n, R]: 0 no, 1 fired, 2 not evaluable.
    live
        bool[R].
    anomaly
        u1[n], bits of `Verdicts.anomaly`.
    repeat
        bool[n]: not looked at.
    reasoned
        bool[n], written.
    sums
        i8[2, R], zeros; payments on which a rule fired, and was not evaluable, are added.
    """
    for i in range(fired.shape[0]):
        reasoned[i] = False
        if repeat[i]:
            continue
        reasoned[i] = anomaly[i] & (PAYER_REASON | PAYEE_REASON) != 0
        for r in range(fired.shape[1]):
            result = fired[i, r]
            if result != 0:
                sums[result - 1, r] += 1
                if result == 1 and live[r]:
                    reasoned[i] = True


@kernel
def count_batch(
    action: NDArray[np.uint8],
    anomaly: NDArray[np.uint8],
    repeat: NDArray[np.bool_],
    late: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> None:
    """Count payments by action, anomalies by side, and apart those sent again or late.

    Parameters
    ----------
    action, anomaly, repeat, late
        u1[n], u1[n], bool[n], bool[n] as in `Verdicts` and `Decided`.
    counts
        i8[COUNTS], zeros; added to.
    """
    for i in range(len(action)):
        if anomaly[i] & PAYER_REASON:
            counts[PAYER_ANOMALIES] += 1
        if anomaly[i] & PAYEE_REASON:
            counts[PAYEE_ANOMALIES] += 1
        if repeat[i]:
            counts[REPEATED] += 1
            continue
        counts[action[i]] += 1
        if late[i]:
            counts[LATE] += 1
