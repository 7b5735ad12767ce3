"""One message of each kind, made by the code that makes or reads them in production."""

from __future__ import annotations

import math
from typing import Any

import orjson

from stream_guard.alerts import Alert, AlertStatus, Reason, encode_alert, encode_decision
from stream_guard.detection.vocabulary import Action, Outcome, Role, Side, SignalKind, SignalSource
from stream_guard.events import schema
from stream_guard.events.messages import AccountUpdate, Disposition, RiskSignal

_PAYER, _PAYEE = "6222020000000001", "6222020000000002"
_TS = 1_795_483_800_250
_WARNING = "5f0c2b7e9a1d4c38a2b6f1e07c9d3e54"
_PACK = "bank-core@2026.11.1+7224d31da08b"
_REASON = Reason(
    rule="rapid-in-out",
    version=3,
    account=_PAYEE,
    side=Side.PAYEE,
    score=60.0,
    text="98,000 of 100,000 received in 24 h has left again",
    evidence={"payee.in_sum_24h": 100_000.0, "payee.out_sum_24h": 98_000.0, "share": 0.9},
)


def example(name: str) -> Any:
    """JSON value of one message.

    Parameters
    ----------
    name
        As in `stream_guard.events.SCHEMA_NAMES`.

    Examples
    --------
    >>> example("decision")["action"], example("transaction")["amount"]
    ('delay', 49999.0)
    """
    return {
        "transaction": _transaction,
        "account-update": lambda: _written(
            AccountUpdate(account=_PAYER, ts=_TS, opened=1_551_398_400_000, kind="personal", changed="phone")
        ),
        "disposition": lambda: _written(
            Disposition(
                disposition_id="d-20261124-0003",
                warning_id=_WARNING,
                account=_PAYEE,
                outcome=Outcome.CONFIRMED,
                role=Role.MULE,
                by="investigator-7",
                ts=_TS + 3_600_000,
            )
        ),
        "risk-signal": lambda: _written(
            RiskSignal(
                kind=SignalKind.ACCOUNT,
                id=_PAYEE,
                level=90,
                source=SignalSource.POLICE,
                reason="case 2026-0815",
                valid_from=_TS,
            )
        ),
        "decision": _decision,
        "alert": _alert,
    }[name]()


def _transaction() -> Any:
    """From the examples of its fields."""
    return {field: shape["examples"][0] for field, shape in schema("transaction")["properties"].items()}


def _written(message: AccountUpdate | Disposition | RiskSignal) -> Any:
    return orjson.loads(message.encode())


def _decision() -> Any:
    return orjson.loads(
        encode_decision(
            decision_id="0c6f1de2b3a44958a7d0e1f2c3b4a596",
            event_id="e-20261124-000017",
            ts=_TS,
            account=_PAYER,
            counterparty=_PAYEE,
            amount=49_999.0,
            currency="CNY",
            action=Action.DELAY,
            score=60.0,
            reasons=[_REASON],
            payer_anomaly=(0.31, 0.72, False),
            payee_anomaly=(math.nan, math.nan, True),
            signals={"payee.listed_police": 90.0},
            pack=_PACK,
            late=False,
            repeat=False,
            decided_at=_TS + 12,
        )
    )


def _alert() -> Any:
    return orjson.loads(
        encode_alert(
            Alert(
                warning_id=_WARNING,
                revision=1,
                account=_PAYEE,
                side=Side.PAYEE,
                status=AlertStatus.OPENED,
                severity="low",
                score=60.0,
                reasons=[_REASON],
                event_ids=["e-20261124-000017"],
                amount=49_999.0,
                opened_at=_TS,
                updated_at=_TS,
                closed_by=None,
                outcome=None,
                pack=_PACK,
            )
        )
    )
