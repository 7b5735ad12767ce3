"""The chain of legs, leg by leg: what links a leg to the one before it, and which legs are new."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream_guard.detection.kernels import kernel

NO_GAP = -1


@kernel
def link(
    offsets: NDArray[np.int64],
    targets: NDArray[np.int32],
    sent: NDArray[np.int64],
    previous: NDArray[np.int64],
) -> None:
    """Write for each leg the source offset of the one sent to its target before it; moves `sent` on.

    Parameters
    ----------
    offsets, targets
        Source offset and target partition of n legs, in source order.
    sent
        int64[partitions], last offset sent to each; changed.
    previous
        int64[n], written.
    """
    for i in range(len(offsets)):
        target = targets[i]
        previous[i] = sent[target]
        sent[target] = offsets[i]


@kernel
def pick_fresh(
    sources: NDArray[np.int32],
    offsets: NDArray[np.int64],
    previous: NDArray[np.int64],
    marks: NDArray[np.int64],
    fresh: NDArray[np.int64],
) -> tuple[int, int]:
    """Find the legs that have not been applied; moves `marks` past them.

    Parameters
    ----------
    sources, offsets, previous
        Source partition, source offset and previous source offset of n legs, in order of arrival.
    marks
        int64[partitions], last offset applied of each source; changed.
    fresh
        int64[n]; positions are written from its beginning.

    Returns
    -------
    (int, int)
        How many are fresh; position of a leg whose predecessor never arrived, or `NO_GAP`. Nothing behind
        such a leg is looked at.
    """
    count = 0
    for i in range(len(offsets)):
        source = sources[i]
        if offsets[i] <= marks[source]:
            continue
        if previous[i] > marks[source]:
            return count, i
        marks[source] = offsets[i]
        fresh[count] = i
        count += 1
    return count, NO_GAP
