"""Hit rate: which share of the disposed warnings was right, and how sure that figure is."""

from __future__ import annotations

import math
from typing import NamedTuple

Z_95 = 1.959963984540054
"""0.975 quantile of the standard normal distribution: a two-sided 95 % interval."""


def wilson(hits: int, trials: int, z: float = Z_95) -> tuple[float, float] | None:
    """Wilson's score interval of a proportion.

    Parameters
    ----------
    hits, trials : int
        0 <= hits <= trials.
    z : float
        Quantile of the standard normal distribution; default 95 %, two-sided.

    Returns
    -------
    tuple of float or None
        Lower and upper bound in [0, 1]; None without trials.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212.

    Examples
    --------
    >>> low, high = wilson(179, 364)
    >>> round(low, 4), round(high, 4)
    (0.4408, 0.5429)
    >>> wilson(0, 0) is None
    True
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits of {trials} trials: hits must lie between 0 and the trials")
    if trials == 0:
        return None
    share = hits / trials
    square = z * z / trials
    middle = share + square / 2
    half = z * math.sqrt(share * (1 - share) / trials + square / (4 * trials))
    low, high = (middle - half) / (1 + square), (middle + half) / (1 + square)
    # At 0 and 1 the bound is exact; rounding must not put it a hair outside.
    return (0.0 if hits == 0 else max(0.0, low), 1.0 if hits == trials else min(1.0, high))


class HitRate(NamedTuple):
    """Where the warnings of a model, or of all models, stand.

    Only confirmed and false positive make the rate; the others stand beside it. Over all models a warning
    counts once; by rule model it is credited once to every live rule on it, so the models' figures do not add
    up to the overall one.

    Examples
    --------
    >>> rate = HitRate(confirmed=3, false_positive=1, pending=7)
    >>> rate.value, rate.disposed
    (0.75, 4)
    >>> HitRate(pending=7).value is None
    True
    """

    confirmed: int = 0
    false_positive: int = 0
    pending: int = 0
    inconclusive: int = 0
    expired: int = 0

    @property
    def disposed(self) -> int:
        """Denominator: confirmed and false positive warnings."""
        return self.confirmed + self.false_positive

    @property
    def value(self) -> float | None:
        """Confirmed / (confirmed + false positive); None while that is 0/0."""
        return self.confirmed / self.disposed if self.disposed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of `value`; None while nothing was disposed of."""
        return wilson(self.confirmed, self.disposed)
