from __future__ import annotations

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.hashing import (
    hash_separated,
    joined,
    murmur2_partition,
    murmur2_partitions,
    text_code,
    text_hash,
    text_hash_of,
)

MASK = 2**64 - 1
M = 0xC6A4A7935BD1E995
SEED = 0x5EED57AB1E000001


def murmur_hash_64a(text: bytes) -> int:
    """The published algorithm in plain Python; 0 is kept for the empty text."""
    if not text:
        return 0
    h = SEED ^ (len(text) * M & MASK)
    whole = len(text) // 8 * 8
    for at in range(0, whole, 8):
        k = int.from_bytes(text[at : at + 8], "little") * M & MASK
        k ^= k >> 47
        h = (h ^ (k * M & MASK)) * M & MASK
    if text[whole:]:
        h = (h ^ int.from_bytes(text[whole:], "little")) * M & MASK
    h ^= h >> 47
    h = h * M & MASK
    h ^= h >> 47
    return h or 1


UNTIMED = settings(deadline=None)  # the first example may compile a kernel
texts = st.lists(st.binary(max_size=40), max_size=20)


@UNTIMED
@given(texts)
def test_hash_is_murmur_hash_64a_and_0_means_absent(keys: list[bytes]) -> None:
    assert text_hash(keys).tolist() == [murmur_hash_64a(key) for key in keys]


@UNTIMED
@given(st.binary(max_size=40))
def test_hash_of_one_text_equals_the_hash_in_a_list(key: bytes) -> None:
    assert text_hash_of(key) == text_hash([key])[0]


def test_hashes_stay_as_stored_rows_have_them() -> None:
    assert text_hash([b"A000001", "账户".encode(), b"x" * 64]).tolist() == [
        7352596545264089753,
        murmur_hash_64a("账户".encode()),
        murmur_hash_64a(b"x" * 64),
    ]


def test_many_ids_that_differ_in_one_digit_have_different_hashes_and_codes() -> None:
    ids = [b"A%06d" % i for i in range(50_000)]
    assert len(set(text_hash(ids).tolist())) == len(ids)
    assert len({text_code(i) for i in ids[:5000]}) == 5000


@UNTIMED
@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\1" not in b), min_size=1, max_size=10))
def test_separated_texts_hash_like_a_list_of_them(keys: list[bytes]) -> None:
    out = np.empty(len(keys), np.uint64)
    hash_separated(np.frombuffer(b"\1".join(keys), np.uint8), 1, out)
    assert out.tolist() == text_hash(keys).tolist()


@UNTIMED
@given(st.text(max_size=20))
def test_code_is_an_exact_float_of_the_hash_for_str_and_bytes(text: str) -> None:
    code = text_code(text)
    assert code == text_code(text.encode())
    assert int(code) == text_hash_of(text.encode()) >> 12
    assert int(code) < 2**52


def test_code_distinguishes_case() -> None:
    assert text_code("TRANSFER") != text_code("transfer")


@UNTIMED
@given(texts, st.integers(1, 1000))
def test_partitions_are_those_of_kafkas_java_client(keys: list[bytes], partitions: int) -> None:
    expected = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
    assert murmur2_partitions(keys, partitions).tolist() == expected
    assert [murmur2_partition(key, partitions) for key in keys] == expected


@pytest.mark.parametrize(
    ("key", "murmur"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_partitions_equal_the_values_in_kafkas_own_test(key: bytes, murmur: int) -> None:
    assert murmur2_partition(key, 2**31 - 1) == (murmur & 0x7FFFFFFF) % (2**31 - 1)


def test_no_partition_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least 1 partition, not 0"):
        murmur2_partitions([b"a"], 0)


def test_joined_texts_of_an_empty_list() -> None:
    text, ends = joined([])
    assert (text.size, ends.size) == (0, 0)
    assert text_hash([]).size == 0
    assert text_hash([b""]).tolist() == [0]
