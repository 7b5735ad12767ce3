from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_guard.feedback import day_counts
from stream_guard.feedback.day_counts import DAYS_KEPT, DayCounts

entries = st.lists(
    st.tuples(
        st.sampled_from(["f", "g"]),
        st.sampled_from(["x", "y|z", "中"]),
        st.integers(0, 2**50),
        st.none() | st.integers(-3, 6),
    )
)


def counted(items: list[tuple[str, str, int, int | None]]) -> DayCounts:
    counts = DayCounts()
    for family, name, count, day in items:
        counts.add(family, name, count, day)
    return counts


@given(entries, st.integers(-5, 8), st.integers(1, 5))
def test_a_window_is_the_sum_of_its_days(
    items: list[tuple[str, str, int, int | None]], today: int, days: int
) -> None:
    inside = [(f, n, c, None) for f, n, c, day in items if day is not None and today - days < day <= today]
    assert counted(items).window(today, days) == counted(inside)


@given(st.lists(st.tuples(entries, st.integers(-5, 12), st.sampled_from([1, 3, 5])), max_size=5))
def test_a_window_that_moves_stays_the_sum_of_its_days(
    steps: list[tuple[list[tuple[str, str, int, int | None]], int, int]],
) -> None:
    counts = DayCounts()
    for items, today, days in steps:
        for family, name, count, day in items:
            counts.add(family, name, count, day)
        fresh = DayCounts.from_bytes(counts.to_bytes())
        assert counts.window(today, days) == fresh.window(today, days)


def test_a_window_forgets_a_day_that_was_dropped() -> None:
    counts = DayCounts()
    counts.add("f", "x", 1, 0)
    assert counts.window(5, 10_000).of("f") == {"x": 1}
    for day in range(1, DAYS_KEPT + 1):
        counts.add("f", "x", 1, day)
    assert counts.window(DAYS_KEPT, 10_000).of("f") == {"x": DAYS_KEPT}


@given(entries, entries)
def test_merging_is_counting_together(
    ours: list[tuple[str, str, int, int | None]], theirs: list[tuple[str, str, int, int | None]]
) -> None:
    merged = counted(ours)
    merged.merge(counted(theirs))
    assert merged == counted(ours + theirs)


@given(entries)
def test_taking_back_everything_leaves_nothing(items: list[tuple[str, str, int, int | None]]) -> None:
    counts = counted(items)
    for family, name, count, day in items:
        counts.add(family, name, -count, day)
    assert counts == DayCounts()


@given(entries, entries)
def test_changed_records_restore_exactly(
    before: list[tuple[str, str, int, int | None]], after: list[tuple[str, str, int, int | None]]
) -> None:
    counts = counted(before)
    kept = dict(counts.take_dirty())
    for family, name, count, day in after:
        counts.add(family, name, -count, day)
    kept.update(counts.take_dirty())
    restored = DayCounts()
    restored.load(kept.items())
    assert restored == counts
    assert restored.take_dirty() == []
    assert DayCounts.from_bytes(counts.to_bytes()) == counts


def test_a_dropped_day_is_dropped_where_it_had_been_restored() -> None:
    counts = counted([("f", "x", 1, 1), ("f", "x", 1, 2)])
    restored = DayCounts()
    restored.load(counts.take_dirty())
    counts.add("f", "x", -1, 1)
    restored.load(counts.take_dirty())
    assert restored.days == counts.days == [2]


def test_only_changed_days_are_written() -> None:
    counts = counted([("f", "x", 1, 1), ("f", "x", 1, 2)])
    counts.take_dirty()
    assert counts.take_dirty() == []
    counts.add("f", "x", 1, 2)
    assert [key for key, _ in counts.take_dirty()] == [b"total", b"day:2"]


def test_a_years_days_are_kept_and_older_ones_dropped_without_touching_the_total() -> None:
    counts = DayCounts()
    for day in range(DAYS_KEPT + 3):
        counts.add("f", "x", 1, day)
    assert counts.days == list(range(3, DAYS_KEPT + 3))
    assert counts.of("f") == {"x": DAYS_KEPT + 3}
    assert [key for key, value in counts.take_dirty() if value is None] == [b"day:0", b"day:1", b"day:2"]
    counts.add("f", "x", -1, 0)
    assert counts.of("f") == {"x": DAYS_KEPT + 2}
    counts.add("f", "x", -1, 3)
    counts.add("f", "x", -1, 1)
    assert counts.days[0] == 4
    assert counts.of("f") == {"x": DAYS_KEPT}


def test_one_date_in_the_far_future_does_not_wipe_out_a_year() -> None:
    counts = DayCounts()
    for day in range(300):
        counts.add("f", "x", 1, day)
    counts.add("f", "x", 1, 10**6)
    assert len(counts.days) == 301


def test_an_older_record_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(day_counts.COUNTS_UPGRADES, 0, lambda old: {"counts": {"f": {"x": old["n"]}}})
    counts = DayCounts()
    counts.load([(b"total", b'{"v":0,"n":3}')])
    assert counts.of("f") == {"x": 3}


def test_another_versions_record_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="new application id"):
        DayCounts.from_bytes(b'{"v":0}')
    with pytest.raises(ValueError, match="new application id"):
        DayCounts().load([(b"total", orjson.dumps({"v": 7}))])
    with pytest.raises(ValueError, match="another version"):
        DayCounts().load([(b"week:1", None)])
