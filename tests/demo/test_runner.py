"""The demo around a stand-in worker: a real process, the embedded broker, everything else as it is."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stream_guard.demo import Options, run, runner
from stream_guard.demo.site import free_port
from stream_guard.simulation import investigators

STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in_worker.py")))


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_demo_counts_everything_and_ends_by_itself(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(investigators, "SLOWEST_S", 1.1)
    monkeypatch.setattr(runner, "SCRAPE_EVERY_S", 0.2)
    path = tmp_path / "summary.json"
    options = Options(seconds=3.2, seed=3, rate=50, days=4, json_path=path, command=STAND_IN)
    assert run(options, console) == 0
    summary = json.loads(path.read_text())
    assert summary["events"] > 500
    assert summary["dead_letters"] == 10
    assert summary["lost"] == 0
    assert summary["decided"] == summary["events"] - 10 == sum(summary["decisions"].values())
    assert summary["warnings"] == summary["decisions"]["hold"] == sum(summary["dispositions"].values()) > 0
    assert 0 < summary["hit_rate"] <= 1
    assert summary["amount_intercepted"] > 100_000
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["max"]
    text = said(console)
    assert text.startswith(
        "stream_guard demo: embedded broker (librdkafka's mock cluster), state in memory only"
    )
    assert "NOTE" not in text


def test_a_worker_that_dies_ends_the_demo_with_its_last_words(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE", "1")
    assert run(Options(seconds=1, days=2, command=STAND_IN), console) == 1
    assert "the worker ended unexpectedly with code 1" in said(console)
    assert "no kernels today" in said(console)


def test_a_setting_that_is_wrong_ends_the_demo_with_its_sentence(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_GUARD_POLICY__DEADLIN_MS", "1")
    assert run(Options(command=STAND_IN), console) == 1
    assert "STREAM_GUARD_POLICY__DEADLIN_MS: there is no such setting" in said(console)


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) != port
    assert free_port("127.0.0.1", port) == port
