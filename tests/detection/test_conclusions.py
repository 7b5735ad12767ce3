"""What is said about decided payments, with the shipped models: the contract on decisions and warnings."""

from __future__ import annotations

import math

import pytest

from stream_guard.alerts import Alert, AlertStatus, Decision, decision_id, warning_id
from stream_guard.detection import pipeline
from stream_guard.detection.features import FEATURES, FIRST_WIDTH, PAIR, PAYEE, PAYER
from stream_guard.detection.findings import Finding
from stream_guard.detection.signals import Signal
from stream_guard.detection.vocabulary import Action, Side, SignalKind, SignalSource
from tests.detection.builders import (
    DAY,
    EAGER_ANOMALY,
    HOUR,
    NOON,
    NOW,
    POLICY_TEXT,
    Bench,
    context,
    event,
    list_account,
    messages,
    only,
    ordinary,
    passed_on,
)

DECISION_FIELDS = [
    "decision_id", "event_id", "ts", "account", "counterparty", "amount", "currency", "action", "expires_at",
    "score", "reasons", "anomaly", "signals", "pack", "late", "repeat", "decided_at",
]  # fmt: skip
REASON_FIELDS = ["rule", "version", "account", "side", "score", "text", "evidence"]
NAMES = [feature.name for feature in FEATURES]


# -- decisions ----------------------------------------------------------------------------------------


def test_a_decision_has_the_fields_of_the_contract_and_no_other() -> None:
    bench = Bench()
    decision = only(bench, passed_on(bench))
    assert list(decision) == DECISION_FIELDS
    assert [list(reason) for reason in decision["reasons"]] == [REASON_FIELDS]
    assert list(decision["anomaly"]) == ["payer", "payee"]
    assert all(list(side) == ["score", "quantile", "warming_up"] for side in decision["anomaly"].values())
    assert Decision.model_validate(decision).model_dump(mode="json", exclude={"features"}) == decision


def test_a_reason_about_tainted_money_shows_its_path() -> None:
    bench = Bench()
    list_account(bench.context, "M", SignalSource.DISPOSITION, 100)
    *_, last = bench.pay(
        event(1, account="M", counterparty="A", amount=30_000.0),
        event(2, NOON + HOUR, account="A", counterparty="B", amount=30_000.0),
        event(3, NOON + 2 * HOUR, account="B", counterparty="C", amount=19_000.0),
    )
    reasons = {reason["rule"]: reason for reason in last["reasons"]}
    assert (reasons["tainted-funds"]["account"], reasons["tainted-funds-passed-on"]["account"]) == ("C", "B")
    assert " by M > A > B > C" in reasons["tainted-funds"]["text"]
    assert reasons["tainted-funds-passed-on"]["text"].endswith(" by M > A > B > C")
    evidence = reasons["tainted-funds"]["evidence"]
    assert evidence["txn.taint_hops"] == 3
    assert evidence["txn.tainted"] == pytest.approx(19_000 * 0.8, rel=0.01)


def test_what_is_paid_before_a_listing_is_known_stays_clean() -> None:
    bench = Bench()
    bench.pay(event(1, account="M", counterparty="A", amount=30_000.0))
    list_account(bench.context, "M", SignalSource.DISPOSITION, 100)
    passed_on = only(bench, event(2, NOON + HOUR, account="A", counterparty="B", amount=30_000.0))
    assert not any(reason["rule"].startswith("tainted") for reason in passed_on["reasons"])


def test_a_decision_says_which_payment_it_is_about_and_why() -> None:
    bench = Bench()
    decision = only(bench, passed_on(bench))
    assert decision["event_id"] == "e1-out"
    assert decision["decision_id"] == decision_id("e1-out", bench.context.pack.pack.hash)
    assert (decision["ts"], decision["account"], decision["counterparty"]) == (NOON + HOUR, "M", "X1")
    assert (decision["amount"], decision["currency"]) == (78_000.0, "CNY")
    assert (decision["action"], decision["score"]) == ("delay", 68.125)
    assert decision["pack"] == bench.context.pack.pack.label
    (reason,) = decision["reasons"]
    assert (reason["rule"], reason["account"], reason["side"]) == ("rapid-in-out", "M", "payer")
    assert reason["text"] == "78,000 of 80,000 received in 24 h has left again, now to a new payee"
    assert reason["evidence"]["payer.in_sum_24h"] == 80_000.0
    assert reason["evidence"]["min_in"] == 50_000.0


def test_an_ordinary_payment_is_allowed_without_reasons_and_without_an_end() -> None:
    decision = only(Bench(), event(1))
    assert (decision["action"], decision["expires_at"]) == ("allow", None)
    assert (decision["score"], decision["reasons"], decision["signals"]) == (0.0, [], {})
    assert decision["anomaly"]["payer"] == {"score": 0.0, "quantile": None, "warming_up": True}


def test_an_action_expires_from_when_it_was_decided() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    delayed = only(bench, passed_on(bench), now_ms=NOW)
    stopped = only(bench, event(5, counterparty="POL"), now_ms=NOW)
    assert (delayed["decided_at"], delayed["expires_at"]) == (NOW, NOW + 24 * HOUR)
    assert (stopped["action"], stopped["expires_at"]) == ("stop", NOW + 48 * HOUR)


def test_the_amount_is_told_as_sent_and_counted_in_base_currency() -> None:
    bench = Bench(context(audit=True))
    bench.context.bank.__dict__["rates"] = {"USD": 7.0}
    decision = only(bench, event(1, amount=10.0, currency="USD"))
    assert (decision["amount"], decision["currency"]) == (10.0, "USD")
    assert decision["features"]["txn.amount"] == 70.0


def test_the_score_of_a_side_is_one_minus_the_product_and_the_decisions_is_the_higher_sides() -> None:
    bench = Bench()
    list_account(bench.context, "POL", level=86)
    list_account(bench.context, "M", SignalSource.BANK, level=30)
    into = event("in", account="S", counterparty="M", amount=80_000.0)
    bench.pay(into)
    out = event("out", NOON + HOUR, account="M", counterparty="POL", amount=78_000.0)
    decision = only(bench, out)
    sides = {}
    for side in ("payer", "payee"):
        scores = [reason["score"] for reason in decision["reasons"] if reason["side"] == side]
        sides[side] = 100 * (1 - math.prod(1 - score / 100 for score in scores))
    assert {reason["rule"] for reason in decision["reasons"] if reason["side"] == "payer"} == {
        "rapid-in-out",
        "listed-payer",
    }
    assert sides["payee"] > sides["payer"] > 68
    assert decision["score"] == pytest.approx(sides["payee"])


def test_reasons_of_both_sides_stand_in_one_decision_each_with_its_account() -> None:
    bench = Bench()
    list_account(bench.context, "P", SignalSource.BANK, 60)
    list_account(bench.context, "Q", SignalSource.BANK, 70)
    decision = only(bench, event(1, account="P", counterparty="Q"))
    told = {(reason["rule"], reason["side"], reason["account"]) for reason in decision["reasons"]}
    assert told == {("listed-payer", "payer", "P"), ("listed-payee", "payee", "Q")}


def test_a_risk_signal_counts_through_the_rules_that_name_it_and_is_told() -> None:
    bench = Bench()
    list_account(bench.context, "Q", SignalSource.SHARING, 60)
    decision = only(bench, event(1, counterparty="Q"))
    # The rule about it wants a larger payment.
    assert (decision["action"], decision["score"], decision["reasons"]) == ("allow", 0.0, [])
    assert decision["signals"] == {"payee.listed_sharing": 60.0}


def test_a_shadow_rule_never_touches_score_action_or_warning_and_is_tallied_apart() -> None:
    bench = Bench()
    bench.context.signals.put("ip:i", Signal(SignalKind.IP, "i", 60, SignalSource.SHARING, 0, None))
    decided = bench.decide(event(1, amount=6_000.0, ip="i"))
    assert (decided.alerts, decided.cases) == ([], [])
    column = bench.context.rule_keys.index("shared-address@1")
    assert decided.fired[column] == 1
    assert bench.state.tallies.counts("shadow_fired") == {"shared-address@1": 1}
    assert bench.state.tallies.counts("fired") == {}


def test_only_payments_above_allow_are_emitted_unless_all_are_asked_for() -> None:
    quiet = Bench(context(emit_all=False))
    assert quiet.pay(event(1)) == []
    assert [decision["event_id"] for decision in quiet.pay(passed_on(quiet))] == ["e1-out"]
    loud = Bench(context(emit_all=True))
    assert [decision["action"] for decision in loud.pay(event(1), event(2))] == ["allow", "allow"]


def test_a_decision_is_keyed_by_the_payer() -> None:
    bench = Bench()
    decided = bench.decide(event(1), event(2, account="EXT_1"))
    assert [key for key, _ in decided.decisions] == [b"A1", b"EXT_1"]


# -- late decisions -----------------------------------------------------------------------------------


def test_a_late_decision_is_capped_but_its_warning_is_not() -> None:
    bench = Bench(context(deadline_ms=1000))
    one = passed_on(bench)
    decided = bench.decide(one, produced=NOW - 1001)
    (decision,) = messages(decided)
    assert (decision["late"], decision["action"], decision["score"]) == (True, "allow", 68.125)
    (alert,) = bench.settle(decided)
    assert (alert.account, alert.score, alert.status) == ("M", 68.125, AlertStatus.OPENED)
    assert bench.state.tallies.counts("events")["late"] == 2
    assert bench.state.tallies.intercepted_amount().total == 0.0


def test_lateness_counts_from_the_kafka_timestamp_and_not_from_ts() -> None:
    bench = Bench(context(deadline_ms=1000))
    one = event(1, ts=NOON - 300 * DAY)
    decision = only(bench, one, produced=NOW - 1000)
    assert decision["late"] is False


def test_on_late_may_be_confirm() -> None:
    bench = Bench(context(deadline_ms=1000, on_late="confirm"))
    decision = only(bench, passed_on(bench), produced=NOW - 5000)
    assert (decision["late"], decision["action"]) == (True, "confirm")


def test_a_deadline_of_nothing_turns_lateness_off() -> None:
    bench = Bench(context(deadline_ms=0))
    decision = only(bench, passed_on(bench), now_ms=NOON + 300 * DAY)
    assert (decision["late"], decision["action"]) == (False, "delay")


# -- parties that are no accounts ---------------------------------------------------------------------


def test_a_party_that_is_no_account_has_no_features_no_anomaly_and_no_warning() -> None:
    bench = Bench(context(audit=True))
    to_shop, from_till = bench.pay(
        event(1, counterparty="EXT_SHOP"), event(2, account="T1", payer_kind="cash", counterparty="A2")
    )
    assert to_shop["anomaly"]["payee"] is None
    assert to_shop["anomaly"]["payer"] is not None
    assert all(to_shop["features"][name] is None for name in NAMES[PAYEE])
    assert to_shop["features"]["payer.out_count_24h"] == 1.0
    assert from_till["anomaly"]["payer"] is None
    assert all(from_till["features"][name] is None for name in NAMES[PAYER] + NAMES[PAIR])
    assert from_till["features"]["payee.in_count_24h"] == 1.0


def test_no_warning_is_opened_about_a_party_that_is_no_account() -> None:
    bench = Bench()
    list_account(bench.context, "EXT_1")
    decided = bench.decide(event(1, account="EXT_1"), event(2, counterparty="EXT_1"))
    assert [decision["action"] for decision in messages(decided)] == ["stop", "stop"]
    assert decided.alerts == []
    assert [(finding.account, finding.reasons) for finding in decided.cases] == [("A1", ())]


# -- warnings and cases -------------------------------------------------------------------------------


def test_what_is_found_about_the_payee_opens_its_warning_in_the_second_hop() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    decided = bench.decide(event(1, counterparty="POL", amount=700.0))
    (alert,) = decided.alerts
    assert (alert.account, alert.side, alert.status) == ("POL", Side.PAYEE, AlertStatus.OPENED)
    assert alert.warning_id == warning_id("POL", "e1")
    assert (alert.event_ids, alert.amount, alert.opened_at) == (["e1"], 700.0, NOON)
    assert {reason.rule for reason in alert.reasons} == {"police-listed-payee", "listed-payee"}
    assert alert.pack == bench.context.pack.pack.label


def test_what_is_found_about_the_payer_travels_as_a_case_and_is_grouped_at_home() -> None:
    bench = Bench()
    decided = bench.decide(passed_on(bench))
    assert decided.alerts == []
    (finding,) = decided.cases
    assert (finding.account, finding.side, finding.event_id) == ("M", Side.PAYER, "e1-out")
    assert (finding.score, finding.action, finding.intercepted) == (68.125, Action.DELAY, True)
    carried = Finding.from_bytes(finding.to_bytes())
    (alert,) = pipeline.apply_case(carried, bench.state)
    assert (alert.account, alert.side, alert.score) == ("M", Side.PAYER, 68.125)
    assert alert.reasons[0].evidence["payer.in_sum_24h"] == 80_000.0


def test_payer_and_payee_of_one_payment_can_each_get_a_warning() -> None:
    bench = Bench()
    list_account(bench.context, "P")
    list_account(bench.context, "Q")
    decided = bench.decide(event(1, account="P", counterparty="Q"))
    alerts = [*decided.alerts, *bench.settle(decided)]
    assert sorted((alert.account, str(alert.side)) for alert in alerts) == [("P", "payer"), ("Q", "payee")]
    assert len({alert.warning_id for alert in alerts}) == 2


def test_an_intercepted_amount_belongs_to_one_side_the_payee_on_a_tie() -> None:
    bench = Bench()
    list_account(bench.context, "P", level=90)
    list_account(bench.context, "Q", level=90)
    bench.decide(event(1, account="P", counterparty="Q", amount=300.0))
    bench = Bench(bench.context)
    decided = bench.decide(event(1, account="P", counterparty="Q", amount=300.0))
    (case,) = decided.cases
    assert case.intercepted is False
    warning = bench.state.book.current(b"Q")
    assert warning is not None
    assert sum(warning.intercepted.values()) == 300_00
    list_account(bench.context, "Q", level=86)
    (case,) = Bench(bench.context).decide(event(1, account="P", counterparty="Q")).cases
    assert case.intercepted is True


def test_confirm_is_not_intercepted() -> None:
    bench = Bench()
    list_account(bench.context, "Q", SignalSource.BANK, 45)
    decided = bench.decide(event(1, counterparty="Q"))
    assert [decision["action"] for decision in messages(decided)] == ["confirm"]
    assert bench.state.tallies.intercepted_amount().total == 0.0


def test_a_warning_waits_for_the_score_or_for_a_rule_that_says_so() -> None:
    bench = Bench()
    list_account(bench.context, "Q", SignalSource.BANK, 49)
    assert bench.decide(event(1, counterparty="Q")).alerts == []
    list_account(bench.context, "Q", SignalSource.BANK, 50)
    assert [alert.account for alert in bench.decide(event(2, counterparty="Q")).alerts] == ["Q"]
    strict = Bench(context(warn_at=100.0))
    list_account(strict.context, "POL")
    # `police-listed-payee` warns whatever the score.
    assert [alert.account for alert in strict.decide(event(1, counterparty="POL")).alerts] == ["POL"]


def test_an_open_warning_expires_by_stream_time_whoever_pays() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    bench.decide(event(1, counterparty="POL"))
    decided = bench.decide(event(2, NOON + 30 * DAY, account="Z1", counterparty="Z2"))
    assert [(alert.account, alert.status, alert.closed_by) for alert in decided.alerts] == [
        ("POL", AlertStatus.CLOSED, "expiry")
    ]


def test_alerts_say_what_an_alert_says() -> None:
    bench = Bench()
    list_account(bench.context, "POL")
    (alert,) = bench.decide(event(1, counterparty="POL")).alerts
    assert Alert.model_validate(alert.model_dump()) == alert


# -- the anomaly model --------------------------------------------------------------------------------


def test_an_anomaly_alone_is_a_reason_and_asks_for_confirm_at_most() -> None:
    text = POLICY_TEXT.replace("anomaly_score: 30", "anomaly_score: 95")
    assert text != POLICY_TEXT
    bench = Bench(context(anomaly=EAGER_ANOMALY, policy_text=text))
    bench.decide(*ordinary(60))
    odd = event("odd", NOON + 2 * HOUR, account="P1", counterparty="Q1", amount=19_000.0)
    decided = bench.decide(odd)
    (decision,) = messages(decided)
    reasons = {(reason["rule"], reason["side"], reason["account"]) for reason in decision["reasons"]}
    assert reasons == {("anomaly", "payer", "P1"), ("anomaly", "payee", "Q1")}
    assert {reason["score"] for reason in decision["reasons"]} == {95.0}
    assert decision["action"] == "confirm"
    for side in ("payer", "payee"):
        figures = decision["anomaly"][side]
        assert figures["warming_up"] is False
        assert figures["score"] > figures["quantile"]
    # It warns as any reason does, and the model is credited as `anomaly`.
    (alert,) = decided.alerts
    assert [reason.key for reason in alert.reasons] == ["anomaly"]
    assert bench.state.tallies.counts("anomaly")["payee"] >= 1


def test_a_reason_of_the_anomaly_model_carries_the_version_of_its_settings() -> None:
    raised = EAGER_ANOMALY.model_copy(update={"version": 7})
    bench = Bench(context(anomaly=raised))
    bench.decide(*ordinary(60))
    decision = only(bench, event("odd", NOON + 2 * HOUR, account="P1", counterparty="Q1", amount=19_000.0))
    assert [(reason["rule"], reason["version"]) for reason in decision["reasons"]] == [("anomaly", 7)] * 2


def test_the_anomaly_model_gives_no_reason_while_it_warms_up() -> None:
    bench = Bench(context(anomaly=EAGER_ANOMALY))
    bench.decide(*ordinary(30))
    decision = only(bench, event("odd", NOON + 2 * HOUR, account="P1", counterparty="Q1", amount=19_000.0))
    assert decision["reasons"] == []
    assert decision["anomaly"]["payer"]["warming_up"] is True


# -- full audit ---------------------------------------------------------------------------------------


def test_with_audit_a_decision_carries_every_feature_by_name_and_null_where_missing() -> None:
    bench = Bench(context(audit=True))
    decision = only(bench, event(1, amount=12.5))
    features = decision["features"]
    assert list(features) == NAMES
    assert all(value is None or isinstance(value, float) for value in features.values())
    assert features["txn.amount"] == 12.5
    assert features["payer.out_sum_24h"] == features["payee.in_sum_24h"] == 12.5
    assert features["payer.idle_s"] is None
    assert features["payer.listed"] == 0.0
    assert set(decision) == {*DECISION_FIELDS, "features"}


def test_without_audit_a_decision_carries_no_features() -> None:
    assert "features" not in only(Bench(context(audit=False)), event(1))


def test_a_leg_carries_what_rules_and_detectors_read_and_everything_with_audit() -> None:
    plain, full = context(), context(audit=True)
    names = {NAMES[column] for column in plain.first_hop_columns.tolist()}
    assert {"payer.in_sum_24h", "pair.seen_before", "txn.amount", "payer.out_mean"} <= names
    assert "payer.in_distinct_30d" not in names
    assert full.first_hop_columns.tolist() == list(range(FIRST_WIDTH))
