"""Records that a bank should never send, and that one day it does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import orjson

from stream_guard.detection.vocabulary import Reject


class BadRecord(NamedTuple):
    """A record for the transactions topic that has to end up as a dead letter."""

    key: bytes
    value: bytes
    reason: Reject


def bad_records(account: str, payee: str, now_ms: int, run: str) -> Iterable[BadRecord]:
    """One record for each way to be refused that a single record can show.

    Parameters
    ----------
    account, payee
        Account ids of the bank.
    now_ms
        Wall clock, epoch milliseconds.
    run
        Prefix of the event ids.

    Examples
    --------
    >>> [str(record.reason) for record in bad_records("A1", "A2", 0, "r")][:3]
    ['not_utf8', 'not_json', 'empty']
    """
    good = {"event_id": f"{run}-bad", "ts": now_ms, "account": account, "counterparty": payee, "amount": 10.0}

    def record(reason: Reject, *, key: str = account, **changed: object) -> BadRecord:
        return BadRecord(key.encode(), orjson.dumps({**good, **changed}), reason)

    yield BadRecord(account.encode(), b'{"event_id": "\xff\xfe"}', Reject.NOT_UTF8)
    yield BadRecord(account.encode(), b'{"event_id": "cut off', Reject.NOT_JSON)
    yield BadRecord(account.encode(), b"", Reject.EMPTY)
    yield record(Reject.INVALID, amount=-5)
    yield record(Reject.INVALID, amount="a lot")
    yield record(Reject.BAD_TEXT, counterparty="A1\u202e7000A")
    yield record(Reject.UNKNOWN_CURRENCY, currency="XAU")
    yield record(Reject.WRONG_KEY, key=payee)
    yield record(Reject.FUTURE, ts=now_ms + 3_600_000)
