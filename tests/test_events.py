"""What a bank writes: accepted as the contract says, or refused with a code and a sentence on the field."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_guard import events
from stream_guard.detection.vocabulary import (
    Outcome,
    PartyKind,
    Reject,
    Rejection,
    Role,
    SignalKind,
    SignalSource,
)
from stream_guard.events import oddities
from stream_guard.events.messages import EARLIEST_MS, LATEST_MS, Kind

TS = 1_795_483_800_250
PAYMENT: dict[str, Any] = {"event_id": "e1", "ts": TS, "account": "a", "counterparty": "b", "amount": 5.0}
DISPOSITION: dict[str, Any] = {
    "disposition_id": "d1",
    "warning_id": "w1",
    "account": "a",
    "outcome": "confirmed",
    "role": "mule",
    "by": "kim",
    "note": None,
    "ts": TS,
}
SIGNAL: dict[str, Any] = {
    "kind": "account",
    "id": "a",
    "level": 90,
    "source": "police",
    "reason": "case 7",
    "valid_from": TS,
    "valid_to": TS + 1000,
}


def payment(**changes: Any) -> bytes:
    """A valid payment but for the changes, as a Java or Python client would write it."""
    return json.dumps({**PAYMENT, **changes}, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def parse(value: bytes | None, currency: str = "CNY") -> events.Transaction | Rejection:
    accepted, kept, rejections = events.parse_transactions([value], currency)
    assert len(accepted) + len(rejections) == 1
    assert kept == [0] * len(accepted)
    return accepted[0] if accepted else rejections[0]


def refused(value: bytes | None) -> tuple[Reject, str]:
    result = parse(value)
    assert isinstance(result, Rejection), result
    return result.reason, result.message


def accepted(value: bytes) -> dict[str, Any]:
    result = parse(value)
    assert not isinstance(result, Rejection), result
    return dict(result)


# ---- the transaction ----


def test_a_payment_with_every_field_comes_out_as_it_was_written() -> None:
    full = {
        **PAYMENT,
        "currency": "USD",
        "type": "transfer",
        "channel": "柜面",
        "payer_kind": "account",
        "payee_kind": "merchant",
        "payer_balance_before": -12.5,
        "payee_balance_before": 0.0,
        "device_id": "dev-1",
        "ip": "2001:db8::7",
        "latitude": -90.0,
        "longitude": 180.0,
    }
    assert accepted(payment(**full)) == full


def test_currency_type_and_channel_have_defaults_and_null_means_absent() -> None:
    defaults = {"currency": "EUR", "type": "unknown", "channel": "unknown"}
    assert parse(payment(), "EUR") == {**PAYMENT, **defaults}
    nulls = dict.fromkeys(
        ["currency", "type", "channel", "ip", "latitude", "payer_kind", "payer_balance_before"]
    )
    assert parse(payment(**nulls), "EUR") == {**PAYMENT, **nulls, **defaults}


def test_unknown_fields_are_ignored() -> None:
    assert accepted(payment(branch={"amount": 1, "x": [{"ts": 2}]}, url="http://bank:80")) == accepted(
        payment()
    )


def test_a_whole_amount_is_a_number() -> None:
    assert accepted(payment(amount=7))["amount"] == 7.0


@pytest.mark.parametrize("field", ["event_id", "ts", "account", "counterparty", "amount"])
def test_required_fields_are_required_and_not_null(field: str) -> None:
    without = {name: value for name, value in PAYMENT.items() if name != field}
    assert refused(json.dumps(without).encode()) == (Reject.INVALID, f"{field} is missing")
    reason, message = refused(payment(**{field: None}))
    assert reason is Reject.INVALID
    assert message.startswith(f"{field} must be ")
    assert message.endswith("not null")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("amount", 0, "amount must be greater than 0, not 0"),
        ("amount", -0.0, "amount must be greater than 0, not -0"),
        ("amount", -5, "amount must be greater than 0, not -5"),
        ("amount", 10**12, "amount must be less than 1,000,000,000,000, not 1e+12"),
        ("amount", 10**400, "amount must be a finite number"),
        ("amount", "5", "amount must be a number, not text"),
        ("amount", True, "amount must be a number, not a boolean"),
        ("amount", [5], "amount must be a number, not a list"),
        ("amount", {"value": 5}, "amount must be a number, not an object"),
        ("ts", "123", "ts must be epoch ms or RFC 3339 with an offset, such as 2026-11-24T09:30:00+08:00"),
        ("ts", 1.5, "ts must be a whole number, not a number"),
        ("ts", True, "ts must be a whole number, not a boolean"),
        ("ts", TS // 1000, "ts must be at least 631,152,000,000, not 1.79548e+09"),
        ("ts", TS * 1000, "ts must be less than 4,102,444,800,000, not 1.79548e+15"),
        ("ts", 10**4000, "ts must be less than 4,102,444,800,000, not a far larger number"),
        ("ts", -(10**300), "ts must be at least 631,152,000,000, not a far smaller one"),
        ("event_id", "", "event_id must not be empty"),
        ("account", "", "account must not be empty"),
        ("counterparty", "", "counterparty must not be empty"),
        ("device_id", "", "device_id must not be empty"),
        ("event_id", "x" * 65, "event_id must have at most 64 characters"),
        ("account", "长" * 65, "account must have at most 64 characters"),
        ("counterparty", 7, "counterparty must be text, not a number"),
        ("type", "x" * 65, "type must have at most 64 characters"),
        (
            "payer_kind",
            "person",
            "payer_kind must be 'account', 'merchant', 'cash' or 'external', not 'person'",
        ),
        ("latitude", 90.1, "latitude must be at most 90, not 90.1"),
        ("longitude", -181, "longitude must be at least -180, not -181"),
        (
            "payer_balance_before",
            1e18,
            "payer_balance_before must be less than 1e+18, not a far larger number",
        ),
        ("payee_balance_before", "0", "payee_balance_before must be a number, not text"),
        ("currency", 156, "currency must be text, not a number"),
    ],
)
def test_a_field_of_the_wrong_type_or_out_of_bounds_is_named(field: str, value: object, message: str) -> None:
    assert refused(payment(**{field: value})) == (Reject.INVALID, message)


def test_bounds_themselves_are_accepted() -> None:
    for changes in (
        {"amount": math.nextafter(1e12, 0)},
        {"amount": 5e-324},
        {"ts": EARLIEST_MS},
        {"ts": LATEST_MS - 1},
        {"account": "x" * 64},
        {"event_id": "长" * 64},
        {"latitude": 90, "longitude": -180},
    ):
        accepted(payment(**changes))


@pytest.mark.parametrize("code", ["cny", "RMBX", "", "C1Y", "ＣＮＹ", "CNY\n"])
def test_a_currency_that_is_no_iso_code_is_an_unknown_currency(code: str) -> None:
    assert refused(payment(currency=code)) == (
        Reject.UNKNOWN_CURRENCY,
        "currency must be an ISO 4217 code of three capital letters",
    )


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])
@pytest.mark.parametrize(
    "field", ["amount", "payer_balance_before", "payee_balance_before", "latitude", "longitude"]
)
def test_numbers_are_finite(field: str, literal: str) -> None:
    value = payment(**{field: 123}).replace(b":123", f":{literal}".encode())
    assert refused(value) == (Reject.INVALID, f"{field} must be a finite number")


def test_the_number_of_other_fields_at_fault_is_told() -> None:
    assert refused(payment(amount=0, ts=0, account=0))[1] == (
        "ts must be at least 631,152,000,000, not 0 (and 2 more of its fields are not valid)"
    )


# ---- time ----


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-24T09:30:00.25+08:00", TS),
        ("2026-11-24T01:30:00.250999999Z", TS),
        ("2026-11-24t01:30:00.250z", TS),
        ("2026-11-24 01:30:00.250-00:00", TS),
        ("2026-11-23T15:00:00.250-10:30", TS),
        ("2017-01-01T07:59:60+08:00", 1_483_228_800_000),
    ],
)
def test_a_time_may_be_rfc_3339_with_an_offset(text: str, ms: int) -> None:
    assert accepted(payment(ts=text))["ts"] == ms


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T09:30:00",
        "2026-11-24",
        "2026-11-24T09:30Z",
        "2026-11-24T09:30:00+0800",
        "2026-11-24T09:30:00,5Z",
        "20261124T093000Z",
        "2026-W48-2T09:30:00Z",
        "２０２６-11-24T09:30:00Z",
        "",
        "2026-11-24T09:30:00Z" + " " * 60,
    ],
)
def test_a_time_without_an_offset_or_of_another_form_is_refused(text: str) -> None:
    reason, message = refused(payment(ts=text))
    assert reason is Reject.INVALID
    assert message.startswith("ts must ")


@pytest.mark.parametrize(
    "text",
    ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T00:00:00+24:00"],
)
def test_a_time_that_no_calendar_knows_is_refused(text: str) -> None:
    assert refused(payment(ts=text)) == (Reject.INVALID, "ts is not a time of the calendar")


@pytest.mark.parametrize(
    "text", ["1989-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_written_time_has_the_same_bounds(text: str) -> None:
    assert refused(payment(ts=text))[0] is Reject.INVALID


# ---- bytes that are no message ----


@pytest.mark.parametrize("value", [None, b""])
def test_a_null_or_empty_value_is_empty(value: bytes | None) -> None:
    assert refused(value) == (Reject.EMPTY, "the value is empty")


@pytest.mark.parametrize(
    "value",
    [
        payment(account="X").replace(b"X", b"\xff"),
        payment(note="X").replace(b"X", b"\xc0\xaf"),
        payment(account="\ud800"),
        payment().replace(b'"ts"', b'"\x80s"'),
        b"\xff\xfe",
    ],
)
def test_bytes_that_are_not_utf_8_are_refused(value: bytes) -> None:
    reason, message = refused(value)
    assert reason is Reject.NOT_UTF8
    assert message.startswith("the value is not UTF-8 at byte ")


@pytest.mark.parametrize(
    "value",
    [
        b"not json",
        b"{",
        payment() + b"x",
        payment() + payment(),
        payment()[:-1] + b",}",
        b"\xef\xbb\xbf" + payment(),
        payment().replace(b'"', b"'"),
        payment(note="X").replace(b"X", b"\x01"),
        payment(amount=123).replace(b"123", b"0123"),
        payment(amount=123).replace(b"123", b"+123"),
        payment(amount=123).replace(b"123", b"nan"),
        payment(account="X").replace(b"X", b"\\ud800"),
        payment(account="X").replace(b"X", b"\\udc00\\ud800"),
        payment(note=123).replace(b"123", b"NaN"),
        payment(note=123).replace(b"123", b"[-Infinity]"),
        payment(note="\\u003a", other=123).replace(b"123", b"NaN"),
        payment(note=123).replace(b"123", b"9" * 5000),
    ],
)
def test_text_that_is_not_json_is_refused(value: bytes) -> None:
    reason, message = refused(value)
    assert reason is Reject.NOT_JSON
    assert message.startswith("the value is not JSON")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(b"[]", "a list"), (b"1", "a number"), (b"null", "null"), (b'"x"', "text"), (b"true", "a boolean")],
)
def test_json_that_is_no_object_is_refused(value: bytes, kind: str) -> None:
    assert refused(value) == (Reject.INVALID, f"the value must be a JSON object, not {kind}")


def test_deep_json_is_refused() -> None:
    for depth, deep in ((300, b"[" * 300 + b"]" * 300), (100_000, b"[" * 100_000)):
        reason, message = refused(payment(note=123).replace(b"123", deep))
        assert (reason, "recursion limit" in message) == (Reject.NOT_JSON, True), depth


def test_a_megabyte_is_refused_without_being_parsed() -> None:
    assert refused(b"{" * 1_000_000) == (
        Reject.TOO_LARGE,
        "the value has 1,000,000 bytes; at most 262,144 are read",
    )
    assert refused(payment(note="x" * 1_000_000))[0] is Reject.TOO_LARGE
    size = events.MAX_BYTES - len(payment(note=""))
    accepted(payment(note="x" * size))
    assert refused(payment(note="x" * (size + 1)))[0] is Reject.TOO_LARGE


# ---- texts ----

ID_FIELDS = ["event_id", "account", "counterparty", "device_id", "ip"]


@pytest.mark.parametrize("field", [*ID_FIELDS, "type", "channel"])
@pytest.mark.parametrize(
    "character",
    [
        "\0",
        "\n",
        "\x1b",
        "\x7f",
        "\x85",
        "\u00a0",
        "\u00ad",
        "\u034f",
        "\u200b",
        "\u200d",
        "\u202e",
        "\u2028",
        "\u2066",
        "\u3164",
        "\ufe0f",
        "\ufeff",
        "\U000e0041",
    ],
)
def test_control_bidirectional_and_invisible_characters_are_refused(field: str, character: str) -> None:
    expected = (Reject.BAD_TEXT, f"{field} holds U+{ord(character):04X}, which is not printable")
    assert refused(json.dumps({**PAYMENT, field: f"12{character}34"}).encode()) == expected
    if character >= " ":  # as raw bytes too
        assert refused(payment(**{field: f"12{character}34"})) == expected


def test_every_control_format_and_separator_character_is_refused() -> None:
    bad = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")
    for character in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(character) in bad and character != " ":
            assert not character.isprintable()


@pytest.mark.parametrize("field", ID_FIELDS)
@pytest.mark.parametrize("text", ['" "', '"   "', '"\\u0020"'])
def test_an_id_of_blanks_is_refused(field: str, text: str) -> None:
    value = payment(**{field: "X"}).replace(b'"X"', text.encode())
    assert refused(value) == (Reject.BAD_TEXT, f"{field} holds nothing but blanks")


@pytest.mark.parametrize(
    "text", ["账户-1", "José", "a b", " a", "a\\b", 'a"b', "a:b", "🏦", "NaN", "Infinity"]
)
def test_visible_texts_are_accepted(text: str) -> None:
    for ascii_only in (True, False):
        value = json.dumps({**PAYMENT, "account": text, "ip": text, "channel": text}, ensure_ascii=ascii_only)
        assert accepted(value.encode())["account"] == text


def test_a_message_never_shows_a_whole_account_number() -> None:
    number = "6222020012345678901"
    for field in [*PAYMENT, "payer_kind", "currency", "latitude", "ip"]:
        for given_ in (number, int(number), [number], number + "\u202e", number * 9, {number: number}):
            result = parse(payment(**{field: given_, "latitude": 200}))
            assert isinstance(result, Rejection)
            assert number[:8] not in result.message
            assert len(result.message) < 200


# ---- fields given twice ----


@pytest.mark.parametrize(
    "value",
    [
        payment()[:-1] + b',"amount":6}',
        payment()[:-1] + b', "amount" : 6}',
        payment()[:-1] + b',"\\u0061mount":6}',
        payment(ts="2026-11-24T09:30:00+08:00")[:-1] + b',"amount":6}',
        payment(x=1)[:-1] + b',"amount":6}',
        # The text's escaped colon must not stand in for the colon that the repeated field loses.
        payment(x="\\u003a")[:-1].replace(b"\\\\", b"\\") + b',"amount":6}',
        payment(ip="X").replace(b"X", b"\\u003A")[:-1] + b',"amount":6}',
    ],
)
def test_a_field_given_twice_is_refused(value: bytes) -> None:
    assert refused(value) == (Reject.INVALID, "amount is given more than once")


def test_what_nobody_reads_may_be_repeated() -> None:
    accepted(payment()[:-1] + b',"x":1,"x":2}')
    accepted(payment()[:-1] + b',"x":{"amount":1,"amount":2}}')


# ---- batches ----


def test_records_cannot_close_each_others_brackets() -> None:
    opening = payment()[:-1] + b',"x":[{}'
    closing = b"{}]," + payment()[1:]
    accepted_, kept, rejections = events.parse_transactions(
        [payment(), opening, closing, payment(event_id="e2")]
    )
    assert [event["event_id"] for event in accepted_] == ["e1", "e2"]
    assert kept == [0, 3]
    assert [(r.index, r.reason) for r in rejections] == [(1, Reject.NOT_JSON), (2, Reject.NOT_JSON)]


def test_an_empty_batch_is_nothing() -> None:
    assert events.parse_transactions([]) == ([], [], [])


GOOD = [
    payment(),
    payment(currency=None, type="转账"),
    payment(ts="2026-11-24T09:30:00+08:00"),
    payment(ip="::1", branch={"a": [1]}),
    json.dumps({**PAYMENT, "channel": "柜面"}).encode(),
]
BAD = [
    None,
    b"",
    b"\xff",
    b"{",
    b"[]",
    b"x" * 300_000,
    payment(amount=0),
    payment(account="\u202e"),
    payment(account="  "),
    payment()[:-1] + b',"amount":6}',
    payment(x=123).replace(b"123", b"NaN"),
]


@given(st.lists(st.sampled_from([(value, True) for value in GOOD] + [(value, False) for value in BAD])))
@example([(GOOD[0], True), (BAD[8], False)])
def test_bad_records_leave_the_rest_of_their_batch_as_it_is(batch: list[tuple[bytes | None, bool]]) -> None:
    values = [value for value, _ in batch]
    accepted_, kept, rejections = events.parse_transactions(values)
    assert kept == [index for index, (_, good) in enumerate(batch) if good]
    assert [r.index for r in rejections] == [index for index, (_, good) in enumerate(batch) if not good]
    alone, _, none = events.parse_transactions([value for value, good in batch if good])
    assert accepted_ == alone
    assert none == []
    assert accepted_ == [parse(values[index]) for index in kept]


TEXT = st.text(st.sampled_from('aN5:"\\{}[], \0\x7f\u200b\u202e\ud800é账🏦'), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
NEARLY = st.dictionaries(st.sampled_from([*events.Transaction.__annotations__, "x"]), JSON, max_size=3)


@given(st.lists(st.none() | st.binary() | NEARLY.map(lambda changes: payment(**changes)), max_size=4))
def test_whatever_comes_is_accepted_or_refused_and_never_raises(values: list[bytes | None]) -> None:
    accepted_, kept, rejections = events.parse_transactions(values)
    assert sorted([*kept, *(r.index for r in rejections)]) == list(range(len(values)))
    assert len(accepted_) == len(kept)
    for value in values:
        assert events.parse_account_update(value)
        assert events.parse_disposition(value)
        assert events.parse_risk_signal(value, value)
    for event in accepted_:
        assert event["account"].isprintable()
        assert 0 < event["amount"] < 1e12
        assert EARLIEST_MS <= event["ts"] < LATEST_MS
    assert all(r.message and r.message.isprintable() for r in rejections)


@given(st.data())
def test_the_quick_look_at_a_batch_never_overlooks_what_the_slow_one_refuses(data: st.DataObject) -> None:
    pieces = [
        '"amount":6',
        '"x":"a:b"',
        '"x":"\\u003a"',
        '"\\u0061mount":6',
        '"x":{"y":1}',
        '"ip":"\\u200b"',
        '"ip":" "',
    ]
    tails = data.draw(st.lists(st.lists(st.sampled_from(pieces), max_size=3), min_size=1, max_size=4))
    values = [payment()[:-1] + "".join("," + piece for piece in tail).encode() + b"}" for tail in tails]
    parsed = [dict(json.loads(value)) for value in values]
    known = [{name: fields[name] for name in fields if name != "x"} for fields in parsed]
    refusals = [oddities.refuse_odd(value, fields) for value, fields in zip(values, known, strict=True)]
    for fields, tail, refusal in zip(known, tails, refusals, strict=True):
        twice = sum("mount" in piece for piece in tail) > 0 or sum('"ip"' in piece for piece in tail) > 1
        assert (refusal is not None) == (twice or not str(fields.get("ip", "x")).strip(" \u200b"))
    if oddities.nothing_odd(values, known):
        assert refusals == [None] * len(values)


# ---- the other three ----


def test_account_updates_carry_facts_field_by_field() -> None:
    update = events.parse_account_update(
        b'{"account":"a","ts":1795483800250,"opened":"2019-03-01","holder_birth_year":1954,"kind":"personal",'
        b'"changed":"phone","branch":7}',
        b"a",
    )
    assert update == events.AccountUpdate(
        account="a",
        ts=TS,
        opened=1_551_398_400_000,
        holder_birth_year=1954,
        kind="personal",
        changed="phone",
    )
    assert events.parse_account_update(
        b'{"account":"a","ts":"2026-11-24T09:30:00.25+08:00","changed":null}'
    ) == (events.AccountUpdate(account="a", ts=TS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opened": "2019-3-1"}, "opened must be epoch ms or RFC 3339"),
        ({"opened": "2019-02-30"}, "opened is not a time of the calendar"),
        ({"opened": 1.5}, "opened must be a whole number, not a number"),
        ({"opened": -(10**13)}, "opened must be at least -2,208,988,800,000"),
        ({"holder_birth_year": 1700}, "holder_birth_year must be at least 1,880, not 1700"),
        ({"holder_birth_year": "1954"}, "holder_birth_year must be a whole number, not text"),
        ({"changed": "name"}, "changed must be 'phone', 'password', 'device' or 'address', not 'name'"),
        ({"account": ""}, "account must not be empty"),
        ({"ts": None}, "ts must be a whole number, not null"),
    ],
)
def test_account_updates_are_checked_as_strictly(changes: dict[str, Any], message: str) -> None:
    result = events.parse_account_update(json.dumps({"account": "a", "ts": TS, **changes}).encode())
    assert isinstance(result, Rejection)
    assert result.reason is Reject.INVALID
    assert result.message.startswith(message)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_dispositions_name_their_outcome(outcome: Outcome) -> None:
    result = events.parse_disposition(json.dumps({**DISPOSITION, "outcome": outcome}).encode(), b"a")
    assert result == events.Disposition(
        disposition_id="d1", warning_id="w1", account="a", outcome=outcome, role=Role.MULE, by="kim", ts=TS
    )


def test_a_confirmed_disposition_needs_a_role() -> None:
    for without in ({**DISPOSITION, "role": None}, {n: v for n, v in DISPOSITION.items() if n != "role"}):
        assert events.parse_disposition(json.dumps(without).encode()) == Rejection(
            0, Reject.INVALID, "role is required for the outcome confirmed: mule or victim"
        )
        cleared = json.dumps({**without, "outcome": "false_positive"}).encode()
        assert isinstance(events.parse_disposition(cleared), events.Disposition)


def test_a_note_may_have_lines_but_nothing_that_deceives() -> None:
    for note in ("two\nlines", "家庭 👨‍👩‍👧", "全角\u3000"):
        assert isinstance(
            events.parse_disposition(json.dumps({**DISPOSITION, "note": note}).encode()), events.Disposition
        )
    for note in ("nul\0", "a\u202eb", "\x1b[2J"):
        result = events.parse_disposition(json.dumps({**DISPOSITION, "note": note}).encode())
        assert isinstance(result, Rejection)
        assert result.reason is Reject.BAD_TEXT


def test_single_messages_refuse_repeated_fields_even_where_defaults_make_up_the_number() -> None:
    value = (
        b'{"account":"a","ts":1795483800250,"ts":1795483800250,"ts":1795483800250,"ts":1795483800250,"ts":1}'
    )
    result = events.parse_account_update(value.replace(b'"ts":1}', b'"ts":1795483800251}'))
    assert result == Rejection(0, Reject.INVALID, "ts is given more than once")


@pytest.mark.parametrize("value", [json.dumps({"account": "a", "ts": TS}), json.dumps(DISPOSITION)])
def test_a_key_that_is_not_the_account_is_a_wrong_key(value: str) -> None:
    parse_ = events.parse_disposition if "outcome" in value else events.parse_account_update
    expected = Rejection(0, Reject.WRONG_KEY, "the record's key must be the account of its value")
    assert parse_(value.encode(), b"b") == expected
    assert not isinstance(parse_(value.encode(), b"a"), Rejection)


def test_a_risk_signal_is_kept_by_its_key() -> None:
    for kind, name in (("account", "a"), ("device", "d:1"), ("ip", "2001:db8::7")):
        body = json.dumps({**SIGNAL, "kind": kind, "id": name}).encode()
        signal = events.parse_risk_signal(f"{kind}:{name}".encode(), body)
        assert isinstance(signal, events.RiskSignal)
        assert signal.key == f"{kind}:{name}".encode()
        assert (signal.level, signal.source, signal.valid_to) == (90, SignalSource.POLICE, TS + 1000)


def test_a_null_value_withdraws_a_risk_signal() -> None:
    assert events.parse_risk_signal(b"ip:2001:db8::7", None) == events.Withdrawal(
        SignalKind.IP, "2001:db8::7"
    )


@pytest.mark.parametrize(
    "key", [None, b"", b"account", b"account:", b"person:a", b"\xff:a", b"account:" + b"x" * 65]
)
@pytest.mark.parametrize("value", [None, json.dumps(SIGNAL).encode()])
def test_a_risk_signal_without_a_proper_key_is_refused(key: bytes | None, value: bytes | None) -> None:
    result = events.parse_risk_signal(key, value)
    assert isinstance(result, Rejection)
    assert result.reason is Reject.WRONG_KEY


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"id": "b"}, Reject.WRONG_KEY, "the record's key must be the kind and id of its value"),
        ({"kind": "ip"}, Reject.WRONG_KEY, "the record's key must be the kind and id of its value"),
        ({"level": 0}, Reject.INVALID, "level must be at least 1, not 0"),
        ({"level": 101}, Reject.INVALID, "level must be at most 100, not 101"),
        ({"level": 50.0}, Reject.INVALID, "level must be a whole number, not a number"),
        (
            {"source": "press"},
            Reject.INVALID,
            "source must be 'police', 'bank', 'disposition' or 'sharing', not 'press'",
        ),
        ({"valid_to": TS}, Reject.INVALID, "valid_to must be after valid_from"),
        ({"reason": "x" * 4001}, Reject.INVALID, "reason must have at most 4000 characters"),
    ],
)
def test_risk_signals_are_checked_as_strictly(changes: dict[str, Any], reason: Reject, message: str) -> None:
    result = events.parse_risk_signal(b"account:a", json.dumps({**SIGNAL, **changes}).encode())
    assert result == Rejection(0, reason, message)


def test_an_empty_value_is_no_risk_signal() -> None:
    assert events.parse_risk_signal(b"account:a", b"") == Rejection(0, Reject.EMPTY, "the value is empty")


@pytest.mark.parametrize(
    "message",
    [
        events.AccountUpdate(account="a", ts=TS, opened=0, kind="个人"),
        events.Disposition(
            disposition_id="d", warning_id="w", account="a", outcome=Outcome.INCONCLUSIVE, by="x", ts=TS
        ),
    ],
)
def test_what_we_write_we_can_read(message: events.AccountUpdate | events.Disposition) -> None:
    parse_ = (
        events.parse_disposition if isinstance(message, events.Disposition) else events.parse_account_update
    )
    assert parse_(message.encode(), b"a") == message


def test_our_own_risk_signals_can_be_read() -> None:
    signal = events.RiskSignal(
        kind=SignalKind.ACCOUNT,
        id="a",
        level=80,
        source=SignalSource.DISPOSITION,
        valid_from=TS,
        valid_to=TS + 1,
    )
    assert events.parse_risk_signal(signal.key, signal.encode()) == signal


# ---- schemas ----


@pytest.mark.parametrize("name", ["transaction", "account-update", "disposition", "risk-signal"])
def test_every_field_of_a_schema_is_described(name: str) -> None:
    schema = events.schema(name)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["description"]
    json.dumps(schema)
    for field, shape in schema["properties"].items():
        assert shape.get("description"), field


@pytest.mark.parametrize("name", ["decision", "alert"])
def test_what_goes_out_has_a_schema_too(name: str) -> None:
    assert "account" in events.schema(name)["properties"]
    assert name in events.SCHEMA_NAMES


def test_the_examples_of_the_transaction_schema_make_a_transaction() -> None:
    fields = events.schema("transaction")["properties"]
    example_ = {name: shape["examples"][-1] for name, shape in fields.items()}
    assert accepted(json.dumps(example_).encode())["ts"] == TS
    assert fields["ts"]["anyOf"][1] == {"type": "string", "format": "date-time"}


def test_an_unknown_schema_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="no message is called 'payment'; there are transaction, "):
        events.schema("payment")


def test_kinds_of_parties_are_those_of_the_vocabulary() -> None:
    assert set(get_args(Kind)) == {kind.value for kind in PartyKind}
