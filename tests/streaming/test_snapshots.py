"""Snapshots: with the changelog since they are the same state as the changelog alone, or are not used."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_guard.detection.features import DAY
from stream_guard.detection.row_layouts import LAYOUTS
from stream_guard.detection.sharing import Sighting
from stream_guard.detection.state import Context
from stream_guard.metrics import Metrics
from stream_guard.streaming import partition as partition_module
from stream_guard.streaming import snapshots as module
from stream_guard.streaming.partition import META_KEY, Partition
from stream_guard.streaming.recovery import Recovered, recover
from stream_guard.streaming.snapshots import Head, SnapshotFolder, SnapshotWriter, Unusable
from stream_guard.streaming.snapshotter import TAIL_ITEMS, Snapshotter
from tests.detection.builders import HOUR, NOON, event, ordinary
from tests.streaming.conftest import MakePartition
from tests.streaming.helpers import on_a_loop
from tests.streaming.log_state import LogState
from tests.streaming.test_partition import lived, run

HOURS_MS = 3_600_000


def content(partition: Partition) -> dict[str, Any]:
    """All that a partition holds."""
    state = partition.state
    rows = state.profiles.packed(0, len(state.profiles))
    starts = [0, *rows.ends.tolist()]
    return {
        "rows": {
            account: rows.words[start:stop].tobytes()
            for account, start, stop in zip(rows.accounts, starts, starts[1:], strict=False)
        },
        "parts": {prefix: dict(part.stored(part.keys())) for prefix, part in partition.parts.items()},
        "detectors": state.detectors.dump(),
        "stream_ts": state.stream_ts,
        "applied": partition.applied,
        "lineage": partition.lineage,
    }


class Machine:
    """A process with one open partition, a changelog, and a folder for snapshots."""

    def __init__(self, folder: Path, make: MakePartition) -> None:
        self.now_ms = 1_000 * HOURS_MS
        self.path = folder
        self.make = make
        self.log = LogState()
        self.partition: Partition = make()
        self.metrics = Metrics("1", "pack", "hash")
        self.snapshotter = Snapshotter(
            self.folder(), lambda: [self.partition], self.flush, 600.0, self.metrics
        )

    def folder(self, app_id: str = "app", instance: str = "one") -> SnapshotFolder:
        return SnapshotFolder(self.path, app_id, "app.state", instance, lambda: self.now_ms)

    async def flush(self, partition: Partition) -> bool:
        if partition.dirty:
            flush = partition.take()
            partition.position = await self.log.flush(0, flush.items, flush.records)
            partition.unsaved += len(flush.items)
        return True

    async def recover(self, folder: SnapshotFolder | None = None) -> Recovered:
        return await recover(0, lambda _: self.make(), self.log, folder or self.folder(), lambda: None)

    async def alone(self) -> dict[str, Any]:
        """What the changelog alone says."""
        return content((await recover(0, lambda _: self.make(), self.log, None, lambda: None)).partition)

    async def same(self, recovered: Recovered) -> bool:
        return content(recovered.partition) == await self.alone()


@pytest.fixture
def machine(tmp_path: Path, make_partition: MakePartition) -> Machine:
    return Machine(tmp_path / "snapshots", make_partition)


async def saved(machine: Machine, two: Context) -> None:
    """Some life, a snapshot, and some more life that is durable."""
    lived(machine.partition, two)
    await machine.flush(machine.partition)
    assert await machine.snapshotter.save(machine.partition)
    run(machine.partition, two, [event("later", NOON + 3 * HOUR, account="P1", counterparty="NEW")])
    await machine.flush(machine.partition)


# -- with the changelog since --------------------------------------------------------------------------


@on_a_loop
async def test_a_snapshot_and_the_changelog_since_are_the_changelog(machine: Machine, two: Context) -> None:
    await saved(machine, two)
    recovered = await machine.recover()
    assert recovered.from_snapshot
    assert recovered.refused is None
    assert content(recovered.partition) == content(machine.partition) == await machine.alone()
    assert machine.log.reads[0]
    # What was read behind it is written again with the next snapshot.
    assert recovered.partition.unsaved == len(machine.log.log) - machine.log.reads[0]


ACTS = st.lists(st.sampled_from(["pay", "pay", "flush", "compact"]), max_size=4)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ACTS, during=st.lists(ACTS, min_size=3, max_size=12), after=ACTS, seed=st.integers(0, 99))
def test_whatever_happens_around_and_during_a_snapshot_it_is_the_changelog(
    before: list[str],
    during: list[list[str]],
    after: list[str],
    seed: int,
    tmp_path: Path,
    two: Context,
    make_partition: MakePartition,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Payments, flushes and compaction fall anywhere; then the process is gone without a last flush."""
    monkeypatch.setattr(partition_module, "ROWS_A_PIECE", 3)
    monkeypatch.setattr(partition_module, "RECORDS_A_PIECE", 1)
    machine = Machine(tmp_path, make_partition)
    count = seed

    async def act(acts: list[str]) -> None:
        nonlocal count
        for what in acts:
            if what == "pay":
                count += 1
                payer, payee = f"P{count % 7}", f"P{(count * 3 + 1) % 11}"
                day = (NOON + count * HOUR) // DAY
                seen = Sighting(f"device:{count % 3}", payer, NOON + count * HOUR, day, None)
                machine.partition.state.sharing.see(seen)
                run(
                    machine.partition,
                    two,
                    [
                        event(f"{count}.{i}", NOON + count * HOUR + i, account=payer, counterparty=payee)
                        | {"amount": 60_000.0}
                        for i in range(2)
                    ],
                )
            elif what == "flush":
                await machine.flush(machine.partition)
            else:
                machine.log.compact()

    async def live() -> None:
        await act(["pay", "flush", *before])
        pieces = iter(during)
        write = SnapshotWriter.write

        def and_more(self: SnapshotWriter, piece: Any) -> None:
            write(self, piece)
            asyncio.run(act(next(pieces, [])))

        with monkeypatch.context() as patched:
            patched.setattr(SnapshotWriter, "write", and_more)
            assert await machine.snapshotter.save(machine.partition)
        await act(after)
        machine.log.compact()
        recovered = await machine.recover()
        assert recovered.refused is None
        assert recovered.from_snapshot
        assert await machine.same(recovered)

    asyncio.run(live())


@on_a_loop
async def test_a_snapshot_gets_its_name_only_after_what_it_may_hold_is_durable(
    machine: Machine, two: Context
) -> None:
    run(machine.partition, two, [event(1)])
    await machine.flush(machine.partition)
    run(machine.partition, two, [event(2)])
    flushed: list[bool] = []

    async def never(partition: Partition) -> bool:
        flushed.append((machine.path / "partition-0.snapshot").exists())
        return False

    snapshotter = Snapshotter(machine.folder(), lambda: [machine.partition], never, 600.0, machine.metrics)
    assert not await snapshotter.save(machine.partition)
    assert flushed == [False]
    assert list(machine.path.iterdir()) == []
    recovered = await machine.recover()
    assert not recovered.from_snapshot
    assert await machine.same(recovered)


@on_a_loop
async def test_a_partition_that_is_taken_away_gets_no_snapshot(machine: Machine, two: Context) -> None:
    lived(machine.partition, two)
    await machine.flush(machine.partition)
    machine.partition.closed = True
    assert not await machine.snapshotter.save(machine.partition)
    assert list(machine.path.iterdir()) == []


# -- when a snapshot is not used -----------------------------------------------------------------------


def ignored(machine: Machine, sentence: str, **folder: Any) -> None:
    async def check() -> None:
        recovered = await machine.recover(machine.folder(**folder))
        assert not recovered.from_snapshot
        assert sentence in (recovered.refused or "")
        assert await machine.same(recovered)

    asyncio.run(check())


@pytest.fixture
def kept(machine: Machine, two: Context) -> Machine:
    """A machine with a snapshot of some life."""
    asyncio.run(saved(machine, two))
    return machine


def test_no_snapshot_is_no_matter(machine: Machine) -> None:
    recovered = asyncio.run(machine.recover())
    assert (recovered.from_snapshot, recovered.refused) == (False, None)


@pytest.mark.parametrize("where", [0, 5, 20, 0.3, 0.7, -1])
def test_a_damaged_snapshot_is_not_used(kept: Machine, where: float) -> None:
    file = kept.path / "partition-0.snapshot"
    data = bytearray(file.read_bytes())
    data[where if isinstance(where, int) else int(len(data) * where)] ^= 0x20
    file.write_bytes(data)
    ignored(kept, "is damaged")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_snapshot_is_not_used(kept: Machine, share: float) -> None:
    file = kept.path / "partition-0.snapshot"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    ignored(kept, "is damaged")


def test_a_snapshot_without_one_of_its_pieces_is_not_used(kept: Machine) -> None:
    file = kept.path / "partition-0.snapshot"
    data, frames = file.read_bytes(), []
    while data:
        length = module._FRAME.size + module._FRAME.unpack_from(data)[2]
        frames.append(data[:length])
        data = data[length:]
    file.write_bytes(b"".join(frames[:1] + frames[2:]))
    ignored(kept, "parts of it are missing")


def test_a_snapshot_of_another_application_is_not_used(kept: Machine) -> None:
    ignored(kept, "is of application 'app', app.state-0; give every application a data_dir", app_id="other")


def test_a_snapshot_of_another_partition_is_not_used(kept: Machine) -> None:
    (kept.path / "partition-0.snapshot").rename(kept.path / "partition-3.snapshot")
    with pytest.raises(Unusable, match=r"app\.state-0"):
        kept.folder().find(3)


@pytest.mark.parametrize(("hours", "sentence"), [(12.1, "was begun 12.1 h ago"), (-0.2, "was begun -0.2 h")])
def test_a_snapshot_that_is_too_old_or_of_the_future_is_not_used(
    kept: Machine, hours: float, sentence: str
) -> None:
    kept.now_ms += int(hours * HOURS_MS)
    ignored(kept, sentence)


def test_a_snapshot_of_a_changelog_that_was_made_anew_is_not_used(
    kept: Machine, two: Context, make_partition: MakePartition
) -> None:
    end = len(kept.log.log)
    kept.log.log.clear()
    fresh = make_partition()
    fresh.lineage = "another"

    async def live() -> None:
        for number in range(40):
            run(fresh, two, [event(f"n{number}", NOON + number)])
            await kept.flush(fresh)

    # Shorter than the old one was where the snapshot ends, then longer.
    ignored(kept, "the changelog has offsets")
    asyncio.run(live())
    assert len(kept.log.log) > end
    ignored(kept, "is of another changelog: the topic was made anew since")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layout": LAYOUTS.newest + 1}, "holds account rows of another release"),
        ({"schema": "other"}, "holds account rows of another release"),
        ({"format": 2}, "has format 2, this release reads 1"),
    ],
)
def test_a_snapshot_of_another_release_is_not_used(
    kept: Machine, two: Context, change: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = SnapshotFolder.head

    def other(self: SnapshotFolder, *args: Any) -> Head:
        return replace(head(self, *args), **change)

    async def save() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(SnapshotFolder, "head", other)
            assert await kept.snapshotter.save(kept.partition)

    asyncio.run(save())
    ignored(kept, sentence)


# -- disks ---------------------------------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: writes fail half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [100, 3_000])
def test_a_full_disk_is_said_and_the_partition_goes_on_with_the_snapshot_before(
    kept: Machine, two: Context, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = (kept.path / "partition-0.snapshot").read_bytes()

    async def live() -> None:
        run(kept.partition, two, ordinary(30))
        await kept.flush(kept.partition)
        with room_for(size):
            assert not await kept.snapshotter.save(kept.partition)
        assert "the snapshot of partition 0 could not be written: File too large" in caplog.text
        assert "Decisions go on" in caplog.text
        # Nothing half-written stays, and it is tried again later, not at once.
        assert [file.name for file in kept.path.iterdir()] == ["partition-0.snapshot"]
        assert (kept.path / "partition-0.snapshot").read_bytes() == before
        assert kept.partition.unsaved
        kept.partition.unsaved = TAIL_ITEMS
        assert not kept.snapshotter._due(kept.partition)
        recovered = await kept.recover()
        assert recovered.from_snapshot
        assert await kept.same(recovered)
        assert await kept.snapshotter.save(kept.partition)

    asyncio.run(live())


def test_a_folder_where_nothing_can_be_written_is_an_error_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists"):
        SnapshotFolder(tmp_path / "file", "app", "app.state", "one", lambda: 0)
    with room_for(1_000), pytest.raises(OSError, match="File too large"):
        SnapshotFolder(tmp_path / "folder", "app", "app.state", "one", lambda: 0)


def test_what_a_killed_process_left_unfinished_is_removed_by_its_next_start_only(kept: Machine) -> None:
    for name in ("partition-0.one.part", "partition-7.one.part", "partition-0.two.part"):
        (kept.path / name).write_bytes(b"half")
    kept.folder(instance="one")
    assert sorted(file.name for file in kept.path.iterdir()) == [
        "partition-0.snapshot",
        "partition-0.two.part",
    ]


# -- when a snapshot is due ----------------------------------------------------------------------------


def test_a_snapshot_is_due_by_time_or_by_what_a_restart_would_have_to_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("stream_guard.streaming.snapshotter.time.monotonic", lambda: now)
    due: Callable[[Partition], bool] = machine.snapshotter._due
    partition = machine.partition
    assert not due(partition)
    partition.position, partition.unsaved = 1, 1
    assert not due(partition)
    now = 600.0
    assert due(partition)
    machine.snapshotter._rests[0] = (now + 15, now + 600)
    partition.unsaved = TAIL_ITEMS
    now += 14
    assert not due(partition)
    now += 1
    assert due(partition)
    partition.unsaved = TAIL_ITEMS - 1
    assert not due(partition)
    now += 600
    partition.unsaved = 0
    assert not due(partition)


def test_a_meta_record_tells_whose_state_it_is(machine: Machine) -> None:
    machine.partition.advance("payments", 1)
    assert b'"lineage":"lineage"' in (dict(machine.partition.take().items)[META_KEY] or b"")
