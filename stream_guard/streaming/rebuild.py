"""The state made anew from the topics, after its changelog was lost; nothing is sent.

What the group had committed is applied again by the workers' own handlers, in the order of the records'
timestamps; what was not stays for the workers. Decisions, alerts, dead letters and risk signals are dropped:
they were sent when they were made. What cannot come back: what the topics do not hold any more (payments
older than `since`, and warnings, habits and counts that rest on them; earlier updates of an account, of
which only the newest is kept), and how the two hops of payments that arrived together were interleaved.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from stream_guard import __version__
from stream_guard.detection.batches import take
from stream_guard.detection.findings import Finding
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.detection.state import Context, PartitionState
from stream_guard.metrics import Metrics
from stream_guard.settings import Settings
from stream_guard.streaming import legs as frames
from stream_guard.streaming import sightings
from stream_guard.streaming.handlers import Handlers, TopicNames
from stream_guard.streaming.originals import Originals
from stream_guard.streaming.outputs import Delivery, Headers, Outputs
from stream_guard.streaming.partition import Partition
from stream_guard.streaming.signals import apply_signal

SLICE_MS = 100
"""Payments of so much time go through the first hop together, then through the second: as close as a worker
brings them."""

SLICE_RECORDS = 500


class Sent(NamedTuple):
    """What was sent between partitions, as the internal topics still hold it.

    Attributes
    ----------
    legs
        By target and source partition, source offset of the leg before the first one that was not applied
        when the state was lost: workers do it.
    cases
        Account and event of the findings on the topic. They are given as they come there, or left to the
        workers; only those that the topic does not hold any more are found anew.
    """

    legs: Mapping[tuple[int, int], int]
    cases: frozenset[tuple[str, str]]


class _Given(NamedTuple):
    """A record that never was on a topic, as handlers want it."""

    value: bytes


class _Silent:
    """Outputs and originals of nobody: legs are kept, all else is dropped."""

    def __init__(self, legs: str) -> None:
        self._legs = legs
        self._done: Delivery = asyncio.get_running_loop().create_future()
        self._done.set_result(None)
        self.frames: list[tuple[int, bytes]] = []

    def put(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: Headers = ()
    ) -> Delivery:
        if topic == self._legs:
            self.frames.append((partition, value))
        return self._done

    def bring(self, partition: int, offset: int, then: object) -> Delivery:
        return self._done


class Rebuild:
    """All partitions of an application, filled by records in the order in which they are given.

    Parameters
    ----------
    settings
        For the names of topics.
    context
        What decides; its signals are those of the moment.
    partitions_of
        Partition count by topic name.
    sent
        What the internal topics hold.
    """

    def __init__(
        self, settings: Settings, context: Context, partitions_of: Mapping[str, int], sent: Sent
    ) -> None:
        self._topics = settings.topics
        self._context = context
        self._sent = sent
        self._silent = _Silent(settings.topics.legs)
        self._now_ms = 0
        self._slice: list[Any] = []
        bank = context.bank
        self.partitions = [
            Partition(
                number,
                bank.partitions,
                PartitionState(context),
                bank.routing_hash(),
                self._topics.sightings,
                secrets.token_hex(8),
            )
            for number in range(bank.partitions)
        ]
        pack = context.pack.pack
        names = {field: getattr(self._topics, field) for field in TopicNames._fields}
        self._handlers = Handlers(
            context,
            TopicNames(**names),
            cast(Outputs, self._silent),
            partitions_of,
            Metrics(__version__, f"{pack.name}@{pack.version}", pack.hash[:12], lambda: self.partitions),
            lambda: self._now_ms,
            settings.policy.fallback_action,
            cast(Originals, self._silent),
        )

    def give(self, role: str, record: Any) -> None:
        """Take in the next record of a topic, which is named by its role."""
        if role == "transactions":
            first = self._slice[0].timestamp if self._slice else record.timestamp
            if len(self._slice) >= SLICE_RECORDS or record.timestamp - first >= SLICE_MS:
                self.finish()
            self._slice.append(record)
            return
        self.finish()
        self._now_ms = record.timestamp
        if role == "risk_signals":
            apply_signal(record, self._context.signals)
            return
        partition = self.partitions[record.partition]
        getattr(self._handlers, role)(partition, [record])
        self._bring(partition)

    def finish(self) -> None:
        """Decide the payments that are held back."""
        records, self._slice = self._slice, []
        if not records:
            return
        self._now_ms = max(record.timestamp for record in records)
        for partition in self.partitions:
            own = [record for record in records if record.partition == partition.number]
            if own:
                self._handlers.transactions(partition, own)
        # No decision counts as late: how late it was is not known any more.
        self._now_ms = min(record.timestamp for record in records)
        sent, self._silent.frames = self._silent.frames, []
        for target, frame in sent:
            for part in self._settled(target, frame):
                self._handlers.legs(self.partitions[target], [_Given(part)])
        for partition in self.partitions:
            self._bring(partition)

    def resume(self, committed: Mapping[tuple[str, int], int]) -> None:
        """Let every partition stand at what the group had committed, by topic and partition."""
        self.finish()
        for partition in self.partitions:
            applied = {
                topic: offset for (topic, number), offset in committed.items() if number == partition.number
            }
            marks = {
                source: offset
                for (target, source), offset in self._sent.legs.items()
                if target == partition.number
            }
            partition.resume(applied, marks)

    def knows(self, account: str, warning_id: str) -> bool:
        """Whether a warning is kept, open or closed."""
        key = account.encode()
        partition = self.partitions[murmur2_partition(key, len(self.partitions))]
        return partition.state.book.find(key, warning_id) is not None

    def _settled(self, target: int, frame: bytes) -> Iterable[bytes]:
        """The frame without legs that wait on the topic."""
        legs = frames.decode([frame])
        if legs is None:
            return
        source = int(legs.source_partition[0])
        last = self._sent.legs.get((target, source))
        if last is None or int(legs.offset[-1]) <= last:
            yield frame
            return
        settled = legs.offset <= last
        if settled.any():
            yield frames.encode(take(legs, np.flatnonzero(settled)), self._context.first_hop_columns)

    def _bring(self, partition: Partition) -> None:
        """Bring what a partition found about others to them."""
        records, partition.records = partition.records, []
        seen, partition.sightings = partition.sightings, []
        for record in sightings.encode(seen, self._topics.sightings, len(self.partitions)):
            self._apply(self._handlers.sightings, record.key, record.value)
        for record in records:
            if record.topic == self._topics.cases and not self._on_the_topic(record.value):
                self._apply(self._handlers.cases, record.key, record.value)

    def _apply(self, handle: Any, key: bytes, value: bytes | None) -> None:
        target = self.partitions[murmur2_partition(key, len(self.partitions))]
        handle(target, [_Given(value or b"")])
        # Alerts and risk signals, which were sent long ago.
        target.records.clear()

    def _on_the_topic(self, value: bytes | None) -> bool:
        finding = Finding.from_bytes(value or b"")
        return (finding.account, finding.event_id) in self._sent.cases


def what_was_sent(legs: Iterable[tuple[int, bytes]], cases: Iterable[bytes]) -> Sent:
    """What the internal topics hold.

    Parameters
    ----------
    legs
        Target partition and value of the legs topic's records above the committed offsets, in order of each
        partition.
    cases
        Values of all of the cases topic's records.
    """
    before: dict[tuple[int, int], int] = {}
    for target, frame in legs:
        waiting = frames.decode([frame])
        if waiting is not None:
            before.setdefault((target, int(waiting.source_partition[0])), int(waiting.previous[0]))
    found = map(Finding.from_bytes, cases)
    return Sent(before, frozenset((finding.account, finding.event_id) for finding in found))
