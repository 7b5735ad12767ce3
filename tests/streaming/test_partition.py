"""One partition: which records and legs are new, and that its state survives a flush and a load."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection import pipeline
from stream_guard.detection.batches import Legs, empty_legs
from stream_guard.detection.row_layouts import hash_of
from stream_guard.detection.state import Context, PartitionState
from stream_guard.detection.vocabulary import Outcome, Reject, Role
from stream_guard.feedback.dispositions import dispose
from stream_guard.streaming.partition import (
    DETECTORS_KEY,
    META_KEY,
    TAINT_PREFIX,
    TALLY_PREFIX,
    WARNING_PREFIX,
    LegGap,
    Partition,
)
from stream_guard.streaming.state import Item, Record, StateRefused
from tests.detection.builders import (
    EAGER_ANOMALY,
    HOUR,
    NOON,
    NOW,
    Bench,
    context,
    event,
    list_account,
    messages,
    ordinary,
)
from tests.streaming.conftest import MakePartition
from tests.streaming.helpers import LogRecord, load, on_a_loop


def legs_at(offsets: list[int], source: int = 0, previous: list[int] | None = None) -> Legs:
    n = len(offsets)
    empty = empty_legs()
    columns: dict[str, Any] = {
        name: [b""] * n if isinstance(column, list) else np.zeros((n, *column.shape[1:]), column.dtype)
        for name, column in empty._asdict().items()
    }
    columns["offset"] = np.array(offsets)
    columns["source_partition"] = np.full(n, source, np.int32)
    columns["previous"] = np.full(n, -1) if previous is None else np.array(previous)
    return Legs(**columns)


def fresh(partition: Partition, *legs: tuple[int, int, int]) -> list[int]:
    """Positions taken of legs given as (source, offset, previous)."""
    one = legs_at([offset for _, offset, _ in legs], previous=[before for _, _, before in legs])
    one = one._replace(source_partition=np.array([source for source, _, _ in legs], np.int32))
    return partition.fresh_legs(one).tolist()


# -- the leg chain -------------------------------------------------------------------------------------


def test_each_leg_names_the_one_sent_to_the_same_partition_before_it(make_partition: MakePartition) -> None:
    partition = make_partition()
    chained = partition.chain(legs_at([5, 6, 8, 9]), np.array([0, 1, 0, 1], np.int32))
    assert chained.previous.tolist() == [-1, -1, 5, 6]
    chained = partition.chain(legs_at([10, 12]), np.array([1, 0], np.int32))
    assert chained.previous.tolist() == [9, 8]


@settings(max_examples=30, deadline=None)
@given(
    targets=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    cuts=st.lists(st.integers(1, 29), max_size=3),
)
def test_the_chain_does_not_depend_on_batches_and_a_receiver_takes_all_of_it(
    targets: list[int], cuts: list[int]
) -> None:
    state: Any = None  # the chain needs none
    sender = Partition(0, 4, state, "routing", "app-sightings", "lineage")
    edges = [0, *sorted(cut for cut in set(cuts) if cut < len(targets)), len(targets)]
    sent: list[tuple[int, int, int]] = []
    for start, end in itertools.pairwise(edges):
        to = np.array(targets[start:end], np.int32)
        chained = sender.chain(legs_at(list(range(start, end))), to)
        sent += zip(to.tolist(), chained.offset.tolist(), chained.previous.tolist(), strict=True)
    for target in set(targets):
        receiver = Partition(target, 4, state, "routing", "app-sightings", "lineage")
        mine = [(0, offset, before) for to, offset, before in sent if to == target]
        assert fresh(receiver, *mine) == list(range(len(mine)))
        # All of it again, as after a crash of the sender: nothing is new.
        assert fresh(receiver, *mine) == []


def test_legs_that_were_applied_are_skipped_and_those_behind_them_taken(
    make_partition: MakePartition,
) -> None:
    partition = make_partition()
    assert fresh(partition, (0, 3, -1), (0, 7, 3)) == [0, 1]
    assert fresh(partition, (0, 3, -1), (0, 7, 3), (0, 9, 7)) == [2]


def test_a_repeat_within_one_fetch_is_skipped(make_partition: MakePartition) -> None:
    partition = make_partition()
    assert fresh(partition, (0, 3, -1), (0, 4, 3), (0, 3, -1), (0, 4, 3), (0, 6, 4)) == [0, 1, 4]


def test_a_missing_leg_stops_everything_with_what_to_do(make_partition: MakePartition) -> None:
    partition = make_partition(1)
    fresh(partition, (0, 3, -1))
    with pytest.raises(LegGap) as refused:
        fresh(partition, (0, 9, 7))
    sentence = str(refused.value)
    assert "transactions-0 offset 7 never reached partition 1" in sentence
    assert "the last applied of 3" in sentence
    assert "restore the topic, or rebuild the state under a new application id" in sentence


def test_a_first_leg_that_names_a_predecessor_is_a_gap_too(make_partition: MakePartition) -> None:
    with pytest.raises(LegGap):
        fresh(make_partition(), (0, 9, 7))


def test_a_gap_after_repeats_of_one_fetch_is_seen(make_partition: MakePartition) -> None:
    partition = make_partition()
    fresh(partition, (0, 3, -1))
    with pytest.raises(LegGap):
        fresh(partition, (0, 3, -1), (0, 8, 5))


def test_every_source_has_a_watermark_of_its_own(make_partition: MakePartition) -> None:
    partition = make_partition()
    assert fresh(partition, (0, 100, -1), (1, 3, -1), (0, 101, 100), (1, 4, 3)) == [0, 1, 2, 3]
    with pytest.raises(LegGap, match="transactions-1 offset 50"):
        fresh(partition, (1, 60, 50))


# -- records -------------------------------------------------------------------------------------------


def test_records_below_the_applied_offset_are_not_admitted(make_partition: MakePartition) -> None:
    partition = make_partition()
    partition.applied["t"] = 5
    records = [LogRecord(offset) for offset in (3, 4, 5, 8)]
    assert [record.offset for record in partition.admit("t", records)] == [5, 8]
    assert partition.admit("t", records[2:]) == records[2:]
    assert list(partition.admit("t", records[:2])) == []


def test_lag_is_what_the_log_holds_beyond_the_state(make_partition: MakePartition) -> None:
    partition = make_partition()
    partition.applied = {"t": 5, "u": 7, "v": 1}
    partition.ends = {"t": 9, "u": 7}
    assert partition.lag() == {"t": 4, "u": 0, "v": 0}


@on_a_loop
async def test_a_flush_takes_the_deliveries_that_are_not_done(make_partition: MakePartition) -> None:
    partition = make_partition()
    loop = asyncio.get_running_loop()
    waiting, done, later = (loop.create_future() for _ in range(3))
    done.set_result(None)
    for delivery in (waiting, done, waiting):
        partition.keep(delivery)
    assert partition.take().deliveries == [waiting]
    waiting.set_result(None)
    await asyncio.sleep(0)
    partition.keep(later)
    assert partition.take().deliveries == [later]


@on_a_loop
async def test_a_delivery_that_carries_many_records_calls_back_once(make_partition: MakePartition) -> None:
    partition = make_partition()
    delivery = asyncio.get_running_loop().create_future()
    for _ in range(1_000):
        partition.keep(delivery)
    # Each further callback would cost a turn of the event loop, one a decision.
    assert len(delivery._callbacks) == 1
    delivery.set_result(None)
    await asyncio.sleep(0)
    assert partition.deliveries == set()


# -- a flush -------------------------------------------------------------------------------------------


def test_a_partition_is_dirty_once_something_was_applied_or_waits_to_be_sent(
    make_partition: MakePartition,
) -> None:
    partition = make_partition()
    assert not partition.dirty
    partition.advance("t", 1)
    assert partition.dirty
    partition.take()
    assert not partition.dirty
    partition.records.append(Record("alerts", b"A1", b"{}"))
    assert partition.dirty


def test_a_flush_is_a_copy_of_what_is_to_become_durable(make_partition: MakePartition) -> None:
    partition = make_partition()
    partition.advance("t", 4)
    record = Record("alerts", b"A1", b"{}")
    partition.records.append(record)
    flush = partition.take()
    partition.advance("t", 9)
    partition.records.append(record)
    assert (flush.applied, flush.records) == ({"t": 4}, [record])
    assert partition.applied == {"t": 9}
    # It is the flush that makes it durable, when it is done.
    assert partition.durable == {}


def test_a_flush_holds_only_what_changed(two: Context, make_partition: MakePartition) -> None:
    partition = make_partition()
    run(partition, two, ordinary(20))
    accounts = [key for key, _ in partition.take().items if not key.startswith(b"\0")]
    assert len(accounts) == 17
    run(partition, two, [event("x", NOON + HOUR, account="P1", counterparty="Q1")])
    keys = [key for key, _ in partition.take().items]
    assert sorted(key for key in keys if not key.startswith(b"\0")) == [b"P1", b"Q1"]
    assert keys.count(META_KEY) == keys.count(DETECTORS_KEY) == 1
    assert [key for key, _ in partition.take().items if not key.startswith(b"\0")] == []


def run(partition: Partition, where: Context, stream: list[dict[str, Any]]) -> list[Any]:
    """Everything that both hops say of a stream, as if all accounts lived here."""
    bench = Bench(where)
    bench.state = partition.state
    out: list[Any] = []
    for start in range(0, len(stream), 10):
        decided = bench.decide(*stream[start : start + 10])
        out += [messages(decided), decided.alerts, decided.cases, bench.settle(decided)]
    partition.advance("payments", partition.applied.get("payments", 0) + len(stream))
    return out


def stored(partition: Partition, before: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """What a changelog holds after a flush."""
    kept = dict(before or {})
    for key, value in partition.take().items:
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = value
    return kept


def lived(partition: Partition, where: Context) -> None:
    """A life with warnings open and closed, facts, a listing, a dead letter, chains both ways."""
    list_account(where, "POL")
    run(partition, where, [event("p", NOON, account="P5", counterparty="POL"), *ordinary(60)])
    run(partition, where, [event("q", NOON + 2 * HOUR, account="POL", counterparty="P6", amount=9e3)])
    state = partition.state
    warning = state.book.current(b"POL")
    assert warning is not None
    verdict = Verdict(warning.warning_id)
    done = dispose(state.book, state.tallies, verdict, state.stream_ts, listed_by=None)
    assert done.signal is not None
    state.tallies.rejected(Reject.FUTURE)
    state.profiles.update_facts(b"P1", NOON, NOON - 10 * HOUR, 1950, "person", "phone")
    partition.chain(legs_at([4, 6]), np.array([0, 1], np.int32))
    fresh(partition, (1, 12, -1))
    partition.applied |= {"app-legs": 13, "facts": 2}


class Verdict:
    """An investigator's word."""

    disposition_id, account, outcome, role, ts = "d1", "POL", Outcome.CONFIRMED, Role.MULE, NOON + HOUR

    def __init__(self, warning_id: str) -> None:
        self.warning_id = warning_id


def test_what_was_flushed_and_loaded_is_the_same_partition(make_partition: MakePartition) -> None:
    where = context(partitions=2, anomaly=EAGER_ANOMALY)
    one = make_partition(0, where)
    lived(one, where)
    items = stored(one)
    for prefix in (WARNING_PREFIX, TALLY_PREFIX, TAINT_PREFIX):
        assert any(key.startswith(prefix) for key in items), prefix
    other = make_partition(0, where)
    assert load(other, list(items.items())) is None

    assert other.applied == other.durable == one.applied
    assert other.state.stream_ts == one.state.stream_ts
    assert other.tallies == one.tallies
    assert other.state.detectors.dump() == one.state.detectors.dump()
    assert other.state.detectors.status() == one.state.detectors.status()
    assert other.rows == one.rows
    assert not other.dirty
    assert [key for key, _ in other.take().items] == [DETECTORS_KEY, META_KEY]

    # And it goes on as the same: legs, payments, warnings, repeats.
    for partition in (one, other):
        with pytest.raises(LegGap):
            fresh(partition, (1, 99, 50))
        assert fresh(partition, (1, 12, -1), (1, 15, 12)) == [1]
        assert partition.chain(legs_at([9]), np.array([1], np.int32)).previous.tolist() == [6]
    later = [
        event("r", NOON + 3 * HOUR, account="POL", counterparty="P7"),
        event("p", NOON, account="P5", counterparty="POL"),
        event("t", NOON + 3 * HOUR, account="P6", counterparty="P5", amount=9e3),
        *(dict(one, event_id=f"z{i}", ts=NOON + 4 * HOUR + i) for i, one in enumerate(ordinary(30))),
    ]
    said = run(one, where, later)
    assert said == run(other, where, later)
    assert any(message["repeat"] for message in said[0])
    assert any("POL > P6 > P5" in reason["text"] for message in said[0] for reason in message["reasons"])
    left, right = dict(one.take().items), dict(other.take().items)
    metas = [json.loads(items.pop(META_KEY) or b"") for items in (left, right)]
    assert metas[0] == metas[1]
    assert left.pop(DETECTORS_KEY) == right.pop(DETECTORS_KEY)
    # Days are told again only where they changed; the order within a record means nothing.
    assert {key: value for key, value in left.items() if not key.startswith(TALLY_PREFIX)} == {
        key: value for key, value in right.items() if not key.startswith(TALLY_PREFIX)
    }
    assert one.tallies == other.tallies


def test_a_state_of_many_flushes_is_the_state_of_the_last_value_of_each_key(
    make_partition: MakePartition,
) -> None:
    where = context(partitions=2, anomaly=EAGER_ANOMALY)
    list_account(where, "POL")
    stream = [*ordinary(40), event("p", NOON, account="P5", counterparty="POL"), *ordinary(50)[40:]]
    often, once = make_partition(0, where), make_partition(0, where)
    kept: dict[bytes, bytes] = {}
    for start in range(0, len(stream), 10):
        run(often, where, stream[start : start + 10])
        kept = stored(often, kept)
        run(once, where, stream[start : start + 10])
    left, right = kept, stored(once)
    for items in (left, right):
        items.pop(META_KEY)
        for key in [key for key in items if key.startswith(TALLY_PREFIX)]:
            items[key] = json.loads(items[key])
    assert left == right


def test_an_empty_changelog_is_a_new_partition(make_partition: MakePartition) -> None:
    partition = make_partition()
    assert load(partition, []) is None
    assert (partition.applied, partition.rows, partition.dirty) == ({}, 0, False)


def test_a_removed_item_is_not_loaded(make_partition: MakePartition) -> None:
    assert load(make_partition(), [(META_KEY, None), (b"A1", None)]) is None


def test_an_account_cannot_be_taken_for_anything_else(two: Context, make_partition: MakePartition) -> None:
    # Ids with control characters are refused, so no account begins as our own keys do.
    keys = [META_KEY, DETECTORS_KEY, WARNING_PREFIX, TALLY_PREFIX]
    assert all(key.startswith(b"\0") for key in keys)
    one = make_partition()
    run(one, two, [event(1, account="meta", counterparty="detectors")])
    other = make_partition()
    load(other, list(stored(one).items()))
    assert other.rows == 2


# -- what is refused -----------------------------------------------------------------------------------


def meta_of(partition: Partition) -> dict[str, Any]:
    partition.advance("payments", 3)
    return dict(json.loads(dict(partition.take().items)[META_KEY] or b""))


def with_meta(meta: dict[str, Any]) -> list[Item]:
    return [(META_KEY, json.dumps(meta).encode())]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"version": 99},
            "the state of partition 0 cannot be read: meta records are of version 99, .* up to",
        ),
        ({"version": 0}, "meta records are of version 0, this release reads up to"),
        ({"routing": "other"}, "was built with another routing .* put the old setting back, or drain"),
        ({"version": 1, "rows": "other"}, "a layout of no release; rebuild it under a new application id"),
    ],
)
def test_a_state_of_another_kind_is_refused(
    change: dict[str, Any], sentence: str, make_partition: MakePartition
) -> None:
    meta = meta_of(make_partition())
    load(make_partition(), with_meta(meta))
    with pytest.raises(StateRefused, match=sentence):
        load(make_partition(), with_meta(meta | change))


def test_a_state_of_the_first_version_is_read(make_partition: MakePartition) -> None:
    meta = meta_of(make_partition()) | {"version": 1, "rows": hash_of(0)}
    partition = make_partition()
    assert load(partition, with_meta(meta)) is not None
    assert partition.applied == {"payments": 3}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (WARNING_PREFIX + b"a", b'{"v":99}', "an account's warnings are of version 99"),
        (TALLY_PREFIX + b"total", b'{"v":99}', "tallies are of version 99"),
        (b"a", (99 << 32).to_bytes(8, "little") * 40, "an account's row has layout 99"),
        (b"a", b"x", "an account's row of 1 bytes"),
    ],
)
def test_a_later_releases_record_is_refused_with_what_to_do(
    key: bytes, value: bytes, sentence: str, make_partition: MakePartition
) -> None:
    meta = with_meta(meta_of(make_partition()))
    with pytest.raises(
        StateRefused, match=f"the state of partition 0 cannot be read: {sentence}.* new applic"
    ):
        load(make_partition(), [*meta, (key, value)])


def test_a_later_releases_detectors_start_anew_and_it_is_said(make_partition: MakePartition) -> None:
    meta = with_meta(meta_of(make_partition()))
    assert "another format" in str(load(make_partition(), [*meta, (DETECTORS_KEY, b'{"format": 99}\n')]))


def test_a_state_of_another_partition_count_is_refused(make_partition: MakePartition) -> None:
    meta = meta_of(make_partition())
    with pytest.raises(StateRefused, match="another routing"):
        load(make_partition(0, context(partitions=3)), with_meta(meta))


def test_rows_without_a_meta_record_are_refused(two: Context, make_partition: MakePartition) -> None:
    partition = make_partition()
    run(partition, two, [event(1)])
    items = [(key, value) for key, value in partition.take().items if key != META_KEY]
    with pytest.raises(StateRefused, match="has rows but no meta record"):
        load(make_partition(), items)


def test_a_changed_anomaly_model_starts_anew_and_says_so(make_partition: MakePartition) -> None:
    where = context(partitions=2, anomaly=EAGER_ANOMALY)
    one = make_partition(0, where)
    run(one, where, ordinary(45))
    items = list(stored(one).items())
    other = make_partition(0, context(partitions=2, anomaly=EAGER_ANOMALY.model_copy(update={"seed": 7})))
    reason = load(other, items)
    assert reason
    assert all(learned == 0 for _, learned, _, _ in other.state.detectors.status())
    assert other.rows == one.rows


def test_an_anomaly_model_that_cannot_be_stored_leaves_no_stale_state(
    make_partition: MakePartition, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = make_partition()
    monkeypatch.setattr(type(partition.state.detectors), "dump", lambda _: None)
    partition.advance("t", 1)
    assert dict(partition.take().items)[DETECTORS_KEY] is None
    loaded = make_partition()
    reason = load(loaded, [(META_KEY, dict(partition.take().items)[META_KEY])])
    assert reason
    assert PartitionState(partition.state.context).detectors.status() == loaded.state.detectors.status()


def test_a_case_is_applied_at_home_with_the_stream_time_of_its_home(make_partition: MakePartition) -> None:
    where = context(partitions=2)
    bench = Bench(where)
    list_account(where, "P1")
    (finding,) = bench.decide(event(1, account="P1")).cases
    home = make_partition(1, where)
    home.state.stream_ts = NOW
    (alert,) = pipeline.apply_case(finding, home.state)
    assert (alert.account, alert.opened_at) == ("P1", NOW)
