"""The warnings of one partition's accounts: opening, updating, closing, silence and forgetting.

Every time here is stream time (the newest event time the partition has seen), so that a history of years ago
replays as it would have run. Nothing depends on when `WarningBook.expire` is called: each entry point first
brings the account it touches up to date, and what falls due is dated by when it fell due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from stream_guard.alerts import Alert, AlertStatus, ClosedBy, warning_id
from stream_guard.detection.findings import Finding
from stream_guard.detection.vocabulary import Outcome, Role, Severity
from stream_guard.detection.warned_account import DAY_MS, Listing, WarnedAccount
from stream_guard.detection.warnings import AccountWarning, Standing

SILENCE_MS = 7 * DAY_MS
"""After a false positive the same rules open no new warning on the account for that long."""


class WarningPolicy(Protocol):
    """What the book asks the policy."""

    @property
    def warn_at(self) -> float:
        """Score of a side from which a warning is opened; default 50."""
        ...

    @property
    def warning_ttl_s(self) -> float:
        """Seconds after its opening when an undisposed warning expires; default 30 days."""
        ...

    def severity(self, score: float) -> Severity:
        """Severity of a score: low below 70, medium from 70, high from 85, critical from 95 by default."""
        ...


class WarningTally(Protocol):
    """Where the book counts what it does. Days are bank-local."""

    def warned(self, what: str, day: int, severity: Severity, rules: Iterable[str]) -> None:
        """A warning was `opened`, `updated`, `escalated`, `closed_by_disposition` or `closed_by_expiry`."""
        ...

    def joined(self, day: int, rules: Iterable[str]) -> None:
        """Rules joined a pending warning that was opened on `day`."""
        ...

    def entered(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        """A warning of these rules now stands here; `intercepted` is in hundredths by day of the payment."""
        ...

    def left(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        """Takes back what `entered` counted."""
        ...


class WarningBook:
    """Warnings of one partition.

    Parameters
    ----------
    policy : WarningPolicy
    tally : WarningTally
        Told of every change; its state is restored beside the book's.
    day_of : callable
        Bank-local day (days since 1970-01-01) of a time in milliseconds.
    """

    def __init__(self, policy: WarningPolicy, tally: WarningTally, day_of: Callable[[int], int]) -> None:
        self.day_of = day_of
        self._follow(policy)
        self._tally = tally
        self._accounts: dict[bytes, WarnedAccount] = {}
        self._owners: dict[str, bytes] = {}
        self._dirty: dict[bytes, None] = {}
        # Heap of (due, account), and the one valid due time of each account: other entries are stale.
        self._due: list[tuple[int, bytes]] = []
        self._scheduled: dict[bytes, int] = {}
        # When the open warning of an account was opened; most accounts kept have only closed ones.
        self._opened: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Accounts with an open warning."""
        return len(self._opened)

    @property
    def oldest(self) -> int | None:
        """When the oldest open warning was opened, milliseconds of stream time; None without one."""
        return min(self._opened.values(), default=None)

    # -- findings --------------------------------------------------------------------------------------

    def consider(self, finding: Finding, stream_ts: int) -> list[Alert]:
        """Let a finding open or update the account's warning.

        Parameters
        ----------
        finding : Finding
            With live reasons only; one without reasons changes nothing.
        stream_ts : int
            Newest event time of the partition up to and including this record, milliseconds.

        Returns
        -------
        list of Alert
            In the order they happened; empty where the finding is below `warn_at` without an open warning, is
            silenced, or tells nothing new.
        """
        if not finding.reasons:
            return []
        key = finding.account.encode()
        alerts = self.advance(key, stream_ts)
        account = self._accounts.get(key)
        warning = None if account is None else account.open
        if warning is not None:
            alerts += self._update(warning, finding, stream_ts)
            self._dirty[key] = None
        elif self._opens(account, finding, stream_ts):
            alerts.append(self._open(key, finding, stream_ts))
        return alerts

    def _opens(self, account: WarnedAccount | None, finding: Finding, stream_ts: int) -> bool:
        if finding.score < self._policy.warn_at and not finding.warn:
            return False
        if account is None:
            return True
        severity = self._policy.severity(finding.score)
        rules = [reason.key for reason in finding.reasons]
        return not any(warning.covers(rules, severity, stream_ts) for warning in account.warnings)

    def _open(self, key: bytes, finding: Finding, stream_ts: int) -> Alert:
        identity = warning_id(finding.account, finding.event_id)
        while identity in self._owners:
            # The event opened one before: an account that pays itself, or an event id used anew after months.
            identity = warning_id(finding.account, identity)
        severity = self._policy.severity(finding.score)
        day = self.day_of(stream_ts)
        warning = AccountWarning(
            warning_id=identity,
            account=finding.account,
            side=finding.side,
            opened_at=stream_ts,
            updated_at=stream_ts,
            standing_day=day,
            pack=finding.pack,
            severity=severity,
        )
        warning.add(finding, self.day_of(finding.ts))
        self._accounts.setdefault(key, WarnedAccount()).warnings.append(warning)
        self._owners[identity] = key
        self._touch(key)
        self._tally.warned("opened", day, severity, warning.rules)
        self._tally.entered(Standing.PENDING, day, warning.rules, {})
        return warning.revise(AlertStatus.OPENED, stream_ts)

    def _update(self, warning: AccountWarning, finding: Finding, stream_ts: int) -> list[Alert]:
        joined = warning.add(finding, self.day_of(finding.ts))
        self._tally.joined(warning.standing_day, joined)
        severity = self._policy.severity(warning.score)
        if severity > warning.severity:
            warning.severity = severity
            status, rules = AlertStatus.ESCALATED, list(dict.fromkeys(r.key for r in finding.reasons))
        elif joined:
            status, rules = AlertStatus.UPDATED, joined
        else:
            return []
        self._tally.warned(status.value, self.day_of(stream_ts), warning.severity, rules)
        return [warning.revise(status, stream_ts)]

    # -- what falls due --------------------------------------------------------------------------------

    def expire(self, stream_ts: int) -> list[Alert]:
        """Close what has waited too long and forget what was closed long ago.

        Costs one comparison while nothing is due.

        Parameters
        ----------
        stream_ts : int
            Newest event time of the partition, milliseconds.

        Returns
        -------
        list of Alert
            One for each warning that expired, by the time they fell due.
        """
        alerts = []
        while self._due and self._due[0][0] <= stream_ts:
            due, key = heapq.heappop(self._due)
            if self._scheduled.get(key) == due:
                del self._scheduled[key]
                alerts += self._settle_due(key, stream_ts)
        return alerts

    def advance(self, account: bytes, stream_ts: int) -> list[Alert]:
        """Bring one account up to date, as `expire` would.

        Returns
        -------
        list of Alert
            Of a warning that expired before now.
        """
        due = self._scheduled.get(account)
        return [] if due is None or due > stream_ts else self._settle_due(account, stream_ts)

    def _settle_due(self, key: bytes, stream_ts: int) -> list[Alert]:
        account = self._accounts[key]
        warning = account.open
        alerts = []
        if warning is not None and warning.opened_at + self._ttl_ms <= stream_ts:
            alerts.append(self._lapse(warning, warning.opened_at + self._ttl_ms))
        for forgotten in account.forget(stream_ts):
            del self._owners[forgotten.warning_id]
        self._touch(key)
        return alerts

    def _lapse(self, warning: AccountWarning, at: int) -> Alert:
        day = self.day_of(at)
        self._tally.left(Standing.PENDING, warning.standing_day, warning.rules, {})
        warning.closed_at, warning.closed_by, warning.standing_day = at, ClosedBy.EXPIRY, day
        self._tally.entered(Standing.EXPIRED, day, warning.rules, warning.intercepted)
        self._tally.warned("closed_by_expiry", day, warning.severity, warning.rules)
        return warning.revise(AlertStatus.CLOSED, at)

    def _touch(self, key: bytes) -> None:
        """Mark an account changed and note when something falls due on it next."""
        self._dirty[key] = None
        self._schedule(key)

    def _schedule(self, key: bytes) -> None:
        account = self._accounts[key]
        if account.open is None:
            self._opened.pop(key, None)
        else:
            self._opened[key] = account.open.opened_at
        due = account.next_due(self._ttl_ms)
        if due is None:
            del self._accounts[key]
            self._scheduled.pop(key, None)
        elif self._scheduled.get(key) != due:
            self._scheduled[key] = due
            heapq.heappush(self._due, (due, key))

    def use(self, policy: WarningPolicy) -> None:
        """Follow another policy from now on; open warnings expire by its life time."""
        self._follow(policy)
        self._reschedule()

    def _follow(self, policy: WarningPolicy) -> None:
        self._policy = policy
        self._ttl_ms = round(policy.warning_ttl_s * 1000)

    # -- dispositions (feedback.dispositions judges them) ----------------------------------------------

    def find(self, account: bytes, identity: str) -> AccountWarning | None:
        """Kept warning of an account, open or closed; call `advance` first."""
        if self._owners.get(identity) != account:
            return None
        return next(w for w in self._accounts[account].warnings if w.warning_id == identity)

    def owner(self, identity: str) -> bytes | None:
        """Account of a kept warning; None: unknown in this partition."""
        return self._owners.get(identity)

    def current(self, account: bytes) -> AccountWarning | None:
        """Open warning of an account."""
        entry = self._accounts.get(account)
        return None if entry is None else entry.open

    def listing(self, account: bytes) -> Listing | None:
        """Newest finding in force that the account is a mule, over its warnings of the last year."""
        entry = self._accounts.get(account)
        return None if entry is None else entry.listing

    def settle(
        self,
        warning: AccountWarning,
        outcome: Outcome,
        role: Role | None,
        disposed: tuple[int, str],
        stream_ts: int,
    ) -> list[Alert]:
        """Put an outcome in force: close the warning, or correct it if it is closed already.

        Parameters
        ----------
        warning : AccountWarning
            As `find` gave it.
        outcome, role
            As disposed.
        disposed : tuple of (int, str)
            `ts` and id of the disposition.
        stream_ts : int
            Newest event time of the partition, milliseconds.

        Returns
        -------
        list of Alert
            One, unless the outcome was the same before.
        """
        was_open, before = warning.is_open, warning.outcome
        self._tally.left(warning.standing, warning.standing_day, warning.rules, warning.intercepted)
        warning.outcome, warning.role, warning.disposed = outcome, role, disposed
        warning.standing_day = self.day_of(disposed[0])
        if outcome is not before:
            warning.silent_until = stream_ts + SILENCE_MS if outcome is Outcome.FALSE_POSITIVE else None
        if was_open:
            warning.closed_at, warning.closed_by = stream_ts, ClosedBy.DISPOSITION
            self._tally.warned(
                "closed_by_disposition", self.day_of(stream_ts), warning.severity, warning.rules
            )
        self._tally.entered(warning.standing, warning.standing_day, warning.rules, warning.intercepted)
        self._touch(warning.account.encode())
        return [warning.revise(AlertStatus.CLOSED, stream_ts)] if was_open or outcome is not before else []

    def mark(self, account: bytes) -> None:
        """Have an account written with the next flush; for a change that `settle` did not make."""
        self._dirty[account] = None

    # -- state -----------------------------------------------------------------------------------------

    def take_dirty(self) -> list[tuple[bytes, bytes | None]]:
        """Accounts changed since the last call, with their new value; None: nothing is left to keep."""
        taken: list[tuple[bytes, bytes | None]] = []
        for key in self._dirty:
            account = self._accounts.get(key)
            taken.append((key, None if account is None else account.to_bytes()))
        self._dirty.clear()
        return taken

    def keys(self) -> list[bytes]:
        """Accounts of which something is kept."""
        return list(self._accounts)

    def stored(self, accounts: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        """What is kept of some accounts now, as `take_dirty` gives it; nothing of others."""
        return [(key, self._accounts[key].to_bytes()) for key in accounts if key in self._accounts]

    def load(self, items: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take in what `take_dirty` gave; the newest value of an account wins. The tally is not told.

        Raises
        ------
        ValueError
            If a value was not written by this version of the book.
        """
        for key, value in items:
            for warning in self._accounts.pop(key, WarnedAccount()).warnings:
                del self._owners[warning.warning_id]
            if value is None:
                continue
            account = self._accounts[key] = WarnedAccount.from_bytes(value)
            self._owners.update((warning.warning_id, key) for warning in account.warnings)
        self._reschedule()

    def _reschedule(self) -> None:
        self._due, self._scheduled, self._opened = [], {}, {}
        for key in list(self._accounts):
            self._schedule(key)
