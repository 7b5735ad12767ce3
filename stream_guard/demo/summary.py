"""What a demo run comes to, as text and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stream_guard.demo.board import Latency, Snapshot
from stream_guard.demo.scrape import Figures
from stream_guard.feedback.hit_rate import wilson

ACTIONS = ("allow", "confirm", "delay", "hold", "stop")
OUTCOMES = ("confirmed", "false_positive", "inconclusive")


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a run.

    Attributes
    ----------
    events
        Distinct payments sent plus bad records.
    decided
        Distinct payments whose decision came back.
    dead_letters
        Distinct records refused.
    warnings
        Opened.
    decisions
        First decisions by action.
    dispositions
        By outcome.
    hit_rate
        As the worker's metrics say; None before any warning is judged.
    hits, judged
        Its numerator and denominator.
    amount_intercepted
        As the worker's metrics say, base currency.
    latency
        Of the live phase.
    fired
        How often each rule gave a reason.
    live_rules
        Rules in state live.
    discrepancies
        Where the worker's figures and what was seen from outside differ.
    """

    events: int
    decided: int
    dead_letters: int
    warnings: int
    decisions: Mapping[str, int]
    dispositions: Mapping[str, int]
    hit_rate: float | None
    hits: int
    judged: int
    amount_intercepted: float
    latency: Latency
    fired: Mapping[str, int]
    live_rules: Sequence[str]
    discrepancies: Sequence[str] = ()

    @property
    def lost(self) -> int:
        """Events that got neither a decision nor a dead letter."""
        return self.events - self.decided - self.dead_letters

    @property
    def silent_rules(self) -> list[str]:
        """Live rules that never fired."""
        return [rule for rule in self.live_rules if not self.fired.get(rule)]

    def as_json(self) -> dict[str, Any]:
        """The summary for a program."""
        return {
            "events": self.events,
            "decided": self.decided,
            "lost": self.lost,
            "dead_letters": self.dead_letters,
            "warnings": self.warnings,
            "decisions": {action: self.decisions.get(action, 0) for action in ACTIONS},
            "dispositions": {outcome: self.dispositions.get(outcome, 0) for outcome in OUTCOMES},
            "hit_rate": self.hit_rate,
            "amount_intercepted": self.amount_intercepted,
            "latency_ms": {
                name: None if math.isnan(value) else value
                for name, value in (
                    ("p50", self.latency.p50),
                    ("p99", self.latency.p99),
                    ("p999", self.latency.p999),
                    ("max", self.latency.max),
                )
            },
        }

    def lines(self) -> list[str]:
        """The summary for a reader."""
        latency = self.latency
        rules = len(self.live_rules)
        lines = [
            f"{self.events:,} events sent; {self.decided:,} decided, {self.dead_letters} dead letters,"
            f" {self.lost} lost",
            "decisions: " + counts(self.decisions, ACTIONS),
            f"{self.warnings} warnings; dispositions: " + counts(self.dispositions, OUTCOMES),
            f"hit rate {rate_text(self.hits, self.judged)}",
            f"amount intercepted {self.amount_intercepted:,.2f}",
            f"latency of the live phase, ms: p50 {latency.p50:.1f}, p99 {latency.p99:.1f}, "
            f"p99.9 {latency.p999:.1f}, max {latency.max:.1f}",
            f"{rules - len(self.silent_rules)} of {rules} live rules fired"
            + (f"; silent: {', '.join(self.silent_rules)}" if self.silent_rules else ""),
        ]
        return lines + [f"NOTE: {sentence}" for sentence in self.discrepancies]


def counts(values: Mapping[str, int], order: Sequence[str]) -> str:
    """Counts in words.

    Examples
    --------
    >>> counts({"hold": 2, "allow": 1000}, ACTIONS)
    'allow 1,000, confirm 0, delay 0, hold 2, stop 0'
    """
    return ", ".join(f"{name.replace('_', ' ')} {values.get(name, 0):,}" for name in order)


def rate_text(hits: int, judged: int) -> str:
    """A hit rate with its interval and what it is made of.

    Examples
    --------
    >>> rate_text(31, 63)
    '49.2 % (95 %: 37.3-61.2 %), 31 of 63 judged warnings'
    >>> rate_text(0, 0)
    'not known yet: no warning is judged'
    """
    if not judged:
        return "not known yet: no warning is judged"
    low, high = wilson(hits, judged) or (0.0, 1.0)
    share = 100 * hits / judged
    return f"{share:.1f} % (95 %: {low * 100:.1f}-{high * 100:.1f} %), {hits} of {judged} judged warnings"


def compare(seen: Snapshot, figures: Figures) -> list[str]:
    """Sentences about figures of the worker that differ from what was seen from outside."""
    sentences = []
    for outcome in OUTCOMES:
        sent, counted = seen.dispositions.get(outcome, 0), figures.dispositions.get(outcome, 0)
        if sent != counted:
            sentences.append(f"{sent} dispositions {outcome} were sent, the worker counts {counted}")
    if abs(seen.intercepted - figures.intercepted) > 0.01 * max(1, seen.decided) ** 0.5:
        sentences.append(
            f"decisions seen intercept {seen.intercepted:,.2f}, the worker counts {figures.intercepted:,.2f}"
        )
    return sentences
