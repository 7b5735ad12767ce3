from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from stream_guard.detection.policy import Policy, PolicyError, RuleMeta, WorkerPolicy, load_policy
from stream_guard.detection.vocabulary import Action, RuleSource, RuleState, Severity, Side

FILE = Path(__file__).parents[2] / "models" / "policy.yaml"
TEXT = FILE.read_text(encoding="utf-8")


def shipped(**overrides: object) -> Policy:
    return load_policy(TEXT, "policy.yaml", **overrides)


def test_the_defaults_are_those_of_the_contract() -> None:
    policy = shipped()
    assert policy.warn_at == 50
    assert policy.deadline_ms == 1000
    assert policy.on_late is Action.ALLOW
    assert policy.warning_ttl == timedelta(days=30)
    assert policy.warning_ttl_s == 30 * 86_400
    assert policy.anomaly_score == 30


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        (0, Severity.LOW),
        (50, Severity.LOW),
        (69.999, Severity.LOW),
        (70, Severity.MEDIUM),
        (85, Severity.HIGH),
        (94.9, Severity.HIGH),
        (95, Severity.CRITICAL),
        (100, Severity.CRITICAL),
    ],
)
def test_severity_is_low_50_medium_70_high_85_critical_95(score: float, severity: Severity) -> None:
    assert shipped().severity(score) is severity


def test_the_settings_of_the_worker_override() -> None:
    policy = shipped(warn_at=60, deadline_ms=0, on_late="hold", warning_ttl="12h")
    assert (policy.warn_at, policy.deadline_ms, policy.on_late) == (60, 0, Action.HOLD)
    assert policy.warning_ttl_s == 12 * 3600
    assert policy.figures().tolist() == [40, 60, 80, 30, 3]


@pytest.mark.parametrize("label", ["delay", "stop"])
def test_on_late_is_allow_confirm_or_hold(label: str) -> None:
    for fine in ("allow", "confirm", "hold"):
        assert WorkerPolicy.model_validate({"on_late": fine}).on_late.label == fine
    with pytest.raises(PolicyError, match="on_late must be allow, confirm or hold"):
        shipped(on_late=label)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"on_late": "perhaps"},
            r"policy: on_late: there is no action 'perhaps'; write one of allow, confirm",
        ),
        ({"warn_at": 101}, "warn_at"),
        ({"warn_at": float("nan")}, "warn_at"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"warning_ttl": "0d"}, "at least a second"),
        ({"warning_ttl": "a month"}, "warning_ttl"),
        ({"anomaly_score": 90}, "anomaly_score cannot be overridden, only warn_at"),
    ],
)
def test_a_bad_override_is_refused_with_its_name(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        shipped(**overrides)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("anomaly_score: 30", "anomaly_score: 130"),
            r"my.yaml:\d+:16: anomaly_score: .*less than or equal to 100",
        ),
        (("anomaly_score: 30", ""), r"my.yaml:\d+:1: anomaly_score: Field required"),
        (("anomaly_score: 30", "anomaly_score: 30\nextra: 1"), r"my.yaml:\d+:8: extra: .*not permitted"),
        (("anomaly_score: 30", "anomaly_score: 30\nwarn_at: 1"), "warn_at is a setting of the worker"),
        (
            ("anomaly_score: 30", "anomaly_score: 30\nanomaly_score: 3"),
            r"my.yaml:\d+:1: .*'anomaly_score' is given twice",
        ),
        (("confirm: 40", "confirm: 70"), "thresholds must rise"),
        (("medium: 70", "medium: 50"), "severity cuts must rise"),
        (("confirm: 40", "confirm: [40"), r"my.yaml:\d+:\d+: "),
        ((TEXT, "- 1"), "my.yaml: expected fields and values, found list"),
        ((TEXT, ""), "my.yaml:1:1: the file is empty"),
        ((TEXT, "a: !!python/object:os.system {}"), "a tag .* is not allowed"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(change: tuple[str, str], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        load_policy(TEXT.replace(*change), "my.yaml")


def test_lateness_counts_from_the_record_and_0_turns_it_off() -> None:
    produced = np.array([0, 4_000, 4_001, 9_000], np.int64)
    assert shipped(deadline_ms=1000).late(produced, 5_000).tolist() == [True, False, False, False]
    assert shipped(deadline_ms=999).late(produced, 5_000).tolist() == [True, True, False, False]
    assert shipped(deadline_ms=0).late(produced, 10**15).tolist() == [False] * 4


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        shipped().warn_at = 1  # type: ignore[misc]


def test_rule_arrays_follow_the_rules() -> None:
    meta = RuleMeta.of(
        [
            (Side.PAYER, Action.STOP, RuleState.LIVE, RuleSource.POLICE),
            (Side.PAYEE, Action.ALLOW, RuleState.SHADOW, RuleSource.BANK),
        ]
    )
    assert [column.tolist() for column in meta] == [[0, 1], [4, 0], [True, False], [True, False]]
    assert all(len(column) == 0 for column in RuleMeta.of([]))
