"""What was sent and what came back: the demo's own book, kept apart from the worker's figures."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

INTERCEPTING = frozenset({"delay", "hold", "stop"})
LATEST = 12
MARK_EVERY_S = 0.2
RECENT = 20_000
"""Latencies kept for the view."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from produce() to the receipt of the decision; NaN without any."""

    p50: float
    p99: float
    p999: float
    max: float

    @classmethod
    def of(cls, values_ms: list[float]) -> Latency:
        """Quantiles of measured values.

        Examples
        --------
        >>> Latency.of([1.0, 2.0, 3.0]).p50
        2.0
        """
        if not values_ms:
            return cls(*[float("nan")] * 4)
        quantiles = np.quantile(np.array(values_ms), (0.5, 0.99, 0.999, 1.0))
        return cls(*(round(float(value), 3) for value in quantiles))


@dataclass(slots=True)
class Warned:
    """A warning as the view shows it."""

    account: str
    severity: str
    score: float
    text: str
    rule: str
    status: str
    amount: float
    outcome: str | None = None


@dataclass(slots=True)
class Snapshot:
    """The board at one moment."""

    events: int
    distinct: int
    bad: int
    decided: int
    dead_letters: int
    outstanding: int
    decisions: dict[str, int]
    warnings: int
    dispositions: dict[str, int]
    intercepted: float
    fired: dict[str, int]
    latest: list[Warned]
    recent: Latency
    rate: float

    @property
    def lost(self) -> int:
        """Events that got neither a decision nor a dead letter."""
        return self.events - self.decided - self.dead_letters


class Board:
    """Counts that several threads add to. All times are seconds of the wall clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, float] = {}
        self._distinct = 0
        self._bad = 0
        self._decided = 0
        self._decisions: Counter[str] = Counter()
        self._intercepted = 0.0
        self._dead: set[tuple[str, int, int]] = set()
        self._refusals: Counter[str] = Counter()
        self._warnings: dict[str, Warned] = {}
        self._latest: deque[str] = deque(maxlen=LATEST)
        self._dispositions: Counter[str] = Counter()
        self._fired: Counter[str] = Counter()
        self._live = False
        self._latencies: list[float] = []
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._marks: deque[tuple[float, int]] = deque(maxlen=64)

    def go_live(self) -> None:
        """From here on latencies count."""
        with self._lock:
            self._live = True

    def sent(self, event_id: str | None, at: float, *, bad: bool = False, repeat: bool = False) -> None:
        """A transaction is about to be sent."""
        with self._lock:
            if bad:
                self._bad += 1
            elif event_id is not None and not repeat:
                self._distinct += 1
                self._waiting[event_id] = at if self._live else -at

    def decided(self, decision: Mapping[str, Any], at: float) -> None:
        """A decision was received. The first for an event stands; answers to repeats change nothing."""
        with self._lock:
            sent = self._waiting.pop(decision["event_id"], None)
            if sent is None:
                return
            self._decided += 1
            self._decisions[decision["action"]] += 1
            if decision["action"] in INTERCEPTING:
                self._intercepted += decision["amount"]
            for reason in decision["reasons"]:
                self._fired[reason["rule"]] += 1
            latency = (at - abs(sent)) * 1000
            self._recent.append((at, latency))
            if sent > 0:
                self._latencies.append(latency)

    def dead_letter(self, topic: str, partition: int, offset: int, reason: str) -> None:
        """A dead letter was received; the same record counts once."""
        with self._lock:
            if (topic, partition, offset) not in self._dead:
                self._dead.add((topic, partition, offset))
                self._refusals[reason] += 1

    def alert(self, alert: Mapping[str, Any]) -> None:
        """An alert was received."""
        with self._lock:
            known = self._warnings.get(alert["warning_id"])
            if known is None:
                self._latest.append(alert["warning_id"])
            best = alert["reasons"][0] if alert["reasons"] else {"text": "", "rule": ""}
            self._warnings[alert["warning_id"]] = Warned(
                account=alert["account"],
                severity=alert["severity"],
                score=alert["score"],
                text=best["text"],
                rule=best["rule"],
                status=alert["status"],
                amount=alert["amount"],
                outcome=alert["outcome"],
            )

    def disposed(self, outcome: str) -> None:
        """An investigator disposed of a warning."""
        with self._lock:
            self._dispositions[outcome] += 1

    @property
    def outstanding(self) -> int:
        """Distinct payments sent and not decided yet. Bad records are not among them."""
        return len(self._waiting)

    @property
    def answered(self) -> int:
        """Distinct payments decided."""
        return self._decided

    @property
    def refusals(self) -> dict[str, int]:
        """Dead letters by reason."""
        with self._lock:
            return dict(self._refusals)

    def settled(self) -> bool:
        """Whether everything sent has come back one way or the other."""
        with self._lock:
            return self._distinct + self._bad <= self._decided + len(self._dead)

    def latency(self) -> Latency:
        """Over all payments of the live phase."""
        with self._lock:
            values = list(self._latencies)
        return Latency.of(values)

    def snapshot(self, now: float, window_s: float = 5.0) -> Snapshot:
        """The board now; rate and recent latency over the last `window_s` seconds."""
        with self._lock:
            recent = [latency for at, latency in self._recent if at > now - window_s]
            if not self._marks or now - self._marks[-1][0] >= MARK_EVERY_S:
                self._marks.append((now, self._decided))
            while len(self._marks) > 2 and self._marks[1][0] <= now - window_s:
                self._marks.popleft()
            then, decided_then = self._marks[0]
            return Snapshot(
                events=self._distinct + self._bad,
                distinct=self._distinct,
                bad=self._bad,
                decided=self._decided,
                dead_letters=len(self._dead),
                outstanding=len(self._waiting),
                decisions=dict(self._decisions),
                warnings=len(self._warnings),
                dispositions=dict(self._dispositions),
                intercepted=self._intercepted,
                fired=dict(self._fired),
                latest=[self._warnings[warning] for warning in reversed(self._latest)],
                recent=Latency.of(recent),
                rate=(self._decided - decided_then) / (now - then) if now > then else 0.0,
            )
