"""The sections of the settings, with their defaults."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from stream_guard.detection.policy import ActionLabel, Span, WorkerPolicy
from stream_guard.detection.sharing import SharingLimits
from stream_guard.detection.vocabulary import Action
from stream_guard.settings.values import Currency, ExistingFile, Names, Numbers, Section, TopicName, seconds

ROOT = Path(__file__).resolve().parents[2]
"""Folder that holds ``models/`` when nothing else is configured."""


class State(Section):
    """Where the state of a partition is kept, and how often it becomes durable."""

    backend: Literal["kafka", "memory"] = "kafka"
    """`kafka`: transactional changelog topic. `memory`: gone with the process, for the demo."""
    flush_interval_s: float = Field(default=1.0, ge=0.05, le=60)
    """Seconds between two commits of a partition; alerts are at most this late."""
    lease_s: float = Field(default=10.0, ge=1, le=300)
    """Seconds without a commit after which a process stops sending anything."""
    snapshot_interval_s: float = Field(default=600.0, ge=0, le=21_600)
    """Seconds between two snapshots of a partition in `data_dir`, which shorten the next start on this
    machine; 0: none are kept."""
    memory_mb: int | None = Field(default=None, ge=1)
    """MiB that this process may use, for the alert about it; the container's or machine's where absent."""

    @model_validator(mode="after")
    def _lease_outlives_flushes(self) -> Self:
        if self.lease_s < 2 * self.flush_interval_s:
            raise ValueError(
                "lease_s must be at least twice flush_interval_s, or a slow commit ends the lease"
            )
        return self


class Topics(Section):
    """Names of the topics."""

    transactions: TopicName = "transactions"
    account_updates: TopicName = "account-updates"
    dispositions: TopicName = "dispositions"
    risk_signals: TopicName = "risk-signals"
    legs: TopicName = "{app_id}-legs"
    cases: TopicName = "{app_id}-cases"
    sightings: TopicName = "{app_id}-sightings"
    decisions: TopicName = "decisions"
    alerts: TopicName = "alerts"
    dead_letters: TopicName = "dead-letters"
    state: TopicName = "{app_id}.state"

    @property
    def names(self) -> dict[str, str]:
        """Topic name by role.

        Examples
        --------
        >>> Topics().names["dead_letters"]
        'dead-letters'
        """
        return {role: getattr(self, role) for role in type(self).model_fields}

    @model_validator(mode="after")
    def _all_differ(self) -> Self:
        roles: dict[str, str] = {}
        for role, name in self.names.items():
            if name in roles:
                raise ValueError(
                    f"{roles[name]} and {role} are both {name!r}; every topic needs its own name"
                )
            roles[name] = role
        return self


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone; write an IANA name such as Asia/Shanghai") from None
    return name


def _capitals(rates: Any) -> Any:
    # The environment's names have lost their case: STREAM_GUARD_BANK__RATES__USD.
    return {str(code).upper(): rate for code, rate in rates.items()} if isinstance(rates, dict) else rates


class BankSettings(Section):
    """What detection must know about the bank."""

    base_currency: Currency = "CNY"
    """Currency of every feature, and of payments that name none."""
    timezone: Annotated[str, AfterValidator(_timezone)] = "Asia/Shanghai"
    """IANA name; decides what is night, which weekday it is and where a day begins."""
    rates: Annotated[
        dict[Currency, Annotated[float, Field(gt=0, allow_inf_nan=False)]], BeforeValidator(_capitals)
    ] = Field(default_factory=dict)
    """Base currency per unit of another currency; payments in any further one are refused."""
    limits: Numbers = (5_000.0, 50_000.0, 200_000.0)
    """Reporting or authentication limits, in base currency, that someone may want to stay below."""
    small_amount: float = Field(default=500.0, gt=0, allow_inf_nan=False)
    """Payments up to this amount, in base currency, count as small."""
    future_ms: int = Field(default=300_000, ge=0)
    """How far ahead of the wall clock a payment's time may be, ms."""


class Parties(Section):
    """Who of the payers and payees has a profile."""

    not_accounts: Names = ("EXT_*",)
    """Patterns of ids that are no account (a till, cash, a pool), beside what a payment says by kind."""


class SharingSettings(Section):
    """From when on accounts behind one device or address are too many."""

    accounts_7d: int = Field(default=3, ge=2, le=1_000)
    """So many accounts that one device or address acts for in 7 local days are a risk signal on it."""
    accounts_30d: int = Field(default=5, ge=2, le=1_000)
    """The same in 30 local days."""
    opened: int = Field(default=3, ge=2, le=1_000)
    """So many accounts behind it that were opened within `opened_days` are a risk signal on each of them."""
    opened_days: int = Field(default=30, ge=1, le=366)
    """Local days."""
    crowd: int = Field(default=50, ge=2, le=1_000)
    """More accounts in 30 days than this make a device or address a public one, which says nothing."""

    @model_validator(mode="after")
    def _a_crowd_is_more_than_too_many(self) -> Self:
        if self.crowd < max(self.accounts_7d, self.accounts_30d, self.opened):
            raise ValueError(
                "crowd must not be below accounts_7d, accounts_30d or opened, or nothing is found"
            )
        return self

    @property
    def limits(self) -> SharingLimits:
        """As detection takes them."""
        return SharingLimits(**self.model_dump())


class Decisions(Section):
    """What is written to the decisions topic."""

    emit: Literal["interceptions", "all"] = "interceptions"
    """`interceptions`: everything above allow. `all`: every payment."""
    features: bool = False
    """Whether each decision carries the value of every feature it was made on."""


class PolicySettings(WorkerPolicy):
    """What a worker may decide; scores' thresholds are in the policy model."""

    fallback_action: ActionLabel = Action.CONFIRM
    """Decision on a payment that we fail to process by a defect of ours."""
    interception_budget: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Base currency a day: more delayed, held or stopped than this raises an alert; 0: never."""
    hit_rate_floor: float = Field(default=0.05, ge=0, le=1)
    """A rule model whose hit rate is surely below this raises an alert."""

    @field_validator("warning_ttl", mode="before")
    @classmethod
    def _environment_writes_numbers_as_text(cls, span: Any) -> Any:
        return seconds(span)

    @field_validator("fallback_action")
    @classmethod
    def _no_stop(cls, action: Action) -> Action:
        if action is Action.STOP:
            raise ValueError("stop is only for listed parties and police rules; write hold at most")
        return action

    @property
    def overrides(self) -> dict[str, Any]:
        """Arguments of `load_policy`.

        Examples
        --------
        >>> PolicySettings().overrides["warning_ttl"] == timedelta(days=30)
        True
        """
        return {name: getattr(self, name) for name in WorkerPolicy.model_fields}

    @property
    def limits(self) -> dict[str, float]:
        """What alerts compare with, as ``stream_guard_policy`` tells it.

        Examples
        --------
        >>> PolicySettings().limits
        {'deadline_seconds': 1.0, 'interception_budget': 0.0, 'hit_rate_floor': 0.05}
        """
        return {
            "deadline_seconds": self.deadline_ms / 1000,
            "interception_budget": self.interception_budget,
            "hit_rate_floor": self.hit_rate_floor,
        }


class Models(Section):
    """Files of the rule pack, the policy and the anomaly model."""

    pack: ExistingFile = ROOT / "models" / "bank-core.yaml"
    policy: ExistingFile = ROOT / "models" / "policy.yaml"
    anomaly: ExistingFile = ROOT / "models" / "anomaly.yaml"

    def read(self, name: Literal["pack", "policy", "anomaly"]) -> tuple[str, str]:
        """Text and name of one of the files.

        Raises
        ------
        ValueError
            The file cannot be read; the sentence says which setting names it.
        """
        path: Path = getattr(self, name)
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ValueError(f"{path} cannot be read: {cause}; set models.{name}") from None


class Http(Section):
    """The server of /metrics, /healthz and /readyz."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; beyond loopback whoever reaches it can read the figures."""
    port: int = Field(default=9464, ge=0, le=65_535)
    """0: any free port."""


class ConsumerSettings(Section):
    """How the worker reads, and how soon its group notices that it is gone."""

    session_timeout_s: float = Field(default=10.0, ge=6, le=300)
    """Seconds without a heartbeat after which a killed process loses its partitions."""
    heartbeat_s: float = Field(default=3.0, gt=0)
    """Seconds between heartbeats."""
    max_poll_records: int = Field(default=5_000, ge=1, le=100_000)
    """Most records of one fetch; bounds how long a batch takes."""
    gather_ms: float = Field(default=3.0, ge=0, le=1_000)
    """Most milliseconds to gather records before a fetch while batches are small: latency against CPU."""
    fetch_wait_ms: int = Field(default=500, ge=1, le=10_000)
    """Most milliseconds a broker may hold an empty fetch. A record that arrives ends the wait at once, except
    on the demo's embedded broker, which always waits."""

    @model_validator(mode="after")
    def _several_heartbeats_a_session(self) -> Self:
        if 3 * self.heartbeat_s > self.session_timeout_s:
            raise ValueError(
                "session_timeout_s must be at least 3 times heartbeat_s, or one lost heartbeat counts"
            )
        return self


class Log(Section):
    """What the worker says about itself."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["plain", "json"] = "plain"
    pseudonym_key_file: ExistingFile | None = None
    """Key of the pseudonyms under which accounts stand in the log; a random one where absent."""


class Retention(Section):
    """How long our own topics keep records; those that the contract fixes are not settings."""

    internal: Span = timedelta(days=7)
    """Legs, cases and sightings: longer than the longest outage, or payments are lost."""

    @field_validator("internal", mode="before")
    @classmethod
    def _environment_writes_numbers_as_text(cls, span: Any) -> Any:
        return seconds(span)

    @field_validator("internal")
    @classmethod
    def _an_hour_at_least(cls, span: timedelta) -> timedelta:
        if span < timedelta(hours=1):
            raise ValueError("must be at least an hour (1h)")
        return span
