"""Payments as columns, and the balances that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.simulation.bank import CITIES, Bank, Index, Party

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

TYPES = ("transfer", "purchase", "salary", "rent", "bill", "refund")
CHANNELS = ("mobile", "card", "online", "counter", "batch")
SELF_SERVICE = range(3)
"""Positions of the channels where the payer's own device speaks."""
KINDS = tuple(party.kind for party in Party)

RESERVE = 2_000.0
"""What is left in an account when it is at its lowest, so that no payment is made without cover."""


class Ledger(NamedTuple):
    """Payments, one a row.

    Attributes
    ----------
    ts
        Event time, epoch milliseconds.
    payer, payee
        Rows of the :class:`~stream_guard.simulation.bank.Bank`.
    amount
        In base currency, two decimals.
    type, channel
        Positions in :data:`TYPES` and :data:`CHANNELS`.
    payer_balance, payee_balance
        Just before the payment; NaN where the party has no account, or not known yet.
    device, address
        Row of the account whose device and address it comes from; -1: the payer's own.
    latitude, longitude
        Degrees; NaN where nobody knows.
    group
        Number of the episode the payment belongs to; 0 for everyday life.
    fraud
        1 when the payment is part of a fraud.
    """

    ts: Times
    payer: Index
    payee: Index
    amount: Floats
    type: npt.NDArray[np.uint8]
    channel: npt.NDArray[np.uint8]
    payer_balance: Floats
    payee_balance: Floats
    device: Index
    address: Index
    latitude: Floats
    longitude: Floats
    group: Index
    fraud: npt.NDArray[np.uint8]


def everyday(
    ts: Times,
    payer: npt.NDArray[Any],
    payee: npt.NDArray[Any],
    amount: npt.NDArray[Any],
    type_: str,
    channel: str | npt.NDArray[np.uint8],
) -> Ledger:
    """Payments of everyday life, all of one type; amounts are rounded and at least 1."""
    count = len(ts)
    channels = (
        np.full(count, CHANNELS.index(channel), np.uint8)
        if isinstance(channel, str)
        else channel.astype(np.uint8)
    )
    return Ledger(
        ts=np.asarray(ts, np.int64),
        payer=np.asarray(payer, np.int32),
        payee=np.asarray(payee, np.int32),
        amount=np.maximum(1.0, np.round(np.asarray(amount, np.float64), 2)),
        type=np.full(count, TYPES.index(type_), np.uint8),
        channel=channels,
        payer_balance=np.full(count, np.nan),
        payee_balance=np.full(count, np.nan),
        device=np.full(count, -1, np.int32),
        address=np.full(count, -1, np.int32),
        latitude=np.full(count, np.nan),
        longitude=np.full(count, np.nan),
        group=np.zeros(count, np.int32),
        fraud=np.zeros(count, np.uint8),
    )


def concatenate(parts: Sequence[Ledger]) -> Ledger:
    """All payments of `parts`, in their order."""
    return Ledger(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def take(ledger: Ledger, rows: npt.NDArray[Any]) -> Ledger:
    """The payments of a mask or of row numbers."""
    return Ledger(*(column[rows] for column in ledger))


def in_order(ledger: Ledger) -> Ledger:
    """The payments by event time; those of the same millisecond keep their order."""
    return take(ledger, np.argsort(ledger.ts, kind="stable"))


def with_balances(ledger: Ledger, bank: Bank) -> tuple[Ledger, Floats]:
    """Fill in the balances before each payment, and return the final balance of every row of the bank.

    Every account starts with what keeps it at or above :data:`RESERVE` all the time. A balance that is
    there already (an episode says what its account held) stays.

    Parameters
    ----------
    ledger
        In order of time.
    bank
        Whose rows the ledger names.
    """
    count = len(ledger.ts)
    party = np.concatenate([ledger.payer, ledger.payee])
    change = np.concatenate([-ledger.amount, ledger.amount])
    sequence = np.concatenate([np.arange(count), np.arange(count)])
    order = np.lexsort((sequence, party))
    running = np.cumsum(change[order])
    owner = party[order]
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    before_first = np.concatenate([[0.0], running])[first]
    per_leg = np.repeat(before_first, np.diff(np.append(first, len(owner))))
    after = running - per_leg
    lowest = np.zeros(len(bank))
    np.minimum.at(lowest, owner, after)
    opening = RESERVE - lowest
    before = np.empty(2 * count)
    before[order] = opening[owner] + after - change[order]
    final = opening.copy()
    np.add.at(final, party, change)
    is_account = bank.party <= Party.COMPANY
    return (
        ledger._replace(
            payer_balance=_fill(ledger.payer_balance, before[:count], is_account[ledger.payer]),
            payee_balance=_fill(ledger.payee_balance, before[count:], is_account[ledger.payee]),
        ),
        final,
    )


def with_places(ledger: Ledger, bank: Bank) -> Ledger:
    """Fill in where cards were used: around their owner's home, unless an episode says elsewhere."""
    card = (ledger.channel == CHANNELS.index("card")) & (bank.party[ledger.payer] <= Party.COMPANY)
    card &= np.isnan(ledger.latitude)
    home = np.array(CITIES)[bank.home[ledger.payer]]
    # A store stays where it is.
    around = np.stack([ledger.payee * 37 % 100, ledger.payee * 53 % 100], axis=1) / 1_000
    place = np.round(home + around, 3)
    return ledger._replace(
        latitude=np.where(card, place[:, 0], ledger.latitude),
        longitude=np.where(card, place[:, 1], ledger.longitude),
    )


def _fill(known: Floats, computed: Floats, is_account: npt.NDArray[np.bool_]) -> Floats:
    filled: Floats = np.where(is_account, np.where(np.isnan(known), np.round(computed, 2), known), np.nan)
    return filled


class Payment(NamedTuple):
    """One payment: a row of a :class:`Ledger` as plain numbers."""

    ts: int
    payer: int
    payee: int
    amount: float
    type: int
    channel: int
    payer_balance: float
    payee_balance: float
    device: int = -1
    address: int = -1
    latitude: float = float("nan")
    longitude: float = float("nan")


def payments(ledger: Ledger) -> Iterator[Payment]:
    """The rows of a ledger without their labels, as plain numbers."""
    return map(Payment, *(column.tolist() for column in ledger[: len(Payment._fields)]))


def device_of(name: str) -> str:
    """Id of an account's own device."""
    return f"D{name[1:]}"


def address_of(name: str) -> str:
    """An account's own address.

    Examples
    --------
    >>> address_of("A0070001"), address_of("B0000007")
    ('2001:db8:a::1:1171', '2001:db8:b::0:7')
    """
    number = int(name[1:])
    return f"2001:db8:{name[0].lower()}::{number >> 16:x}:{number & 0xFFFF:x}"


def message(payment: Payment, event_id: str, names: Sequence[str], parties: Sequence[int]) -> dict[str, Any]:
    """A payment as a transaction of the contract: no label is in it.

    Parameters
    ----------
    payment
        What is paid.
    event_id
        Its id.
    names, parties
        Columns of the bank as lists.

    Examples
    --------
    >>> nan = float("nan")
    >>> message(Payment(5, 0, 1, 9.5, 1, 1, 100.0, nan), "e1", ["A7", "EXT_1"], [0, 3])["device_id"]
    'D7'
    """
    ts, payer, payee, amount, type_, channel, payer_balance, payee_balance = payment[:8]
    made: dict[str, Any] = {
        "event_id": event_id,
        "ts": ts,
        "account": names[payer],
        "counterparty": names[payee],
        "amount": amount,
        "type": TYPES[type_],
        "channel": CHANNELS[channel],
    }
    if parties[payer] > Party.COMPANY:
        made["payer_kind"] = KINDS[parties[payer]]
    elif channel in SELF_SERVICE:
        made["device_id"] = device_of(names[payer if payment.device < 0 else payment.device])
        made["ip"] = address_of(names[payer if payment.address < 0 else payment.address])
    if parties[payee] > Party.COMPANY:
        made["payee_kind"] = KINDS[parties[payee]]
    if payment.latitude == payment.latitude:
        made["latitude"], made["longitude"] = payment.latitude, payment.longitude
    if payer_balance == payer_balance:
        made["payer_balance_before"] = payer_balance
    if payee_balance == payee_balance:
        made["payee_balance_before"] = payee_balance
    return made
