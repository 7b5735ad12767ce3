"""A loop that stands still ends its process; one that works, or is frozen with all of it, does not."""

from __future__ import annotations

import threading
import time

import pytest

from stream_guard.streaming import watchdog as module
from stream_guard.streaming.watchdog import Watchdog


class Watched:
    """A watchdog with short ticks, and what it said at the end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, ticks: int) -> None:
        monkeypatch.setattr(module, "TICK_S", 0.001)
        self.said: list[str] = []
        self.ended = threading.Event()
        self.dog = Watchdog(ticks, self._end)

    def _end(self, sentence: str) -> None:
        self.said.append(sentence)
        self.ended.set()


def stands_still(watched: Watched) -> None:
    assert watched.ended.wait(30)


def test_a_loop_that_stands_still_ends_the_process_and_it_is_said_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = Watched(monkeypatch, ticks=20)
    watched.dog.start()
    stands_still(watched)
    (sentence,) = watched.said
    assert sentence.startswith("the event loop has stood still for 20 s, at ")
    assert "stands_still" in sentence


def test_a_loop_that_beats_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, ticks=2_000)
    watched.dog.start()
    for _ in range(50):
        watched.dog.beat()
        time.sleep(0.001)
    watched.dog.stop()
    watched.dog._thread.join(30)
    assert watched.said == []
