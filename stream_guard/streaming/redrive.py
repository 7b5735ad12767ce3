"""Sends refused records again: from where they came, to where they came, once.

How far each reason has been gone through is kept in Kafka as the offsets of a consumer group a reason
(``{app_id}-redrive-{reason}``), so that a second run sends nothing twice. Kafka forgets offsets of an idle
group after a week, by default as long as the transactions topic keeps the records to send.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from stream_guard.settings import Settings
from stream_guard.streaming.records import read_to_end, send

SOURCES = ("transactions", "account_updates", "dispositions", "risk_signals")
"""Topics that a bank writes. A leg or a case is ours, and carries its place in an order that a second copy
would break."""

READ_MS = 5_000
"""How long a broker may take to show a record that it has."""


@dataclass(frozen=True)
class Letter:
    """One dead letter: what its headers say, its value, and where and when it was written."""

    topic: str
    partition: int
    offset: int
    reason: str
    message: str
    length: int
    sha256: str
    value: bytes | None
    written: TopicPartition
    written_offset: int
    at_ms: int

    @property
    def place(self) -> str:
        """Where the refused record is."""
        return f"{self.topic}/{self.partition}@{self.offset}"

    @property
    def order(self) -> tuple[TopicPartition, int]:
        """Where the letter itself is."""
        return self.written, self.written_offset

    def as_dict(self) -> dict[str, Any]:
        """For programs; the value as text where it is UTF-8, else in base64."""
        value: dict[str, str | None]
        try:
            value = {"value": None if self.value is None else self.value.decode()}
        except UnicodeDecodeError:
            value = {"value_base64": base64.b64encode(self.value or b"").decode()}
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "reason": self.reason,
            "message": self.message,
            "length": self.length,
            "sha256": self.sha256,
            "dead_letter": {
                "partition": self.written.partition,
                "offset": self.written_offset,
                "timestamp": self.at_ms,
            },
            **value,
        }


class Fate(Enum):
    """What became of a letter."""

    SENT = "sent again"
    GONE = "gone: its topic no longer holds the record"
    CHANGED = "changed: another record is in its place, so the topic was made anew"
    INTERNAL = "internal: not a record that a bank wrote"


@dataclass(frozen=True)
class Outcome:
    """What a run did, letter by letter."""

    fates: tuple[tuple[Letter, Fate], ...]

    def count(self, fate: Fate) -> int:
        """Letters of one fate."""
        return sum(1 for _, one in self.fates if one is fate)

    @property
    def sent(self) -> int:
        """Sent again, or would have been."""
        return self.count(Fate.SENT)

    @property
    def gone(self) -> int:
        """No longer there to be sent."""
        return self.count(Fate.GONE)

    @property
    def changed(self) -> int:
        """Not the record that was refused."""
        return self.count(Fate.CHANGED)

    @property
    def internal(self) -> int:
        """Ours, and never sent again."""
        return self.count(Fate.INTERNAL)

    def as_dict(self) -> dict[str, int]:
        """Figures for programs."""
        return {"found": len(self.fates), "redriven": self.sent} | {
            name: getattr(self, name) for name in ("gone", "changed", "internal")
        }


def read_letters(client: KafkaConsumer, topic: str) -> list[Letter]:
    """Dead letters in a topic; of a record that was refused again after a crash, the first.

    Returns
    -------
    list of Letter
        In the order of partitions and offsets.
    """
    letters: dict[str, Letter] = {}
    for record in read_to_end(client, topic):
        letter = parse_letter(record)
        if letter is not None:
            former = letters.setdefault(letter.place, letter)
            if letter.order < former.order:
                letters[letter.place] = letter
    return sorted(letters.values(), key=lambda letter: letter.order)


def parse_letter(record: Any) -> Letter | None:
    """Letter of a record; None for a record that is none."""
    headers = {name: (text or b"").decode(errors="replace") for name, text in record.headers}
    try:
        return Letter(
            topic=headers["topic"],
            partition=int(headers["partition"]),
            offset=int(headers["offset"]),
            reason=headers["reason"],
            message=headers["message"],
            length=int(headers["length"]),
            sha256=headers["sha256"],
            value=record.value,
            written=TopicPartition(record.topic, record.partition),
            written_offset=record.offset,
            at_ms=record.timestamp,
        )
    except (KeyError, ValueError):
        return None


class Redrive:
    """One run.

    Parameters
    ----------
    settings
        Names of the topics, and the application that the positions belong to.
    admin, reader, writer
        Clients of the cluster; the reader without a group.
    """

    def __init__(
        self, settings: Settings, admin: KafkaAdminClient, reader: KafkaConsumer, writer: KafkaProducer
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._reader = reader
        self._writer = writer
        self._sources = {getattr(settings.topics, role) for role in SOURCES}

    def run(
        self,
        *,
        reason: str | None = None,
        limit: int | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Send again what was refused.

        Order of side effects: all records are sent and acknowledged; then the positions move. A crash in
        between sends some twice, which their event ids show.

        Parameters
        ----------
        reason
            Only letters of this reason.
        limit
            At most so many letters.
        again
            Also letters that an earlier run has gone through.
        dry_run
            Send nothing and move no position.
        """
        letters = [
            letter
            for letter in read_letters(self._reader, self._settings.topics.dead_letters)
            if reason in (None, letter.reason)
        ]
        if not again:
            done = {name: self._position(name) for name in {letter.reason for letter in letters}}
            letters = [
                letter
                for letter in letters
                if letter.written_offset >= done[letter.reason].get(letter.written, 0)
            ]
        # A position says "all below": the oldest of a partition go first, also where only some may.
        letters = letters[:limit]
        fates = tuple((letter, self._fate(letter, dry_run)) for letter in letters)
        if not dry_run:
            self._writer.flush(READ_MS / 1000)
            self._move(letters)
        return Outcome(fates)

    def _fate(self, letter: Letter, dry_run: bool) -> Fate:
        if letter.topic not in self._sources:
            return Fate.INTERNAL
        record = self._source(letter)
        if record is None:
            return Fate.GONE
        if hashlib.sha256(record.value or b"").hexdigest() != letter.sha256:
            return Fate.CHANGED
        if not dry_run:
            send(self._writer, letter.topic, record.key, record.value, record.headers)
        return Fate.SENT

    def _source(self, letter: Letter) -> Any | None:
        """The refused record, if its topic still holds it."""
        partition = TopicPartition(letter.topic, letter.partition)
        if letter.partition not in (self._reader.partitions_for_topic(letter.topic) or ()):
            return None
        self._reader.assign([partition])
        first = self._reader.beginning_offsets([partition])[partition]
        end = self._reader.end_offsets([partition])[partition]
        if not first <= letter.offset < end:
            return None
        self._reader.seek(partition, letter.offset)
        for records in self._reader.poll(READ_MS, max_records=1).values():
            for record in records:
                return record if record.offset == letter.offset else None  # compacted away
        return None

    def _group(self, reason: str) -> str:
        return f"{self._settings.app_id}-redrive-{reason}"

    def _position(self, reason: str) -> dict[TopicPartition, int]:
        group = self._group(reason)
        offsets = self._admin.list_group_offsets({group: None}).get(group, {})
        return {partition: position.offset for partition, position in offsets.items()}

    def _move(self, letters: Iterable[Letter]) -> None:
        reached: dict[str, dict[TopicPartition, int]] = {}
        for letter in letters:
            positions = reached.setdefault(letter.reason, self._position(letter.reason))
            former = positions.get(letter.written, 0)
            positions[letter.written] = max(former, letter.written_offset + 1)
        for reason, positions in reached.items():
            offsets = {
                partition: OffsetAndMetadata(offset, "", -1) for partition, offset in positions.items()
            }
            for error in self._admin.alter_group_offsets(self._group(reason), offsets).values():
                if issubclass(error, KafkaError) and error.errno:
                    raise error(f"the position of '{reason}' could not be kept")
