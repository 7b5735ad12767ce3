from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from stream_guard.alerts import (
    ALERT_HEADERS,
    DECISION_HEADERS,
    Alert,
    AlertStatus,
    Decision,
    Reason,
    decision_id,
    encode_alert,
    encode_decision,
    expires_at,
    rule_key,
    warning_id,
)
from stream_guard.detection.vocabulary import Action, Side

MINUTE = 60_000
HOUR = 60 * MINUTE

REQUIRED = [
    *(
        "decision_id",
        "event_id",
        "ts",
        "account",
        "counterparty",
        "amount",
        "currency",
        "action",
        "expires_at",
    ),
    *("score", "reasons", "anomaly", "signals", "pack", "late", "repeat", "decided_at"),
]
ALERT = [
    *("warning_id", "revision", "account", "side", "status", "severity", "score", "reasons", "event_ids"),
    *("amount", "opened_at", "updated_at", "closed_by", "outcome", "pack"),
]


READ_REASON = TypeAdapter(Reason).validate_python


def a_reason(**changes: object) -> Reason:
    values = {
        "rule": "rapid-in-out",
        "version": 3,
        "account": "6222-1",
        "side": Side.PAYEE,
        "score": 60.0,
        "text": "49,000 of 50,000 received in 24 h has left again",
        "evidence": {"payer.out_sum_24h": 49_000.0, "payer.in_max": None},
    }
    return Reason(**{**values, **changes})


def a_decision(**changes: object) -> bytes:
    values: dict[str, object] = {
        "decision_id": decision_id("e1", "hash"),
        "event_id": "e1",
        "ts": 1_700_000_000_000,
        "account": "付款人",
        "counterparty": "b",
        "amount": 12.5,
        "currency": "USD",
        "action": Action.HOLD,
        "score": 60.0,
        "reasons": [a_reason()],
        "payer_anomaly": (0.5, 0.9, False),
        "payee_anomaly": None,
        "signals": {"payee.listed_police": 90.0},
        "pack": "bank-core",
        "late": False,
        "repeat": False,
        "decided_at": 1_700_000_000_100,
    }
    return encode_decision(**{**values, **changes})  # type: ignore[arg-type]


def test_a_decision_has_exactly_the_contracts_fields() -> None:
    message = json.loads(a_decision(names=["x"], row=np.array([1.0])))
    assert list(message) == [*REQUIRED, "features"]
    assert set(Decision.model_fields) == set(message)
    assert set(message["reasons"][0]) == {"rule", "version", "account", "side", "score", "text", "evidence"}
    assert message["anomaly"] == {
        "payer": {"score": 0.5, "quantile": 0.9, "warming_up": False},
        "payee": None,
    }
    assert (message["account"], message["action"], message["score"]) == ("付款人", "hold", 60.0)
    assert message["signals"] == {"payee.listed_police": 90.0}


def test_what_the_encoder_writes_is_what_the_model_describes() -> None:
    decision = Decision.model_validate_json(a_decision())
    assert decision.reasons == [a_reason()]
    assert decision.features is None
    assert decision.expires_at == 1_700_000_000_100 + 24 * HOUR
    assert Decision.model_json_schema()["properties"]["late"]["type"] == "boolean"


def test_features_are_a_flat_object_of_numbers_with_null_for_missing_and_only_on_demand() -> None:
    message = json.loads(a_decision(names=("a", "b", "c"), row=np.array([1.25, math.nan, 0.0])))
    assert message["features"] == {"a": 1.25, "b": None, "c": 0.0}
    assert "features" not in json.loads(a_decision())


def test_features_refuse_a_row_of_another_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        a_decision(names=("a", "b"), row=np.array([1.0]))


def test_an_answer_without_evaluation_has_no_score() -> None:
    message = a_decision(score=math.nan, repeat=True, reasons=[], payer_anomaly=(math.nan, math.nan, True))
    assert json.loads(message)["score"] is None
    decision = Decision.model_validate_json(message)
    assert decision.repeat
    assert decision.anomaly.payer is not None
    assert decision.anomaly.payer.score is None


def test_numbers_may_come_straight_from_the_columns() -> None:
    message = a_decision(amount=np.float64(0.1), ts=np.int64(5), score=np.float64(3.0), late=np.bool_(True))
    assert json.loads(message)["amount"] == 0.1
    assert Decision.model_validate_json(message).late


@pytest.mark.parametrize(
    ("action", "span"),
    [
        (Action.ALLOW, None),
        (Action.CONFIRM, 10 * MINUTE),
        (Action.DELAY, 24 * HOUR),
        (Action.HOLD, 24 * HOUR),
        (Action.STOP, 48 * HOUR),
    ],
)
def test_expiry_by_action_counts_from_decided_at(action: Action, span: int | None) -> None:
    assert expires_at(action, 1000) == (None if span is None else 1000 + span)
    assert json.loads(a_decision(action=action, decided_at=7))["expires_at"] == (span and 7 + span)


def test_ids_are_stable_hashes_of_the_contracts_parts() -> None:
    # Literal: an id that changes with a release would break readers that keep the first of an id.
    assert decision_id("e1", "p1") == "5ad2bfbbc83ddb96c95623537503ac97"
    assert warning_id("a1", "e1") == "974a7fd2188f953a90c46a74c5dceddd"
    assert len({decision_id("e1", "p1"), decision_id("e1", "p2"), decision_id("e2", "p1")}) == 3
    assert len({warning_id("a1", "e1"), warning_id("a2", "e1"), warning_id("a1", "e2")}) == 3
    assert warning_id("a", "1e") != warning_id("a1", "e")
    assert warning_id("a", "e") != decision_id("a", "e")


def test_schema_versions_go_into_a_header() -> None:
    assert DECISION_HEADERS == (("schema", b"1"),)
    assert ALERT_HEADERS == (("schema", b"1"),)


def test_an_alert_has_exactly_the_contracts_fields_and_reads_back() -> None:
    alert = Alert(
        warning_id="w",
        revision=2,
        account="a",
        side=Side.PAYER,
        status=AlertStatus.UPDATED,
        severity="high",
        score=88.0,
        reasons=[a_reason()],
        event_ids=["e2", "e1"],
        amount=12.5,
        opened_at=1,
        updated_at=2,
        closed_by=None,
        outcome=None,
        pack="p",
    )
    data = encode_alert(alert)
    assert list(json.loads(data)) == ALERT
    assert Alert.model_validate_json(data) == alert
    with pytest.raises(ValidationError):
        alert.score = 1.0  # type: ignore[misc]


def test_evidence_that_is_no_number_is_missing() -> None:
    given = {"a": math.nan, "b": math.inf, "c": np.float64(2), "d": 3}
    evidence = READ_REASON({**asdict(a_reason()), "evidence": given}).evidence
    assert evidence == {"a": None, "b": None, "c": 2.0, "d": 3.0}
    assert type(evidence["c"]) is float


@pytest.mark.parametrize("score", [-1.0, 100.5, math.nan])
def test_a_reason_scores_0_to_100(score: float) -> None:
    with pytest.raises(ValidationError):
        READ_REASON({**asdict(a_reason()), "score": score})


def test_a_newer_writers_fields_are_ignored() -> None:
    message = {**json.loads(a_decision()), "added_later": 1}
    assert Decision.model_validate(message).event_id == "e1"


def test_rules_are_tallied_by_version_and_the_anomaly_model_by_name() -> None:
    assert a_reason().key == "rapid-in-out@3" == rule_key("rapid-in-out", 3)
    assert a_reason(rule="anomaly", version=2).key == "anomaly"
