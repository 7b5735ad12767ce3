"""One warning: an opened case about an account, grouped over the payments that speak against it."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from stream_guard.alerts import EVENT_IDS_KEPT, Alert, AlertStatus, ClosedBy, Reason
from stream_guard.detection.findings import Finding
from stream_guard.detection.vocabulary import Outcome, Role, Severity, Side

KEEP_MS = 90 * 86_400_000
"""Closed warnings are kept that long and accept dispositions."""
REASONS_KEPT = 64
"""An alert carries that many reasons at most, the highest scores; the rules themselves are all remembered."""
EVENTS_REMEMBERED = 64
"""A payment is known again among the warning's last 64, as in the account's ring."""
DISPOSITIONS_REMEMBERED = 64
"""A disposition id is known again among the warning's last 64."""

_reasons = TypeAdapter(list[Reason])


class Standing(StrEnum):
    """Where a warning stands in the hit rate."""

    PENDING = "pending"
    EXPIRED = "expired"
    CONFIRMED = "confirmed"
    FALSE_POSITIVE = "false_positive"
    INCONCLUSIVE = "inconclusive"


def cents(amount: float) -> int:
    """Amount in hundredths, so that sums are exact whatever the order of adding.

    Examples
    --------
    >>> cents(0.1) + cents(0.2)
    30
    """
    return round(amount * 100)


@dataclass(slots=True)
class AccountWarning:
    """A warning in all its particulars; the record the state keeps.

    Times are milliseconds of stream time unless said otherwise.
    """

    warning_id: str
    account: str
    side: Side
    """Of the account in the event that opened the warning."""
    opened_at: int
    updated_at: int
    standing_day: int
    """Bank-local day the standing is tallied under: of opening, expiry, or the disposition in force."""
    pack: str
    severity: Severity
    score: float = 0.0
    revision: int = 0
    cents: int = 0
    rules: list[str] = field(default_factory=list)
    """Every rule model and version that ever joined, in order of joining."""
    reasons: dict[str, Reason] = field(default_factory=dict)
    """Newest reason by rule model and version."""
    events: list[tuple[int, str]] = field(default_factory=list)
    """Event time and id of the newest 20, oldest first."""
    seen: dict[int, bool] = field(default_factory=dict)
    """Hash of each of the last 64 events, and whether its amount was counted as intercepted."""
    intercepted: dict[int, int] = field(default_factory=dict)
    """Hundredths intercepted, by bank-local day of the payment."""
    closed_at: int | None = None
    closed_by: ClosedBy | None = None
    outcome: Outcome | None = None
    role: Role | None = None
    disposed: tuple[int, str] | None = None
    """`ts` and id of the disposition in force; the greater pair wins."""
    disposition_ids: list[str] = field(default_factory=list)
    silent_until: int | None = None
    """After a false positive: until when the same rules open nothing new on the account."""

    @property
    def is_open(self) -> bool:
        """Whether neither a disposition nor its expiry has closed it."""
        return self.closed_at is None

    @property
    def standing(self) -> Standing:
        """Where it stands in the hit rate."""
        if self.outcome is not None:
            return Standing(self.outcome.value)
        return Standing.PENDING if self.is_open else Standing.EXPIRED

    @property
    def keep_until(self) -> int | None:
        """Stream time at which it is forgotten; None while open."""
        return None if self.closed_at is None else max(self.closed_at + KEEP_MS, self.silent_until or 0)

    @property
    def mule_since(self) -> int | None:
        """`ts` of the disposition that found the account a mule, where that is in force."""
        if self.disposed is None or self.outcome is not Outcome.CONFIRMED or self.role is not Role.MULE:
            return None
        return self.disposed[0]

    def add(self, finding: Finding, payment_day: int) -> list[str]:
        """Take in a payment; the rules that were not on the warning before.

        Parameters
        ----------
        finding : Finding
            Of this account, with at least one reason.
        payment_day : int
            Bank-local day of the payment.

        Returns
        -------
        list of str
            Rules that joined, in order of the finding's reasons.
        """
        self.score = max(self.score, finding.score)
        self.pack = finding.pack
        joined = [key for key in dict.fromkeys(r.key for r in finding.reasons) if key not in self.rules]
        self.rules += joined
        for reason in finding.reasons:
            self.reasons[reason.key] = reason
        while len(self.reasons) > REASONS_KEPT:
            del self.reasons[min(self.reasons, key=lambda key: (self.reasons[key].score, key))]
        self._count(finding, payment_day)
        return joined

    def _count(self, finding: Finding, payment_day: int) -> None:
        """Add the payment's amount once, though an account that pays itself is met twice."""
        counted = self.seen.pop(finding.event_hash, None)
        if counted is None:
            self.cents += cents(finding.amount)
            bisect.insort_right(self.events, (finding.ts, finding.event_id), key=lambda event: event[0])
            del self.events[:-EVENT_IDS_KEPT]
        if finding.intercepted and not counted:
            self.intercepted[payment_day] = self.intercepted.get(payment_day, 0) + cents(finding.amount)
        self.seen[finding.event_hash] = bool(counted) or finding.intercepted
        if len(self.seen) > EVENTS_REMEMBERED:
            del self.seen[next(iter(self.seen))]

    def remember(self, disposition_id: str) -> None:
        """Know a disposition again."""
        self.disposition_ids.append(disposition_id)
        del self.disposition_ids[:-DISPOSITIONS_REMEMBERED]

    def covers(self, rules: Iterable[str], severity: Severity, stream_ts: int) -> bool:
        """Whether a false positive on this warning silences a finding of these rules and this severity."""
        return (
            self.silent_until is not None
            and stream_ts < self.silent_until
            and severity <= self.severity
            and set(rules) <= set(self.rules)
        )

    def revise(self, status: AlertStatus, at: int) -> Alert:
        """Count the revision up and tell it.

        Parameters
        ----------
        status : AlertStatus
        at : int
            Stream time of the change.

        Returns
        -------
        Alert
        """
        self.revision += 1
        self.updated_at = max(self.updated_at, at)
        return Alert(
            warning_id=self.warning_id,
            revision=self.revision,
            account=self.account,
            side=self.side,
            status=status,
            severity=self.severity.label,
            score=self.score,
            reasons=sorted(self.reasons.values(), key=lambda r: (-r.score, r.rule, r.version)),
            event_ids=[event_id for _, event_id in reversed(self.events)],
            amount=self.cents / 100,
            opened_at=self.opened_at,
            updated_at=self.updated_at,
            closed_by=self.closed_by,
            outcome=self.outcome,
            pack=self.pack,
        )

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; `from_record` gives the same warning again."""
        record: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        record["severity"] = int(self.severity)
        record["reasons"] = list(self.reasons.values())
        record["seen"] = list(self.seen.items())
        record["intercepted"] = list(self.intercepted.items())
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> AccountWarning:
        """Warning of a record.

        Raises
        ------
        TypeError, ValueError, KeyError
            If the record is not one of `to_record`.
        """
        reasons = _reasons.validate_python(record["reasons"])
        changed: dict[str, Any] = {
            "side": Side(record["side"]),
            "severity": Severity(record["severity"]),
            "reasons": {reason.key: reason for reason in reasons},
            "events": [(ts, event_id) for ts, event_id in record["events"]],
            "seen": dict(record["seen"]),
            "intercepted": dict(record["intercepted"]),
            "closed_by": None if record["closed_by"] is None else ClosedBy(record["closed_by"]),
            "outcome": None if record["outcome"] is None else Outcome(record["outcome"]),
            "role": None if record["role"] is None else Role(record["role"]),
            "disposed": None if record["disposed"] is None else tuple(record["disposed"]),
        }
        return cls(**{**record, **changed})
