from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest

from stream_guard.events import (
    AccountUpdate,
    RiskSignal,
    parse_account_update,
    parse_risk_signal,
    parse_transactions,
)
from stream_guard.simulation import History, Live, Record, Topic
from stream_guard.simulation.bad_records import bad_records
from stream_guard.simulation.calendar import local_hour
from stream_guard.simulation.stream import LEAD_S, WAVE_S, programme
from stream_guard.simulation.typologies import LOOK_ALIKES, TYPOLOGIES

SECONDS = 20


def play(history: History, seed: int = 5, tick_ms: int = 10, **changed: Any) -> list[tuple[int, Record]]:
    start = history.end_ms + 30_000
    arguments: dict[str, Any] = {"rate": 50, "seconds": SECONDS, "start_ms": start, "seed": seed, **changed}
    live = Live(history, programme(SECONDS, 5), **arguments)
    return [
        (start + ms, record) for ms in range(0, SECONDS * 1000, tick_ms) for record in live.due(start + ms)
    ]


@pytest.fixture(scope="module")
def records(before_live: History) -> list[tuple[int, Record]]:
    return play(before_live, bad=True)


def test_the_same_seed_plays_the_same_stream(before_live: History, records: list[tuple[int, Record]]) -> None:
    assert play(before_live, bad=True) == records
    assert play(before_live, seed=6, bad=True) != records


def test_every_play_is_in_the_first_round_whatever_the_seed() -> None:
    for seed in range(20):
        first = {name for start, name in programme(60, seed) if start < 9.0}
        assert first == {*TYPOLOGIES, *LOOK_ALIKES}


def test_all_episodes_of_a_20_second_stream_end_in_time(before_live: History) -> None:
    start = before_live.end_ms
    live = Live(before_live, programme(SECONDS, 5), rate=1, seconds=SECONDS, start_ms=start, seed=5)
    live.due(start + 14_000)
    assert live.episodes_left == 0


def test_payments_happen_now_and_those_of_the_night_in_the_last_night(
    before_live: History, records: list[tuple[int, Record]]
) -> None:
    late = 0
    for now, record in records:
        if record.topic is Topic.TRANSACTIONS and not record.bad and not record.repeat:
            ts = orjson.loads(record.value)["ts"]
            if ts != now:
                late += 1
                assert now - 86_400_000 * 1.3 < ts < now
                assert 1 <= local_hour(ts, before_live.zone) < 5
    assert late == 2  # the fraud and its look-alike


def test_event_ids_go_on_from_the_history_and_repeats_repeat_them(
    before_live: History, records: list[tuple[int, Record]]
) -> None:
    good = [r for _, r in records if r.event_id and not r.repeat]
    ids = [r.event_id for r in good]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(before_live.event_ids)
    first = {r.event_id: r.value for r in good}
    again = [r for _, r in records if r.repeat]
    assert again
    assert all(first[r.event_id] == r.value for r in again)


def test_what_is_sent_is_valid_by_the_contract(records: list[tuple[int, Record]]) -> None:
    by_topic = {topic: [r for _, r in records if r.topic is topic and not r.bad] for topic in Topic}
    transactions = by_topic[Topic.TRANSACTIONS]
    assert not parse_transactions([r.value for r in transactions])[2]
    assert all(r.key == orjson.loads(r.value)["account"].encode() for r in transactions)
    assert all(
        isinstance(parse_account_update(r.value), AccountUpdate) for r in by_topic[Topic.ACCOUNT_UPDATES]
    )
    signals = by_topic[Topic.RISK_SIGNALS]
    assert all(isinstance(parse_risk_signal(r.key, r.value), RiskSignal) for r in signals)
    assert by_topic[Topic.ACCOUNT_UPDATES]
    assert signals


def test_no_label_is_in_a_record(records: list[tuple[int, Record]]) -> None:
    for _, record in records:
        text = record.value.lower()
        assert not any(word in text for word in (b"fraud", b"mule", b"victim", b"group", b"typology"))


def test_bad_records_are_bad_each_in_its_way(records: list[tuple[int, Record]]) -> None:
    bad = [r for _, r in records if r.bad]
    made = list(bad_records("A1", "A2", 0, "r"))
    assert len(bad) == len(made) + 1  # and an id that comes again with another amount
    assert len({b.reason for b in made}) == len(made) - 1
    assert all(r.event_id is None for r in bad)
    conflict = orjson.loads(bad[-1].value)
    (first,) = [orjson.loads(r.value) for _, r in records if r.event_id == conflict["event_id"]]
    assert {k for k in conflict if conflict[k] != first[k]} == {"amount"}


def test_everyday_payments_come_at_their_rate(
    records: list[tuple[int, Record]], before_live: History
) -> None:
    quiet = play(before_live, rate=0.0)
    everyday = sum(r.event_id is not None and not r.repeat for _, r in records) - len(
        [r for _, r in quiet if r.topic is Topic.TRANSACTIONS]
    )
    assert everyday == pytest.approx(50 * SECONDS, rel=0.01)


def test_an_ordinary_customer_hardly_pays_twice_in_a_run(
    records: list[tuple[int, Record]], before_live: History
) -> None:
    cast = {
        str(before_live.bank.names[row])
        for placed in before_live.cast
        for step in placed.episode.steps
        for row in (step.payer, step.payee)
    }
    payers = Counter(
        r.key for _, r in records if r.event_id and not r.repeat and not r.key.startswith(b"EXT_")
    )
    assert max(count for key, count in payers.items() if key.decode() not in cast) <= 3


def test_a_step_waits_for_its_cause(before_live: History, records: list[tuple[int, Record]]) -> None:
    sent: dict[tuple[str, str, float], list[int]] = {}
    for now, record in records:
        if record.topic is Topic.TRANSACTIONS and record.event_id:
            m = orjson.loads(record.value)
            sent.setdefault((m["account"], m["counterparty"], m["amount"]), []).append(now)
    names = before_live.bank.names
    for placed in before_live.cast:
        waves: dict[int, list[int]] = {}
        for step in sorted(placed.episode.steps, key=lambda step: step.wave):
            key = (str(names[step.payer]), str(names[step.payee]), step.amount)
            waves.setdefault(step.wave, []).append(sent[key].pop(0))
        for wave in range(1, max(waves) + 1):
            if wave in waves and wave - 1 in waves:
                assert min(waves[wave]) - max(waves[wave - 1]) >= 0.7 * WAVE_S * 1000


def test_lists_and_changes_come_before_the_payments_that_need_them(
    before_live: History, records: list[tuple[int, Record]]
) -> None:
    subjects = {
        r.key.decode().removeprefix("account:"): now
        for now, r in records
        if r.topic in (Topic.ACCOUNT_UPDATES, Topic.RISK_SIGNALS)
    }
    assert (
        len(subjects) == sum(len(p.episode.changes) + len(p.episode.listings) for p in before_live.cast) >= 3
    )
    for now, record in records:
        if record.event_id and record.topic is Topic.TRANSACTIONS:
            m = orjson.loads(record.value)
            for party in (m["account"], m["counterparty"]):
                if party in subjects:
                    assert now - subjects[party] >= LEAD_S * 1000 - 10


def test_balances_cover_what_is_paid(records: list[tuple[int, Record]]) -> None:
    for _, record in records:
        if record.event_id:
            m = orjson.loads(record.value)
            assert m.get("payer_balance_before", np.inf) >= m["amount"]


def test_a_stream_takes_only_the_history_made_for_it(before_live: History) -> None:
    with pytest.raises(ValueError, match="was not generated"):
        Live(before_live, programme(60, 5), rate=1, seconds=60, start_ms=before_live.end_ms, seed=5)


def test_a_late_tick_sends_what_was_missed(before_live: History) -> None:
    start = before_live.end_ms
    live = Live(before_live, programme(SECONDS, 5), rate=100, seconds=SECONDS, start_ms=start, seed=5)
    assert sum(r.event_id is not None for r in live.due(start + 5_000)) >= 500
    assert live.due(start + 5_000) == []
