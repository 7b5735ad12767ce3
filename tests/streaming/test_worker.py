"""What a worker says of itself: whether it is ready, and whether it moves while there is something to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from stream_guard.detection.state import Context
from stream_guard.detection.vocabulary import SignalSource
from stream_guard.settings import load_settings
from stream_guard.streaming import worker as module
from stream_guard.streaming.fatal import EXIT_DEAD_LETTER, EXIT_FATAL, EXIT_REFUSED, EXIT_SETTINGS
from stream_guard.streaming.processor import Processor
from stream_guard.streaming.worker import GIVE_UP_AFTER_S, STALLED_AFTER_S, Worker, run_worker
from tests.detection.builders import context
from tests.streaming.driver import TOPICS
from tests.streaming.helpers import Died, LogRecord, die_in_tests, on_a_loop
from tests.streaming.test_processor import PAYMENTS, Rig


class Waiting:
    """A consumer that says what is assigned to it and how much it holds back."""

    def __init__(self) -> None:
        self.records: dict[str, int | None] = {}
        self.assigned: set[TP] = set()

    def assignment(self) -> set[TP]:
        return self.assigned

    def waiting(self, tp: Any, applied: int, end: int) -> int | None:
        known = self.records.get(tp.topic, 0)
        return None if known is None else max(known, end - applied)


class Desk:
    """A worker that is not running, over a processor of the rig."""

    def __init__(self, where: Context | None = None) -> None:
        self.rig = Rig(where or context(partitions=4))
        settings = load_settings(None, {})
        self.worker = Worker(settings, self.rig.where, dict.fromkeys(settings.topics.names.values(), 4), None)
        self.worker.keyed = dict(TOPICS)
        self.worker.lease = self.rig.lease
        self.processor: Processor = self.rig.processor
        self.worker.processor = self.processor
        self.consumer = Waiting()
        self.app = SimpleNamespace(consumer=self.consumer, rebalancing=False, consumer_generation_id=3)
        self.worker.app = self.app  # type: ignore[assignment]
        self.caught_up = True
        reader = SimpleNamespace(caught_up=SimpleNamespace(is_set=lambda: self.caught_up))
        self.worker.reader = reader  # type: ignore[assignment]

    async def second(self) -> None:
        """A second passes: the figures are refreshed, the offsets committed."""
        self.rig.now += 1.0
        for partition in self.processor.partitions():
            self.worker._refresh_ends(partition)
        await self.rig.commit()


# -- /healthz ------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_worker_without_anything_to_do_is_healthy_for_ever() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    for _ in range(2 * int(STALLED_AFTER_S)):
        await desk.second()
    assert desk.worker.healthy().ok


@on_a_loop
async def test_a_worker_that_moves_is_healthy_however_much_waits() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    desk.consumer.records = {PAYMENTS: 1_000_000}
    for offset in range(2 * int(STALLED_AFTER_S)):
        await desk.rig.give(offset)
        await desk.second()
        assert desk.worker.healthy().ok
    assert desk.worker.healthy().sentence.startswith("healthy: 1000000 records wait")


@on_a_loop
async def test_a_worker_whose_offsets_stand_still_while_records_wait_is_not_healthy() -> None:
    # Its commits go on every second and are accepted: they say that it is a member, not that it works.
    desk = Desk()
    await desk.rig.assign(0)
    await desk.rig.give(0)
    await desk.second()
    desk.consumer.records = {PAYMENTS: 5}
    for _ in range(int(STALLED_AFTER_S) - 2):
        await desk.second()
    assert desk.worker.healthy().ok
    for _ in range(4):
        await desk.second()
    verdict = desk.worker.healthy()
    assert not verdict.ok
    assert verdict.sentence.startswith("5 records wait and nothing has become durable for ")
    assert desk.rig.lease.held()
    await desk.rig.give(1)
    await desk.second()
    assert desk.worker.healthy().ok


@on_a_loop
async def test_a_worker_that_cannot_commit_while_records_wait_is_not_healthy() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    desk.consumer.records = {PAYMENTS: 5}
    await desk.second()
    desk.rig.now += STALLED_AFTER_S + 2
    assert not desk.worker.healthy().ok


@on_a_loop
async def test_a_worker_that_stands_still_for_long_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_guard.streaming.worker.die", die_in_tests)
    desk = Desk()
    await desk.rig.assign(0)
    await desk.second()
    desk.rig.now += GIVE_UP_AFTER_S + 1
    desk.worker._give_up()  # nothing waits
    await desk.second()
    desk.consumer.records = {PAYMENTS: 5}
    await desk.second()
    desk.rig.now += GIVE_UP_AFTER_S - 2
    desk.worker._give_up()
    desk.rig.now += 2
    with pytest.raises(Died, match="5 records wait and nothing has become durable for 12"):
        desk.worker._give_up()


@on_a_loop
async def test_lag_is_what_the_consumer_still_waits_for_and_unknown_changes_nothing() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    await desk.rig.give(0, 1)
    desk.consumer.records = {PAYMENTS: 7, TOPICS["cases"]: 0}
    await desk.second()
    partition = desk.rig.partition()
    assert partition.lag()[PAYMENTS] == 7
    desk.consumer.records = {PAYMENTS: None}
    await desk.second()
    assert partition.lag()[PAYMENTS] == 7


@on_a_loop
async def test_a_consumer_that_gets_nothing_is_missed_by_what_the_brokers_say() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    await desk.rig.give(0)
    desk.worker.ends = {TP(PAYMENTS, 0): 4}
    for _ in range(int(STALLED_AFTER_S) + 2):
        await desk.second()
    assert desk.worker.healthy().sentence.startswith("3 records wait and nothing has become durable for ")


@on_a_loop
async def test_where_the_logs_end_when_a_partition_is_opened_replaces_what_was_known_before() -> None:
    desk = Desk()
    await desk.rig.assign(0)
    await desk.rig.give(0)

    async def offsets(tps: list[TP], at: int) -> dict[TP, int]:
        return dict.fromkeys(tps, at)

    client = SimpleNamespace(
        beginning_offsets=lambda tps: offsets(tps, 0), end_offsets=lambda tps: offsets(tps, 9)
    )
    desk.consumer.kafka = lambda: client  # type: ignore[attr-defined]
    desk.worker.ends = {TP(PAYMENTS, 0): 1, TP(PAYMENTS, 1): 5}
    assert await desk.worker._bounds({TP(PAYMENTS, 0)}) == {TP(PAYMENTS, 0): (0, 9)}
    await desk.second()
    assert desk.rig.partition().lag()[PAYMENTS] == 8


@on_a_loop
async def test_a_long_recovery_that_makes_progress_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    await desk.rig.assign(0)
    desk.consumer.records = {PAYMENTS: 5}
    await desk.second()
    verdicts = []

    async def slowly(partition: int, start: int | None, take: Any) -> None:
        for _ in range(10):
            desk.rig.now += STALLED_AFTER_S / 3
            await take([])
            verdicts.append(desk.worker.healthy().ok)

    monkeypatch.setattr(desk.rig.backend, "read", slowly)
    await desk.rig.assign(0, 1)
    assert verdicts == [True] * 10
    desk.rig.now += STALLED_AFTER_S + 1
    assert not desk.worker.healthy().ok


# -- ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("topic", "code"), [("dead_letters", EXIT_DEAD_LETTER), ("decisions", EXIT_FATAL)])
def test_a_delivery_that_fails_ends_the_process_with_a_code_that_tells_which(
    topic: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk()
    monkeypatch.setattr(module, "die", die_in_tests)
    with pytest.raises(Died) as died:
        desk.worker._failed_delivery(desk.worker.settings.topics.names[topic], OSError("no leader"))
    assert died.value.code == code
    assert died.value.reason.endswith("OSError: no leader")


def test_a_folder_for_snapshots_that_cannot_be_used_is_refused_before_anything_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snapshots").touch()
    settings = load_settings(None, {"STREAM_GUARD_DATA_DIR": str(tmp_path)})
    assert run_worker(settings) == EXIT_SETTINGS
    assert f"no snapshots can be kept in {tmp_path}/snapshots: Not a directory" in caplog.text
    assert "set state.snapshot_interval_s to 0" in caplog.text


# -- /readyz -------------------------------------------------------------------------------------------


@on_a_loop
async def test_a_worker_is_ready_once_signals_are_read_and_every_assigned_partition_is_loaded() -> None:
    desk = Desk()
    desk.caught_up = False
    desk.app.consumer_generation_id = -1
    assert desk.worker.ready() == (False, "the risk signals are being read")
    desk.caught_up = True
    assert desk.worker.ready() == (False, "not a member of the group yet")
    desk.app.consumer_generation_id = 1
    desk.app.rebalancing = True
    assert not desk.worker.ready().ok
    desk.app.rebalancing = False
    desk.consumer.assigned = {TP(topic, number) for topic in TOPICS.values() for number in (0, 1)}
    assert desk.worker.ready() == (False, "0 of 2 assigned partitions are loaded")
    await desk.rig.assign(0, 1)
    assert desk.worker.ready() == (True, "ready: 2 partitions")


# -- risk signals --------------------------------------------------------------------------------------


class Letters:
    def __init__(self) -> None:
        self.put_ones: list[tuple[Any, ...]] = []

    def put(self, *what: Any) -> None:
        self.put_ones.append(what)


def test_a_signal_is_put_replaced_and_withdrawn_by_its_key() -> None:
    desk, letters = Desk(), Letters()
    apply: Any = desk.worker._apply_signal
    signals = desk.worker.context.signals
    value = b'{"kind":"account","id":"A1","level":80,"source":"police","reason":"r"}'
    apply(letters, 0, LogRecord(0, value, b"account:A1"))
    assert signals.source_of("account:A1") is SignalSource.POLICE
    apply(letters, 0, LogRecord(1, value.replace(b"police", b"bank"), b"account:A1"))
    assert signals.source_of("account:A1") is SignalSource.BANK
    apply(letters, 0, LogRecord(2, None, b"account:A1"))
    assert len(signals) == 0
    assert letters.put_ones == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"account:A1", b"{", b"not_json"),
        (
            b"account:A2",
            b'{"kind":"account","id":"A1","level":80,"source":"police","reason":"r"}',
            b"wrong_key",
        ),
        (None, b"{}", b"wrong_key"),
        (b"planet:A1", None, b"wrong_key"),
    ],
)
def test_a_bad_signal_is_a_dead_letter_with_its_position(
    key: bytes | None, value: bytes | None, reason: bytes
) -> None:
    desk, letters = Desk(), Letters()
    apply: Any = desk.worker._apply_signal
    apply(letters, 2, LogRecord(41, value, key))
    ((topic, partition, no_key, body, headers),) = letters.put_ones
    settings = desk.worker.settings
    assert (topic, partition, no_key, body) == (settings.topics.dead_letters, 2, None, value)
    told = dict(headers)
    assert told["reason"] == reason
    assert (told["topic"], told["partition"], told["offset"]) == (b"risk-signals", b"2", b"41")
    assert len(desk.worker.context.signals) == 0


# -- the end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [EXIT_FATAL, EXIT_REFUSED])
def test_dying_says_why_and_runs_nothing_more(code: int) -> None:
    program = (
        "import atexit, logging; from stream_guard.streaming.fatal import die\n"
        "logging.basicConfig(); atexit.register(print, 'cleaned up')\n"
        "print('before')\n"
        f"try: die('a delivery failed', {code})\n"
        "finally: print('after')\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == code
    assert run.stdout == "before\n"
    assert "fatal: a delivery failed" in run.stderr
