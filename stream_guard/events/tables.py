"""Payments that come as columns, a recorded history's, held to what a record's value is held to.

Whole columns are compared with the bounds of `Transaction`; only where something may be wrong are the
payments written as JSON and parsed record by record, so that the very same ones are refused, for the same
reasons.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, get_args

import numpy as np
import orjson

from stream_guard.detection.vocabulary import Rejection
from stream_guard.events.messages import EARLIEST_MS, LATEST_MS, MAX_AMOUNT, MAX_BALANCE, MAX_ID, Kind
from stream_guard.events.oddities import plain_texts
from stream_guard.events.parsing import DEFAULT_CURRENCY, UNKNOWN_LABEL, parse_transactions

Columns = dict[str, list[Any]]

_IDS: Final = ("event_id", "account", "counterparty", "device_id", "ip")
_LABELS: Final = ("type", "channel")
_KINDS: Final = ("payer_kind", "payee_kind")
_REQUIRED: Final = ("event_id", "ts", "account", "counterparty", "amount")
_BOUNDS: Final = {
    "amount": (0.0, MAX_AMOUNT),
    "payer_balance_before": (-MAX_BALANCE, MAX_BALANCE),
    "payee_balance_before": (-MAX_BALANCE, MAX_BALANCE),
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 180.0),
}
_PARTY_KINDS: Final = frozenset(get_args(Kind))


def parse_columns(
    columns: Mapping[str, Sequence[Any]], default_currency: str = DEFAULT_CURRENCY
) -> tuple[Columns, list[int], list[Rejection]]:
    """Payments of a batch of columns, as `parse_transactions` would give them.

    Parameters
    ----------
    columns
        Values by canonical field, None where a payment has none; the required ones must be there.
    default_currency
        Currency of payments that name none.

    Returns
    -------
    columns
        Of the payments accepted, in order, with `currency`, `type` and `channel` filled in.
    kept
        Their indices in what was given.
    rejections
        What was refused, by index.

    Examples
    --------
    >>> good = dict(event_id="e1", ts=1795483800250, account="a", counterparty="b", amount=5.0)
    >>> columns, kept, refused = parse_columns({name: [value, value] for name, value in good.items()})
    >>> columns["currency"], kept, refused
    (['CNY', 'CNY'], [0, 1], [])
    >>> parse_columns({**columns, "amount": [5.0, -5.0]})[2][0].message
    'amount must be greater than 0, not -5'
    """
    n = len(columns["event_id"])
    if _surely_fine(columns):
        kept = list(range(n))
        out = {name: list(values) for name, values in columns.items()}
        refused: list[Rejection] = []
    else:
        names = list(columns)
        rows = zip(*columns.values(), strict=True)
        given = (
            {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows
        )
        events, kept, refused = parse_transactions([orjson.dumps(row) for row in given], default_currency)
        out = {name: [event.get(name) for event in events] for name in names}
    for name, default in (
        ("currency", default_currency),
        ("type", UNKNOWN_LABEL),
        ("channel", UNKNOWN_LABEL),
    ):
        values = out.get(name)
        if values is None:
            out[name] = [default] * len(kept)
        elif None in values:
            out[name] = [default if value is None else value for value in values]
    return out, kept, refused


def _surely_fine(columns: Mapping[str, Sequence[Any]]) -> bool:
    """Whether no payment can be refused; a no may be wrong."""
    if not len(columns["event_id"]):
        return True
    if any(None in columns[name] for name in _REQUIRED):
        return False
    ts = np.array(columns["ts"], np.int64)
    if ts.min() < EARLIEST_MS or ts.max() >= LATEST_MS:
        return False
    for name, (low, high) in _BOUNDS.items():
        if name in columns and not _inside(columns[name], low, high):
            return False
    for name in _IDS:
        if name in columns and not _plain(_known(columns[name])):
            return False
    for name in _LABELS:
        if name in columns and not _plain(set(_known(columns[name]))):
            return False
    for name in _KINDS:
        if name in columns and not set(_known(columns[name])) <= _PARTY_KINDS:
            return False
    currencies = set(_known(columns.get("currency", ())))
    return all(len(text) == 3 and text.isascii() and text.isalpha() and text.isupper() for text in currencies)


def _known(values: Sequence[Any]) -> Sequence[Any]:
    return [value for value in values if value is not None] if None in values else values


def _inside(values: Sequence[float | None], low: float, high: float) -> bool:
    numbers = np.array(values, np.float64)
    missing = int(np.isnan(numbers).sum())
    return int(((numbers > low) & (numbers < high)).sum()) + missing == len(numbers)


def _plain(texts: Collection[str]) -> bool:
    sizes = set(map(len, texts))
    return not sizes or (min(sizes) >= 1 and max(sizes) <= MAX_ID and plain_texts(texts))
