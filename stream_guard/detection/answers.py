"""What a partition has answered of late, for payments that are sent again before any row can tell.

The action of a payment is kept in its payee's ring, and a case brings it to the payer's. A case is on its way
for a second or two. For as long the payee's ring alone may know, and that of a busy account has 64 newer
payments by then; a payment that comes after 64 newer ones never gets into it.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.batches import Legs

KEPT = 16_384
"""Payments. At 10,000 decisions a second, one in fifty of them above allow, those of the last 80 seconds;
cases are back within a flush interval and the payer's backlog. About 3 MB a partition."""


class Answers:
    """Actions above allow of the newest decisions of one partition.

    Kept by one process: one that is killed decides again what was not durable, and of what was its cases are
    readable by then.

    Parameters
    ----------
    kept
        How many at most.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._actions: dict[tuple[int, int], int] = {}

    def keep(self, legs: Legs, which: NDArray[np.intp], action: NDArray[np.uint8]) -> None:
        """Remember `action` (u1[n] of `legs`) for the payments at the places `which`."""
        self._actions.update(zip(_keys(legs, which), action[which].tolist(), strict=True))
        for oldest in list(islice(self._actions, max(0, len(self._actions) - self._kept))):
            del self._actions[oldest]

    def of(self, legs: Legs, which: NDArray[np.intp]) -> NDArray[np.uint8]:
        """u1[len(which)]: what the payments at these places were answered; 0 (allow) where it is unknown."""
        return np.array([self._actions.get(key, 0) for key in _keys(legs, which)], dtype=np.uint8)


def _keys(legs: Legs, which: NDArray[np.intp]) -> list[tuple[int, int]]:
    return list(zip(legs.payer[which].tolist(), legs.event[which].tolist(), strict=True))
