"""What a bank does at which score, and what a rule model may ask for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from stream_guard.detection.documents import DocumentError, explain, parse_document
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Severity, Side


def _action(value: Any) -> Any:
    # YAML and the environment give labels.
    if isinstance(value, str):
        try:
            return Action.parse(value)
        except KeyError:
            labels = ", ".join(action.label for action in Action)
            raise ValueError(f"there is no action {value!r}; write one of {labels}") from None
    return value


def _span(value: Any) -> Any:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    text = value.strip() if isinstance(value, str) else ""
    if text[:-1].isdecimal() and text[-1:] in units:
        return timedelta(seconds=int(text[:-1]) * units[text[-1]])
    return value


ActionLabel = Annotated[
    Action, BeforeValidator(_action), PlainSerializer(lambda a: a.label, return_type=str, when_used="json")
]
Span = Annotated[timedelta, BeforeValidator(_span)]
Score = Annotated[float, Field(ge=0.0, le=100.0, allow_inf_nan=False)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerPolicy(_Frozen):
    """The part of the policy that is a worker setting (``policy`` in its configuration)."""

    warn_at: Score = 50.0
    """Score of a side from which its account is warned about."""
    deadline_ms: int = Field(default=1000, ge=0)
    """Age of the Kafka record, in ms, above which a decision is late; 0: never, for recorded histories."""
    on_late: ActionLabel = Action.ALLOW
    """The most that a late decision may be; core banking has already moved on."""
    warning_ttl: Span = timedelta(days=30)
    """Age at which an open warning expires: seconds, or a text such as ``30d``."""

    @property
    def warning_ttl_s(self) -> int:
        """`warning_ttl` in seconds."""
        return int(self.warning_ttl.total_seconds())

    @model_validator(mode="after")
    def _check_worker(self) -> Self:
        if self.on_late not in (Action.ALLOW, Action.CONFIRM, Action.HOLD):
            raise ValueError(f"on_late must be allow, confirm or hold, not {self.on_late.label}")
        if self.warning_ttl < timedelta(seconds=1):
            raise ValueError(f"warning_ttl must be at least a second, not {self.warning_ttl}")
        return self


class Thresholds(_Frozen):
    """Score of a side from which the score itself asks for an action; it never asks for a stop."""

    confirm: Score
    delay: Score
    hold: Score

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0.0 < self.confirm <= self.delay <= self.hold:
            found = f"{self.confirm}, {self.delay}, {self.hold}"
            raise ValueError(f"thresholds must rise: 0 < confirm <= delay <= hold, not {found}")
        return self


class SeverityCuts(_Frozen):
    """Score from which a warning has a severity."""

    low: Score
    medium: Score
    high: Score
    critical: Score

    @model_validator(mode="after")
    def _check(self) -> Self:
        cuts = (self.low, self.medium, self.high, self.critical)
        if not all(a < b for a, b in pairwise(cuts)):
            raise ValueError(f"severity cuts must rise: low < medium < high < critical, not {cuts}")
        return self


class PolicyModel(_Frozen):
    """The part of the policy that is a model: ``models/policy.yaml``."""

    thresholds: Thresholds
    severity_cuts: SeverityCuts
    anomaly_score: Score

    @model_validator(mode="before")
    @classmethod
    def _refuse_worker_settings(cls, data: Any) -> Any:
        for name in WorkerPolicy.model_fields:
            if cls is PolicyModel and isinstance(data, dict) and name in data:
                raise ValueError(
                    f"{name} is a setting of the worker: write policy.{name} in its configuration"
                )
        return data


class Policy(PolicyModel, WorkerPolicy):
    """Everything the bank has decided about deciding."""

    def severity(self, score: float) -> Severity:
        """Severity of a warning with this score; one that a rule opened below the lowest cut is low.

        Examples
        --------
        >>> thresholds = Thresholds(confirm=40, delay=60, hold=80)
        >>> cuts = SeverityCuts(low=50, medium=70, high=85, critical=95)
        >>> policy = Policy(thresholds=thresholds, severity_cuts=cuts, anomaly_score=30)
        >>> policy.severity(85).label
        'high'
        """
        cuts = self.severity_cuts
        if score >= cuts.critical:
            return Severity.CRITICAL
        if score >= cuts.high:
            return Severity.HIGH
        return Severity.MEDIUM if score >= cuts.medium else Severity.LOW

    def late(self, produced: NDArray[np.int64], now_ms: int) -> NDArray[np.bool_]:
        """Which records are older than the deadline, counted from their Kafka timestamps, in ms."""
        if self.deadline_ms == 0:
            return np.zeros(len(produced), np.bool_)
        return now_ms - produced > self.deadline_ms

    def figures(self) -> NDArray[np.float64]:
        """f8[5] for the kernels: thresholds of confirm, delay, hold; score of an anomaly; `on_late`."""
        t = self.thresholds
        return np.array([t.confirm, t.delay, t.hold, self.anomaly_score, float(self.on_late)])


class RuleMeta(NamedTuple):
    """What deciding needs to know of the rules, one element a column of the rule results.

    Attributes
    ----------
    side
        u1[R]: 0 the rule is about the payer, 1 about the payee.
    action
        u1[R]: the least the decision may be when the rule fires.
    live
        bool[R]: counts; a shadow rule does not.
    police
        bool[R]: a police rule, which may ask for a stop.
    """

    side: NDArray[np.uint8]
    action: NDArray[np.uint8]
    live: NDArray[np.bool_]
    police: NDArray[np.bool_]

    @classmethod
    def of(cls, rules: Iterable[tuple[Side, Action, RuleState, RuleSource]]) -> RuleMeta:
        """Arrays of (side, action, state, source), one a rule, in the order of the results' columns.

        Examples
        --------
        >>> RuleMeta.of([(Side.PAYEE, Action.DELAY, RuleState.LIVE, RuleSource.BANK)]).side.tolist()
        [1]
        """
        rows = list(rules)
        return cls(
            np.array([side is Side.PAYEE for side, _, _, _ in rows], np.uint8),
            np.array([int(action) for _, action, _, _ in rows], np.uint8),
            np.array([state is RuleState.LIVE for _, _, state, _ in rows], np.bool_),
            np.array([source is RuleSource.POLICE for _, _, _, source in rows], np.bool_),
        )


class PolicyError(DocumentError):
    """The policy is refused."""


def load_policy(text: str, source: str, **overrides: Any) -> Policy:
    """Policy of a YAML text and the worker's settings.

    Parameters
    ----------
    text, source
        Content and name of ``models/policy.yaml``.
    overrides
        Fields of :class:`WorkerPolicy`; those not given keep their defaults.

    Raises
    ------
    PolicyError
        A field is missing, unknown or out of its bounds; every complaint with its place.
    """
    try:
        model = parse_document(text, source, PolicyModel)
    except DocumentError as error:
        raise PolicyError(str(error)) from error
    unknown = sorted(set(overrides) - set(WorkerPolicy.model_fields))
    if unknown:
        known = ", ".join(WorkerPolicy.model_fields)
        raise PolicyError(f"policy: {', '.join(unknown)} cannot be overridden, only {known}")
    try:
        return Policy.model_validate({**model.model_dump(), **overrides})
    except ValidationError as error:
        raise PolicyError(explain(error, lambda _: "policy")) from error
