"""Ends a process whose event loop stands still.

A dead loop answers no probe, sends no heartbeat and leaves its partitions to others, but the process would
stay for ever where nobody probes it.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from typing import Final

TICK_S: Final = 1.0


class Watchdog:
    """A thread that counts its own ticks since the last `beat` of the loop.

    It counts and does not look at a clock, so that a process that was frozen as a whole is not ended for it.

    Parameters
    ----------
    ticks
        Seconds without a beat after which `end` is called.
    end
        Given a sentence; not expected to return.
    """

    def __init__(self, ticks: int, end: Callable[[str], None]) -> None:
        self._most = ticks
        self._end = end
        self._ticks = 0
        self._watched = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch the calling thread."""
        self._watched = threading.get_ident()
        self._thread.start()

    def beat(self) -> None:
        """The loop lives."""
        self._ticks = 0

    def stop(self) -> None:
        """Watch no longer."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            self._ticks += 1
            if self._ticks > self._most:
                self._end(f"the event loop has stood still for {self._most} s, at {self._place()}")
                return

    def _place(self) -> str:
        """Where the watched thread is, innermost call last."""
        frame = sys._current_frames().get(self._watched)
        calls = traceback.extract_stack(frame)[-4:] if frame is not None else []
        return " > ".join(f"{call.filename}:{call.lineno} {call.name}" for call in calls)
