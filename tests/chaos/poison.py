"""A corpus of bad records for every topic a bank writes, each with the reason it has to be refused for.

The reasons are said here by hand, from the contract: nothing is read off the parser.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from stream_guard.detection.hashing import murmur2_partition

NOON = 1_767_268_800_000
"""2026-01-01T12:00:00Z: within the history that these are sent among."""

DAY = 86_400_000
PAYER, PAYEE = "A1", "B1"
MEGABYTES_5 = 5_000_000


class Poison(NamedTuple):
    """A record that has to end up as a dead letter.

    Attributes
    ----------
    kind
        Unique name within the corpus.
    key, value
        As written; None is a null.
    reason
        Stable code of the dead letter.
    partition
        Where it is written; None leaves it to Kafka's own partitioner.
    """

    kind: str
    key: bytes | None
    value: bytes | None
    reason: str
    partition: int | None = None


def good(event_id: str = "poison", **changed: Any) -> dict[str, Any]:
    """A payment nobody objects to, but for what is changed."""
    plain = {"event_id": event_id, "ts": NOON, "account": PAYER, "counterparty": PAYEE, "amount": 10.0}
    return {**plain, **changed}


def _spelled(message: dict[str, Any], name: str, spelling: str) -> bytes:
    """JSON of `message` in which `name` is spelled as no encoder would."""
    rest = orjson.dumps({key: value for key, value in message.items() if key != name})
    return rest[:-1] + f',"{name}":{spelling}}}'.encode()


_UNREADABLE = {
    "a brace alone": b"{",
    "no colon": b'{"event_id" "e"}',
    "single quotes": b"{'event_id':'e'}",
    "a bare word": b"payment",
    "comma at the end": orjson.dumps(good())[:-1] + b",}",
    "a comment": orjson.dumps(good())[:-1] + b"/* ten */}",
    "two documents": orjson.dumps(good()) * 2,
    "two lines": orjson.dumps(good()) + b"\n" + orjson.dumps(good()),
    "rubbish behind": orjson.dumps(good()) + b"x",
    "NULs behind": orjson.dumps(good()) + b"\x00\x00",
    "NULs only": b"\x00" * 16,
    "a schema registry's frame": b"\x00\x00\x00\x00\x07" + orjson.dumps(good()),
    "a byte order mark": b"\xef\xbb\xbf" + orjson.dumps(good()),
    "blanks only": b"   \n",
    "CSV": b"event_id,ts,account\ne,1,A1",
    "XML": b"<payment><event_id>e</event_id></payment>",
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "deep and closed, in an unknown field": _spelled(good(), "x", "[" * 5_000 + "]" * 5_000),
    "line break in a text": orjson.dumps(good()).replace(b"poison", b"poi\nson"),
    "control character in a text": orjson.dumps(good()).replace(b"poison", b"poi\x01son"),
    "unknown escape": orjson.dumps(good()).replace(b"poison", b"poi\\qson"),
    "half an escape": orjson.dumps(good()).replace(b"poison", b"poi\\u00"),
    "half a surrogate pair": orjson.dumps(good()).replace(b"poison", b"poi\\ud800son"),
}

_NOT_UTF8 = {
    "no UTF-8": b'{"event_id":"\xff\xfe"}',
    "overlong": orjson.dumps(good()).replace(b"poison", b"poi\xc0\x80son"),
    "encoded surrogate": orjson.dumps(good()).replace(b"poison", b"poi\xed\xa0\x80son"),
    "beyond Unicode": orjson.dumps(good()).replace(b"poison", b"poi\xf4\x90\x80\x80son"),
    "a character cut short": orjson.dumps(good()).replace(b"poison", b"poi\xe4\xbd"),
    "Latin-1": orjson.dumps(good()).replace(b"poison", b"caf\xe9"),
    "GBK": orjson.dumps(good()).replace(b"poison", "付款".encode("gbk")),
    "UTF-16": orjson.dumps(good()).decode().encode("utf-16"),
    "gzip": bytes.fromhex("1f8b080000000000000003ab56ca2f5200"),
    "Avro's mark": b"Obj\x01\x04\x14avro.codec\xff",
}

_NO_PAYMENT = {
    "null": b"null",
    "true": b"true",
    "a number": b"17",
    "NaN": b"NaN",
    "a text": b'"payment"',
    "an array": b"[]",
    "an object in an array": b"[" + orjson.dumps(good()) + b"]",
    "an empty object": b"{}",
    "an envelope around it": orjson.dumps({"payload": good()}),
    "other names for the fields": orjson.dumps({"id": "e", "time": NOON, "from": PAYER, "to": PAYEE}),
    "capital names": orjson.dumps({name.upper(): value for name, value in good().items()}),
}

_AMOUNTS = {
    "invalid": (
        "0", "0.0", "-0.0", "-5", "1e12", "1e300", "1e400", "-1e400", "1e-400", "NaN", "Infinity",
        "-Infinity", "9" * 400, '"7"', '"NaN"', '""', "true", "null", "[7]", '{"value":7}',
    ),
    "not_json": ("0x1F", "1.", ".5", "+5", "1_000", "1,5", "05", "--5", "5e", "nan", "Inf", "10 CNY"),
}  # fmt: skip

_TIMES = {
    "invalid": (
        "0", "-1", "null", "true", "[]", "{}", '""', '"now"', '"1767268800000"', "1767268800000.5", "1e400",
        "NaN", "9" * 400,
        str(NOON // 1000),  # seconds
        str(NOON * 1000),  # microseconds
        "4102444800000",  # 2100
        '"1970-01-01T00:00:00Z"', '"2100-01-01T00:00:00Z"', '"9999-12-31T23:59:59Z"',
        '"2025-11-24"', '"2025-11-24T12:00:00"', '"2025-02-30T12:00:00Z"', '"2025-11-24T25:00:00Z"',
        '"24.11.2025 12:00"', '"2025-11-24T12:00:00+99:00"', '"' + "2" * 5_000 + '"',
    ),
    "not_json": ("01767268800000", "2025-11-24"),
}  # fmt: skip

_IDS = ("event_id", "account", "counterparty", "device_id", "ip")
_LABELS = ("type", "channel")
_TEXTS: dict[str, tuple[str, str]] = {
    "empty": ('""', "invalid"),
    "65 characters": ('"' + "x" * 65 + '"', "invalid"),
    "65 characters of 3 bytes": ('"' + "账" * 65 + '"', "invalid"),
    "a number": ("7", "invalid"),
    "an array": ('["x"]', "invalid"),
    "an object": ('{"x":"x"}', "invalid"),
    "blanks": ('"  "', "bad_text"),
    "NUL": ('"x\\u0000"', "bad_text"),
    "escape": ('"x\\u001b[2J"', "bad_text"),
    "delete": ('"x\\u007f"', "bad_text"),
    "C1 control": ('"x\\u0085"', "bad_text"),
    "right-to-left override": ('"A1\\u202e7000A"', "bad_text"),
    "right-to-left override, as it is": ('"A1\u202e7000A"', "bad_text"),
    "isolate": ('"x\\u2066y"', "bad_text"),
    "mark": ('"x\\u200fy"', "bad_text"),
    "zero width": ('"x\\u200by"', "bad_text"),
    "filler": ('"x\u3164"', "bad_text"),
    "line separator": ('"x\u2028y"', "bad_text"),
    "private use": ('"x\ue000"', "bad_text"),
}  # fmt: skip

_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "currency": {
        "invalid": ("7", "true", '["CNY"]'),
        "unknown_currency": ('""', '"CN"', '"CNYY"', '"cny"', '"C Y"', '"XXX"', '"XAU"'),
    },
    "payer_kind": {"invalid": ('"shop"', '""', '"Account"', "1", '["account"]')},
    "payee_kind": {"invalid": ('"shop"', "{}", "false")},
    "payer_balance_before": {"invalid": ("1e18", "-1e18", "1e400", "NaN", "Infinity", '"5"', "true", "[]")},
    "payee_balance_before": {"invalid": ("1e19", "-Infinity", '"much"', "{}")},
    "latitude": {"invalid": ("90.0001", "-91", "NaN", '"31.2"', "[31.2]")},
    "longitude": {"invalid": ("180.5", "-181", "Infinity", '"121.4"', "true")},
}

_REPEATED = {
    "the amount twice": orjson.dumps(good())[:-1] + b',"amount":10.0}',
    "the amount twice, the other one escaped": orjson.dumps(good())[:-1] + b',"\\u0061mount":999999}',
    "the payee twice": orjson.dumps(good())[:-1] + b',"counterparty":"B2"}',
    "the id twice": b'{"event_id":"other",' + orjson.dumps(good())[1:],
}


def _keyed(kind: str, value: bytes | None, reason: str) -> Poison:
    return Poison(kind, PAYER.encode(), value, reason)


def _payer_of(value: bytes) -> bytes:
    """The key that suits a value whose account may be what is wrong with it."""
    try:
        account = orjson.loads(value)["account"]
    except (orjson.JSONDecodeError, KeyError):
        return PAYER.encode()
    return account.encode() if isinstance(account, str) and account else PAYER.encode()


def poisoned_payments(partitions: int, now_ms: int) -> Iterator[Poison]:
    """Bad records for the transactions topic.

    Parameters
    ----------
    partitions
        Partition count of the topic.
    now_ms
        Wall clock, epoch milliseconds.
    """
    whole = orjson.dumps(good(type="transfer", channel="mobile"))
    for cut in range(1, len(whole), 9):
        yield _keyed(f"cut after {cut} bytes", whole[:cut], "not_json")
    for name, value in _UNREADABLE.items():
        yield _keyed(name, value, "not_json")
    for name, value in _NOT_UTF8.items():
        yield _keyed(name, value, "not_utf8")
    for name, value in _NO_PAYMENT.items():
        yield _keyed(name, value, "invalid")
    for name, value in _REPEATED.items():
        yield _keyed(name, value, "invalid")
    yield _keyed("null value", None, "empty")
    yield _keyed("empty value", b"", "empty")
    for size in (262_145, 1_100_000, MEGABYTES_5):
        padded = orjson.dumps(good(note=""))
        padded = padded.replace(b'"note":""', b'"note":"' + b"n" * (size - len(padded)) + b'"')
        yield _keyed(f"{size} bytes", padded, "too_large")
    for name in good():
        yield _keyed(
            f"without {name}", orjson.dumps({k: v for k, v in good().items() if k != name}), "invalid"
        )
    for name, spellings in {"amount": _AMOUNTS, "ts": _TIMES, **_FIELDS}.items():
        for reason, texts in spellings.items():
            for text in texts:
                yield _keyed(f"{name} {text[:24]} ({len(text)})", _spelled(good(), name, text), reason)
    for name in (*_IDS, *_LABELS):
        for kind, (text, reason) in _TEXTS.items():
            if kind == "blanks" and name in _LABELS:
                continue  # labels are the bank's own words, and name nobody
            value = _spelled(good(), name, text)
            yield Poison(f"{name}: {kind}", _payer_of(value), value, reason)
    plain = orjson.dumps(good())
    yield Poison("key of another account", b"A2", plain, "wrong_key")
    yield Poison("no key", None, plain, "wrong_key")
    yield Poison("an empty key", b"", plain, "wrong_key")
    yield Poison("a key that is no text", b"\xff\xfe", plain, "wrong_key")
    yield Poison("a key in quotes", b'"A1"', plain, "wrong_key")
    home = murmur2_partition(PAYER.encode(), partitions)
    for partition in range(partitions):
        if partition != home:
            yield Poison(f"on partition {partition}", PAYER.encode(), plain, "wrong_partition", partition)
    for minutes in (6, 60 * 24, 60 * 24 * 365 * 20):
        later = orjson.dumps(good(ts=now_ms + minutes * 60_000))
        yield _keyed(f"{minutes} minutes ahead", later, "future")
    for days in (33, 365, 365 * 30):
        yield _keyed(f"{days} days behind", orjson.dumps(good(ts=NOON - days * DAY)), "too_old")


def poisoned_updates(partitions: int) -> Iterator[Poison]:
    """Bad records for the account-updates topic; a null key is refused by the broker: it is compacted."""
    plain = {"account": PAYER, "ts": NOON}
    whole = orjson.dumps({**plain, "holder_birth_year": 1950})
    for cut in (1, 9, 20, len(whole) - 1):
        yield _keyed(f"update cut after {cut} bytes", whole[:cut], "not_json")
    yield _keyed("update not UTF-8", b'{"account":"\xff"}', "not_utf8")
    yield _keyed("update a tombstone", None, "empty")
    yield _keyed("update empty", b"", "empty")
    yield _keyed("update of 5 MB", whole[:-1] + b" " * MEGABYTES_5 + b"}", "too_large")
    yield _keyed("update an array", b"[]", "invalid")
    yield _keyed("update deep", b'{"account":' * 10_000, "not_json")
    spellings = {
        "ts": ("0", '"1970-01-01T00:00:00Z"', "4102444800000", "NaN", "null", "1.5", '"soon"'),
        "opened": ('"yesterday"', '"2025-02-30"', '"1899-12-31"', "1e400", "[]", "true"),
        "holder_birth_year": ("1879", "2101", '"1950"', "1950.5", "true", "NaN", "[]"),
        "kind": ('""', "7", '"' + "k" * 65 + '"'),
        "changed": ('"shoes"', '""', "1", '["phone"]'),
        "account": ('""', "7", "null"),
    }
    for name, texts in spellings.items():
        for text in texts:
            yield _keyed(f"update {name} {text[:24]} ({len(text)})", _spelled(plain, name, text), "invalid")
    yield _keyed("update account twice", orjson.dumps(plain)[:-1] + b',"account":"A1"}', "invalid")
    yield _keyed("update kind with an escape", _spelled(plain, "kind", '"x\\u001b"'), "bad_text")
    yield Poison("update of another account", b"A2", whole, "wrong_key")
    yield Poison("update with an empty key", b"", whole, "wrong_key")
    home = murmur2_partition(PAYER.encode(), partitions)
    away = (home + 1) % partitions
    yield Poison("update on another partition", PAYER.encode(), whole, "wrong_partition", away)


def poisoned_dispositions(partitions: int, warning_id: str, account: str) -> Iterator[Poison]:
    """Bad records for the dispositions topic, about a warning that there is."""
    plain = {
        "disposition_id": "d-poison", "warning_id": warning_id, "account": account,
        "outcome": "false_positive", "by": "inv-7", "ts": NOON + DAY,
    }  # fmt: skip
    key = account.encode()
    whole = orjson.dumps(plain)
    values: list[tuple[str, bytes | None, str]] = [
        ("cut", whole[:-1], "not_json"),
        ("a brace", b"}", "not_json"),
        ("not UTF-8", whole.replace(b"inv-7", b"inv\xff"), "not_utf8"),
        ("null", None, "empty"),
        ("empty", b"", "empty"),
        ("of 5 MB", _spelled(plain, "note", '"' + "n" * MEGABYTES_5 + '"'), "too_large"),
        ("note of 4,001 characters", _spelled(plain, "note", '"' + "n" * 4_001 + '"'), "invalid"),
        ("note that reorders", _spelled(plain, "note", '"fine \\u202egnorw"'), "bad_text"),
        ("confirmed, of nobody knows whom", _spelled(plain, "outcome", '"confirmed"'), "invalid"),
        ("role of no kind", _spelled(plain, "role", '"boss"'), "invalid"),
        ("by nobody", _spelled(plain, "by", '""'), "invalid"),
        ("by an escape", _spelled(plain, "by", '"inv\\u001b"'), "bad_text"),
        ("outcome twice", whole[:-1] + b',"outcome":"inconclusive"}', "invalid"),
        ("of a warning nobody raised", _spelled(plain, "warning_id", f'"{"0" * 32}"'), "unknown_warning"),
    ]
    spellings = {
        "outcome": ('"guilty"', '""', "1", "null", '["confirmed"]'),
        "ts": ("0", "NaN", '"1970-01-01T00:00:00Z"', '"2100-01-01T00:00:00Z"', '"today"', "1.5"),
    }
    for name, texts in spellings.items():
        values += [(f"{name} {text}", _spelled(plain, name, text), "invalid") for text in texts]
    for name in plain:
        less = {field: value for field, value in plain.items() if field != name}
        values.append((f"without {name}", orjson.dumps(less), "invalid"))
    for kind, value, reason in values:
        yield Poison(f"disposition {kind}", key, value, reason)
    yield Poison("disposition with another key", b"A9", whole, "wrong_key")
    yield Poison("disposition without a key", None, whole, "wrong_key")
    home = murmur2_partition(key, partitions)
    yield Poison("disposition elsewhere", key, whole, "wrong_partition", (home + 1) % partitions)
    names = (f"W{number}" for number in range(1_000))
    other = next(name for name in names if murmur2_partition(name.encode(), partitions) == home)
    about = orjson.dumps({**plain, "account": other})
    yield Poison("disposition of another account's warning", other.encode(), about, "wrong_account")


def poisoned_signals() -> Iterator[Poison]:
    """Bad records for the risk-signals topic, where a null value withdraws and is none of them."""
    plain = {"kind": "account", "id": "S1", "level": 50, "source": "bank"}
    key = b"account:S1"
    whole = orjson.dumps(plain)
    values: list[tuple[str, bytes, str]] = [
        ("cut", whole[:-1], "not_json"),
        ("not UTF-8", whole.replace(b"S1", b"\xff\xff"), "not_utf8"),
        ("empty", b"", "empty"),
        ("of 5 MB", _spelled(plain, "reason", '"' + "n" * MEGABYTES_5 + '"'), "too_large"),
        ("a list", b"[]", "invalid"),
        ("level twice", whole[:-1] + b',"level":1}', "invalid"),
        ("reason that reorders", _spelled(plain, "reason", '"\\u202egnorw"'), "bad_text"),
        ("ends before it begins", orjson.dumps({**plain, "valid_from": NOON, "valid_to": NOON}), "invalid"),
    ]
    spellings = {
        "level": ("0", "101", "-1", "50.5", '"50"', "true", "NaN", "null"),
        "source": ('"rumour"', '""', "1"),
        "kind": ('"person"', "null"),
        "valid_from": ("0", '"yesterday"', '"1970-01-01T00:00:00Z"'),
        "valid_to": ("4102444800001", '"2100-01-01T00:00:00Z"', "1e400"),
    }
    for name, texts in spellings.items():
        values += [(f"{name} {text}", _spelled(plain, name, text), "invalid") for text in texts]
    for kind, value, reason in values:
        yield Poison(f"signal {kind}", key, value, reason)
    for wrong in (
        b"S1",
        b"account:S2",
        b"device:S1",
        b"account:",
        b"",
        b"person:S1",
        b"\xff",
        b"account:" + b"x" * 65,
    ):
        yield Poison(f"signal with key {wrong[:20]!r} ({len(wrong)})", wrong, whole, "wrong_key")
    for wrong in (b"S9", b"person:S9", b"account:"):
        yield Poison(f"withdrawal of {wrong!r}", wrong, None, "wrong_key")
