from __future__ import annotations

import math
from typing import Any

import pytest

from stream_guard.demo.board import Board, Latency


def decision(
    event_id: str, action: str = "allow", amount: float = 10.0, rules: tuple[str, ...] = ()
) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "action": action,
        "amount": amount,
        "reasons": [{"rule": rule} for rule in rules],
    }


def alert(warning_id: str, status: str = "opened", **changed: Any) -> dict[str, Any]:
    return {
        "warning_id": warning_id, "account": "A1", "status": status, "severity": "high", "score": 86.2,
        "amount": 5.0, "reasons": [{"rule": "drain", "text": "emptied"}], "outcome": None, **changed,
    }  # fmt: skip


def test_the_first_decision_of_an_event_stands() -> None:
    board = Board()
    board.sent("e1", 1.0)
    board.decided(decision("e1", "hold", 100.0), 1.1)
    board.decided(decision("e1", "allow"), 1.2)
    seen = board.snapshot(2.0)
    assert (seen.decided, seen.decisions, seen.intercepted) == (1, {"hold": 1}, 100.0)


def test_a_decision_on_an_unknown_event_counts_nothing() -> None:
    board = Board()
    board.decided(decision("somebody-else"), 1.0)
    assert board.snapshot(2.0).decided == 0


def test_events_are_distinct_ids_plus_bad_records_and_a_repeat_is_neither() -> None:
    board = Board()
    board.sent("e1", 1.0)
    board.sent("e1", 2.0, repeat=True)
    board.sent(None, 3.0, bad=True)
    seen = board.snapshot(4.0)
    assert (seen.events, seen.distinct, seen.bad, seen.outstanding) == (2, 1, 1, 1)


def test_lost_is_what_got_neither_a_decision_nor_a_dead_letter() -> None:
    board = Board()
    for number in range(5):
        board.sent(f"e{number}", 1.0)
    board.sent(None, 1.0, bad=True)
    for number in range(3):
        board.decided(decision(f"e{number}"), 1.1)
    board.dead_letter("transactions", 0, 7, "invalid")
    assert board.snapshot(2.0).lost == 2
    assert not board.settled()
    board.decided(decision("e3"), 1.2)
    board.decided(decision("e4"), 1.2)
    assert board.snapshot(2.0).lost == 0
    assert board.settled()


def test_a_dead_letter_that_comes_again_counts_once() -> None:
    board = Board()
    for offset in (7, 7, 8):
        board.dead_letter("transactions", 0, offset, "invalid")
    assert board.snapshot(1.0).dead_letters == 2
    assert board.refusals == {"invalid": 2}


def test_confirm_is_not_an_interception() -> None:
    board = Board()
    for action in ("allow", "confirm", "delay", "hold", "stop"):
        board.sent(action, 1.0)
        board.decided(decision(action, action, 100.0), 1.1)
    assert board.snapshot(2.0).intercepted == 300.0


def test_latency_counts_the_live_phase_only() -> None:
    board = Board()
    board.sent("warm-up", 1.0)
    board.go_live()
    board.sent("live", 10.0)
    board.decided(decision("warm-up"), 11.0)
    board.decided(decision("live"), 10.025)
    latency = board.latency()
    assert latency.max == latency.p50 == pytest.approx(25.0)


def test_without_live_payments_there_is_no_latency() -> None:
    assert all(math.isnan(value) for value in (Board().latency().p50, Board().latency().max))


def test_latency_quantiles() -> None:
    latency = Latency.of([float(n) for n in range(1, 1002)])
    assert (latency.p50, latency.p99, latency.p999, latency.max) == (501.0, 991.0, 1000.0, 1001.0)


def test_a_warning_is_counted_once_and_shown_as_its_newest_alert_says() -> None:
    board = Board()
    board.alert(alert("w1"))
    board.alert(alert("w2"))
    board.alert(alert("w1", "closed", outcome="confirmed"))
    seen = board.snapshot(1.0)
    assert seen.warnings == 2
    assert [warned.outcome for warned in seen.latest] == [None, "confirmed"]


def test_fired_rules_are_counted_by_first_decisions() -> None:
    board = Board()
    board.sent("e1", 1.0)
    for _ in range(2):
        board.decided(decision("e1", rules=("drain", "anomaly")), 1.1)
    assert board.snapshot(2.0).fired == {"drain": 1, "anomaly": 1}


def test_the_rate_is_that_of_the_last_seconds() -> None:
    board = Board()
    board.snapshot(0.0)
    for second in range(1, 21):
        for number in range(100):
            board.sent(f"{second}-{number}", float(second))
            board.decided(decision(f"{second}-{number}"), second + 0.5)
        seen = board.snapshot(float(second))
    assert seen.rate == pytest.approx(100.0)
