"""Payments and legs of a batch as NumPy columns, the form in which all behind the parser handles events."""

from __future__ import annotations

from itertools import compress
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stream_guard.detection.features import FIRST_WIDTH

PAYER_ACCOUNT: Final = 1
PAYEE_ACCOUNT: Final = 2
REPEAT: Final = 4
"""Bits of `flags`: the payer, the payee is an account; the payer's row had counted the event before."""

I8 = npt.NDArray[np.int64]
I4 = npt.NDArray[np.int32]
F8 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint64]
U4 = npt.NDArray[np.uint32]
U1 = npt.NDArray[np.uint8]


class Payments(NamedTuple):
    r"""n accepted payments of one partition, in source order.

    Attributes
    ----------
    offset, produced
        Source offset and Kafka record timestamp (ms).
    ts, local
        Event time in epoch ms, and the same shifted by the bank's UTC offset.
    amount, amount_original
        In base currency, and as sent.
    payer, payee, event
        `hashing.text_hash` of the ids.
    content
        Hash of every other field: same event, other content is a conflict.
    device, ip
        Hashes; 0 if absent.
    flags
        Bits `PAYER_ACCOUNT`, `PAYEE_ACCOUNT`, and later `REPEAT`.
    payer_balance, payee_balance, latitude, longitude
        NaN if absent.
    type_code, channel_code, currency_code
        `hashing.text_code` of the texts.
    partition
        Where the leg goes: Kafka's partition of its key.
    payer_ids, leg_keys
        UTF-8. A leg's key is the payee; the payer if only that is an account.
    texts
        ``event_id \\0 payer \\0 payee \\0 currency``, UTF-8.
    """

    offset: I8
    produced: I8
    ts: I8
    local: I8
    amount: F8
    amount_original: F8
    payer: U8
    payee: U8
    event: U8
    content: U4
    device: U8
    ip: U8
    flags: U1
    payer_balance: F8
    payee_balance: F8
    latitude: F8
    longitude: F8
    type_code: F8
    channel_code: F8
    currency_code: F8
    partition: I4
    payer_ids: list[bytes]
    leg_keys: list[bytes]
    texts: list[bytes]


class Legs(NamedTuple):
    """n legs of one partition as the second hop receives them.

    Attributes
    ----------
    source_partition, offset, previous
        Where the payment was read, and the source offset sent to this partition before it (-1: none).
    stored_action
        For a repeat: the action the payer's row remembers.
    block
        float64[n, `FIRST_WIDTH`], the first hop's features.
    keys
        Record keys of the legs, UTF-8.
    produced, ts, local, amount, amount_original, payer, payee, event, content, device, ip, flags
        As in `Payments`.
    texts
        As in `Payments`; if part of the money is tainted, then how it came to the payer (`taint_paths`).
    """

    source_partition: I4
    offset: I8
    previous: I8
    produced: I8
    ts: I8
    amount: F8
    amount_original: F8
    payer: U8
    payee: U8
    event: U8
    content: U4
    device: U8
    ip: U8
    flags: U1
    stored_action: U1
    local: I8
    block: F8
    keys: list[bytes]
    texts: list[bytes]


Columns = TypeVar("Columns", Payments, Legs)


def size(columns: Payments | Legs) -> int:
    """Number of payments or legs (``len`` of a NamedTuple is its number of fields)."""
    return len(columns.ts)


def take(columns: Columns, which: npt.NDArray[Any]) -> Columns:
    """Some of the rows, in the order asked for.

    Parameters
    ----------
    which
        Boolean mask of n, or indices.
    """
    mask = which.dtype == np.bool_
    picked = which.tolist()
    out: list[Any] = []
    for column in columns:
        if isinstance(column, np.ndarray):
            out.append(column[which])
        elif mask:
            out.append(list(compress(column, picked)))
        else:
            out.append([column[i] for i in picked])
    return type(columns)(*out)


def part_of(columns: Columns, start: int, stop: int) -> Columns:
    """Rows `start` to `stop`, without copying the arrays."""
    out: list[Any] = [column[start:stop] for column in columns]
    return type(columns)(*out)


def legs_of(
    p: Payments, source_partition: int, stored_action: U1, block: F8, flags: U1 | None = None
) -> Legs:
    """The legs of a batch of payments, as the second hop would receive them.

    Parameters
    ----------
    p
        n payments of the first hop.
    source_partition
        Where they were read.
    stored_action, block
        What `Profiles.payer_hop` returned.
    flags
        uint8[n], `p.flags` with `REPEAT` added where the payer's row knows the event; default `p.flags`.

    Returns
    -------
    Legs
        With `previous` -1 throughout.
    """
    n = size(p)
    return Legs(
        source_partition=np.full(n, source_partition, np.int32),
        offset=p.offset,
        previous=np.full(n, -1, np.int64),
        produced=p.produced,
        ts=p.ts,
        amount=p.amount,
        amount_original=p.amount_original,
        payer=p.payer,
        payee=p.payee,
        event=p.event,
        content=p.content,
        device=p.device,
        ip=p.ip,
        flags=p.flags if flags is None else flags,
        stored_action=stored_action,
        local=p.local,
        block=block,
        keys=p.leg_keys,
        texts=p.texts,
    )


def empty_payments() -> Payments:
    """No payment at all."""
    i8, i4, f8 = np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float64)
    u8, u4, u1 = np.empty(0, np.uint64), np.empty(0, np.uint32), np.empty(0, np.uint8)
    numbers = (f8, f8, f8, f8, f8, f8, f8)
    return Payments(i8, i8, i8, i8, f8, f8, u8, u8, u8, u4, u8, u8, u1, *numbers, i4, [], [], [])


def empty_legs() -> Legs:
    """No leg at all.

    Examples
    --------
    >>> size(empty_legs())
    0
    """
    return legs_of(empty_payments(), 0, np.empty(0, np.uint8), np.empty((0, FIRST_WIDTH)))
