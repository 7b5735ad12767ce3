from __future__ import annotations

import io

from rich.console import Console

from stream_guard.demo.board import Board
from stream_guard.demo.scrape import Figures
from stream_guard.demo.view import PageView, PlainView, Scene, View, plain_lines

FIGURES = Figures(standing={"confirmed": 3, "false_positive": 1, "pending": 2}, intercepted=120_000.0)
TEXT = "120,000 of 130,000 [received] in 24 h has left again"


def busy_board() -> Board:
    board = Board()
    board.sent("e1", 1.0)
    board.decided(
        {"event_id": "e1", "action": "hold", "amount": 120_000.0, "reasons": [{"rule": "drain"}]}, 1.01
    )
    board.alert(
        {
            "warning_id": "w1", "account": "A0000042", "status": "closed", "severity": "high", "score": 86.4,
            "amount": 120_000.0, "reasons": [{"rule": "drain", "text": TEXT}], "outcome": "false_positive",
        }
    )  # fmt: skip
    return board


def scene(phase: str = "live") -> Scene:
    return Scene(phase, 12.0, 60.0, "s", busy_board().snapshot(2.0), FIGURES)


def shown(view: View, console: Console, *moments: float) -> str:
    with view:
        view.say("header")
        for moment in moments:
            view.show(scene(), moment)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=80)
    text = shown(PlainView(console), console, 0.0)
    assert "\x1b" not in text
    assert "live: 12 of 60 s" in text
    assert "p50 10.0 ms" in text
    assert "hit rate 75.0 %" in text
    assert "intercepted 120,000" in text
    assert f"high 86 A0000042 drain: {TEXT} -> false positive" in text


def test_plain_lines_come_a_few_seconds_apart_and_warnings_once() -> None:
    console = Console(file=io.StringIO(), width=80)
    text = shown(PlainView(console), console, 0.0, 1.0, 4.9, 5.1)
    assert text.count("live: 12 of 60 s") == 2
    assert text.count("A0000042") == 1


def test_before_anything_was_sent_a_line_is_short() -> None:
    assert plain_lines(Scene("starting", 0, 0, "", Board().snapshot(0.0), Figures())) == ["starting"]


def test_a_terminal_gets_a_page_with_everything() -> None:
    console = Console(file=io.StringIO(), width=160, height=50, force_terminal=True, color_system=None)
    text = shown(PageView(console, "embedded broker, state in memory only"), console, 0.0)
    for part in ("embedded broker, state in memory only", "events/s", "p50 10.0 ms", "2 of 1", "75.0 %",
                 "120,000.00", "hold 1", TEXT, "A0000042", "false positive", "12 of 60 s"):  # fmt: skip
        assert part in text
