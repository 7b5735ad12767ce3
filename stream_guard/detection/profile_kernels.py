"""The kernels that count the payments of a batch in their accounts' rows and fill the feature matrix."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from stream_guard.detection import rows as row
from stream_guard.detection.batches import PAYEE_ACCOUNT, PAYER_ACCOUNT, REPEAT
from stream_guard.detection.features import DAY, FIRST_WIDTH, HOUR, INDEX, PAIR, PAYEE, PAYER, RING, TXN
from stream_guard.detection.figure_kernels import (
    add_to_day,
    add_to_night,
    balance_mean,
    facts,
    night_max,
    raise_to_days,
    totals,
    travel,
)
from stream_guard.detection.kernels import kernel
from stream_guard.detection.ring_kernels import (
    enter,
    find,
    latest_before,
    newest_not_after,
    night_in_ring,
    own_day,
    pair,
    place,
    same_device,
    supersede,
    windows,
)
from stream_guard.detection.row_kernels import mark_dirty
from stream_guard.detection.taint_kernels import arrive, leave, of_listed

I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]
U4 = npt.NDArray[np.uint32]
U1 = npt.NDArray[np.uint8]

COUNTED: Final = 0
SEEN: Final = 1
TOO_OLD: Final = 2
CONFLICT: Final = 3
"""What became of a leg. `SEEN`: the row knows the event, which is not counted again."""

_NIGHT_END: Final = 6 * HOUR
_NEAR: Final = 0.99
"""Typology 9: within 1 % below a limit."""


_OUT_MEAN: Final = INDEX["payer.out_mean"] - PAYER.start
_IN_MEAN: Final = INDEX["payer.in_mean"] - PAYER.start
_NIGHT: Final = INDEX["payer.out_night_max_90d"] - PAYER.start
_BALANCE: Final = INDEX["payer.balance_mean"] - PAYER.start
_HELD: Final = INDEX["payer.tainted"] - PAYER.start
_TAINTED: Final = INDEX["txn.tainted"]
_TAINT_HOPS: Final = INDEX["txn.taint_hops"]
_PAYEE_BALANCE: Final = INDEX["txn.payee_balance_before"]
_TRAVEL_KM: Final = INDEX["txn.travel_km"]
_TRAVEL_KMH: Final = INDEX["txn.travel_kmh"]
_TXN_AT: Final = TXN.start
_PAIR_AT: Final = PAIR.start
_PAYEE_AT: Final = PAYEE.start
_PAYEE_END: Final = PAYEE.stop


@kernel
def _count_leg(
    words: I8,
    floats: F8,
    t: int,
    local: int,
    out: int,
    amount: float,
    counterparty: int,
    event: int,
    device: int,
    content: int,
    strict: bool,
    horizon: int,
    limits: F8,
    small_amount: float,
    cells: F8,
    base: int,
    pair_base: int,
) -> tuple[int, int]:
    """Count one leg in its row and write the account block; (what became of it, action of its twin).

    `horizon` below 0: never too old.
    """
    day = local // DAY
    period = day // row.NIGHT_PERIOD_DAYS
    night = local - day * DAY < _NIGHT_END
    flags = 0
    if out:
        flags |= row.OUT
        if amount <= small_amount:
            flags |= row.SMALL
        if night:
            flags |= row.NIGHT
        for limit in limits:
            if limit * _NEAR <= amount < limit:
                flags |= row.NEAR_LIMIT
    twin = find(words, event, out, -1 if strict else content)
    if twin >= 0:
        tag = words[row.TAGS + twin]
        return SEEN if (tag & row.CONTENT_MASK) == content else CONFLICT, tag >> row.ACTION_SHIFT
    # By what the account has paid, not by what it received: with a backlog the partitions run apart, and a
    # leg from far ahead must not make the account's own payments too old.
    newest_out = words[row.NEWEST_OUT]
    if horizon >= 0 and newest_out != row.MISSING and t < newest_out - horizon:
        return TOO_OLD, 0

    newest = words[row.NEWEST]
    late = newest != row.MISSING and t < newest
    after = newest_not_after(words, t)
    latest = supersede(words, after, out, counterparty)
    block = cells[base:]
    also_latest = latest_before(words, after, out, counterparty) if late else 0
    windows(words, floats, t, after, also_latest, amount, flags | row.LATEST, block)
    same_device(words, floats, t, after, out, amount, counterparty, device, block)
    if pair_base >= 0:
        pair(words, floats, t, after, amount, counterparty, cells[pair_base:])
    active = words[row.TIMES + place(words, after)] if after >= 0 else row.MISSING
    facts(words, floats, t, day, active, block)
    totals(words, floats, row.OUT_TOTALS, amount if out else 0.0, block, _OUT_MEAN)
    totals(words, floats, row.IN_TOTALS, 0.0 if out else amount, block, _IN_MEAN)
    own_night = night_in_ring(words, floats, after, period) if late else 0.0
    block[_NIGHT] = night_max(words, floats, period, late, own_night)
    if night and out:
        add_to_night(words, floats, period, amount)

    stored_day = min(max(day, 0), row.DAY_MASK)
    oldest = words[row.TIMES + words[row.HEAD]] if words[row.DROPPED] > 0 else row.MISSING
    if words[row.USED] == RING:
        if words[row.DROPPED] == 0:
            # The first payment to leave: until now the ring knew every day, from here on the buckets must.
            for j in range(RING):
                tag = words[row.TAGS + j]
                way = (tag >> row.FLAGS_SHIFT) & row.OUT
                on_day = (tag >> row.DAY_SHIFT) & row.DAY_MASK
                add_to_day(words, floats, on_day, words[row.TIMES + j], way, floats[row.AMOUNTS + j])
        words[row.DROPPED] += 1
    own_counts, own_in, own_out = 0, 0.0, 0.0
    if late and oldest != row.MISSING:
        own_counts, own_in, own_out = own_day(words, floats, after, stored_day, out, amount)
    if latest:
        flags |= row.LATEST
    tag = content | (stored_day << row.DAY_SHIFT) | (flags << row.FLAGS_SHIFT)
    enter(words, floats, after, t, amount, counterparty, event, device, tag)
    if words[row.DROPPED] > 0:
        add_to_day(words, floats, stored_day, t, out, amount)
        raise_to_days(words, floats, t, stored_day, oldest, own_counts, own_in, own_out, block)
    if not late:
        words[row.NEWEST] = t
    if out and t > newest_out:
        words[row.NEWEST_OUT] = t
    if words[row.FIRST_TS] == row.MISSING or t < words[row.FIRST_TS]:
        words[row.FIRST_TS] = t
    return COUNTED, 0


@kernel
def payer_hop(
    words: I8,
    floats: F8,
    dirty: U1,
    dirty_rows: I8,
    counters: I8,
    rows: I8,
    ts: I8,
    local: I8,
    amount: F8,
    payee: I8,
    event: I8,
    device: I8,
    content: U4,
    balance: F8,
    latitude: F8,
    longitude: F8,
    level: F8,
    horizon: int,
    limits: F8,
    small_amount: float,
    status: U1,
    action: U1,
    block: F8,
) -> None:
    """Count n payments in their payers' rows (-1: no account); fill all that the rows say in `block`."""
    for i in range(ts.size):
        cells = block[i]
        r = rows[i]
        status[i] = COUNTED
        action[i] = 0
        cells[_TAINTED] = of_listed(amount[i], level[i])
        cells[_TAINT_HOPS] = 1.0 if cells[_TAINTED] > 0.0 else np.nan
        cells[_TRAVEL_KM] = np.nan
        cells[_TRAVEL_KMH] = np.nan
        if r >= 0:
            found, stored = _count_leg(
                words[r], floats[r], ts[i], local[i], row.OUT, amount[i], payee[i], event[i], device[i],
                int(content[i]), True, horizon, limits, small_amount, cells, 0, _PAIR_AT,
            )  # fmt: skip
            status[i] = found
            action[i] = stored
            if found == COUNTED:
                mark_dirty(r, dirty, dirty_rows, counters)
                cells[_HELD], cells[_TAINTED], cells[_TAINT_HOPS] = leave(
                    words[r], floats[r], ts[i], amount[i], balance[i], level[i]
                )
                cells[_BALANCE] = balance_mean(words[r], floats[r], ts[i], balance[i])
                cells[_TRAVEL_KM], cells[_TRAVEL_KMH] = travel(
                    words[r], floats[r], ts[i], latitude[i], longitude[i]
                )
        if r < 0 or status[i] != COUNTED:
            cells[:_TXN_AT] = np.nan
        if status[i] == COUNTED:
            counters[row.NEWEST_COUNTED] = max(counters[row.NEWEST_COUNTED], ts[i])


@kernel
def payee_hop(
    words: I8,
    floats: F8,
    dirty: U1,
    dirty_rows: I8,
    counters: I8,
    rows: I8,
    ts: I8,
    local: I8,
    amount: F8,
    payer: I8,
    event: I8,
    device: I8,
    content: U4,
    flags: U1,
    stored_action: U1,
    limits: F8,
    small_amount: float,
    status: U1,
    action: U1,
    led: U1,
    block: F8,
    matrix: F8,
) -> None:
    """Count n legs in their payees' rows (-1: no account); fill first-hop and payee columns of `matrix`.

    `led` gets the hop that `arrive` says, 0 where nothing arrived.
    """
    for i in range(ts.size):
        cells = matrix[i]
        for k in range(FIRST_WIDTH):
            cells[k] = block[i, k]
        r = rows[i]
        found = COUNTED
        stored = int(stored_action[i])
        led[i] = 0
        if flags[i] & REPEAT:
            found = SEEN
            twin = find(words[r], event[i], 0, int(content[i])) if r >= 0 else -1
            if twin >= 0:
                stored = max(stored, words[r, row.TAGS + twin] >> row.ACTION_SHIFT)
        elif r >= 0:
            strict = (flags[i] & PAYER_ACCOUNT) == 0
            found, twin_action = _count_leg(
                words[r], floats[r], ts[i], local[i], 0, amount[i], payer[i], event[i], device[i],
                int(content[i]), strict, -1, limits, small_amount, cells, _PAYEE_AT, -1,
            )  # fmt: skip
            stored = max(stored, twin_action)
            if found == COUNTED:
                mark_dirty(r, dirty, dirty_rows, counters)
                cells[_PAYEE_AT + _HELD], led[i] = arrive(
                    words[r], floats[r], ts[i], cells[_TAINTED], cells[_TAINT_HOPS]
                )
                cells[_PAYEE_AT + _BALANCE] = balance_mean(words[r], floats[r], ts[i], cells[_PAYEE_BALANCE])
        if r < 0 or found != COUNTED:
            cells[_PAYEE_AT:_PAYEE_END] = np.nan
        if found == COUNTED:
            counters[row.NEWEST_COUNTED] = max(counters[row.NEWEST_COUNTED], ts[i])
        status[i] = found
        action[i] = stored


@kernel
def fill_txn(
    amount: F8,
    local: I8,
    type_code: F8,
    channel_code: F8,
    currency_code: F8,
    payer_balance: F8,
    payee_balance: F8,
    flags: U1,
    block: F8,
) -> None:
    """Fill the txn columns of `block` that come from the payment alone, in the order of the catalogue."""
    for i in range(amount.size):
        cells = block[i]
        day = local[i] // DAY
        of_day = local[i] - day * DAY
        cells[_TXN_AT] = amount[i]
        cells[_TXN_AT + 1] = of_day / HOUR
        cells[_TXN_AT + 2] = (day + 3) % 7
        cells[_TXN_AT + 3] = 1.0 if of_day < _NIGHT_END else 0.0
        cells[_TXN_AT + 4] = type_code[i]
        cells[_TXN_AT + 5] = channel_code[i]
        cells[_TXN_AT + 6] = currency_code[i]
        cells[_TXN_AT + 7] = payer_balance[i]
        cells[_TXN_AT + 8] = payee_balance[i]
        cells[_TXN_AT + 9] = 1.0 if flags[i] & PAYER_ACCOUNT else 0.0
        cells[_TXN_AT + 10] = 1.0 if flags[i] & PAYEE_ACCOUNT else 0.0
