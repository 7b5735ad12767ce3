"""State pieces read where they are in a fetch: the same items as record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.streaming.light_records import KeptRecords, LightRecords, in_one_piece
from stream_guard.streaming.logged_items import LoggedItems
from stream_guard.streaming.state import Item

TP = TopicPartition("state", 0)
COMMITTED = fetcher.READ_COMMITTED
CONTROL, ABORT, COMMIT = 0x20, b"\0\0\0\0", b"\0\0\0\1"
GZIP = 1

keys = st.binary(max_size=40)
values = st.one_of(st.none(), st.binary(max_size=300))
logs = st.lists(st.lists(st.tuples(keys, values), min_size=1, max_size=8), max_size=5)


def batch(
    items: Sequence[tuple[bytes | None, bytes | None]],
    base: int,
    producer: int = 7,
    codec: int = 0,
) -> bytes:
    """A record batch as it is in a log, with a header here and there."""
    builder = DefaultRecordBatchBuilder(2, codec, True, producer, 0, 0, 1 << 20)
    for at, (key, value) in enumerate(items):
        headers = [("kind", b"a")] if at % 3 == 1 else []
        builder.append(at, 1_700_000_000_000 + at * 1_000_003, key, value, headers)
    whole = bytearray(builder.build())
    whole[:8] = base.to_bytes(8, "big")
    return bytes(whole)


def marker(kind: bytes, base: int, producer: int = 7) -> bytes:
    whole = bytearray(batch([(kind, b"\0\0\0\0\0\0")], base, producer))
    whole[22] |= CONTROL
    return bytes(whole)


def read(fetched: bytes, whole: bool, aborted: Any = (), start: int = 0) -> tuple[list[Any], int]:
    """What a consumer gives of a fetch, and where it goes on."""
    asked = in_one_piece if whole else None
    records = LightRecords(TP, KeptRecords(fetched), list(aborted), start, None, asked, False, COMMITTED)
    return list(records), records.next_fetch_offset


def items(given: Sequence[Any]) -> list[Item]:
    if given and isinstance(given[0], LoggedItems):
        (piece,) = given
        return list(piece)
    return [(record.key, record.value) for record in given]


@given(logs)
def test_a_fetch_in_one_piece_holds_what_its_records_are(log: list[list[Item]]) -> None:
    fetched, base = b"", 0
    for some in log:
        fetched += batch(some, base)
        base += len(some)
    one, end = read(fetched, whole=True)
    many, same_end = read(fetched, whole=False)
    assert items(one) == items(many) == [item for some in log for item in some]
    assert end == same_end == base
    if one:
        assert len(one[0]) == sum(map(len, log))


@given(st.lists(st.tuples(keys, values), min_size=1, max_size=40))
def test_what_is_plain_comes_apart_into_rows_and_the_others(given: list[Item]) -> None:
    (piece,), _ = read(batch(given, 0), whole=True)
    rows = [
        (key, value)
        for key, value in given
        if not key.startswith(b"\0") and value is not None and len(value) % 8 == 0
    ]
    others = [item for item in given if item[0].startswith(b"\0")]
    assert piece.plain == (len(rows) + len(others) == len(given))
    assert list(piece.others()) == others
    stored = piece.rows()
    values_there = [stored.data[start:stop].tobytes() for start, stop in stored.places.tolist()]
    assert list(zip(stored.accounts, values_there, strict=True)) == rows


def test_what_was_aborted_is_left_out_and_marks_are_no_items() -> None:
    fetched = (
        batch([(b"A1", b"1")], 0, producer=7)
        + batch([(b"A2", b"2")], 1, producer=8)
        + marker(ABORT, 2, producer=8)
        + batch([(b"A3", b"3")], 3, producer=8)
        + marker(COMMIT, 4, producer=8)
        + marker(COMMIT, 5, producer=7)
    )
    one, end = read(fetched, whole=True, aborted=[(8, 1)])
    many, same_end = read(fetched, whole=False, aborted=[(8, 1)])
    assert items(one) == items(many) == [(b"A1", b"1"), (b"A3", b"3")]
    assert end == same_end == 6
    assert read(marker(COMMIT, 0), whole=True) == ([], 1)


def test_a_batch_in_which_the_reading_begins_is_given_whole() -> None:
    fetched = batch([(b"A1", b"1"), (b"A2", b"2")], 10)
    one, end = read(fetched, whole=True, start=11)
    assert items(one) == [(b"A1", b"1"), (b"A2", b"2")]
    assert end == 12


def test_a_batch_that_is_cut_off_comes_with_the_next_fetch() -> None:
    first, second = batch([(b"A1", b"1")], 0), batch([(b"A2", b"2")], 1)
    one, end = read(first + second[:-1], whole=True)
    assert items(one) == [(b"A1", b"1")]
    assert end == 1


def test_what_is_compressed_comes_record_by_record() -> None:
    fetched = batch([(b"A1", b"1" * 100), (b"A2", None)], 0, codec=GZIP)
    given, end = read(fetched, whole=True)
    assert not isinstance(given[0], LoggedItems)
    assert items(given) == [(b"A1", b"1" * 100), (b"A2", None)]
    assert end == 2


@pytest.mark.parametrize("damage", [61, 65, 68])
def test_a_damaged_record_is_said(damage: int) -> None:
    whole = bytearray(batch([(b"A1", b"1" * 8)], 0))
    whole[damage] = 0xFF
    (piece,) = read(bytes(whole), whole=True)[0]
    with pytest.raises(ValueError, match="record 1 of 1 in a batch of the changelog is damaged"):
        piece[0]
