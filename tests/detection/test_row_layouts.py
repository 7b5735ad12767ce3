"""Rows of other releases: earlier ones become today's, later ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from stream_guard.detection import row_store, rows
from stream_guard.detection.columns import Bank
from stream_guard.detection.features import RING as RING_LENGTH
from stream_guard.detection.profiles import Profiles
from stream_guard.detection.row_layouts import (
    HEADER,
    LAYOUTS,
    MISSING,
    RING,
    Field,
    hash_of,
    layouts_of,
)
from stream_guard.detection.row_store import RowRefused, RowStore
from tests.detection.streams import NOON, both_hops, event

HASHES = ("23bbe6d93af86406", "438d129460ae519e")
"""Of all layouts. One that was released never changes: a new field comes with the next number."""


def test_no_layout_has_changed() -> None:
    assert tuple(hash_of(layout) for layout in range(len(LAYOUTS.sizes))) == HASHES


def test_the_fields_that_tell_a_rows_length_stay_where_they_are() -> None:
    assert [field.name for field in HEADER[:3]] == ["used", "head", "dropped"]
    assert all(field.since == 0 for field in HEADER[:3])


def test_layouts_map_the_fields_of_each_release() -> None:
    header = (Field("a", "<i8"), Field("new", "<f8", 1.5, since=1, length=2), Field("b", "<i8", 7))
    ring = (Field("late", "<i8", MISSING, since=2), Field("x", "<i8"))
    layouts = layouts_of(header, ring)
    assert layouts.newest == 2
    assert layouts.sizes.tolist() == [[2, 1], [4, 1], [4, 2]]
    assert layouts.header_from.tolist() == [[0, -1, -1, 1], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert layouts.ring_from.tolist() == [[-1, 0], [-1, 0], [0, 1]]
    assert layouts.header.view(np.float64)[1:3].tolist() == [1.5, 1.5]
    assert layouts.ring.tolist() == [MISSING, 0]


def made_later(fields: tuple[Field, ...], names: set[str]) -> tuple[Field, ...]:
    """The fields as if these had come with the release after the others."""
    last = 1 + max(field.since for field in (*HEADER, *RING))
    return tuple(field._replace(since=last) if field.name in names else field for field in fields)


def earlier_row(value: bytes, missing: set[str]) -> bytes:
    """A stored row as it was before fields of these names came."""
    words = np.frombuffer(value, np.int64).copy()
    used, dropped = int(words[rows.USED] & rows.USED_MASK), int(words[rows.DROPPED])
    words[rows.USED] = used | LAYOUTS.newest << rows.LAYOUT_SHIFT
    kept = RING_LENGTH if dropped else used
    pieces, at = [], 0
    for field in HEADER:
        end = at + (field.length or 1)
        pieces += [] if field.name in missing else [words[at:end]]
        at = end
    for field in RING:
        pieces += [] if field.name in missing else [words[at : at + kept]]
        at += kept
    return b"".join(piece.tobytes() for piece in [*pieces, words[at:]])


@pytest.mark.parametrize("payments", [0, 1, 5, RING_LENGTH, 3 * RING_LENGTH])
def test_a_row_of_an_earlier_release_has_defaults_for_what_it_did_not_know(
    payments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"kind", "changed", "night_max", "events"}
    profiles = Profiles(Bank())
    profiles.update_facts(b"A1", NOON, NOON, 1950, "x", "phone")
    both_hops(profiles, [event(i, NOON + i) for i in range(payments)])
    stored = dict(profiles.take_dirty())[b"A1"]
    old = earlier_row(stored, missing)
    store = RowStore(1)
    store.load([(b"A1", stored)])
    expected = np.frombuffer(bytearray(store.words[0].tobytes()), rows.ROW)[0]

    monkeypatch.setattr(
        row_store, "LAYOUTS", layouts_of(made_later(HEADER, missing), made_later(RING, missing))
    )
    store = RowStore(1)
    store.load([(b"A1", old)])
    loaded = np.frombuffer(bytearray(store.words[0].tobytes()), rows.ROW)[0]
    assert np.isnan(loaded["kind"])
    assert loaded["changed"].tolist() == [MISSING, MISSING]
    assert not loaded["night_max"].any()
    assert not loaded["events"].any()
    for field in (*HEADER, *RING):
        if field.name not in missing:
            assert loaded[field.name].tobytes() == expected[field.name].tobytes(), field.name
    assert loaded["days"].tobytes() == expected["days"].tobytes()
    # It is stored as one of today's from then on.
    store.mark(0)
    ((_, again),) = store.take_dirty()
    assert len(again) == len(stored)
    reloaded = RowStore(1)
    reloaded.load([(b"A1", again)])
    assert reloaded.words[0].tobytes() == store.words[0].tobytes()


def test_a_row_of_a_later_release_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    later = layouts_of((*HEADER, Field("new", "<i8", since=LAYOUTS.newest + 1)), RING)
    profiles = Profiles(Bank())
    profiles.update_facts(b"A1", NOON, NOON, 1950, "x", "phone")
    with monkeypatch.context() as patched:
        patched.setattr(row_store, "LAYOUTS", later)
        stored = profiles.take_dirty()
    with pytest.raises(
        RowRefused,
        match=f"has layout {later.newest}, and this release knows none above {LAYOUTS.newest}: .* Start",
    ) as refused:
        Profiles(Bank()).load(stored)
    assert refused.value.account == b"A1"
