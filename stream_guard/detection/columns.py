"""From validated transactions to columns, and what a bank must not accept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream_guard.detection.bank import Bank
from stream_guard.detection.batches import (
    F8,
    I4,
    I8,
    PAYEE_ACCOUNT,
    PAYER_ACCOUNT,
    REPEAT,
    U1,
    U8,
    Legs,
    Payments,
    empty_legs,
    empty_payments,
    legs_of,
    size,
    take,
)
from stream_guard.detection.column_kernels import (
    BOTH,
    FIELD_END,
    TEXT_END,
    hash_content,
    read_ids,
    read_times,
)
from stream_guard.detection.hashing import hash_separated, text_code, text_hash
from stream_guard.detection.local_time import offsets as utc_offsets
from stream_guard.detection.vocabulary import PartyKind, Reject, Rejection

__all__ = [
    "PAYEE_ACCOUNT",
    "PAYER_ACCOUNT",
    "REPEAT",
    "Bank",
    "Legs",
    "Payments",
    "empty_legs",
    "empty_payments",
    "legs_of",
    "payments",
    "payments_of_columns",
    "size",
    "take",
]

_REQUIRED: Final = ("event_id", "ts", "account", "counterparty", "amount", "currency", "type", "channel")
_NUMBERS: Final = ("payer_balance_before", "payee_balance_before", "latitude", "longitude")
_CODES: Final = ("type", "channel", "currency")
_OPTIONAL: Final = ("payer_kind", "payee_kind", *_NUMBERS, "device_id", "ip")
_FIELDS: Final = (*_REQUIRED, *_OPTIONAL)
_FIELD_END: Final = chr(FIELD_END)
_TEXT_END: Final = chr(TEXT_END)
_END: Final = _TEXT_END.encode()


def payments(
    events: Sequence[Mapping[str, Any]],
    offsets: Sequence[int] | I8,
    produced: Sequence[int] | I8,
    keys: Sequence[bytes | None] | None,
    partition: int | None,
    bank: Bank,
    now_ms: int,
) -> tuple[Payments, list[Rejection]]:
    """Columns of a batch of validated transactions, without those that the bank must not accept.

    Parameters
    ----------
    events
        n transactions as the parser of events gives them: required keys present and checked, optional ones
        absent or None.
    offsets, produced
        int64[n]: source offsets; record timestamps in ms (negative: the record has none).
    keys
        n record keys, each to equal the payer's id; None where there are no records (a backtest), which also
        turns off the comparison of partitions.
    partition
        Partition that was read, compared with Kafka's partition of the key; None: not compared.
    bank
        Currencies, time zone, parties, partitions.
    now_ms
        Wall clock. What lies ahead of it is judged at the earlier of `now_ms` and the record's timestamp, so
        that reading a record again judges it the same.

    Returns
    -------
    (Payments, list of Rejection)
        Accepted payments in order; rejections by rising index in `events`, each with the first reason that
        applies of `bad_text`, `wrong_key`, `wrong_partition`, `unknown_currency`, `future`.

    Examples
    --------
    >>> event = dict(event_id="e1", ts=0, account="A1", counterparty="EXT_1", amount=2.0, currency="USD",
    ...              type="unknown", channel="unknown")
    >>> columns, refused = payments([event], [0], [0], [b"A1"], 0, Bank(rates={"USD": 7.0}), 0)
    >>> columns.amount.tolist(), columns.leg_keys, refused
    ([14.0], [b'A1'], [])
    >>> payments([event], [0], [0], None, None, Bank(), 0)[1][0].reason
    <Reject.UNKNOWN_CURRENCY: 'unknown_currency'>
    """
    if not events:
        return empty_payments(), []
    columns = _gather(events)
    ids = _read_ids(columns, bank, -1 if keys is None or partition is None else partition)
    if ids is None:
        return _without_bad_texts(events, offsets, produced, keys, partition, bank, now_ms)
    return _payments(columns, ids, offsets, produced, keys, partition, bank, now_ms)


def payments_of_columns(
    columns: Mapping[str, Sequence[Any] | None], offsets: Sequence[int] | I8, bank: Bank, now_ms: int
) -> tuple[Payments, list[Rejection]]:
    """As `payments`, from columns that are there already: a recorded history's, without keys and partitions.

    Parameters
    ----------
    columns
        For every field the n values of n validated transactions; an optional field that none has may be
        absent or None. The event times stand for the records' timestamps.
    offsets, bank, now_ms
        As for `payments`.

    Examples
    --------
    >>> columns = dict(event_id=["e1"], ts=[0], account=["A1"], counterparty=["A2"], amount=[2.0],
    ...                currency=["CNY"], type=["unknown"], channel=["unknown"])
    >>> payments_of_columns(columns, [0], Bank(), 0)[0].payer_ids
    [b'A1']
    """
    if not len(columns["ts"] or ()):
        return empty_payments(), []
    complete: dict[str, Any] = dict.fromkeys(_OPTIONAL) | dict(columns)
    ids = _read_ids(complete, bank, -1)
    produced = np.array(complete["ts"], np.int64)
    if ids is None:
        given = [name for name in _FIELDS if complete[name] is not None]
        values = zip(*(complete[name] for name in given), strict=True)
        events = [dict(zip(given, row, strict=True)) for row in values]
        return _without_bad_texts(events, offsets, produced, None, None, bank, now_ms)
    return _payments(complete, ids, offsets, produced, None, None, bank, now_ms)


def _payments(
    columns: dict[str, Any],
    ids: _Ids,
    offsets: Sequence[int] | I8,
    produced: Sequence[int] | I8,
    keys: Sequence[bytes | None] | None,
    partition: int | None,
    bank: Bank,
    now_ms: int,
) -> tuple[Payments, list[Rejection]]:
    n = len(ids.texts)
    ts = np.array(columns["ts"], np.int64)
    original = np.array(columns["amount"], np.float64)
    record_ms = np.asarray(produced, np.int64)
    local, ahead = np.empty(n, np.int64), np.empty(n, np.int64)
    too_far = read_times(ts, record_ms, now_ms, bank.future_ms, *utc_offsets(bank.timezone), local, ahead)
    rate = _rates(columns["currency"], bank)
    device, ip = _hashes(columns["device_id"], n), _hashes(columns["ip"], n)
    payer_balance, payee_balance, latitude, longitude = (_numbers(columns[name], n) for name in _NUMBERS)
    type_code, channel_code, currency_code = (_codes(columns[name], n) for name in _CODES)
    numbers = (ts, original, payer_balance, payee_balance, latitude, longitude)
    codes = (type_code, channel_code, currency_code)
    content = np.empty(n, np.uint32)
    words = [word.view(np.uint64) for word in (ids.payer, ids.payee, device, ip, *numbers, *codes)]
    hash_content(np.array(words), ids.flags, content)
    out = Payments(
        offset=np.asarray(offsets, np.int64),
        produced=record_ms,
        ts=ts,
        local=local,
        amount=original if rate is None else original * rate,
        amount_original=original,
        payer=ids.payer,
        payee=ids.payee,
        event=ids.event,
        content=content,
        device=device,
        ip=ip,
        flags=ids.flags,
        payer_balance=payer_balance if rate is None else payer_balance * rate,
        payee_balance=payee_balance if rate is None else payee_balance * rate,
        latitude=latitude,
        longitude=longitude,
        type_code=type_code,
        channel_code=channel_code,
        currency_code=currency_code,
        partition=ids.leg_partition,
        payer_ids=ids.payer_ids,
        leg_keys=ids.leg_keys,
        texts=ids.texts,
    )
    findings: list[_Finding] = []
    if keys is not None and list(keys) != ids.payer_ids:
        findings.append(_wrong_keys(keys, ids.payer_ids))
    if keys is not None and partition is not None and ids.elsewhere:
        findings.append(_wrong_partitions(ids.payer_partition, partition))
    if rate is not None:
        findings.append(_unknown_currencies(rate, columns["currency"]))
    if too_far:
        findings.append(_future(ahead, bank))
    return _refuse(out, findings) if findings else (out, [])


class _Finding(NamedTuple):
    """Which payments of a batch one check refuses, and the sentence for each."""

    found: npt.NDArray[np.bool_]
    reason: Reject
    message: Callable[[int], str]


class _Ids(NamedTuple):
    event: U8
    payer: U8
    payee: U8
    payer_partition: I4
    leg_partition: I4
    flags: U1
    payer_ids: list[bytes]
    leg_keys: list[bytes]
    texts: list[bytes]
    elsewhere: int


def _gather(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values of every field over the batch; None for an optional field that no event has."""
    width = len(events[0])
    names = [name for name in _FIELDS if name in events[0]]
    if len(names) == width and sum(map(len, events)) == width * len(events):
        # All alike, as far as lengths tell; one getter reads all fields at once, and misses if they are not.
        try:
            columns = zip(*map(itemgetter(*names), events), strict=True)
        except KeyError:
            pass
        else:
            return dict.fromkeys(_OPTIONAL) | dict(zip(names, columns, strict=True))
    out: dict[str, Any] = {name: [event[name] for event in events] for name in _REQUIRED}
    for name in _OPTIONAL:
        values = [event.get(name) for event in events]
        out[name] = None if values.count(None) == len(values) else values
    return out


def _read_ids(columns: dict[str, Any], bank: Bank, partition: int) -> _Ids | None:
    """Hashes, keys, partitions and flags of the ids; None if an id has an end mark in it or is no Unicode."""
    payers, payees = columns["account"], columns["counterparty"]
    n = len(payers)
    rows = zip(columns["event_id"], payers, payees, columns["currency"], strict=True)
    try:
        text = _TEXT_END.join(map(_FIELD_END.join, rows)).encode()
    except UnicodeEncodeError:
        return None
    texts = text.split(_END)
    if len(texts) != n or text.count(FIELD_END) != 3 * n:
        return None
    flags = np.full(n, BOTH, np.uint8)
    if columns["payer_kind"] or columns["payee_kind"] or bank.outside_pattern:
        _flag_outsiders(flags, columns, bank)
    event, payer, payee = np.empty(n, np.uint64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    payer_partition, leg_partition = np.empty(n, np.int32), np.empty(n, np.int32)
    to_payer, elsewhere = read_ids(
        np.frombuffer(text, np.uint8),
        *bank.prefix_columns,
        bank.partitions,
        partition,
        event,
        payer,
        payee,
        payer_partition,
        leg_partition,
        flags,
    )
    payer_ids = _TEXT_END.join(payers).encode().split(_END)
    leg_keys = _TEXT_END.join(payees).encode().split(_END)
    if to_payer:
        for i in np.flatnonzero(flags & BOTH == PAYER_ACCOUNT).tolist():
            leg_keys[i] = payer_ids[i]
    return _Ids(
        event, payer, payee, payer_partition, leg_partition, flags, payer_ids, leg_keys, texts, elsewhere
    )


def _flag_outsiders(flags: U1, columns: dict[str, Any], bank: Bank) -> None:
    """Take the account flag from parties by kind and by the patterns that `read_ids` does not match."""
    for kind, party, bit in (
        ("payer_kind", "account", PAYER_ACCOUNT),
        ("payee_kind", "counterparty", PAYEE_ACCOUNT),
    ):
        outside = np.zeros(len(flags), np.bool_)
        if columns[kind] is not None:
            outside |= [value is not None and value != PartyKind.ACCOUNT for value in columns[kind]]
        if bank.outside_pattern is not None:
            match = bank.outside_pattern.match
            outside |= [match(value) is not None for value in columns[party]]
        flags[outside] &= np.uint8(255 - bit)


def _rates(currencies: Sequence[str], bank: Bank) -> F8 | None:
    """Base currency per unit, NaN where unknown; None if all is base currency."""
    distinct = set(currencies)
    if distinct == {bank.base_currency}:
        return None
    rate = {currency: bank.rate_of(currency) for currency in distinct}
    return np.array([rate[currency] for currency in currencies], np.float64)


def _numbers(values: Sequence[float | None] | None, n: int) -> F8:
    return np.full(n, np.nan) if values is None else np.array(values, np.float64)


def _hashes(values: Sequence[str | None] | None, n: int) -> U8:
    if values is None:
        return np.zeros(n, np.uint64)
    texts = [value or "" for value in values]
    text = _TEXT_END.join(texts).encode(errors="surrogatepass")
    if text.count(TEXT_END) != n - 1:
        return text_hash([value.encode(errors="surrogatepass") for value in texts])
    out = np.empty(n, np.uint64)
    hash_separated(np.frombuffer(text, np.uint8), TEXT_END, out)
    return out


def _codes(values: Sequence[str], n: int) -> F8:
    code = {value: text_code(value) for value in set(values)}
    if len(code) == 1:
        return np.full(n, code[values[0]])
    return np.array([code[value] for value in values], np.float64)


def _wrong_keys(keys: Sequence[bytes | None], payer_ids: list[bytes]) -> _Finding:
    found = np.array([a != b for a, b in zip(keys, payer_ids, strict=True)])
    message = "the record's key is not the payer's id; produce with the field `account` as key"
    return _Finding(found, Reject.WRONG_KEY, lambda i: message)


def _wrong_partitions(payer_partition: I4, partition: int) -> _Finding:
    def message(i: int) -> str:
        return (
            f"read from partition {partition}, but Kafka's partitioner chooses {payer_partition[i]} for the "
            "key; produce with murmur2 (librdkafka: partitioner=murmur2_random)"
        )

    return _Finding(payer_partition != partition, Reject.WRONG_PARTITION, message)


def _unknown_currencies(rate: F8, currencies: Sequence[str]) -> _Finding:
    def message(i: int) -> str:
        return f"no rate for currency {currencies[i]}; add it to bank.rates"

    return _Finding(np.isnan(rate), Reject.UNKNOWN_CURRENCY, message)


def _future(ahead: I8, bank: Bank) -> _Finding:
    def message(i: int) -> str:
        return f"the event is {ahead[i]} ms ahead of the wall clock; {bank.future_ms} are allowed"

    return _Finding(ahead > bank.future_ms, Reject.FUTURE, message)


def _refuse(columns: Payments, findings: list[_Finding]) -> tuple[Payments, list[Rejection]]:
    """The columns without what is found, each with the first reason that applies."""
    bad = np.zeros(size(columns), np.bool_)
    refused: list[Rejection] = []
    for found, reason, message in findings:
        refused += [Rejection(i, reason, message(i)) for i in np.flatnonzero(found & ~bad).tolist()]
        bad |= found
    if not refused:
        return columns, refused
    return take(columns, ~bad), sorted(refused)


def _without_bad_texts(
    events: Sequence[Mapping[str, Any]],
    offsets: Sequence[int] | I8,
    produced: Sequence[int] | I8,
    keys: Sequence[bytes | None] | None,
    partition: int | None,
    bank: Bank,
    now_ms: int,
) -> tuple[Payments, list[Rejection]]:
    """The batch without events whose ids would tear the joined texts; they are refused, the rest is not."""

    def bad(event: Mapping[str, Any]) -> bool:
        text = "".join(event[name] for name in ("event_id", "account", "counterparty", "currency"))
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return _FIELD_END in text or _TEXT_END in text

    message = "an id has a control character or half a character in it; send printable Unicode"
    wrong = [i for i, event in enumerate(events) if bad(event)]
    refused = [Rejection(i, Reject.BAD_TEXT, message) for i in wrong]
    good = sorted(set(range(len(events))) - set(wrong))
    columns, others = payments(
        [events[i] for i in good],
        np.asarray(offsets, np.int64)[good],
        np.asarray(produced, np.int64)[good],
        None if keys is None else [keys[i] for i in good],
        partition,
        bank,
        now_ms,
    )
    refused += [Rejection(good[i], reason, text) for i, reason, text in others]
    return columns, sorted(refused)
