"""What an investigator's disposition does: it closes or corrects a warning, and lists or delists a mule."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Protocol

import orjson

from stream_guard.alerts import Alert
from stream_guard.detection.vocabulary import Outcome, Role, SignalKind, SignalSource
from stream_guard.detection.warned_account import LISTING_MS, Listing
from stream_guard.detection.warning_book import WarningBook
from stream_guard.feedback.tallies import Tallies

MULE_LEVEL = 90
"""Level (1-100) of the risk signal a confirmed mule becomes; 100 is left for the police to say."""


class DispositionLike(Protocol):
    """What is read of a disposition message."""

    @property
    def disposition_id(self) -> str:
        """Its own id."""
        ...

    @property
    def warning_id(self) -> str:
        """The warning it is about."""
        ...

    @property
    def account(self) -> str:
        """The warned account."""
        ...

    @property
    def outcome(self) -> Outcome:
        """What was found."""
        ...

    @property
    def role(self) -> Role | None:
        """What the account was; given with `confirmed`."""
        ...

    @property
    def ts(self) -> int:
        """When it was found, milliseconds since 1970."""
        ...


class Verdict(StrEnum):
    """What became of a disposition."""

    COUNTED = "counted"
    """It is in force now."""
    SUPERSEDED = "superseded"
    """Taken in, but a newer one stays in force."""
    DUPLICATE = "duplicate"
    """The warning has had this `disposition_id` before."""
    UNKNOWN_WARNING = "unknown_warning"
    """For dead-letters: no such warning is kept here."""
    WRONG_ACCOUNT = "wrong_account"
    """For dead-letters: the warning is about another account."""


class SignalRecord(NamedTuple):
    """A record for the risk-signal topic; no value withdraws the signal."""

    key: bytes
    value: bytes | None


class Disposed(NamedTuple):
    """What a disposition leads to."""

    verdict: Verdict
    alerts: list[Alert]
    signal: SignalRecord | None


def dispose(
    book: WarningBook,
    tallies: Tallies,
    disposition: DispositionLike,
    stream_ts: int,
    *,
    listed_by: SignalSource | None,
) -> Disposed:
    """Give a warning its outcome, or correct it.

    Parameters
    ----------
    book : WarningBook
        Warnings of the account's partition.
    tallies : Tallies
        The ones the book counts in.
    disposition : DispositionLike
        Checked already; `ts` may lie before or after the stream time.
    stream_ts : int
        Newest event time of the partition, milliseconds.
    listed_by : SignalSource or None
        Who wrote the signal that the topic holds now under ``account:<id>``. The topic keeps one record a
        key, so a listing by anybody else is neither overwritten nor withdrawn; only that it shares a device
        counts for less than that it is a mule.

    Returns
    -------
    Disposed
        `alerts` may hold the expiry of the warning before its late disposition.

    Raises
    ------
    ValueError
        If a confirmed disposition says no role.
    """
    if disposition.outcome is Outcome.CONFIRMED and disposition.role is None:
        raise ValueError("a confirmed disposition needs a role (mule or victim): refuse it where it is read")
    account = disposition.account.encode()
    alerts = book.advance(account, stream_ts)
    warning = book.find(account, disposition.warning_id)
    if warning is None:
        known = book.owner(disposition.warning_id) is not None
        verdict = Verdict.WRONG_ACCOUNT if known else Verdict.UNKNOWN_WARNING
    elif disposition.disposition_id in warning.disposition_ids:
        verdict = Verdict.DUPLICATE
    else:
        verdict = Verdict.COUNTED
    if warning is None or verdict is not Verdict.COUNTED:
        tallies.refused(verdict)
        return Disposed(verdict, alerts, None)

    warning.remember(disposition.disposition_id)
    book.mark(account)
    tallies.disposed(disposition.outcome, book.day_of(disposition.ts))
    # The id decides between equal times, so that the order of arrival never matters.
    disposed = (disposition.ts, disposition.disposition_id)
    if warning.disposed is not None and disposed < warning.disposed:
        return Disposed(Verdict.SUPERSEDED, alerts, None)
    before = book.listing(account)
    alerts += book.settle(warning, disposition.outcome, disposition.role, disposed, stream_ts)
    after = book.listing(account)
    ours = listed_by in (None, SignalSource.DISPOSITION)
    ours = ours or (listed_by is SignalSource.SHARING and after is not None)
    signal = _signal(disposition.account, after) if ours and before != after else None
    return Disposed(Verdict.COUNTED, alerts, signal)


def _signal(account: str, listing: Listing | None) -> SignalRecord:
    """Record that lists a mule from the disposition on for a year, or withdraws the listing."""
    key = f"{SignalKind.ACCOUNT}:{account}".encode()
    if listing is None:
        return SignalRecord(key, None)
    value = {
        "kind": SignalKind.ACCOUNT,
        "id": account,
        "level": MULE_LEVEL,
        "source": SignalSource.DISPOSITION,
        "reason": f"confirmed mule, warning {listing.warning_id}",
        "valid_from": listing.since,
        "valid_to": listing.since + LISTING_MS,
    }
    return SignalRecord(key, orjson.dumps(value))
