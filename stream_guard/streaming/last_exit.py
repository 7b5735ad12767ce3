"""Why the process of this name ended the last time: one word in a file, for the metrics of the next one.

An orchestrator tells that a worker was restarted, but not that it was fenced, which means two processes
under one name or a machine that stops for seconds.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Cause(StrEnum):
    """How a process ended."""

    NEVER = "never"
    """None of this name has run here."""
    STOPPED = "stopped"
    """In order."""
    FENCED = "fenced"
    """Another process had taken its partitions."""
    REFUSED = "refused"
    """Topics or state are not what they must be."""
    FAILED = "failed"
    """It ended itself to go on from its state; the log says why."""
    KILLED = "killed"
    """It had no time to say."""


class LastExit:
    """The file of one instance.

    Parameters
    ----------
    folder
        Data folder, which processes may share.
    instance
        Name of the process.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self._file = folder / "exits" / instance

    def begin(self) -> Cause:
        """How the process before ended; from now on, without another word, this one was killed."""
        before = Cause.NEVER
        if self._file.exists():
            word = self._file.read_text(encoding="utf-8")
            # A kill in the middle of writing leaves half a word.
            before = Cause(word) if word in list(Cause) else Cause.KILLED
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.end(Cause.KILLED)
        return before

    def end(self, cause: Cause) -> None:
        """Note how this process ends."""
        self._file.write_text(cause.value, encoding="utf-8")
