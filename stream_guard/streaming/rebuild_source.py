"""The topics of an application as a rebuild reads them: up to what the group committed, in order of time."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiokafka
from aiokafka.structs import TopicPartition

from stream_guard.alerts import Alert, AlertStatus
from stream_guard.context import load_context
from stream_guard.settings import Settings
from stream_guard.streaming.kafka_state import KafkaState
from stream_guard.streaming.processor import check_bounds
from stream_guard.streaming.rebuild import Rebuild, what_was_sent
from stream_guard.streaming.records import consumer, read_to_end
from stream_guard.streaming.state import Item, StateRefused
from stream_guard.streaming.topic_plan import WRITTEN_WITH_STATE
from stream_guard.streaming.topics import TopicsRefused, admin_client, partition_counts

KEYED = ("transactions", "legs", "cases", "sightings", "dispositions", "account_updates")

READ_ROLES = ("risk_signals", "account_updates", "transactions", "cases", "dispositions")
"""Topics that a state is made of; records of one moment in this order."""

ALWAYS_WHOLE = ("risk_signals", "account_updates")
"""Compacted: what they hold is in force, however old it is."""

POLL_MS = 200
AT_ONCE = 500
ITEMS_AT_ONCE = 20_000
"""State items of one transaction: its time-out is a minute."""

TELL_EVERY = 10_000

Committed = Mapping[tuple[str, int], int]


class Rebuilt(NamedTuple):
    """What a rebuild made.

    Attributes
    ----------
    payments
        Payments read.
    accounts
        Accounts that have a row now.
    open_warnings
        Warnings open now.
    lost_warnings
        Ids of warnings that are open by the alerts topic and that the new state does not know; dispositions
        of them will be refused.
    """

    payments: int
    accounts: int
    open_warnings: int
    lost_warnings: list[str]


def committed_offsets(settings: Settings) -> dict[tuple[str, int], int]:
    """Offsets that the group committed, by topic and partition.

    Raises
    ------
    TopicsRefused
        Workers are running, or nothing says which payments were decided.
    """
    with admin_client(settings.python_client()) as admin:
        described = admin.describe_groups([settings.app_id])[settings.app_id]
        if described["members"]:
            raise TopicsRefused(
                f"{len(described['members'])} workers are in the group '{settings.app_id}': stop them first."
            )
        entries = admin.list_group_offsets({settings.app_id: None})[settings.app_id]
    offsets = {
        (place.topic, place.partition): entry.offset for place, entry in entries.items() if entry.offset >= 0
    }
    if not any(topic == settings.topics.transactions for topic, _ in offsets):
        raise TopicsRefused(
            f"The group '{settings.app_id}' has committed no offsets, so nothing says which payments were"
            " decided: start the workers under a new app_id instead, and expect decisions and alerts anew."
        )
    return offsets


async def rebuild(settings: Settings, since_ms: int, tell: Callable[[int], None]) -> Rebuilt:
    """Make the state anew from the topics, and write it to the empty changelog.

    Parameters
    ----------
    settings
        Of the workers, which must not run.
    since_ms
        Payments and dispositions whose record is older are left out, epoch ms.
    tell
        Called with the number of payments read, now and then.

    Raises
    ------
    TopicsRefused, StateRefused
        Workers run, the changelog is not empty, or the topics do not hold what they must.
    """
    counts = partition_counts(settings)
    numbers = range(counts[settings.topics.transactions])
    committed = await asyncio.to_thread(committed_offsets, settings)
    context = load_context(settings, len(numbers))
    backend = KafkaState(
        settings.topics.state,
        settings.app_id,
        settings.python_client(),
        lambda topic, key: 0,
        [getattr(settings.topics, role) for role in WRITTEN_WITH_STATE],
    )
    try:
        for number in numbers:
            # Whoever still has it is fenced from here on.
            await backend.open(number)
            if await _holds_anything(backend, number):
                raise StateRefused(
                    f"partition {number} of '{settings.topics.state}' is not empty, and a rebuild replaces no"
                    " state: delete the topic and run 'stream-guard topics create' if it is lost for good."
                )
        async with _reader(settings) as reader:
            names = {role: getattr(settings.topics, role) for role in KEYED}
            tps = [TopicPartition(names[role], number) for role in KEYED for number in numbers]
            starts = await reader.beginning_offsets(tps)
            ends = await reader.end_offsets(tps)
            stand = {
                (tp.topic, tp.partition): committed.get((tp.topic, tp.partition), starts[tp]) for tp in tps
            }
            for tp in tps:
                check_bounds(tp, stand[tp.topic, tp.partition], starts[tp], ends[tp])
            begin = {(tp.topic, tp.partition): starts[tp] for tp in tps}
            legs = [(r.partition, r.value) async for r in _above(reader, names["legs"], stand)]
            cases = [record.value async for record in _above(reader, names["cases"], begin)]
            bank = Rebuild(settings, context, counts, what_was_sent(legs, cases))
            payments = 0
            async for role, record in _in_order(reader, settings, counts, stand, since_ms):
                bank.give(role, record)
                if role == "transactions":
                    payments += 1
                    if payments % TELL_EVERY == 0:
                        tell(payments)
        bank.resume(stand)
        for partition in bank.partitions:
            items = partition.take().items
            # The meta record is the last one: a state that was written in part is refused.
            for start in range(0, len(items), ITEMS_AT_ONCE):
                await backend.flush(partition.number, items[start : start + ITEMS_AT_ONCE], [])
    finally:
        await backend.stop()
    lost = await asyncio.to_thread(_lost_warnings, settings, bank)
    accounts = sum(partition.rows for partition in bank.partitions)
    opened = sum(len(partition.state.book) for partition in bank.partitions)
    return Rebuilt(payments, accounts, opened, lost)


async def _holds_anything(backend: KafkaState, number: int) -> bool:
    held = 0

    async def take(items: Sequence[Item]) -> None:
        nonlocal held
        held += len(items)

    await backend.read(number, None, take)
    return held > 0


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[Any]:
    reader = aiokafka.AIOKafkaConsumer(
        **settings.python_client(),
        isolation_level="read_committed",
        auto_offset_reset="none",
        enable_auto_commit=False,
        check_crcs=False,
    )
    await reader.start()
    try:
        yield reader
    finally:
        await reader.stop()


async def _above(reader: Any, topic: str, offsets: Committed) -> AsyncIterator[Any]:
    """Records of a topic from these offsets on."""
    sources = {TopicPartition(name, number): at for (name, number), at in offsets.items() if name == topic}
    reader.assign(list(sources))
    ends = await reader.end_offsets(list(sources))
    for tp, offset in sources.items():
        reader.seek(tp, offset)
    for tp in sources:
        source = _Source(reader, tp, ends[tp])
        while (record := await source.next()) is not None:
            yield record


async def _in_order(
    reader: Any, settings: Settings, counts: Mapping[str, int], stand: Committed, since_ms: int
) -> AsyncIterator[tuple[str, Any]]:
    """Role and record of everything that was applied, by the records' timestamps."""
    places = {
        TopicPartition(topic, number): role
        for role in READ_ROLES
        for topic in [getattr(settings.topics, role)]
        for number in range(counts[topic])
    }
    reader.assign(list(places))
    ends = await reader.end_offsets(list(places))
    starts = await reader.beginning_offsets(list(places))
    since = await reader.offsets_for_times(
        {tp: since_ms for tp, role in places.items() if role not in ALWAYS_WHOLE}
    )
    heap: list[tuple[int, int, int, Any, _Source]] = []
    for tp, role in places.items():
        until = stand.get((tp.topic, tp.partition), ends[tp])
        begin = starts[tp]
        if tp in since:
            begin = until if since[tp] is None else since[tp].offset
        reader.seek(tp, min(begin, until))
        source = _Source(reader, tp, until)
        await _push(heap, role, source)
    while heap:
        _, rank, _, record, source = heapq.heappop(heap)
        yield READ_ROLES[rank], record
        await _push(heap, READ_ROLES[rank], source)


async def _push(heap: list[Any], role: str, source: _Source) -> None:
    record = await source.next()
    if record is not None:
        place = (record.timestamp, READ_ROLES.index(role), record.partition)
        heapq.heappush(heap, (*place, record, source))


class _Source:
    """Records of one partition up to an offset."""

    def __init__(self, reader: Any, tp: TopicPartition, until: int) -> None:
        self._reader = reader
        self._tp = tp
        self._until = until
        self._waiting: deque[Any] = deque()

    async def next(self) -> Any | None:
        """The next record, None at the end."""
        # Marks of transactions have offsets and are no records: only the position tells where the end is.
        while not self._waiting and await self._reader.position(self._tp) < self._until:
            fetched = await self._reader.getmany(self._tp, timeout_ms=POLL_MS, max_records=AT_ONCE)
            self._waiting += [record for record in fetched.get(self._tp, ()) if record.offset < self._until]
        return self._waiting.popleft() if self._waiting else None


def _lost_warnings(settings: Settings, bank: Rebuild) -> list[str]:
    newest: dict[str, Alert] = {}
    with consumer(settings) as client:
        for record in read_to_end(client, settings.topics.alerts):
            alert = Alert.model_validate_json(record.value)
            known = newest.get(alert.warning_id)
            if known is None or alert.revision > known.revision:
                newest[alert.warning_id] = alert
    return sorted(
        alert.warning_id
        for alert in newest.values()
        if alert.status is not AlertStatus.CLOSED and not bank.knows(alert.account, alert.warning_id)
    )
