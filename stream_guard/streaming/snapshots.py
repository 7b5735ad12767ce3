"""Snapshots of partitions in local files: how they are written and read, and when one may be used.

A snapshot only shortens the reading of the changelog; the changelog stays the truth. It names a position of
the changelog, the flush it began after, and is used together with everything from there on. Its rows were
copied one after the other while the partition went on, so some hold what came later, even what was not
durable yet. That does no harm because the file gets its name only after one more flush: whatever was
changed since the position is in the changelog behind it, and replaces what the file holds.

One file a partition: frames, each with its kind, length and CRC-32. The first describes the file, the last
says that it is whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from stream_guard.detection.row_layouts import LAYOUTS, hash_of
from stream_guard.detection.row_store import PackedRows, StoredRows

FORMAT: Final = 1

MAX_AGE_S: Final = 12 * 3600.0
"""Older snapshots are not used: the changelog may have dropped the mark of a removed key that they still
hold. It keeps marks for 24 hours (`delete.retention.ms`)."""

MAX_FRAME: Final = 1 << 30
"""Bytes; a longer frame is damage."""

PROBE_BYTES: Final = 1 << 20
"""Written and removed at the start, to learn of a full disk before work begins."""

_FRAME: Final = struct.Struct("<4sIQ")
_HEAD, _ROWS, _ITEMS, _END = b"head", b"rows", b"item", b"end."


class Unusable(Exception):
    """A snapshot cannot be used; the sentence says why, and the changelog is read instead."""


@dataclass(frozen=True)
class Head:
    """What a snapshot is of.

    Attributes
    ----------
    app_id, topic, partition, lineage
        Whose state.
    position
        Where in the changelog the reading goes on.
    begun_ms
        Wall clock when its copying began.
    rows
        Accounts in it.
    layout, schema
        Newest layout of rows, and its hash.
    """

    app_id: str
    topic: str
    partition: int
    lineage: str
    position: int
    begun_ms: int
    rows: int
    layout: int = LAYOUTS.newest
    schema: str = hash_of(LAYOUTS.newest)
    format: int = FORMAT


class SnapshotFolder:
    """Snapshots of one application on this machine. Several processes may share the folder.

    Parameters
    ----------
    folder
        Made where it does not exist.
    app_id, topic
        Application and changelog that snapshots here are of.
    instance_id
        Of this process; what it left unfinished before is removed.
    wall_ms
        Wall clock, milliseconds since 1970.

    Raises
    ------
    OSError
        The folder cannot be made, or nothing can be written there.
    """

    def __init__(
        self, folder: Path, app_id: str, topic: str, instance_id: str, wall_ms: Callable[[], int]
    ) -> None:
        self._folder = folder
        self._app_id = app_id
        self._topic = topic
        self._unfinished = f".{instance_id}.part"
        self._wall_ms = wall_ms
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"partition-*{self._unfinished}"):
            left.unlink()
        probe = folder / f"probe{self._unfinished}"
        probe.write_bytes(bytes(PROBE_BYTES))
        probe.unlink()

    def head(self, partition: int, lineage: str, position: int, rows: int) -> Head:
        """Description of a snapshot that begins now."""
        return Head(self._app_id, self._topic, partition, lineage, position, self._wall_ms(), rows)

    def create(self, head: Head) -> SnapshotWriter:
        """Begin to write a snapshot. Raises `OSError`."""
        path = self._path(head.partition)
        return SnapshotWriter(path, path.with_suffix(self._unfinished), head)

    def find(self, partition: int) -> SnapshotReader | None:
        """Open the snapshot of a partition; None: there is none. Raises `Unusable`."""
        path = self._path(partition)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unusable(f"{path} cannot be opened: {error.strerror}") from error
        reader = SnapshotReader(path, file)
        try:
            self._check(reader, partition)
        except Unusable:
            reader.close()
            raise
        return reader

    def _path(self, partition: int) -> Path:
        return self._folder / f"partition-{partition}.snapshot"

    def _check(self, reader: SnapshotReader, partition: int) -> None:
        head = reader.head
        if (head.app_id, head.topic, head.partition) != (self._app_id, self._topic, partition):
            raise Unusable(
                f"{reader.path} is of application {head.app_id!r}, {head.topic}-{head.partition}; give every "
                "application a data_dir of its own"
            )
        if head.layout > LAYOUTS.newest or hash_of(head.layout) != head.schema:
            raise Unusable(f"{reader.path} holds account rows of another release")
        age_s = (self._wall_ms() - head.begun_ms) / 1000
        if not 0 <= age_s <= MAX_AGE_S:
            raise Unusable(f"{reader.path} was begun {age_s / 3600:.1f} h ago; it must be 0 to 12")


class SnapshotWriter:
    """Writes one snapshot under another name until it is whole. Methods block; all raise `OSError`."""

    def __init__(self, path: Path, temporary: Path, head: Head) -> None:
        self._path = path
        self._temporary = temporary
        self._file = temporary.open("wb")
        self._frames = 0
        try:
            self._put(_HEAD, [orjson.dumps(asdict(head))])
        except OSError:
            self.abandon()
            raise

    def write(self, piece: PackedRows | Sequence[tuple[bytes, bytes]]) -> None:
        """Append a piece."""
        if isinstance(piece, PackedRows):
            keys, ends = piece.accounts, piece.ends
            values: list[Any] = [piece.words]
        else:
            keys = [key for key, _ in piece]
            values = [value for _, value in piece]
            ends = np.cumsum([len(value) for value in values], dtype=np.int64)
        key_ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
        kind = _ROWS if isinstance(piece, PackedRows) else _ITEMS
        self._put(kind, [len(keys).to_bytes(8, "little"), key_ends, ends, *values, b"".join(keys)])

    def finish(self) -> None:
        """Make it durable, then give it its name."""
        self._put(_END, [self._frames.to_bytes(8, "little")])
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._temporary.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self) -> None:
        """Drop what was written, unless it has its name already; the snapshot before it stays."""
        with suppress(OSError):  # it tries once more to write what the disk had no room for
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _put(self, kind: bytes, parts: Sequence[Any]) -> None:
        payload = b"".join(part.tobytes() if isinstance(part, np.ndarray) else part for part in parts)
        self._file.write(_FRAME.pack(kind, zlib.crc32(payload), len(payload)))
        self._file.write(payload)
        self._frames += 1


class SnapshotReader:
    """Reads one snapshot. Methods block.

    Raises
    ------
    Unusable
        It is no snapshot of a format known here.
    """

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self.path = path
        self._file = file
        self._frames = 0
        try:
            self.head = self._head()
        except Unusable:
            file.close()
            raise

    def _head(self) -> Head:
        kind, payload = self._frame()
        if kind != _HEAD:
            raise Unusable(f"{self.path} is damaged: it does not begin as a snapshot does")
        described = orjson.loads(payload)
        if described.get("format") != FORMAT:
            raise Unusable(f"{self.path} has format {described.get('format')}, this release reads {FORMAT}")
        return Head(**described)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def pieces(self) -> Iterator[StoredRows | list[tuple[bytes, bytes]]]:
        """What `SnapshotWriter.write` was given. Raises `Unusable`."""
        while True:
            frames = self._frames
            kind, payload = self._frame()
            if kind == _END:
                if int.from_bytes(payload, "little") != frames:
                    raise Unusable(f"{self.path} is damaged: parts of it are missing")
                return
            yield _rows(payload) if kind == _ROWS else _items(payload)

    def _frame(self) -> tuple[bytes, bytearray]:
        try:
            header = self._file.read(_FRAME.size)
            if len(header) < _FRAME.size:
                raise Unusable(f"{self.path} is damaged: it ends in the middle")
            kind, crc, length = _FRAME.unpack(header)
            payload = bytearray(length if length <= MAX_FRAME else 0)
            whole = self._file.readinto(payload) == length
        except OSError as error:
            raise Unusable(f"{self.path} cannot be read: {error.strerror}") from error
        if not whole or zlib.crc32(payload) != crc or kind not in (_HEAD, _ROWS, _ITEMS, _END):
            raise Unusable(f"{self.path} is damaged: a checksum does not match")
        self._frames += 1
        return kind, payload


def _split(payload: bytearray) -> tuple[list[bytes], np.ndarray[Any, np.dtype[np.int64]], int, int]:
    """Keys, ends of the values, where the values begin and end."""
    count = int.from_bytes(payload[:8], "little")
    ends = np.frombuffer(payload, np.int64, 2 * count, 8)
    key_ends = ends[:count].tolist()
    keys_at = len(payload) - (key_ends[-1] if count else 0)
    keys = bytes(memoryview(payload)[keys_at:])
    accounts = [keys[start:stop] for start, stop in zip([0, *key_ends], key_ends, strict=False)]
    return accounts, ends[count:], 8 + 16 * count, keys_at


def _rows(payload: bytearray) -> StoredRows:
    accounts, ends, start, stop = _split(payload)
    return PackedRows(accounts, ends, np.frombuffer(payload, np.int64, (stop - start) // 8, start)).stored


def _items(payload: bytearray) -> list[tuple[bytes, bytes]]:
    keys, ends, start, _ = _split(payload)
    stops = (ends + start).tolist()
    return [
        (key, bytes(payload[begin:stop]))
        for key, begin, stop in zip(keys, [start, *stops], stops, strict=False)
    ]
