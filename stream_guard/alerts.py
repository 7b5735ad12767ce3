"""What goes out: decisions about payments, alerts about accounts, and their ids.

All times (``ts``, ``expires_at``, ``decided_at``, ``opened_at``, ``updated_at``) are whole milliseconds since
1970-01-01 UTC. The models describe, document and check the messages; the encoders write them from plain
values, because a model an event would cost more than the rules do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from stream_guard.detection.vocabulary import Action, Outcome, Side

DECISION_SCHEMA_VERSION = 1
"""Goes into the header ``schema`` of every decision; raised when a reader would have to change."""
ALERT_SCHEMA_VERSION = 1
"""Goes into the header ``schema`` of every alert."""
DECISION_HEADERS: tuple[tuple[str, bytes], ...] = (("schema", str(DECISION_SCHEMA_VERSION).encode()),)
ALERT_HEADERS: tuple[tuple[str, bytes], ...] = (("schema", str(ALERT_SCHEMA_VERSION).encode()),)

ANOMALY_RULE = "anomaly"
"""Name under which the anomaly model gives a reason and is credited."""
EVENT_IDS_KEPT = 20
"""An alert names the newest 20 events of its warning."""

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
_EXPIRY_MS: tuple[int | None, ...] = (None, 10 * _MINUTE_MS, 24 * _HOUR_MS, 24 * _HOUR_MS, 48 * _HOUR_MS)
"""How long an action stands, by `Action`; a stop may be renewed twice by core banking."""

ActionLabel = Literal["allow", "confirm", "delay", "hold", "stop"]
SeverityLabel = Literal["low", "medium", "high", "critical"]


class AlertStatus(StrEnum):
    """What an alert says has happened to its warning."""

    OPENED = "opened"
    UPDATED = "updated"
    """A new rule joined."""
    ESCALATED = "escalated"
    """The severity rose."""
    CLOSED = "closed"
    """Closed, or the outcome of a closed warning was given late or corrected."""


class ClosedBy(StrEnum):
    """How a warning came to be closed; a later disposition of an expired warning does not change it."""

    DISPOSITION = "disposition"
    EXPIRY = "expiry"


def _finite(value: Any) -> Any:
    """Missing for NaN and infinities, which JSON cannot say."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


Figure = Annotated[float | None, BeforeValidator(_finite)]
Score = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Millis = Annotated[int, Field(description="milliseconds since 1970-01-01 UTC")]


class _Message(BaseModel):
    """Readers ignore fields they do not know, so that a newer writer may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(slots=True, kw_only=True)
class Reason:
    """One live rule (or the anomaly model) that fired, with the figures that made it fire.

    A plain dataclass: a payment that sets off rules makes several of them, and a pydantic model takes ten
    times as long to make. Readers of messages get it checked.
    """

    rule: Annotated[str, Field(description="id of the rule model, or `anomaly`")]
    version: Annotated[int, Field(description="version of the rule model")]
    account: Annotated[str, Field(description="account the reason is about")]
    side: Annotated[Side, Field(description="that account's side in the payment")]
    score: Annotated[Score, Field(description="0-100")]
    text: Annotated[str, Field(description="the reason in words and figures")]
    evidence: Annotated[
        dict[str, Figure], Field(description="features and parameters by name; null: missing")
    ]

    @property
    def key(self) -> str:
        """Rule model and version, as figures are kept by."""
        return rule_key(self.rule, self.version)


class SideAnomaly(_Message):
    """What the anomaly detector of one side said."""

    score: Figure = Field(description="0-1, higher is stranger; null: not scored")
    quantile: Figure = Field(description="running quantile the score is held against; null: not known yet")
    warming_up: bool = Field(description="the detector has not yet seen enough payments to give a reason")


class Anomaly(_Message):
    """Anomaly figures by side; a side that is no account is null or absent."""

    payer: SideAnomaly | None = None
    payee: SideAnomaly | None = None


class Decision(_Message):
    """What to do with one payment. Of several with one `decision_id` the first stands."""

    decision_id: str
    event_id: str
    ts: Millis = Field(description="event time of the payment")
    account: str = Field(description="payer")
    counterparty: str = Field(description="payee")
    amount: float = Field(description="as in the transaction, in `currency`")
    currency: str
    action: ActionLabel
    expires_at: Millis | None = Field(
        description="until when the action stands, from `decided_at`; null: allow"
    )
    score: Score | None = Field(
        description="the higher side's; null: answered without evaluation (repeat, fallback)"
    )
    reasons: list[Reason]
    anomaly: Anomaly
    signals: dict[str, float] = Field(description="level of every risk signal met, by feature name")
    features: dict[str, Figure] | None = Field(
        default=None,
        description="every feature the decision was made on; only with `decisions.features: true`",
    )
    pack: str = Field(description="rule pack the payment was judged by")
    late: bool = Field(description="decided after `policy.deadline_ms`; `policy.on_late` capped the action")
    repeat: bool = Field(description="the payment was sent again; the stored action is answered")
    decided_at: Millis


class Alert(_Message):
    """One revision of a warning about one account."""

    warning_id: str
    revision: int = Field(ge=1, description="counts up by one with every alert of the warning")
    account: str
    side: Side = Field(description="the account's side in the event that opened the warning")
    status: AlertStatus
    severity: SeverityLabel
    score: Score = Field(description="highest so far")
    reasons: list[Reason] = Field(description="newest reason of each rule, highest score first")
    event_ids: list[str] = Field(max_length=EVENT_IDS_KEPT, description="newest first")
    amount: float = Field(description="of all distinct events so far, in base currency")
    opened_at: Millis = Field(description="stream time")
    updated_at: Millis = Field(description="stream time of this revision")
    closed_by: ClosedBy | None
    outcome: Outcome | None
    pack: str = Field(description="rule pack of the newest event")


def rule_key(rule: str, version: int) -> str:
    """Name under which a rule model's version is tallied.

    Examples
    --------
    >>> rule_key("rapid-in-out", 3), rule_key("anomaly", 1)
    ('rapid-in-out@3', 'anomaly')
    """
    return ANOMALY_RULE if rule == ANOMALY_RULE else f"{rule}@{version}"


def _digest(person: bytes, first: str, second: str) -> str:
    """16 bytes of BLAKE2b in hex; NUL cannot occur in an id, so the pair is unambiguous."""
    return hashlib.blake2b(f"{first}\0{second}".encode(), digest_size=16, person=person).hexdigest()


def decision_id(event_id: str, pack_hash: str) -> str:
    """Id of the decision on an event under a rule pack: the same after every replay.

    Examples
    --------
    >>> decision_id("e1", "p1") == decision_id("e1", "p1") != decision_id("e1", "p2")
    True
    """
    return _digest(b"decision", event_id, pack_hash)


def warning_id(account: str, event_id: str) -> str:
    """Id of the warning that an event opened on an account: the same after every replay.

    Examples
    --------
    >>> len(warning_id("6222-1", "e1"))
    32
    """
    return _digest(b"warning", account, event_id)


def expires_at(action: Action, decided_at: int) -> int | None:
    """Until when an action stands.

    Parameters
    ----------
    action : Action
    decided_at : int
        Milliseconds since 1970.

    Returns
    -------
    int or None
        Milliseconds since 1970; None for `allow`, which does not end.

    Examples
    --------
    >>> expires_at(Action.CONFIRM, 0), expires_at(Action.STOP, 0), expires_at(Action.ALLOW, 0)
    (600000, 172800000, None)
    """
    span = _EXPIRY_MS[action]
    return None if span is None else decided_at + span


def _side_anomaly(figures: tuple[float, float, bool] | None) -> dict[str, Any] | None:
    if figures is None:
        return None
    return {"score": figures[0], "quantile": figures[1], "warming_up": figures[2]}


def encode_decision(
    *,
    decision_id: str,
    event_id: str,
    ts: int,
    account: str,
    counterparty: str,
    amount: float,
    currency: str,
    action: Action,
    score: float,
    reasons: Sequence[Reason],
    payer_anomaly: tuple[float, float, bool] | None,
    payee_anomaly: tuple[float, float, bool] | None,
    signals: Mapping[str, float],
    pack: str,
    late: bool,
    repeat: bool,
    decided_at: int,
    names: Sequence[str] | None = None,
    row: Any = None,
) -> bytes:
    """JSON of a decision, from plain values.

    Parameters
    ----------
    payer_anomaly, payee_anomaly : tuple of (score, quantile, warming_up) or None
        None: that side is no account. NaN is written as null.
    signals : mapping
        Feature name to level (1-100), only what was met.
    score : float
        0-100; NaN (written as null) where nothing was evaluated: a repeat or a fallback.
    names : sequence of str, optional
        Feature names, length N; given together with `row` adds the field `features`.
    row : ndarray of float64, shape (N,), optional
        Feature values; NaN is written as null.

    Returns
    -------
    bytes
        A `Decision`.

    Raises
    ------
    ValueError
        If `names` and `row` differ in length.
    """
    message: dict[str, Any] = {
        "decision_id": decision_id,
        "event_id": event_id,
        "ts": ts,
        "account": account,
        "counterparty": counterparty,
        "amount": amount,
        "currency": currency,
        "action": action.label,
        "expires_at": expires_at(action, decided_at),
        "score": score,
        "reasons": reasons,
        "anomaly": {"payer": _side_anomaly(payer_anomaly), "payee": _side_anomaly(payee_anomaly)},
        "signals": signals,
        "pack": pack,
        "late": late,
        "repeat": repeat,
        "decided_at": decided_at,
    }
    if names is not None:
        message["features"] = dict(zip(names, row.tolist(), strict=True))
    # NumPy scalars come straight from the columns; NaN becomes null by orjson's own rule.
    return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY)


def encode_alert(alert: Alert) -> bytes:
    """JSON of an alert.

    Examples
    --------
    >>> alert = Alert(warning_id="w", revision=1, account="a", side="payee", status="opened", severity="low",
    ...     score=50, reasons=[], event_ids=["e"], amount=1.5, opened_at=0, updated_at=0, closed_by=None,
    ...     outcome=None, pack="p")
    >>> Alert.model_validate_json(encode_alert(alert)) == alert
    True
    """
    message = dict(alert.__dict__)
    return orjson.dumps(message)
