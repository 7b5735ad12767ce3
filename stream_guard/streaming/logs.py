"""What a worker writes to its log: text or JSON, and no account number above level DEBUG.

An account stands in the log under a pseudonym, a keyed hash that only the holder of the key can tie to an
account. The text of an exception that is a defect may hold anything that was being worked on: only its kind
and its place in the program are written, but at DEBUG all of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from aiokafka.errors import KafkaError

from stream_guard.streaming.state import Fenced, OutOfLog, StateRefused

SPOKEN: Final = (Fenced, KafkaError, OSError, OutOfLog, StateRefused, TimeoutError)
"""Errors whose text is about brokers, files and states, never about a payment."""

PSEUDONYM_DIGITS: Final = 12

_key = secrets.token_bytes(32)


def pseudonym(account: bytes) -> str:
    """Name of an account in the log: the same for the same key.

    Examples
    --------
    >>> pseudonym(b"A1") == pseudonym(b"A1"), pseudonym(b"A1") == pseudonym(b"A2"), "A1" in pseudonym(b"A1")
    (True, False, False)
    """
    return "account-" + hmac.new(_key, account, hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]


def described(error: BaseException | None) -> str:
    """Kind of an error, with its text where that names no account.

    Examples
    --------
    >>> described(KeyError("6222020012345678")), described(OSError("no route to host"))
    ('KeyError', 'OSError: no route to host')
    """
    kind = type(error).__qualname__
    return f"{kind}: {error}" if isinstance(error, SPOKEN) and str(error) else kind


class _Format(logging.Formatter):
    def __init__(self, outspoken: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._outspoken = outspoken

    def formatException(self, ei: object) -> str:  # noqa: N802 - the name is the library's
        """Where it happened, and what; the texts of defects at DEBUG only."""
        error = ei[1] if isinstance(ei, tuple) else None
        if self._outspoken or not isinstance(error, BaseException):
            return super().formatException(ei)  # type: ignore[arg-type]
        lines: list[str] = []
        seen: BaseException | None = error
        while seen is not None:
            lines.append("".join(traceback.format_tb(seen.__traceback__)) + described(seen))
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        return "\nwhile handling:\n".join(lines)


class _JsonFormat(_Format):
    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON: ts, level, logger, message and, of an error, where and what."""
        entry = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str, form: Literal["plain", "json"], key_file: Path | None) -> None:
    """Log to standard error; libraries only when something is wrong.

    aiokafka builds debug records that nobody prints: at the default level they were 10 % of the CPU.

    Parameters
    ----------
    level
        DEBUG, INFO, WARNING or ERROR.
    form
        A line for people, or one of JSON.
    key_file
        Key of the pseudonyms; without it a random one, and they differ from process to process.
    """
    global _key
    if key_file is not None:
        _key = key_file.read_bytes()
    handler = logging.StreamHandler()
    handler.setFormatter((_JsonFormat if form == "json" else _Format)(outspoken=level == "DEBUG"))
    logging.basicConfig(level=level, handlers=[handler])
    for name in ("aiokafka", "kafka", "faust", "mode"):
        logging.getLogger(name).setLevel(logging.WARNING)
