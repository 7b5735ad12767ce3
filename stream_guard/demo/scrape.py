"""The product's own figures, read from the worker's /metrics as any monitoring would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT_S = 3.0

STANDING = "stream_guard_hits"
"""Warnings by label `standing`: confirmed, false_positive, pending, inconclusive, expired."""
DISPOSITIONS = "stream_guard_dispositions"
"""By label `outcome`."""
INTERCEPTED = "stream_guard_amount_intercepted"
"""By label `part`, of which one is `total`."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the worker says about itself.

    Attributes
    ----------
    standing
        Warnings by what became of them; each counts once.
    dispositions
        Taken in, by outcome.
    intercepted
        Amount delayed, held or stopped, base currency.
    """

    standing: Mapping[str, int] = field(default_factory=dict)
    dispositions: Mapping[str, int] = field(default_factory=dict)
    intercepted: float = 0.0

    @property
    def hits(self) -> int:
        """Confirmed warnings."""
        return self.standing.get("confirmed", 0)

    @property
    def judged(self) -> int:
        """Confirmed and false positive warnings."""
        return self.hits + self.standing.get("false_positive", 0)

    @property
    def open_warnings(self) -> int:
        """Warnings nobody has disposed of."""
        return self.standing.get("pending", 0)

    @property
    def hit_rate(self) -> float | None:
        """Confirmed over judged; None before the first is judged."""
        return self.hits / self.judged if self.judged else None


def parse(text: str) -> Figures:
    """Figures of a page in Prometheus' text format.

    Only lines of the few metrics wanted are looked at: a full parser holds the interpreter for so long
    that the latencies measured beside it would show it.

    Examples
    --------
    >>> page = '''# TYPE stream_guard_hits gauge
    ... stream_guard_hits{standing="confirmed"} 3.0
    ... stream_guard_hits{standing="false_positive"} 1.0
    ... stream_guard_hits_by_rule{rule="drain@1",standing="confirmed"} 9.0
    ... stream_guard_amount_intercepted{part="total"} 1.25e+06'''
    >>> parse(page).hit_rate, parse(page).intercepted
    (0.75, 1250000.0)
    """
    found: dict[str, dict[str, float]] = {STANDING: {}, DISPOSITIONS: {}, INTERCEPTED: {}}
    for line in text.splitlines():
        name, brace, rest = line.partition("{")
        if brace and name in found:
            labels, _, value = rest.rpartition("} ")
            found[name][labels.partition('"')[2].rstrip('"')] = float(value)
    return Figures(
        standing={name: round(value) for name, value in found[STANDING].items()},
        dispositions={name: round(value) for name, value in found[DISPOSITIONS].items()},
        intercepted=found[INTERCEPTED].get("total", 0.0),
    )


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a GET on the worker's own server; status 0 and the cause when nobody answers."""
    try:
        with urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - always http on loopback
            return int(answer.status), answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, HTTPException) as error:
        return 0, str(error)
