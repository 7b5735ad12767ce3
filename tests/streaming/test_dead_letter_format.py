"""The message on the dead-letter topic, word by word as the contract gives it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.detection.vocabulary import Reject
from stream_guard.streaming.dead_letters import dead_letter


def test_the_headers_are_those_of_the_contract_as_text() -> None:
    value, headers = dead_letter("transactions", 11, 2**40, b"abc", Reject.FUTURE, "too far ahead, 账户")
    assert value == b"abc"
    assert {name: text.decode() for name, text in headers} == {
        "topic": "transactions",
        "partition": "11",
        "offset": "1099511627776",
        "reason": "future",
        "message": "too far ahead, 账户",
        "length": "3",
        "sha256": hashlib.sha256(b"abc").hexdigest(),
    }


@pytest.mark.parametrize(
    ("length", "kept"), [(0, 0), (65_536, 65_536), (65_537, 65_536), (1_000_000, 65_536)]
)
def test_beyond_64_kib_the_first_64_kib_are_kept_with_length_and_hash_of_the_whole(
    length: int, kept: int
) -> None:
    original = bytes(index % 251 for index in range(length))
    value, headers = dead_letter("t", 0, 0, original, Reject.TOO_LARGE, "m")
    assert value == original[:kept]
    assert dict(headers)["length"] == str(length).encode()
    assert dict(headers)["sha256"] == hashlib.sha256(original).hexdigest().encode()


def test_a_null_value_stays_null() -> None:
    value, headers = dead_letter("t", 0, 0, None, Reject.EMPTY, "the value is empty")
    assert value is None
    assert dict(headers)["length"] == b"0"


@given(st.binary(), st.sampled_from(list(Reject)), st.text(max_size=50))
def test_the_original_bytes_pass_unchanged_and_a_repeat_is_the_same(
    body: bytes, reason: Reject, text: str
) -> None:
    first = dead_letter("t", 1, 2, body, reason, text)
    assert first == dead_letter("t", 1, 2, body, reason, text)
    assert first[0] == body
    assert [name for name, _ in first[1]] == [
        "topic",
        "partition",
        "offset",
        "reason",
        "message",
        "length",
        "sha256",
    ]
