"""The glue: what is opened, skipped, refused, flushed and committed, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from faust.types import TP

from stream_guard.detection.state import Context, PartitionState
from stream_guard.metrics import Metrics
from stream_guard.streaming import processor as module
from stream_guard.streaming.fatal import EXIT_FATAL, EXIT_FENCED, EXIT_REFUSED
from stream_guard.streaming.lease import Lease
from stream_guard.streaming.partition import LegGap, Partition
from stream_guard.streaming.processor import CHUNK, Processor, check_bounds
from stream_guard.streaming.state import Fenced, Item, MemoryState, Record, StateRefused
from stream_guard.streaming.transport import Batch
from tests.detection.builders import context
from tests.streaming.driver import TOPICS
from tests.streaming.helpers import Died, LogRecord, die_in_tests, on_a_loop

PAYMENTS = TOPICS["transactions"]
KEYED = set(TOPICS.values())


class Handlers:
    """Notes what it is given; `hook` runs inside."""

    def __init__(self) -> None:
        self.given: list[tuple[str, int, list[int]]] = []
        self.hook: Callable[[Partition], None] = lambda partition: None

    def _note(self, role: str) -> Callable[[Partition, Sequence[Any]], None]:
        def handle(partition: Partition, records: Sequence[Any]) -> None:
            self.hook(partition)
            self.given.append((role, partition.number, [record.offset for record in records]))

        return handle

    def __getattr__(self, role: str) -> Callable[[Partition, Sequence[Any]], None]:
        return self._note(role)


class Outputs:
    """Room or none."""

    def __init__(self) -> None:
        self.room = True

    def has_room(self) -> bool:
        return self.room


class Backend(MemoryState):
    """Memory that notes what is done to it; `hook` runs inside a flush that has something to write."""

    def __init__(self) -> None:
        super().__init__(self._send)
        self.sent: list[Record] = []
        self.did: list[tuple[str, int]] = []
        self.hook: Callable[[], Awaitable[None]] | None = None

    async def _send(self, records: Sequence[Record]) -> None:
        self.sent += records

    async def open(self, partition: int) -> None:
        self.did.append(("open", partition))
        await super().open(partition)

    async def flush(self, partition: int, items: Sequence[Item], records: Sequence[Record]) -> None:
        if not items and not records:
            return
        self.did.append(("flush", partition))
        if self.hook is not None:
            await self.hook()
        await super().flush(partition, items, records)
        self.did.append(("flushed", partition))

    async def close(self, partition: int) -> None:
        self.did.append(("close", partition))
        await super().close(partition)


class Rig:
    """A processor with everything around it under the test's control."""

    def __init__(self, where: Context | None = None, backend: Backend | None = None) -> None:
        self.where = where or context(partitions=4)
        self.now = 100.0
        self.handlers = Handlers()
        self.outputs = Outputs()
        self.backend = backend or Backend()
        self.lease = Lease(10.0, lambda: self.now)
        self.suspended = False
        self.bounds: dict[TP, tuple[int, int]] = {}
        self.asked_bounds = 0
        self.metrics = Metrics("1", "pack", "hash")
        handlers: Any = self.handlers
        outputs: Any = self.outputs
        self.processor = Processor(
            TOPICS, self._new, self.backend, outputs, self.lease, self.metrics, handlers
        )
        self.processor.bounds = self._bounds
        self.processor.flow_suspended = lambda: self.suspended

    def _new(self, number: int) -> Partition:
        bank = self.where.bank
        return Partition(
            number,
            bank.partitions,
            PartitionState(self.where),
            bank.routing_hash(),
            TOPICS["sightings"],
            "lineage",
        )

    async def _bounds(self, tps: set[TP]) -> Mapping[TP, tuple[int, int]]:
        self.asked_bounds += 1
        return {tp: self.bounds.get(tp, (0, 1_000_000)) for tp in tps}

    async def assign(self, *numbers: int) -> Mapping[TP, int]:
        return await self.processor.open(assignment(*numbers))

    def partition(self, number: int = 0) -> Partition:
        return next(one for one in self.processor.partitions() if one.number == number)

    def numbers(self) -> list[int]:
        return sorted(one.number for one in self.processor.partitions())

    async def give(self, *offsets: int, number: int = 0, start: int | None = None) -> None:
        """A batch of transactions."""
        records = [LogRecord(offset) for offset in offsets]
        begin = offsets[0] if start is None else start
        await self.processor.on_transactions(Batch(PAYMENTS, number, begin, records))

    async def commit(self) -> Mapping[TP, int]:
        """What a commit interval does when the coordinator takes the offsets."""
        offsets = await self.processor.make_durable()
        self.processor.committed()
        return offsets


def assignment(*numbers: int) -> set[TP]:
    return {TP(topic, number) for topic in KEYED for number in numbers}


@pytest.fixture(autouse=True)
def _die(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "die", die_in_tests)


# -- assignments ---------------------------------------------------------------------------------------


@on_a_loop
async def test_an_assignment_opens_its_partitions_and_gives_the_lease() -> None:
    rig = Rig()
    assert not rig.lease.held()
    offsets = await rig.assign(0, 2)
    assert rig.numbers() == [0, 2]
    assert rig.backend.did == [("open", 0), ("open", 2)]
    assert set(offsets) == assignment(0, 2)
    assert rig.lease.held()
    assert {partition.number for partition in rig.processor.partitions()} == {0, 2}


@on_a_loop
async def test_a_new_partition_reads_from_where_the_log_begins_and_may_commit_that() -> None:
    rig = Rig()
    rig.bounds = {TP(PAYMENTS, 0): (17, 90)}
    offsets = await rig.assign(0)
    assert offsets[TP(PAYMENTS, 0)] == 17
    assert offsets[TP(TOPICS["legs"], 0)] == 0
    # Without anything to commit the membership could never be proven again.
    assert dict(await rig.processor.make_durable()) == dict(offsets)
    assert rig.partition().lag()[PAYMENTS] == 90 - 17


@on_a_loop
async def test_an_opened_partition_goes_on_where_its_state_ends() -> None:
    first = Rig()
    await first.assign(0)
    await first.give(0, 1, 2)
    await first.commit()
    second = Rig(first.where, first.backend)
    offsets = await second.assign(0)
    assert offsets[TP(PAYMENTS, 0)] == 3
    await second.give(1, 2, 3, 4)
    assert second.handlers.given == [("transactions", 0, [3, 4])]


@on_a_loop
async def test_what_is_no_longer_assigned_is_closed() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    gone = rig.partition(1)
    await rig.assign(0)
    assert rig.numbers() == [0]
    assert gone.closed
    assert ("close", 1) in rig.backend.did
    await rig.processor.on_transactions(Batch(PAYMENTS, 1, 0, [LogRecord(0)]))
    assert rig.handlers.given == []


@on_a_loop
async def test_what_stays_assigned_is_not_loaded_again_but_proven_by_a_write() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    kept = rig.partition(0)
    rig.backend.did.clear()
    await rig.assign(0, 2)
    assert rig.partition(0) is kept
    assert ("flushed", 0) in rig.backend.did
    assert ("open", 0) not in rig.backend.did
    assert ("open", 2) in rig.backend.did


@on_a_loop
async def test_what_somebody_else_had_meanwhile_is_loaded_anew() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1)
    stale = rig.partition()
    fence = iter([Fenced("another process owns partition 0 now")])

    async def fenced() -> None:
        for error in fence:
            raise error

    rig.backend.hook = fenced
    offsets = await rig.assign(0)
    assert rig.partition() is not stale
    assert stale.closed
    assert offsets[TP(PAYMENTS, 0)] == 0
    await rig.give(0, 1)
    assert [offsets for _, _, offsets in rig.handlers.given] == [[0, 1], [0, 1]]


@on_a_loop
async def test_a_partition_without_all_its_topics_is_refused() -> None:
    rig = Rig()
    split = assignment(0, 1) - {TP(TOPICS["legs"], 1), TP(TOPICS["cases"], 1)}
    with pytest.raises(Died) as died:
        await rig.processor.open(split)
    assert died.value.code == EXIT_REFUSED
    assert died.value.reason.startswith(
        "partition 1 was assigned without app-cases, app-legs: the keyed topics are split over processes"
    )
    assert rig.backend.did == []


@on_a_loop
async def test_topics_that_are_none_of_ours_do_not_matter() -> None:
    rig = Rig()
    offsets = await rig.processor.open(assignment(0) | {TP("__assignor", 3)})
    assert set(offsets) == assignment(0)
    assert rig.numbers() == [0]


@on_a_loop
async def test_an_empty_assignment_closes_everything() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    assert dict(await rig.processor.open(set())) == {}
    assert rig.numbers() == []


@on_a_loop
async def test_a_state_that_is_refused_ends_the_process_with_its_sentence() -> None:
    rig = Rig()

    async def refuse(partition: int) -> None:
        raise StateRefused("an open transaction hides our own state")

    rig.backend.open = refuse  # type: ignore[method-assign]
    with pytest.raises(Died, match="an open transaction hides our own state") as died:
        await rig.assign(0)
    assert died.value.code == EXIT_REFUSED


@on_a_loop
async def test_an_opening_that_fails_ends_the_process() -> None:
    rig = Rig()

    async def fail(partition: int) -> None:
        raise ConnectionError("no broker")

    rig.backend.open = fail  # type: ignore[method-assign]
    with pytest.raises(Died, match="opening the assigned partitions failed") as died:
        await rig.assign(0)
    assert died.value.code == EXIT_FATAL


@on_a_loop
async def test_an_opening_goes_on_when_its_caller_is_cancelled_and_the_next_one_waits_for_it() -> None:
    rig = Rig()
    gate = asyncio.Event()
    load = rig.backend.open

    async def slowly(partition: int) -> None:
        await gate.wait()
        await load(partition)

    rig.backend.open = slowly  # type: ignore[method-assign]
    first = asyncio.create_task(rig.assign(0))
    await asyncio.sleep(0)
    first.cancel()
    second = asyncio.create_task(rig.assign(0, 1))
    await asyncio.sleep(0)
    assert rig.backend.did == []
    gate.set()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert rig.numbers() == [0, 1]
    assert rig.backend.did.count(("open", 0)) == 1


# -- bounds of the log ---------------------------------------------------------------------------------


def test_a_log_that_begins_above_what_comes_next_is_refused() -> None:
    with pytest.raises(StateRefused) as refused:
        check_bounds(TP("payments", 3), 10, 11, 20)
    assert str(refused.value) == (
        "payments-3 starts at offset 11 but the state ends at 10: records were deleted before they were read"
        " (retention too short for the outage). Raise retention.ms; if the loss is accepted, start under a"
        " new application id"
    )


def test_a_log_that_ends_below_what_was_read_is_refused() -> None:
    with pytest.raises(StateRefused) as refused:
        check_bounds(TP("payments", 3), 21, 0, 20)
    assert str(refused.value) == (
        "payments-3 ends at offset 20 but the state has read to 21: the topic was made anew. Start under a"
        " new application id, or restore the topic"
    )


@pytest.mark.parametrize("offset", [10, 15, 20])
def test_a_log_that_holds_what_comes_next_is_accepted(offset: int) -> None:
    check_bounds(TP("payments", 3), offset, 10, 20)


@on_a_loop
async def test_a_topic_that_was_made_anew_is_refused_at_the_opening() -> None:
    first = Rig()
    await first.assign(0)
    await first.give(*range(5))
    await first.commit()
    second = Rig(first.where, first.backend)
    second.bounds = {TP(PAYMENTS, 0): (0, 2)}
    with pytest.raises(Died, match="payments-0 ends at offset 2 but the state has read to 5") as died:
        await second.assign(0)
    assert died.value.code == EXIT_REFUSED
    assert not second.lease.held()


@on_a_loop
async def test_a_jump_that_the_log_explains_is_taken() -> None:
    rig = Rig()
    await rig.assign(0)
    asked = rig.asked_bounds
    # Offsets 0-2 are control records or were compacted away: the log still begins at 0.
    await rig.give(3, 4, start=0)
    assert rig.handlers.given == [("transactions", 0, [3, 4])]
    assert rig.asked_bounds == asked + 1
    await rig.give(5)
    assert rig.asked_bounds == asked + 1


@on_a_loop
async def test_a_jump_over_records_that_retention_deleted_is_refused() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.bounds = {TP(PAYMENTS, 0): (3, 9)}
    with pytest.raises(Died, match="starts at offset 3 but the state ends at 0") as died:
        await rig.give(3, 4, start=0)
    assert died.value.code == EXIT_REFUSED
    assert rig.handlers.given == []


@on_a_loop
async def test_records_lost_between_consumer_and_agent_end_the_process() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1)
    with pytest.raises(Died, match="records 2 to 4 of payments-0 were lost on the way") as died:
        await rig.give(5, 6)
    assert died.value.code == EXIT_FATAL


# -- batches -------------------------------------------------------------------------------------------


@on_a_loop
async def test_each_role_goes_to_its_handler_and_moves_its_own_offset() -> None:
    rig = Rig()
    await rig.assign(1)
    calls = {
        "transactions": rig.processor.on_transactions,
        "legs": rig.processor.on_legs,
        "cases": rig.processor.on_cases,
        "sightings": rig.processor.on_sightings,
        "dispositions": rig.processor.on_dispositions,
        "account_updates": rig.processor.on_account_updates,
    }
    for number, (role, call) in enumerate(calls.items()):
        await call(Batch(TOPICS[role], 1, 0, [LogRecord(offset) for offset in range(number + 1)]))
    assert rig.handlers.given == [(role, 1, list(range(number + 1))) for number, role in enumerate(calls)]
    assert rig.partition(1).applied == {TOPICS[role]: number + 1 for number, role in enumerate(calls)}


@on_a_loop
async def test_records_below_the_applied_offset_are_skipped() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1, 2)
    await rig.give(1, 2, 3)
    await rig.give(0, 1)
    assert [offsets for _, _, offsets in rig.handlers.given] == [[0, 1, 2], [3]]
    assert rig.partition().applied[PAYMENTS] == 4


@on_a_loop
async def test_a_large_fetch_is_applied_in_pieces_and_others_get_their_turn() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    large = asyncio.create_task(rig.give(*range(2 * CHUNK + 5)))
    small = asyncio.create_task(rig.give(0, number=1))
    await asyncio.gather(large, small)
    pieces = [(number, len(offsets)) for _, number, offsets in rig.handlers.given]
    assert sorted(pieces) == [(0, 5), (0, CHUNK), (0, CHUNK), (1, 1)]
    assert pieces[-1] == (0, 5)
    assert rig.partition(0).applied[PAYMENTS] == 2 * CHUNK + 5


@on_a_loop
async def test_a_batch_waits_for_room() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.outputs.room = False
    waiting = asyncio.create_task(rig.give(0))
    await asyncio.sleep(0.01)
    assert rig.handlers.given == []
    rig.outputs.room = True
    await asyncio.wait_for(waiting, 1)
    assert rig.handlers.given == [("transactions", 0, [0])]


@on_a_loop
async def test_a_batch_waits_for_the_lease() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.now += 10.0
    waiting = asyncio.create_task(rig.give(0))
    await asyncio.sleep(0.01)
    assert rig.handlers.given == []
    rig.lease.renew(rig.now)
    await asyncio.wait_for(waiting, 1)
    assert rig.handlers.given == [("transactions", 0, [0])]


@on_a_loop
async def test_waiting_lets_go_when_the_flow_is_suspended_and_nothing_is_applied() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.outputs.room = False
    waiting = asyncio.create_task(rig.give(0))
    await asyncio.sleep(0.01)
    rig.suspended = True
    await asyncio.wait_for(waiting, 1)
    assert (rig.handlers.given, rig.partition().applied[PAYMENTS]) == ([], 0)


@on_a_loop
async def test_a_cancelled_wait_leaves_the_applied_offset_where_it_was() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.outputs.room = False
    waiting = asyncio.create_task(rig.give(0, 1))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert rig.partition().applied[PAYMENTS] == 0
    rig.outputs.room = True
    await rig.give(0, 1)
    assert rig.handlers.given == [("transactions", 0, [0, 1])]


@on_a_loop
async def test_a_batch_cancelled_between_its_pieces_is_applied_up_to_there() -> None:
    rig = Rig()
    await rig.assign(0)

    def no_more(partition: Partition) -> None:
        rig.outputs.room = False

    rig.handlers.hook = no_more
    running = asyncio.create_task(rig.give(*range(2 * CHUNK)))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rig.partition().applied[PAYMENTS] == CHUNK
    rig.outputs.room = True
    rig.handlers.hook = lambda partition: None
    await rig.give(*range(CHUNK, 2 * CHUNK))
    assert [offsets[0] for _, _, offsets in rig.handlers.given] == [0, CHUNK]


@on_a_loop
async def test_batches_of_one_partition_run_one_at_a_time() -> None:
    rig = Rig()
    await rig.assign(0)
    legs = Batch(TOPICS["legs"], 0, 0, [LogRecord(0)])
    async with rig.partition().lock:
        both = asyncio.gather(rig.give(0), rig.processor.on_legs(legs))
        await asyncio.sleep(0.01)
        assert rig.handlers.given == []
    await both
    assert len(rig.handlers.given) == 2


@on_a_loop
async def test_a_missing_leg_ends_the_process_and_applies_nothing() -> None:
    rig = Rig()
    await rig.assign(0)

    def gap(partition: Partition) -> None:
        raise LegGap("a leg of transactions-1 offset 7 never reached partition 0")

    rig.handlers.hook = gap
    with pytest.raises(Died, match="offset 7 never reached partition 0") as died:
        await rig.processor.on_legs(Batch(TOPICS["legs"], 0, 0, [LogRecord(0)]))
    assert died.value.code == EXIT_REFUSED
    assert rig.partition().applied[TOPICS["legs"]] == 0


@pytest.mark.parametrize("refusal", [module.ForeignFrame, StateRefused])
def test_a_frame_or_case_that_cannot_be_read_ends_the_process_as_refused(refusal: type[Exception]) -> None:
    async def run() -> None:
        rig = Rig()
        await rig.assign(0)

        def foreign(partition: Partition) -> None:
            raise refusal("written by another version")

        rig.handlers.hook = foreign
        with pytest.raises(Died, match="written by another version") as died:
            await rig.processor.on_legs(Batch(TOPICS["legs"], 0, 0, [LogRecord(0)]))
        # A restart alone does not help, and whoever restarts it for ever should be told.
        assert died.value.code == EXIT_REFUSED

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a defect"), asyncio.CancelledError(), KeyboardInterrupt()]
)
def test_a_batch_interrupted_after_it_began_ends_the_process(error: BaseException) -> None:
    async def run() -> None:
        rig = Rig()
        await rig.assign(0)

        def interrupt(partition: Partition) -> None:
            raise error

        rig.handlers.hook = interrupt
        with pytest.raises(Died, match="a batch of payments-0 was interrupted after it began") as died:
            await rig.give(0)
        assert died.value.code == EXIT_FATAL
        assert rig.partition().applied[PAYMENTS] == 0

    asyncio.run(run())


# -- durability ----------------------------------------------------------------------------------------


@on_a_loop
async def test_a_flush_waits_for_the_outputs_before_it_writes_the_state() -> None:
    rig = Rig()
    await rig.assign(0)
    delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.handlers.hook = lambda partition: partition.keep(delivery)
    await rig.give(0, 1)
    rig.backend.did.clear()
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    assert rig.backend.did == []
    delivery.set_result(None)
    offsets = await asyncio.wait_for(flushing, 1)
    assert rig.backend.did == [("flush", 0), ("flushed", 0)]
    assert offsets[TP(PAYMENTS, 0)] == 2


@on_a_loop
async def test_what_is_committed_is_never_above_what_is_durable() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1)
    inside: list[int] = []

    async def more() -> None:
        # A batch that is applied while the flush is under way belongs to the next one.
        await rig.give(2, 3)
        inside.append(rig.partition().applied[PAYMENTS])

    rig.backend.hook = more
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 2
    assert inside == [4]
    rig.backend.hook = None
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 4


@on_a_loop
async def test_alerts_and_cases_go_with_the_state_and_once() -> None:
    rig = Rig()
    await rig.assign(0)
    alert = Record("alerts", b"A1", b"{}")
    rig.handlers.hook = lambda partition: partition.records.append(alert)
    await rig.give(0)
    assert rig.backend.sent == []
    await rig.commit()
    await rig.commit()
    assert rig.backend.sent == [alert]


@on_a_loop
async def test_nothing_to_write_is_not_written_and_the_offsets_are_committed_all_the_same() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0)
    await rig.commit()
    rig.backend.did.clear()
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 1
    assert rig.backend.did == []


@on_a_loop
async def test_a_commit_that_was_taken_extends_the_lease_from_when_it_was_asked() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.now += 8.0
    await rig.processor.make_durable()
    rig.now += 1.0
    rig.processor.committed()
    rig.now += 8.5
    assert rig.lease.held()
    rig.now += 0.6
    assert not rig.lease.held()
    assert rig.processor.last_durable == 108.0


@on_a_loop
async def test_without_the_lease_nothing_is_flushed_but_the_durable_offsets_are_told() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1)
    await rig.commit()
    await rig.give(2, 3)
    rig.backend.did.clear()
    rig.now += 11.0
    assert (await rig.processor.make_durable())[TP(PAYMENTS, 0)] == 2
    assert rig.backend.did == []
    # The coordinator takes them: still a member, so it goes on.
    rig.processor.committed()
    assert rig.lease.held()
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 4


@on_a_loop
async def test_a_lease_lost_during_a_flush_does_not_lock_the_process_up() -> None:
    # Outputs wait for the lease, the flush for the outputs, the commit for the flush, and the lease for the
    # commit: a broker that was away for longer than the lease would stop this process for ever.
    rig = Rig()
    await rig.assign(0)
    delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.handlers.hook = lambda partition: partition.keep(delivery)
    await rig.give(0, 1)
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    rig.now += 11.0
    offsets = await asyncio.wait_for(flushing, 2)
    assert offsets[TP(PAYMENTS, 0)] == 0
    rig.processor.committed()
    assert rig.lease.held()
    delivery.set_result(None)
    rig.backend.did.clear()
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 2
    # Everything of the flush that was put off is written, with what came since.
    assert ("flushed", 0) in rig.backend.did


@on_a_loop
async def test_what_a_flush_had_taken_when_the_lease_was_lost_is_written_later() -> None:
    rig = Rig()
    await rig.assign(0)
    delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first, second = Record("alerts", b"A1", b"1"), Record("alerts", b"A1", b"2")

    def say(record: Record) -> Callable[[Partition], None]:
        def hook(partition: Partition) -> None:
            partition.records.append(record)
            partition.keep(delivery)

        return hook

    rig.handlers.hook = say(first)
    await rig.give(0)
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    rig.now += 11.0
    await asyncio.wait_for(flushing, 2)
    rig.processor.committed()
    rig.handlers.hook = say(second)
    await rig.give(1)
    delivery.set_result(None)
    await rig.commit()
    assert (await rig.commit())[TP(PAYMENTS, 0)] == 2
    assert rig.backend.sent == [first, second]


@on_a_loop
async def test_a_rebalance_without_the_lease_loads_what_stays_assigned_anew() -> None:
    # Somebody else may have had it, and outputs that wait for the lease cannot be waited for.
    rig = Rig()
    await rig.assign(0)
    await rig.give(0, 1)
    await rig.commit()
    delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.handlers.hook = lambda partition: partition.keep(delivery)
    await rig.give(2)
    stale = rig.partition()
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    rig.now += 11.0
    offsets = await asyncio.wait_for(rig.assign(0), 2)
    await asyncio.wait_for(flushing, 2)
    assert rig.partition() is not stale
    assert offsets[TP(PAYMENTS, 0)] == 2
    assert rig.lease.held()


@on_a_loop
async def test_a_flush_under_way_is_finished_before_its_partition_is_given_up() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    await rig.give(0, number=1)
    gate = asyncio.Event()
    rig.backend.hook = gate.wait  # type: ignore[assignment]
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    moving = asyncio.create_task(rig.assign(0))
    await asyncio.sleep(0.01)
    assert ("close", 1) not in rig.backend.did
    gate.set()
    await asyncio.gather(flushing, moving)
    did = rig.backend.did
    assert did.index(("flushed", 1)) < did.index(("close", 1))


@on_a_loop
async def test_a_fenced_flush_ends_the_process() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0)

    async def fenced() -> None:
        raise Fenced("another process owns partition 0 now")

    rig.backend.hook = fenced
    with pytest.raises(Died, match="fenced: another process owns partition 0 now") as died:
        await rig.processor.make_durable()
    assert "another worker runs under the same instance id" in str(died.value)
    assert died.value.code == EXIT_FENCED


@on_a_loop
async def test_a_flush_that_fails_ends_the_process() -> None:
    rig = Rig()
    await rig.assign(0)
    await rig.give(0)

    async def fail() -> None:
        raise ConnectionError("no broker")

    rig.backend.hook = fail
    with pytest.raises(Died, match="a flush failed: ConnectionError"):
        await rig.processor.make_durable()


@on_a_loop
async def test_an_output_that_failed_fails_the_flush() -> None:
    rig = Rig()
    await rig.assign(0)
    delivery: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rig.handlers.hook = lambda partition: partition.keep(delivery)
    await rig.give(0)
    rig.backend.did.clear()
    flushing = asyncio.create_task(rig.processor.make_durable())
    await asyncio.sleep(0.01)
    delivery.set_exception(ConnectionError("gone"))
    with pytest.raises(Died, match="a flush failed"):
        await flushing
    assert rig.backend.did == []


@on_a_loop
async def test_partitions_are_flushed_side_by_side() -> None:
    rig = Rig()
    await rig.assign(0, 1, 2)
    for number in (0, 1, 2):
        await rig.give(0, number=number)
    meeting = asyncio.Barrier(3)

    async def meet() -> None:
        await meeting.wait()

    rig.backend.hook = meet
    await asyncio.wait_for(rig.processor.make_durable(), 2)


@on_a_loop
async def test_a_closed_partition_is_not_among_the_committed() -> None:
    rig = Rig()
    await rig.assign(0, 1)
    await rig.assign(1)
    assert {tp.partition for tp in await rig.processor.make_durable()} == {1}


@on_a_loop
async def test_progress_is_offsets_that_move_and_not_commits_that_are_taken() -> None:
    rig = Rig()
    await rig.assign(0)
    rig.partition().ends = {PAYMENTS: 100}
    await rig.give(0)
    rig.now += 1.0
    await rig.commit()
    assert rig.processor.last_progress == rig.processor.last_durable == 101.0
    rig.now += 1.0
    await rig.commit()
    assert (rig.processor.last_progress, rig.processor.last_durable) == (101.0, 102.0)
    await rig.give(1)
    rig.now += 1.0
    await rig.commit()
    assert rig.processor.last_progress == 103.0
    rig.partition().ends[PAYMENTS] = 2
    rig.now += 1.0
    await rig.commit()
    assert rig.processor.last_progress == 104.0
