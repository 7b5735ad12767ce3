from __future__ import annotations

from dataclasses import replace

import pytest

from stream_guard.streaming.snapshots import MAX_AGE_S
from stream_guard.streaming.topic_plan import DAY_MS, ROLES, Problem, TopicFound, TopicPlan, plan, problems

NAMES = {role: f"bank-{role}" for role in ROLES}
WANTED = {topic.role: topic for topic in plan(NAMES, 6)}


def found(role: str, *, partitions: int | None = None, replication: int = 3, **configs: str) -> TopicFound:
    """A topic as planned, on three brokers, but for what is said here (dots written as underscores)."""
    topic = WANTED[role]
    defaults = {
        "retention.ms": "604800000",
        "retention.bytes": "-1",
        "max.message.bytes": "1048588",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
    }
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    return TopicFound(partitions or topic.partitions, replication, {**defaults, **topic.configs, **changed})


def judge(role: str, have: TopicFound, brokers: int = 3) -> list[Problem]:
    return problems([WANTED[role]], {NAMES[role]: have}, brokers)


def test_the_planned_topics_are_those_of_the_contract() -> None:
    kept = {role: topic.configs.get("retention.ms") for role, topic in WANTED.items()}
    days = {role: int(ms) // DAY_MS for role, ms in kept.items() if ms is not None}
    assert days == {
        "transactions": 7,
        "dispositions": 365,
        "legs": 7,
        "cases": 7,
        "sightings": 7,
        "decisions": 7,
        "alerts": 90,
        "dead_letters": 30,
    }
    compacted = {role for role, topic in WANTED.items() if topic.configs["cleanup.policy"] == "compact"}
    assert compacted == {"account_updates", "risk_signals", "state"}
    assert {topic.partitions for role, topic in WANTED.items() if role != "risk_signals"} == {6}


def test_legs_and_cases_are_kept_longer_than_the_longest_outage() -> None:
    longer = {topic.role: topic for topic in plan(NAMES, 6, internal_retention_ms=30 * DAY_MS)}
    assert (
        longer["legs"].configs["retention.ms"] == longer["cases"].configs["retention.ms"] == str(30 * DAY_MS)
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_topic_as_planned_has_no_problem(role: str) -> None:
    assert judge(role, found(role)) == []


def test_a_changelog_that_forgets_removals_before_a_snapshot_is_too_old_is_serious() -> None:
    (problem,) = judge("state", found("state", delete_retention_ms=str(11 * DAY_MS // 24)))
    assert problem.serious
    assert "may bring back what was removed: set delete.retention.ms=86400000." in problem.message
    assert judge("state", found("state", delete_retention_ms=str(DAY_MS // 2))) == []
    assert int(WANTED["state"].configs["delete.retention.ms"]) >= 2 * MAX_AGE_S * 1000


@pytest.mark.parametrize("role", ROLES)
def test_a_missing_topic_is_serious_and_says_how_to_make_it(role: str) -> None:
    (problem,) = problems([WANTED[role]], {}, 3)
    assert problem.serious
    assert problem.message.endswith("does not exist: run 'stream-guard topics create'.")


@pytest.mark.parametrize(
    "role", ["transactions", "account_updates", "dispositions", "legs", "cases", "sightings", "state"]
)
def test_another_partition_count_on_a_keyed_topic_is_serious(role: str) -> None:
    (problem,) = judge(role, found(role, partitions=5))
    assert problem.serious
    assert "has 5 partitions where 6 are wanted" in problem.message


@pytest.mark.parametrize("role", ["risk_signals", "decisions", "alerts", "dead_letters"])
def test_topics_without_our_rows_may_have_any_partition_count(role: str) -> None:
    assert judge(role, found(role, partitions=5)) == []


@pytest.mark.parametrize(
    ("role", "policy", "serious"),
    [
        ("state", "delete", True),
        ("state", "compact,delete", True),
        ("legs", "compact", True),
        ("alerts", "compact", False),
    ],
)
def test_another_cleanup_policy_is_a_problem(role: str, policy: str, serious: bool) -> None:
    (problem,) = judge(role, found(role, cleanup_policy=policy))
    assert problem.serious is serious
    assert f"has cleanup.policy={policy}" in problem.message


@pytest.mark.parametrize(
    ("ms", "fine"), [("-1", True), (str(7 * DAY_MS), True), (str(8 * DAY_MS), True), ("3600000", False)]
)
def test_retention_may_be_longer_and_not_shorter(ms: str, fine: bool) -> None:
    result = judge("legs", found("legs", retention_ms=ms))
    assert (result == []) is fine
    assert all("keeps records for 1 hours where 7 days are wanted" in problem.message for problem in result)


@pytest.mark.parametrize(
    ("changed", "serious", "advice"),
    [
        ({"retention_bytes": "1000000"}, False, "set retention.bytes=-1"),
        ({"max_message_bytes": "1048588"}, False, "set max.message.bytes=2097152"),
        ({"min_insync_replicas": "4"}, True, "set min.insync.replicas=2"),
        ({"min_insync_replicas": "1"}, False, "set min.insync.replicas=2"),
        ({"unclean_leader_election_enable": "true"}, True, "set unclean.leader.election.enable=false"),
    ],
)
def test_a_setting_that_loses_records_says_what_to_set(
    changed: dict[str, str], serious: bool, advice: str
) -> None:
    (problem,) = judge("transactions", found("transactions", **changed))
    assert problem.serious is serious
    assert advice in problem.message


@pytest.mark.parametrize(("brokers", "in_sync", "fine"), [(1, "1", True), (2, "1", False), (3, "1", False)])
def test_replication_is_judged_by_what_the_cluster_can_give(brokers: int, in_sync: str, fine: bool) -> None:
    have = replace(found("alerts", min_insync_replicas=in_sync), replication=1)
    assert (judge("alerts", have, brokers) == []) is fine


def test_serious_problems_come_first() -> None:
    wanted: list[TopicPlan] = [WANTED["alerts"], WANTED["state"]]
    have = {NAMES["alerts"]: found("alerts", retention_bytes="5")}
    assert [problem.serious for problem in problems(wanted, have, 3)] == [True, False]
