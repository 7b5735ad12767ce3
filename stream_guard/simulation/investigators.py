"""Who reads the warnings: a desk of simulated investigators with the truth in a drawer."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from stream_guard.detection.vocabulary import Outcome, Role
from stream_guard.simulation.scene import Truth

FASTEST_S, SLOWEST_S = 1.0, 4.0
INCONCLUSIVE_SHARE = 0.06
MISTAKEN_SHARE = 0.02
NAMES = ("Chen", "Li", "Wang", "Zhao", "Sun")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an investigator finds, and how long it takes (seconds)."""

    outcome: Outcome
    role: Role | None
    by: str
    note: str
    takes_s: float


def judge(warning_id: str, account: str, truth: Mapping[str, Truth], seed: int) -> Judgement:
    """What comes of a warning: the truth, but for a few that stay open questions and fewer mistakes.

    The same warning gets the same judgement whenever it is read.

    Parameters
    ----------
    warning_id, account
        From the alert.
    truth
        By account; who is not in it is innocent.
    seed
        Of the investigators.

    Examples
    --------
    >>> truth = {"A1": Truth("drain", Role.MULE, 1)}
    >>> judge("w1", "A1", truth, 7).outcome.value, judge("w1", "A2", truth, 7).outcome.value
    ('confirmed', 'false_positive')
    """
    digest = blake2b(f"{seed}:{warning_id}".encode(), digest_size=8).digest()
    draw = np.random.default_rng(int.from_bytes(digest, "big")).random(4)
    by = NAMES[int(draw[0] * len(NAMES))]
    takes_s = FASTEST_S + float(draw[1]) * (SLOWEST_S - FASTEST_S)
    known = truth.get(account)
    if draw[2] < INCONCLUSIVE_SHARE:
        return Judgement(Outcome.INCONCLUSIVE, None, by, "customer could not be reached", takes_s)
    if (known is not None) != (draw[3] < MISTAKEN_SHARE):
        # Who takes an innocent customer for a victim does no harm; only a mule gets onto a list.
        role = known.role if known is not None else Role.VICTIM
        return Judgement(Outcome.CONFIRMED, role, by, f"customer confirms: {role.value}", takes_s)
    return Judgement(Outcome.FALSE_POSITIVE, None, by, "customer explained the payment", takes_s)


class Desk:
    """Takes alerts in, gives dispositions out when they are due. Knows no clock and no Kafka.

    Parameters
    ----------
    truth
        What each account really was, by account id.
    seed
        Of the investigators.
    """

    def __init__(self, truth: Mapping[str, Truth], seed: int) -> None:
        self._truth = truth
        self._seed = seed
        self._due: list[tuple[int, str, str, Judgement]] = []
        self._taken: set[str] = set()

    def take(self, alert: Mapping[str, Any], now_ms: int) -> None:
        """Start on a warning, unless it is closed or somebody is on it already."""
        warning_id = alert["warning_id"]
        if alert["status"] == "closed" or warning_id in self._taken:
            return
        self._taken.add(warning_id)
        judgement = judge(warning_id, alert["account"], self._truth, self._seed)
        due = now_ms + round(judgement.takes_s * 1000)
        heapq.heappush(self._due, (due, warning_id, alert["account"], judgement))

    def finished(self, now_ms: int) -> list[dict[str, Any]]:
        """Dispositions due by now, as messages of the contract."""
        done = []
        while self._due and self._due[0][0] <= now_ms:
            _, warning_id, account, judgement = heapq.heappop(self._due)
            done.append(
                {
                    "disposition_id": f"{warning_id}-1",
                    "warning_id": warning_id,
                    "account": account,
                    "outcome": judgement.outcome.value,
                    "role": judgement.role.value if judgement.role else None,
                    "by": judgement.by,
                    "note": judgement.note,
                    "ts": now_ms,
                }
            )
        return done

    @property
    def at_work(self) -> int:
        """Warnings taken and not yet disposed of."""
        return len(self._due)
