"""The running quantile that an anomaly score has to exceed."""

from __future__ import annotations

import math

import numpy as np

from stream_guard.detection.decision_kernels import QUANTILE_SIZE, Floats, quantile_update, quantile_value


class RunningQuantile:
    """One quantile of a stream, estimated in constant space by the P2 algorithm.

    Gives the figures of ``river.stats.Quantile`` (River 0.26.1), bit for bit: exact order statistics up to
    five observations, five markers moved by piecewise parabolas afterwards. Its state is one float array,
    so that the decision kernel can update it and the worker can store it.

    Parameters
    ----------
    q
        The quantile, in (0, 1).

    Raises
    ------
    ValueError
        `q` is not in (0, 1).

    References
    ----------
    R. Jain, I. Chlamtac: The P2 algorithm for dynamic calculation of quantiles and histograms without
    storing observations. Communications of the ACM 28 (10), 1985.

    Examples
    --------
    >>> median = RunningQuantile(0.5)
    >>> median.get() is None
    True
    >>> for x in [9.0, 7, 3, 2, 6, 1, 8, 5, 4]:
    ...     median.update(x)
    >>> median.get()
    5.0
    """

    def __init__(self, q: float) -> None:
        if not 0.0 < q < 1.0:
            raise ValueError(f"the quantile must lie between 0 and 1, not {q}")
        self.q = q
        self.state: Floats = np.zeros(QUANTILE_SIZE)
        self.state[1] = q
        self.state[7:12] = (1.0, 2.0, 3.0, 4.0, 5.0)
        self.state[12:17] = (1.0, 1.0 + 2.0 * q, 1.0 + 4.0 * q, 3.0 + 2.0 * q, 5.0)

    def update(self, x: float) -> None:
        """Add one observation.

        Raises
        ------
        ValueError
            `x` is not finite; it would spoil every later value.
        """
        if not math.isfinite(x):
            raise ValueError(f"an observation must be finite, not {x}")
        quantile_update(self.state, float(x))

    def get(self) -> float | None:
        """Estimate of the quantile; None before the first observation."""
        return float(quantile_value(self.state)) if self.state[0] else None

    @property
    def observations(self) -> int:
        """Number of observations so far."""
        return int(self.state[0])
