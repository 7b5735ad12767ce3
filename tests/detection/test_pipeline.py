"""Both hops: repeats, refusals, our own defects, and that nothing depends on where batches begin and end."""

from __future__ import annotations

import itertools
import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.detection import conclusions, pipeline
from stream_guard.detection.batches import Legs, Payments, size, take
from stream_guard.detection.pipeline import Decided, NotCounted
from stream_guard.detection.rules import CompiledPack, RuleResults
from stream_guard.detection.state import PartitionState
from stream_guard.detection.vocabulary import Action, Reject, SignalSource
from tests.detection.builders import (
    DAY,
    EAGER_ANOMALY,
    HOUR,
    NOON,
    NOW,
    Bench,
    Event,
    context,
    event,
    list_account,
    messages,
    only,
    ordinary,
    passed_on,
)


def prepared() -> Bench:
    """POL and P4 are listed, and M has got what the mixed stream passes on."""
    bench = Bench(context(anomaly=EAGER_ANOMALY, audit=True))
    list_account(bench.context, "POL")
    list_account(bench.context, "P4", SignalSource.BANK, 45)
    bench.pay(event("in", NOON + 1, account="S", counterparty="M", amount=80_000.0))
    return bench


def mixed_stream() -> list[Event]:
    """Ordinary payments, money passed on, a listed payee, a repeat; each new one at a time of its own."""
    stream = ordinary(40)
    stream[15:15] = [event("out", NOON + 2, account="M", counterparty="X", amount=78_000.0)]
    stream[17:17] = [event("listed", NOON + 3, account="P3", counterparty="POL", amount=44.0)]
    stream.append(dict(stream[9]))
    return stream


# -- repeats ------------------------------------------------------------------------------------------


def test_a_resent_payment_is_answered_with_the_action_that_the_case_brought_back() -> None:
    bench = Bench()
    one = passed_on(bench)
    first = only(bench, one)
    again = only(bench, one)
    assert (first["action"], first["repeat"]) == ("delay", False)
    assert (again["action"], again["repeat"]) == ("delay", True)
    assert again["decision_id"] == first["decision_id"]
    assert (again["score"], again["reasons"], again["signals"]) == (None, [], {})
    assert again["anomaly"] == {"payer": None, "payee": None}


def test_a_payment_resent_before_its_case_is_back_is_answered_from_the_payees_ring() -> None:
    bench = Bench()
    one = passed_on(bench)
    decided = bench.decide(one)
    assert [finding.account for finding in decided.cases] == ["M"]
    legs = bench.first(one)
    assert legs.stored_action.tolist() == [Action.ALLOW]
    (again,) = messages(pipeline.payee_leg(legs, bench.state, NOW))
    assert (again["action"], again["repeat"]) == ("delay", True)


@pytest.mark.parametrize("newer", ["before", "after"])
def test_a_payment_resent_before_its_case_is_back_is_answered_where_a_busy_payees_ring_has_lost_it(
    newer: str,
) -> None:
    bench = Bench()
    one = passed_on(bench)
    busy, later = one["counterparty"], NOON + 2 * HOUR
    crowd = [event(f"c{n}", later + n, account=f"C{n}", counterparty=busy, amount=1.0) for n in range(64)]
    decided = bench.decide(*(crowd if newer == "before" else ()), one)
    if newer == "after":
        bench.decide(*crowd)
    (finding,) = decided.cases
    assert (finding.account, finding.action) == ("M", Action.DELAY)
    (again,) = messages(pipeline.payee_leg(bench.first(one), bench.state, NOW))
    assert (again["action"], again["repeat"]) == ("delay", True)


def test_the_case_brings_the_action_to_the_payers_ring() -> None:
    bench = Bench()
    one = passed_on(bench)
    bench.settle(bench.decide(one))
    assert bench.first(one).stored_action.tolist() == [Action.DELAY]


def test_a_case_without_reasons_only_brings_the_action() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    decided = bench.decide(event(1, counterparty="POL"))
    (finding,) = decided.cases
    assert (finding.account, finding.reasons, finding.action) == ("A1", (), Action.STOP)
    assert bench.settle(decided) == []
    assert bench.first(event(1, counterparty="POL")).stored_action.tolist() == [Action.STOP]


def test_a_case_that_is_back_before_its_payment_is_read_again_opens_a_warning_of_its_time() -> None:
    bench = Bench()
    decided = bench.decide(passed_on(bench))
    (finding,) = decided.cases
    # The payer's process was killed before anything of it was durable; the case is.
    restarted = PartitionState(bench.context)
    (opened,) = pipeline.apply_case(finding, restarted)
    assert (opened.opened_at, opened.updated_at) == (finding.ts, finding.ts)
    assert restarted.book.expire(finding.ts + DAY) == []


def test_a_resent_payment_of_a_payer_that_is_no_account_is_answered_from_the_payees_ring() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    one = event(1, account="EXT_1", counterparty="POL")
    assert [only(bench, one)["repeat"], only(bench, one)["repeat"]] == [False, True]
    again = only(bench, one)
    assert (again["action"], again["score"]) == ("stop", None)


def test_a_resent_payment_to_a_payee_that_is_no_account_is_answered_from_the_payers_ring() -> None:
    bench = Bench()
    list_account(bench.context, "A1")
    one = event(1, counterparty="EXT_1")
    bench.decide(one)
    # No case is needed: the leg of such a payment stays with the payer.
    again = only(bench, one)
    assert (again["action"], again["repeat"]) == ("stop", True)


def test_a_resent_payment_counts_nowhere() -> None:
    bench, other = Bench(context(audit=True)), Bench(context(audit=True))
    one = passed_on(bench)
    passed_on(other)
    bench.pay(one, one, one)
    other.pay(one)
    assert bench.state.tallies.counts("events") == {"counted": 2, "repeated": 2}
    assert bench.state.tallies.counts("decisions") == {"allow": 1, "delay": 1}
    assert bench.state.tallies.counts("fired") == other.state.tallies.counts("fired")
    assert bench.state.tallies.intercepted_amount().total == 78_000.0
    later = event(9, NOON + 2 * HOUR, account="M", counterparty="X1", amount=5.0)
    (seen,), (wanted,) = bench.pay(later), other.pay(later)
    assert seen["features"] == wanted["features"]


def test_a_repeat_within_one_batch_is_a_repeat() -> None:
    bench = Bench()
    decided = bench.decide(event(1), event(1), event(2))
    assert decided.repeat.tolist() == [False, True, False]
    assert [decision["repeat"] for decision in messages(decided)] == [False, True, False]


def test_a_repeat_within_one_batch_is_answered_as_the_first_time() -> None:
    bench = Bench()
    one = passed_on(bench)
    decided = bench.decide(*ordinary(2), one, *ordinary(4)[2:], one)
    answers = [message["action"] for message in messages(decided) if message["event_id"] == one["event_id"]]
    assert answers == ["delay", "delay"]


def test_a_repeat_opens_no_second_warning_and_escalates_none() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    assert len(bench.decide(event(1, counterparty="POL")).alerts) == 1
    list_account(bench.context, "A1")
    again = bench.decide(event(1, counterparty="POL"))
    assert (again.alerts, again.cases) == ([], [])


# -- refused payments ---------------------------------------------------------------------------------


def test_another_content_under_a_known_id_is_refused_in_the_first_hop() -> None:
    bench = Bench()
    bench.pay(event(1))
    columns = bench.columns(event(2), event(1, amount=101.0), event(3))
    legs, refused = pipeline.payer_leg(columns, 0, bench.state)
    assert [(one.index, one.reason) for one in refused] == [(1, Reject.CONFLICTING_ID)]
    assert [text.split(b"\0")[0] for text in legs.texts] == [b"e2", b"e3"]


def test_a_payment_more_than_31_days_behind_its_payers_newest_is_refused() -> None:
    bench = Bench()
    bench.pay(event(1))
    columns = bench.columns(event(2, NOON - 31 * DAY), event(3, NOON - 31 * DAY - 1))
    legs, refused = pipeline.payer_leg(columns, 0, bench.state)
    assert [(one.index, one.reason) for one in refused] == [(1, Reject.TOO_OLD)]
    assert size(legs) == 1


def test_legs_are_never_refused_for_age() -> None:
    bench = Bench()
    bench.pay(event(1, account="S1"))
    decided = bench.decide(event(2, NOON - 200 * DAY, account="S2"))
    assert (decided.refused, size(decided.legs)) == ([], 1)


def test_a_refused_payment_moves_no_clock() -> None:
    bench = Bench()
    bench.pay(event(1))
    before = bench.state.stream_ts
    columns = bench.columns(event(1, NOON + DAY, amount=7.0))
    _, refused = pipeline.payer_leg(columns, 0, bench.state)
    assert len(refused) == 1
    assert bench.state.stream_ts == before


def test_conflicting_content_of_a_payer_that_is_no_account_is_refused_in_the_second_hop() -> None:
    bench = Bench()
    bench.pay(event(1, account="EXT_1"))
    decided = bench.decide(
        event(2, account="EXT_1"), event(1, account="EXT_1", amount=5.0), event(3, account="EXT_1")
    )
    assert [(one.index, one.reason) for one in decided.refused] == [(1, Reject.CONFLICTING_ID)]
    assert [decision["event_id"] for decision in messages(decided)] == ["e2", "e3"]
    assert bench.state.tallies.counts("events")["counted"] == 3


def test_the_leg_of_a_payment_to_no_account_is_keyed_by_the_payer() -> None:
    bench = Bench()
    legs = bench.first(event(1), event(2, counterparty="EXT_1"), event(3, account="EXT_1"))
    assert legs.keys == [b"A2", b"A1", b"A2"]


# -- our own defects ----------------------------------------------------------------------------------


def broken_at(ts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluating the rules fails for the payment of this time."""
    evaluate = CompiledPack.evaluate

    def fail(self: CompiledPack, matrix: Any, times: Any, params: Any = None) -> RuleResults:
        if (times == ts).any():
            raise ZeroDivisionError("a defect of ours")
        return evaluate(self, matrix, times, params)

    monkeypatch.setattr(CompiledPack, "evaluate", fail)


def test_one_payment_that_cannot_be_evaluated_is_dead_lettered_and_the_others_are_decided_as_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = prepared(), prepared()
    stream = mixed_stream()[:18]  # before the detectors' first window is full, nothing learned shows
    wanted = whole.decide(*stream)
    legs = broken.first(*stream)
    at = 10
    broken_at(stream[at]["ts"], monkeypatch)
    found = pipeline.payee_leg(legs, broken.state, NOW, Action.CONFIRM)
    assert [(one.index, one.reason) for one in found.refused] == [(at, Reject.PROCESSING_FAILED)]
    assert found.refused[0].message == (
        "evaluating the payment failed: ZeroDivisionError('a defect of ours')"
    )
    told, expected = messages(found), messages(wanted)
    fallback = told.pop(at)
    expected.pop(at)
    assert told == expected
    assert (fallback["event_id"], fallback["action"]) == (stream[at]["event_id"], "confirm")
    assert (fallback["score"], fallback["reasons"], fallback["repeat"]) == (None, [], False)
    assert found.alerts == wanted.alerts
    # The fallback goes to the payer's ring as any action does.
    (case,) = [finding for finding in found.cases if finding.event_id == stream[at]["event_id"]]
    assert (case.action, case.reasons) == (Action.CONFIRM, ())
    assert [finding for finding in found.cases if finding is not case] == wanted.cases
    assert found.action.tolist() == [
        Action.CONFIRM if i == at else action for i, action in enumerate(wanted.action.tolist())
    ]


def test_after_a_defect_the_detectors_know_every_payment_but_the_one_at_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = prepared(), prepared()
    stream = ordinary(50)
    at = 30
    legs = broken.first(*stream)
    # What the first hop knew of it stays: so do its rows. The other bench never evaluates it.
    spared = whole.first(*stream)
    broken_at(stream[at]["ts"], monkeypatch)
    pipeline.payee_leg(legs, broken.state, NOW)
    monkeypatch.undo()
    rest = np.arange(len(stream)) != at
    pipeline.payee_leg(take(spared, rest), whole.state, NOW)
    left, right = broken.state.detectors.payer, whole.state.detectors.payer
    assert left.detector.learned == right.detector.learned > 40
    # The payer's side sees only the first hop's figures, which are the same on both benches.
    assert left.trees is not None
    assert right.trees is not None
    np.testing.assert_array_equal(left.trees.mass, right.trees.mass)
    np.testing.assert_array_equal(left.quantile.state, right.quantile.state)


def test_a_decision_that_cannot_be_written_is_dead_lettered_and_gets_the_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = prepared(), prepared()
    stream = mixed_stream()
    wanted = whole.decide(*stream)
    render = conclusions.render_reason

    def fail(rule: Any, row: Any, **words: Any) -> Any:
        if rule.id == "rapid-in-out":
            raise ValueError("no such figure")
        return render(rule, row, **words)

    monkeypatch.setattr(conclusions, "render_reason", fail)
    found = broken.decide(*stream)
    at = [one["event_id"] for one in stream].index("eout")
    assert [(one.index, one.reason) for one in found.refused] == [(at, Reject.PROCESSING_FAILED)]
    told, expected = messages(found), messages(wanted)
    fallback = told.pop(at)
    assert (fallback["action"], fallback["score"], fallback["reasons"]) == ("confirm", None, [])
    assert "rapid-in-out" in [reason["rule"] for reason in expected.pop(at)["reasons"]]
    assert told == expected
    assert found.alerts == wanted.alerts


def test_a_defect_before_anything_is_counted_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    legs = bench.first(event(1))
    columns = bench.columns(event(2))
    before = bench.state.profiles.take_dirty()
    assert before

    def fail(*_: Any) -> Any:
        raise MemoryError("no room")

    for name in ("payer_hop", "payee_hop"):
        monkeypatch.setattr(type(bench.state.profiles), name, fail)
    with pytest.raises(NotCounted, match="counting the payment at its payer failed"):
        pipeline.payer_leg(columns, 0, bench.state)
    with pytest.raises(NotCounted, match="counting the payment at its payee failed"):
        pipeline.payee_leg(legs, bench.state, NOW)
    assert bench.state.profiles.take_dirty() == []
    assert bench.state.tallies.counts("events") == {}


# -- batches ------------------------------------------------------------------------------------------


class Outcome:
    """Everything that a stream led to, cut into batches anyhow."""

    def __init__(self, stream: list[Event], first: list[int], second: list[int]) -> None:
        self.bench = prepared()
        state = self.bench.state
        columns = self.bench.columns(*stream)
        self.refused: list[tuple[bytes, Reject]] = []
        legs = [self._first(part, state) for part in cut(columns, first)]
        self.decided = [self._second(part, state) for part in cut(joined(legs), second)]

    def _first(self, part: Payments, state: PartitionState) -> Legs:
        legs, refused = pipeline.payer_leg(part, 0, state)
        self.refused += [(part.texts[one.index], one.reason) for one in refused]
        return legs

    def _second(self, part: Legs, state: PartitionState) -> Decided:
        decided = pipeline.payee_leg(part, state, NOW)
        self.refused += [(part.texts[one.index], one.reason) for one in decided.refused]
        return decided

    def everything(self) -> dict[str, Any]:
        state = self.bench.state
        return {
            "decisions": [one for decided in self.decided for one in decided.decisions],
            "alerts": [one for decided in self.decided for one in decided.alerts],
            "cases": [one for decided in self.decided for one in decided.cases],
            "refused": self.refused,
            "fired": sum(decided.fired for decided in self.decided).tolist(),
            "rows": sorted(state.profiles.take_dirty()),
            "warnings": sorted(state.book.take_dirty()),
            "tallies": json.loads(state.tallies.to_bytes()),
            "detectors": state.detectors.dump(),
            "stream_ts": state.stream_ts,
        }


def joined(parts: list[Legs]) -> Legs:
    columns: list[Any] = []
    for column in zip(*parts, strict=True):
        lists = isinstance(column[0], list)
        columns.append([one for part in column for one in part] if lists else np.concatenate(column))
    return Legs(*columns)


def cut(columns: Any, ends: list[int]) -> list[Any]:
    edges = [0, *sorted(min(end, size(columns)) for end in ends), size(columns)]
    return [take(columns, np.arange(a, b)) for a, b in itertools.pairwise(edges) if a < b]


def awkward_stream() -> list[Event]:
    """The mixed stream twice, with repeats, a conflict, late payments and parties that are no accounts."""
    stream = mixed_stream()
    stream += [dict(stream[i], event_id=f"again-{i}", ts=NOON + 4 * HOUR + i) for i in range(30)]
    stream.insert(17, dict(stream[3], amount=9_999.0))
    stream.insert(40, event("till", NOON + HOUR, account="EXT_1", counterparty="POL"))
    stream.insert(50, event("till", NOON + HOUR, account="EXT_1", counterparty="POL", amount=3.0))
    stream.insert(60, event("old", NOON - 40 * DAY, account="P1", counterparty="Q1"))
    stream.insert(18, dict(next(one for one in stream if one["account"] == "M")))
    stream.insert(62, event("late", NOON - 3 * HOUR, account="P4", counterparty="Q4", amount=18_000.0))
    return stream


@cache
def in_one_batch() -> dict[str, Any]:
    outcome = Outcome(awkward_stream(), [], []).everything()
    # The stream is worth cutting: everything that can happen happens.
    actions = {json.loads(value)["action"] for _, value in outcome["decisions"]}
    assert actions >= {"allow", "confirm", "delay", "stop"}
    assert {reason for _, reason in outcome["refused"]} == {Reject.CONFLICTING_ID, Reject.TOO_OLD}
    assert outcome["alerts"]
    assert outcome["cases"]
    assert any(json.loads(value)["repeat"] for _, value in outcome["decisions"])
    rules = [r["rule"] for _, value in outcome["decisions"] for r in json.loads(value)["reasons"]]
    assert "anomaly" in rules
    return outcome


CUTS = st.lists(st.integers(1, 80), max_size=6)


@settings(max_examples=40, deadline=None)
@given(first=CUTS, second=CUTS)
def test_nothing_depends_on_where_batches_begin_and_end(first: list[int], second: list[int]) -> None:
    found = Outcome(awkward_stream(), first, second).everything()
    found["refused"].sort()
    wanted = {**in_one_batch(), "refused": sorted(in_one_batch()["refused"])}
    for name, value in wanted.items():
        assert found[name] == value, name


def test_nothing_depends_on_batches_down_to_single_payments() -> None:
    every = list(range(100))
    found = Outcome(awkward_stream(), every, every).everything()
    assert found["decisions"] == in_one_batch()["decisions"]
    assert found["rows"] == in_one_batch()["rows"]
    assert found["detectors"] == in_one_batch()["detectors"]
    assert found["warnings"] == in_one_batch()["warnings"]


def test_an_empty_batch_leads_to_nothing() -> None:
    bench = Bench()
    legs = take(bench.first(event(1)), np.zeros(1, np.bool_))
    decided = pipeline.payee_leg(legs, bench.state, NOW)
    assert (decided.decisions, decided.alerts, decided.cases, decided.refused) == ([], [], [], [])
    assert bench.state.tallies.counts("events") == {}


def test_features_that_legs_do_not_carry_change_no_decision() -> None:
    seen, whole = Bench(), Bench()
    stream = mixed_stream()
    for start in range(0, len(stream), 7):
        batch = stream[start : start + 7]
        legs = whole.first(*batch)
        wanted = pipeline.payee_leg(legs, whole.state, NOW)
        legs = seen.first(*batch)
        legs = legs._replace(block=pipeline.carried(legs.block, seen.context.first_hop_columns))
        found = pipeline.payee_leg(legs, seen.state, NOW)
        assert found.decisions == wanted.decisions
        assert found.alerts == wanted.alerts
        assert found.cases == wanted.cases
