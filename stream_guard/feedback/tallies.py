"""What one partition has counted, restored exactly with its state.

Inside, amounts are hundredths of the base currency: sums and corrections are exact whatever their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection.vocabulary import Action, Outcome, Severity
from stream_guard.detection.warnings import Standing, cents
from stream_guard.feedback.day_counts import DayCounts
from stream_guard.feedback.hit_rate import HitRate

_SPLIT = {Standing.CONFIRMED: "confirmed", Standing.FALSE_POSITIVE: "released"}
_ACTIONS = tuple(action.label for action in Action)
_EPOCH = date(1970, 1, 1).toordinal()


class Intercepted(NamedTuple):
    """Amount of the payments whose first decision was delay, hold or stop, in base currency."""

    total: float
    confirmed: float
    """Of warnings found to be fraud."""
    released: float
    """Of warnings found to be false positives."""

    @property
    def undecided(self) -> float:
        """What no disposition has decided: pending, expired, inconclusive, or without a warning."""
        return round(self.total - self.confirmed - self.released, 2)


@dataclass(frozen=True, slots=True)
class WarningCount:
    """How often something was done to warnings on account of one rule model."""

    what: str
    """`opened`, `updated`, `escalated`, `closed_by_disposition` or `closed_by_expiry`."""
    severity: str
    rule: str
    count: int


def bank_days(zone: tzinfo) -> Callable[[int], int]:
    """Function from milliseconds since 1970 to the bank-local day (days since 1970-01-01).

    Examples
    --------
    >>> from zoneinfo import ZoneInfo
    >>> day_of = bank_days(ZoneInfo("Asia/Shanghai"))
    >>> day_of(0), day_of(16 * 3_600_000 - 1), day_of(16 * 3_600_000)
    (0, 0, 1)
    """

    def day_of(ts: int) -> int:
        return datetime.fromtimestamp(ts // 1000, zone).toordinal() - _EPOCH

    return day_of


class Tallies:
    """Figures of one partition, of several merged, or of a window of days.

    Every family that `counts` names is kept for all time; events, decisions, warnings, dispositions, hits,
    hits by rule and intercepted amounts are kept by bank-local day too, for `window`.

    Examples
    --------
    >>> tallies = Tallies()
    >>> tallies.entered(Standing.CONFIRMED, 20_000, ["rapid-in-out@3"], {20_000: 5_000_000})
    >>> tallies.hit_rate().value, tallies.intercepted_amount().confirmed
    (1.0, 50000.0)
    """

    def __init__(self) -> None:
        self._counts = DayCounts()
        # Rule counts arrive as arrays every batch and become names only when somebody looks.
        self._rule_keys: tuple[str, ...] = ()
        self._rule_shadow: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._rule_sums: npt.NDArray[np.int64] = np.zeros((2, 0), np.int64)
        self._rule_evaluated = 0

    # -- the stream, a batch at a time -----------------------------------------------------------------

    def events(self, day: int, *, counted: int = 0, repeated: int = 0, late: int = 0) -> None:
        """Payments decided on: new ones, ones sent again, and those decided after the deadline."""
        self._counts.add("events", "counted", counted, day)
        self._counts.add("events", "repeated", repeated, day)
        self._counts.add("events", "late", late, day)

    def rejected(self, reason: str, count: int = 1) -> None:
        """Records dead-lettered for a reason of `Reject`."""
        self._counts.add("rejected", str(reason), count)

    def decisions(self, day: int, counts: Sequence[int] | npt.NDArray[np.integer[Any]]) -> None:
        """First decisions by `Action`, five counts; repeats do not count again."""
        for label, count in zip(_ACTIONS, counts, strict=True):
            if count:
                self._counts.add("decisions", label, int(count), day)

    def anomalies(self, *, payer: int = 0, payee: int = 0) -> None:
        """Payments on which the anomaly model gave a reason, by side."""
        self._counts.add("anomaly", "payer", payer)
        self._counts.add("anomaly", "payee", payee)

    def rules(
        self,
        keys: tuple[str, ...],
        shadow: npt.NDArray[np.bool_],
        evaluated: int,
        fired: npt.NDArray[np.integer[Any]],
        not_evaluable: npt.NDArray[np.integer[Any]],
    ) -> None:
        """Add a batch's rule results; two array additions while the pack stays the same.

        Parameters
        ----------
        keys : tuple of str, length R
            Rule models with version; pass the same tuple each time.
        shadow : ndarray of bool, shape (R,)
            Rules in state `shadow`, tallied apart; pass the same array each time, and never change it.
        evaluated : int
            Payments in the batch.
        fired, not_evaluable : ndarray of int, shape (R,)
            Payments of the batch on which each rule fired, or had a missing value.
        """
        if keys is not self._rule_keys or shadow is not self._rule_shadow:
            self._fold()
            self._rule_keys, self._rule_shadow = keys, shadow
            self._rule_sums = np.zeros((2, len(keys)), np.int64)
        self._rule_sums[0] += fired
        self._rule_sums[1] += not_evaluable
        self._rule_evaluated += evaluated

    def _fold(self) -> DayCounts:
        if self._rule_evaluated:
            evaluated, self._rule_evaluated = self._rule_evaluated, 0
            for key, shadow, fired, missing in zip(
                self._rule_keys, self._rule_shadow.tolist(), *self._rule_sums.tolist(), strict=True
            ):
                self._counts.add("evaluated", key, evaluated)
                self._counts.add("shadow_fired" if shadow else "fired", key, fired)
                self._counts.add("not_evaluable", key, missing)
            self._rule_sums[:] = 0
        return self._counts

    def intercepted(self, day: int, amount: float) -> None:
        """A payment's first decision was delay, hold or stop.

        Parameters
        ----------
        day : int
            Bank-local day of the payment's event time, as the warning counts it.
        amount : float
            In base currency.
        """
        self._counts.add("intercepted", "total", cents(amount), day)

    # -- warnings: the port the warning book counts through --------------------------------------------

    def warned(self, what: str, day: int, severity: Severity, rules: Iterable[str]) -> None:
        """A warning was opened, updated, escalated or closed: once overall, once for each rule concerned."""
        self._counts.add("warnings", what, 1, day)
        for rule in rules:
            self._counts.add("warnings_by_rule", f"{what}|{severity.label}|{rule}", 1)

    def joined(self, day: int, rules: Iterable[str]) -> None:
        """Rules joined a pending warning opened on `day`."""
        for rule in rules:
            self._counts.add("hits_by_rule", f"{Standing.PENDING}|{rule}", 1, day)

    def entered(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        """A warning now has this standing: once overall, once for each rule on it, with its amounts."""
        self._move(1, standing, day, rules, intercepted)

    def left(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        """Take back exactly what `entered` counted; so corrections may lower a figure."""
        self._move(-1, standing, day, rules, intercepted)

    def _move(
        self, sign: int, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        self._counts.add("hits", standing.value, sign, day)
        for rule in rules:
            self._counts.add("hits_by_rule", f"{standing}|{rule}", sign, day)
        part = _SPLIT.get(standing)
        if part is not None:
            for payment_day, amount in intercepted.items():
                self._counts.add("intercepted", part, sign * amount, payment_day)

    def disposed(self, outcome: Outcome, day: int) -> None:
        """A disposition was taken in, whether or not a newer one stays in force."""
        self._counts.add("dispositions", outcome.value, 1, day)

    def refused(self, verdict: str) -> None:
        """A disposition was not taken in: duplicate, unknown warning or wrong account."""
        self._counts.add("dispositions_refused", str(verdict), 1)

    # -- reading ---------------------------------------------------------------------------------------

    def counts(self, family: str) -> dict[str, int]:
        """Counts of a family by name; zeros are left out.

        Families: events, rejected, decisions, anomaly, evaluated, fired, not_evaluable, shadow_fired,
        warnings, warnings_by_rule, hits, hits_by_rule, dispositions, dispositions_refused, intercepted
        (hundredths of the base currency).
        """
        return self._fold().of(family)

    def hit_rate(self) -> HitRate:
        """Overall: a warning once."""
        hits = self._counts.of("hits")
        return HitRate(**{standing.value: hits.get(standing.value, 0) for standing in Standing})

    def hit_rates_by_rule(self) -> dict[str, HitRate]:
        """By rule model and version (the anomaly model as `anomaly`), in order of name."""
        rates: dict[str, dict[str, int]] = {}
        for name, count in self._counts.of("hits_by_rule").items():
            standing, rule = name.split("|", 1)
            rates.setdefault(rule, {})[standing] = count
        return {rule: HitRate(**rates[rule]) for rule in sorted(rates)}

    def warnings_by_rule(self) -> Iterator[WarningCount]:
        """What was done to warnings, by rule model with version and by severity."""
        for name, count in sorted(self._counts.of("warnings_by_rule").items()):
            what, severity, rule = name.split("|", 2)
            yield WarningCount(what, severity, rule, count)

    def intercepted_amount(self) -> Intercepted:
        """Amount intercepted, and how dispositions have split it."""
        parts = self._counts.of("intercepted")
        return Intercepted(*(parts.get(part, 0) / 100 for part in Intercepted._fields))

    def window(self, today: int, days: int) -> Tallies:
        """Figures of the last `days` bank-local days, `today` included.

        A pending warning counts on the day it was opened, an expired one on that of its expiry, a disposed
        one on that of the disposition in force; an amount, and its split, on that of the payment.
        """
        result = Tallies()
        result._counts = self._counts.window(today, days)
        return result

    @classmethod
    def totals(cls, parts: Iterable[Tallies]) -> Tallies:
        """Sum over partitions for all time, without the days, which after a year are most of the work."""
        result = cls()
        for part in parts:
            result._counts.merge_totals(part._fold())
        return result

    @classmethod
    def merge(cls, parts: Iterable[Tallies]) -> Tallies:
        """Sum over partitions."""
        result = cls()
        for part in parts:
            result._counts.merge(part._fold())
        return result

    def __eq__(self, other: object) -> bool:
        return self._fold() == other._fold() if isinstance(other, Tallies) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    # -- state -----------------------------------------------------------------------------------------

    def take_dirty(self) -> list[tuple[bytes, bytes | None]]:
        """Changed records since the last call: the totals, and each changed day by itself."""
        return self._fold().take_dirty()

    def keys(self) -> list[int | None]:
        """What there are records of: the totals (None), and each day."""
        return [None, *self._fold().days]

    def stored(self, days: Iterable[int | None]) -> list[tuple[bytes, bytes]]:
        """Records of some days and (None) of the totals, as `take_dirty` gives them."""
        return self._fold().stored(days)

    def load(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take in what `take_dirty` gave, in place; the newest value of a key wins.

        Raises
        ------
        ValueError
            If a record was not written by this version.
        """
        self._counts.load(items)

    def to_bytes(self) -> bytes:
        """Everything in one JSON record."""
        return self._fold().to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Tallies:
        """Tallies of `to_bytes`. Raises ValueError on another version's record."""
        result = cls()
        result._counts = DayCounts.from_bytes(data)
        return result
