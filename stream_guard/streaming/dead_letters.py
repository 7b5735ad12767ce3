"""What a dead letter looks like: the refused bytes, and headers that say where from and why."""

from __future__ import annotations

import hashlib
from typing import Final

from stream_guard.detection.vocabulary import Reject

MAX_VALUE: Final = 65_536
"""Bytes kept of a refused value (64 KiB); the headers tell the length and hash of the whole one."""


def dead_letter(
    topic: str, partition: int, offset: int, value: bytes | None, reason: Reject, message: str
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Value and headers of the dead letter of one record.

    The same record always gives the same dead letter, so that one repeated after a crash is known by its
    `topic`, `partition` and `offset`; ``redrive`` reads the source record again by them.

    Parameters
    ----------
    topic, partition, offset
        Where the refused record is.
    value
        Its value; None stays None.
    reason
        Stable code, for programs.
    message
        A sentence, for people.

    Examples
    --------
    >>> value, headers = dead_letter("transactions", 3, 17, b"{", Reject.NOT_JSON, "the value is not JSON")
    >>> value
    b'{'
    >>> for name, text in headers[:6]:
    ...     print(name, text.decode())
    topic transactions
    partition 3
    offset 17
    reason not_json
    message the value is not JSON
    length 1
    """
    whole = value or b""
    headers = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "reason": str(reason),
        "message": message,
        "length": str(len(whole)),
        "sha256": hashlib.sha256(whole).hexdigest(),
    }
    return (
        None if value is None else value[:MAX_VALUE],
        [(name, text.encode(errors="backslashreplace")) for name, text in headers.items()],
    )
