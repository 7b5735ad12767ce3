"""Kernels that follow money which left listed accounts: how it is held, how it leaves, how it arrives.

The rule, in order of events at each account:

1. What leaves an account that police, bank or a confirmed warning lists is tainted, ``level / 100`` of the
   amount, at hop 1. Only what leaves while the listing is known and valid: nothing is tainted afterwards.
2. An account holds tainted money apart by hops, 1 to `HOPS`. It fades: half of it is left after `HALF_LIFE`.
3. A payment takes the same share of all money the account has, tainted or not (the haircut method). What it
   has is its balance before the payment, and where the bank does not send that, the least it can be: the
   payment itself or the tainted money, whichever is more. The share leaves the tainted money held.
4. What was held at hop h is carried on at hop h + 1, `KEPT` of it; at hop `HOPS` it is not carried on.
5. The payee holds what arrives. Less than `LEAST` is nothing, neither carried nor held.

A payment that is not counted (sent again, refused) moves nothing. A payment older than what an account knows
is taken at the account's own time. So results depend on the order of events at each account alone.

Legs carry two figures. A listed payer's payment is at hop 1 altogether and all others are at hops 2 and 3,
so that amount and mean hop tell how much is at each.

Haircut, and the other ways to split mixed money: M. Möser, R. Böhme, D. Breuker, "Towards Risk Scoring of
Bitcoin Transactions", 2014. Decay by hop and time keep distant and old money from raising alarms.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.features import DAY
from stream_guard.detection.kernels import kernel
from stream_guard.detection.rows import HOPS

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

HALF_LIFE: Final = 7 * DAY
KEPT: Final = 0.8
"""Part of the tainted money that a further payment carries on."""
LEAST: Final = 0.01
"""Base currency. Without it, money of long ago would be followed for ever."""


@kernel
def _scale(floats: F8, factor: float) -> None:
    for k in range(HOPS):
        floats[row.TAINTED + k] *= factor
    for k in range(HOPS - 1):
        floats[row.TAINT_LED + k] *= factor


@kernel
def _held(words: I8, floats: F8, t: int) -> float:
    """Bring what an account holds to time `t`; the sum over hops."""
    at = words[row.TAINT_AT]
    if at == row.MISSING:
        return 0.0
    if t > at:
        _scale(floats, 0.5 ** ((t - at) / HALF_LIFE))
        words[row.TAINT_AT] = t
    held = 0.0
    for k in range(HOPS):
        held += floats[row.TAINTED + k]
    if held < LEAST:
        _scale(floats, 0.0)
        words[row.TAINT_AT] = row.MISSING
        return 0.0
    return held


@kernel
def leave(
    words: I8, floats: F8, t: int, amount: float, balance: float, level: float
) -> tuple[float, float, float]:
    """Take a payment's share out of what its payer holds.

    Parameters
    ----------
    words, floats
        The payer's row, twice.
    t, amount, balance
        Of the payment; the balance before it, NaN where the bank does not send it.
    level
        0-100, of the payer's own listing.

    Returns
    -------
    (float, float, float)
        Held before; tainted part of the payment; its mean hop, NaN if there is no such part.
    """
    held = _held(words, floats, t)
    carried = 0.0
    hops = np.nan
    if held > 0.0:
        has = max(amount, held)
        if balance > has:
            has = balance
        share = amount / has
        nearer = KEPT * share * floats[row.TAINTED]
        farther = KEPT * share * floats[row.TAINTED + 1]
        if nearer + farther >= LEAST:
            carried = nearer + farther
            hops = 2.0 + farther / carried
        _scale(floats, 1.0 - share)
    own = of_listed(amount, level)
    if own > 0.0 and own >= carried:
        return held, own, 1.0
    return held, carried, hops


@kernel
def of_listed(amount: float, level: float) -> float:
    """Tainted part of a listed account's payment."""
    own = amount * level / 100.0
    return own if own >= LEAST else 0.0


@kernel
def arrive(words: I8, floats: F8, t: int, tainted: float, hops: float) -> tuple[float, int]:
    """Add a payment's tainted part to what its payee holds.

    Returns
    -------
    (float, int)
        Held with it; the hop below `HOPS` at which this brought the largest part that is still held, or 0.
    """
    held = _held(words, floats, t)
    if not tainted > 0.0:
        return held, 0
    if words[row.TAINT_AT] == row.MISSING:
        words[row.TAINT_AT] = t
    farther = tainted * (hops - 2.0) if hops > 2.0 else 0.0
    nearer = tainted - farther if hops < 3.0 else 0.0
    first = 0 if hops < 2.0 else 1
    floats[row.TAINTED + first] += nearer
    if first == 1:
        floats[row.TAINTED + 2] += farther
    led = 0
    if nearer > floats[row.TAINT_LED + first]:
        floats[row.TAINT_LED + first] = nearer
        led = first + 1
    return held + tainted, led
