"""What comes in: the four messages a bank writes, checked strictly; nothing else parses a bank's JSON.

A failure is a value: every parser returns what it accepted beside a `Rejection` for what it did not, and
never raises on what a record holds. A rejection's message names the field and holds at most a few
characters of it, so that it may be logged.

What every parser refuses, whatever the message:

- a null value (but for a risk signal, which it withdraws), more than `MAX_BYTES`, bytes that are not
  UTF-8, text that is not JSON (``NaN`` and ``Infinity`` are not, nor is a lone surrogate), nesting
  deeper than 200;
- a field given twice: readers disagree about which one counts;
- a value of another type: ``"12"`` is not a number, ``true`` is not 1, ``1.0`` is not a whole number;
- text that a reader cannot see as it is: control, bidirectional, zero-width and other unprintable
  characters, and ids of blanks only.

Unknown fields are ignored, and ``null`` in an optional field means the same as leaving it out.
"""

from __future__ import annotations

from stream_guard.events.messages import (
    AccountUpdate,
    Disposition,
    RiskSignal,
    Transaction,
    Withdrawal,
    epoch_ms,
)
from stream_guard.events.parsing import (
    MAX_BYTES,
    parse_account_update,
    parse_disposition,
    parse_risk_signal,
    parse_transactions,
)
from stream_guard.events.schemas import SCHEMA_NAMES, schema
from stream_guard.events.tables import parse_columns

__all__ = [
    "MAX_BYTES",
    "SCHEMA_NAMES",
    "AccountUpdate",
    "Disposition",
    "RiskSignal",
    "Transaction",
    "Withdrawal",
    "epoch_ms",
    "parse_account_update",
    "parse_columns",
    "parse_disposition",
    "parse_risk_signal",
    "parse_transactions",
    "schema",
]
