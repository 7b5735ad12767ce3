"""Legs on the wire: what goes in comes out, what is foreign is refused, no frame outgrows a record."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection.batches import Legs, empty_legs, size, take
from stream_guard.detection.features import FEATURES, FIRST, FIRST_WIDTH
from stream_guard.events.messages import MAX_ID
from stream_guard.streaming import legs as frames
from stream_guard.streaming.legs import (
    CATALOGUE,
    FIRST_NAMES,
    MAX_FRAME_ROWS,
    ForeignFrame,
    decode,
    encode,
    encode_by_target,
    feature_mask,
)
from stream_guard.streaming.outputs import MAX_BATCH_BYTES

EVERYTHING = np.arange(FIRST_WIDTH)


def random_legs(n: int, seed: int = 0, texts: list[bytes] | None = None) -> Legs:
    """Legs with every column at random; ids of every length."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, like in empty_legs()._asdict().items():
        if name == "block":
            block = rng.normal(size=(n, FIRST_WIDTH)) * 10.0 ** rng.integers(-3, 9, size=(n, FIRST_WIDTH))
            columns[name] = np.where(rng.random((n, FIRST_WIDTH)) < 0.2, np.nan, block)
        elif isinstance(like, list):
            columns[name] = [b"x" * int(length) for length in rng.integers(1, 70, size=n)]
        elif like.dtype.kind == "f":
            columns[name] = rng.normal(size=n)
        else:
            info = np.iinfo(like.dtype)
            columns[name] = rng.integers(info.min, info.max, size=n, dtype=like.dtype, endpoint=True)
    if texts is not None:
        columns["texts"] = texts
    return Legs(**columns)


def same(found: Legs, wanted: Legs, carried: Any = EVERYTHING) -> None:
    """Equal in values and in types; features that are not carried are missing."""
    for name, ours, theirs in zip(Legs._fields, found, wanted, strict=True):
        if name == "block":
            block = np.full_like(theirs, np.nan)
            block[:, carried] = theirs[:, carried]
            np.testing.assert_array_equal(ours, block)
        elif isinstance(theirs, list):
            assert ours == theirs, name
        else:
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


def through(legs: Legs, columns: Any = EVERYTHING) -> Legs:
    decoded = decode([encode(legs, columns)])
    assert decoded is not None
    return decoded


# -- there and back ------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    carried=st.sets(st.integers(0, FIRST_WIDTH - 1)).map(sorted),
)
def test_what_goes_into_a_frame_comes_out_of_it(n: int, seed: int, carried: list[int]) -> None:
    legs = random_legs(n, seed)
    columns = np.array(carried, dtype=np.intp)
    same(through(legs, columns), legs, columns)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_texts_of_any_kind_come_back(texts: list[str]) -> None:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    assert through(random_legs(len(texts), texts=encoded)).texts == encoded


def test_several_frames_join_in_their_order() -> None:
    parts = [random_legs(n, seed) for seed, n in enumerate((3, 1, 5))]
    decoded = decode([encode(part, EVERYTHING) for part in parts])
    assert decoded is not None
    at = 0
    for part in parts:
        same(take(decoded, np.arange(at, at + size(part))), part)
        at += size(part)
    assert at == size(decoded)


def test_frames_of_senders_with_different_packs_join() -> None:
    few, many = random_legs(2, 1), random_legs(2, 2)
    decoded = decode([encode(few, np.array([5])), encode(many, EVERYTHING)])
    assert decoded is not None
    same(take(decoded, np.arange(2)), few, np.array([5]))
    same(take(decoded, np.arange(2, 4)), many)


def test_no_frame_no_legs() -> None:
    assert decode([]) is None


@pytest.mark.parametrize("n", [1, 2])
def test_decoded_columns_are_of_the_kind_that_kernels_are_compiled_for(n: int) -> None:
    # A read-only or strided column would have numba compile the second hop anew, in the middle of the
    # stream: seconds, and at low rates most frames hold one leg.
    for name, column in through(random_legs(n))._asdict().items():
        if isinstance(column, np.ndarray):
            assert column.flags.carray, name


# -- which features ------------------------------------------------------------------------------------


def test_a_mask_has_a_bit_for_each_carried_feature() -> None:
    mask = feature_mask([0, 9, FIRST_WIDTH - 1])
    bits = [position for position in range(128) if mask[position // 8] >> position % 8 & 1]
    assert (len(mask), bits) == (16, [0, 9, FIRST_WIDTH - 1])


def test_the_mask_has_room_for_the_catalogue() -> None:
    assert FIRST_WIDTH <= 128


def test_a_frame_is_smaller_the_fewer_features_it_carries() -> None:
    legs = random_legs(100)
    assert len(encode(legs, EVERYTHING)) - len(encode(legs, EVERYTHING[:10])) == 8 * 100 * (FIRST_WIDTH - 10)


# -- what is foreign -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"", b"SGL1", b"SGL2" + b"\0" * 60, b"{}" * 40])
def test_a_record_that_is_no_frame_is_refused(value: bytes) -> None:
    with pytest.raises(ForeignFrame, match="is no leg frame; nothing else may write there"):
        decode([value])


def test_a_frame_of_another_catalogue_is_refused_with_what_to_do() -> None:
    frame = encode(random_legs(2), EVERYTHING)
    foreign = frame[:4] + bytes(8) + frame[12:]
    with pytest.raises(ForeignFrame, match="let the old version drain the legs topic"):
        decode([encode(random_legs(1), EVERYTHING), foreign])


def test_the_catalogue_is_told_by_names_and_their_order() -> None:
    assert tuple(feature.name for feature in FEATURES[FIRST]) == FIRST_NAMES
    assert encode(random_legs(1), EVERYTHING)[4:12] == CATALOGUE


def test_the_layout_of_rows_is_part_of_the_magic_and_must_not_change_unseen() -> None:
    # A change here needs another MAGIC: a running cluster has frames of this layout in its log.
    assert frames.MAGIC == b"SGL1"
    assert frames._HEADER.format == "<4s8sII16s"
    layout = json.dumps(frames._row(2).descr)
    assert struct.calcsize(frames._HEADER.format) == 36
    assert frames._row(2).itemsize == 126
    assert layout.startswith('[["source_partition", "<i4"], ["flags", "|u1"], ["stored_action", "|u1"]')
    assert layout.endswith('["ip", "<u8"], ["values", "<f8", [2]]]')


# -- cutting -------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_every_leg_goes_to_its_target_in_order(targets: list[int]) -> None:
    legs = random_legs(len(targets))._replace(offset=np.arange(len(targets)))
    columns = np.array([0, 3, FIRST_WIDTH - 1])
    found = dict(encode_by_target(legs, np.array(targets, dtype=np.int32), columns))
    assert found.keys() == set(targets)
    for target, frame in found.items():
        here = np.flatnonzero(np.array(targets) == target)
        assert frame == encode(take(legs, here), columns)


def test_a_frame_holds_a_bounded_number_of_legs() -> None:
    n = 2 * MAX_FRAME_ROWS + 1
    legs = random_legs(n)._replace(offset=np.arange(n))
    frames_of_one = [
        frame for _, frame in encode_by_target(legs, np.zeros(n, dtype=np.int32), EVERYTHING[:2])
    ]
    parts = [decode([frame]) for frame in frames_of_one]
    assert [part and size(part) for part in parts] == [MAX_FRAME_ROWS, MAX_FRAME_ROWS, 1]
    joined = decode(frames_of_one)
    assert joined is not None
    same(joined, legs, EVERYTHING[:2])


def test_the_largest_frame_that_a_bank_can_cause_fits_into_a_record() -> None:
    # Ids may have 64 characters of 4 bytes each.
    longest = "\U00020000" * MAX_ID
    # Tainted money came by one account, or by two.
    text = "\0".join([longest, longest, longest, "CNY", longest, "", longest, longest]).encode()
    legs = random_legs(MAX_FRAME_ROWS, texts=[text] * MAX_FRAME_ROWS)
    legs = legs._replace(keys=[longest.encode()] * MAX_FRAME_ROWS)
    assert len(encode(legs, EVERYTHING)) < MAX_BATCH_BYTES - 1_000
