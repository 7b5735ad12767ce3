"""The words of the product: actions, severities, sides, outcomes, reasons for refusing an event."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple


class Action(IntEnum):
    """What core banking does with one payment, in rising order."""

    ALLOW = 0
    CONFIRM = 1
    DELAY = 2
    HOLD = 3
    STOP = 4

    @property
    def label(self) -> str:
        """Name as written in messages.

        Examples
        --------
        >>> Action.HOLD.label
        'hold'
        """
        return self.name.lower()

    @classmethod
    def parse(cls, label: str) -> Action:
        """Action of a label.

        Examples
        --------
        >>> Action.parse("delay") is Action.DELAY
        True
        """
        return cls[label.upper()]


class Severity(IntEnum):
    """How serious a warning is; the order decides what counts as an escalation."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """Name as written in messages."""
        return self.name.lower()


class Side(StrEnum):
    """One of the two accounts of a payment."""

    PAYER = "payer"
    PAYEE = "payee"


class RuleState(StrEnum):
    """How a rule model takes part."""

    LIVE = "live"
    """Counts in scores, actions and warnings."""
    SHADOW = "shadow"
    """Evaluated and tallied apart; never touches a score, an action or a warning."""
    OFF = "off"
    """Not evaluated."""


class RuleSource(StrEnum):
    """Who answers for a rule model; only police rules may ask for a stop."""

    BANK = "bank"
    POLICE = "police"


class PartyKind(StrEnum):
    """What a party of a payment is; only accounts have a profile."""

    ACCOUNT = "account"
    MERCHANT = "merchant"
    CASH = "cash"
    EXTERNAL = "external"


class Outcome(StrEnum):
    """An investigator's finding about a warning."""

    CONFIRMED = "confirmed"
    FALSE_POSITIVE = "false_positive"
    INCONCLUSIVE = "inconclusive"


class Role(StrEnum):
    """What a confirmed account was in the fraud; only a mule becomes a risk signal."""

    MULE = "mule"
    VICTIM = "victim"


class SignalKind(StrEnum):
    """What a risk signal names."""

    ACCOUNT = "account"
    DEVICE = "device"
    IP = "ip"


class SignalSource(StrEnum):
    """Who put a risk signal on the list."""

    POLICE = "police"
    BANK = "bank"
    DISPOSITION = "disposition"
    SHARING = "sharing"


class Reject(StrEnum):
    """Stable code of why an event was refused; the ``reason`` header of a dead letter."""

    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    INVALID = "invalid"
    """A field is missing, of the wrong type or out of its bounds; the message names it."""
    BAD_TEXT = "bad_text"
    """An id with control or bidirectional characters, which could deceive who reads a warning."""
    UNKNOWN_CURRENCY = "unknown_currency"
    WRONG_KEY = "wrong_key"
    WRONG_PARTITION = "wrong_partition"
    FUTURE = "future"
    TOO_OLD = "too_old"
    CONFLICTING_ID = "conflicting_id"
    UNKNOWN_WARNING = "unknown_warning"
    WRONG_ACCOUNT = "wrong_account"
    PROCESSING_FAILED = "processing_failed"
    """Our own defect met this record; it got the fallback decision."""


class Rejection(NamedTuple):
    """One refused event of a batch."""

    index: int  # type: ignore[assignment]  # a field of this name hides the method of tuples
    reason: Reject
    message: str
