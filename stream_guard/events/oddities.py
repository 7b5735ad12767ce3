"""What is valid by type and bound and yet refused: deceptive texts, repeated fields, `NaN` nobody reads.

`nothing_odd` settles whole batches at the price of a few searches through their bytes. Its yes is exact;
at a no, `refuse_odd` looks at single records and says what is wrong, if anything is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn

import orjson

from stream_guard.detection.vocabulary import Reject, Rejection

_IDS: Final = frozenset(
    ("event_id", "account", "counterparty", "device_id", "ip", "disposition_id", "warning_id", "id")
)
_PROSE: Final = frozenset(("note", "reason"))

_JSON_ASCII: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F)])
"""ASCII that may stand unescaped in JSON and is visible; the white space cannot stand inside a text."""

# Letters and marks that show nothing and pass for printable: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# Prose may hold line breaks and joined emoji, but nothing that reorders or hides what follows.
_BAD_IN_PROSE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def nothing_odd(values: Sequence[bytes], parsed: Sequence[Mapping[str, object]]) -> bool:
    """Whether surely none of some records is odd.

    Parameters
    ----------
    values
        Values of the records; each of them is a JSON object.
    parsed
        For each value the fields that were read from it, and only those.
    """
    joined = b"".join(values)
    return _texts_are_plain(joined, parsed) and _members_are_distinct(joined, values, parsed)


def plain_texts(texts: Collection[str]) -> bool:
    r"""Whether surely none of some ids or labels holds what is not printable, or nothing but blanks.

    Examples
    --------
    >>> plain_texts(["A1", "ATM 7"]), plain_texts(["A1", " "]), plain_texts(["A1\u200b"])
    (True, False, False)
    """
    joined = "".join(texts)
    if " " in joined and any(map(str.isspace, texts)):
        return False
    return joined.isprintable() and (joined.isascii() or not _INVISIBLE.search(joined))


def _texts_are_plain(joined: bytes, parsed: Sequence[Mapping[str, object]]) -> bool:
    if b"\\" in joined:  # an escape can stand for any character
        texts = [text for fields in parsed for text in fields.values() if isinstance(text, str)]
        doubtful = "".join(texts)
        blank = any(map(str.isspace, texts))
    else:
        seen = joined.isascii() and b"\x7f" not in joined
        doubtful = "" if seen else joined.translate(None, _JSON_ASCII).decode()
        blank = b" " in joined and b'" ' in joined
    return not blank and doubtful.isprintable() and not _INVISIBLE.search(doubtful)


def _members_are_distinct(
    joined: bytes, values: Sequence[bytes], parsed: Sequence[Mapping[str, object]]
) -> bool:
    """Whether surely no object repeats a name.

    Every member of an object has a colon outside its texts. So a record has at least as many colons as
    fields read from it, and has more of them where it repeats one: equal sums mean that no record does.
    Where texts hold colons, or fields are unknown, a round trip through orjson, which keeps one member of
    each name, loses a colon with every repeated member. Only an escaped colon could make up for that one.
    """
    colons = joined.count(b":")
    if colons == sum(map(len, parsed)):
        return True
    if b"\\u003" in joined:
        return False
    try:
        return orjson.dumps(orjson.loads(b"[" + b",".join(values) + b"]")).count(b":") == colons
    except ValueError:
        return False


def refuse_odd(value: bytes, fields: Mapping[str, object]) -> Rejection | None:
    """Say what is odd about a record, if anything is."""
    for name, text in fields.items():
        if isinstance(text, str):
            odd = _odd_character(name, text)
            if odd is not None:
                return Rejection(0, Reject.BAD_TEXT, f"{name} holds U+{ord(odd):04X}, which is not printable")
            if name in _IDS and text.isspace():
                return Rejection(0, Reject.BAD_TEXT, f"{name} holds nothing but blanks")
    if _members_are_distinct(value, [value], [fields]):
        return None
    try:
        names = [name for name, _ in _pairs(value.decode())]
    except ValueError:
        return Rejection(0, Reject.NOT_JSON, "the value is not JSON: NaN and Infinity are no JSON numbers")
    for name in fields:
        if names.count(name) > 1:
            return Rejection(0, Reject.INVALID, f"{name} is given more than once")
    return None


def _odd_character(name: str, text: str) -> str | None:
    if name not in _PROSE and not text.isprintable():
        return next(character for character in text if not character.isprintable())
    match = (_BAD_IN_PROSE if name in _PROSE else _INVISIBLE).search(text)
    return match.group() if match else None


def _no_constant(literal: str) -> NoReturn:
    raise ValueError(literal)


# Numbers stay text: converting one of thousands of digits is slow, and nobody asks for its value.
_pairs = json.JSONDecoder(
    object_pairs_hook=list, parse_int=str, parse_float=str, parse_constant=_no_constant
).decode
