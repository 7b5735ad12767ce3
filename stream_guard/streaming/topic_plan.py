"""What each topic of the product must be like, and how what a cluster has differs from it.

Pure: `stream_guard.streaming.topics` asks the cluster and makes what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

DAY_MS = 86_400_000

WANTED_REPLICATION = 3
"""One broker may be down for maintenance while another one fails."""

LARGEST_INPUT = 2 * 1024 * 1024
"""Bytes. A payload of a megabyte must still reach us to become a dead letter; the broker's default refuses
it at its sender, where nobody would see it."""

PARTITIONED_ALIKE = ("transactions", "account_updates", "dispositions", "legs", "cases", "sightings", "state")
"""Partition p of all of them belongs to one process, which keeps one set of rows for it."""

WRITTEN_WITH_STATE = ("alerts", "cases", "sightings", "risk_signals")
"""Their records appear exactly once: in one transaction with the state they follow from."""

COMPACTED = {
    "cleanup.policy": "compact",
    # The segment being written to is never compacted, and all that is not compacted is read at a recovery.
    "segment.bytes": str(64 * 1024 * 1024),
    "min.cleanable.dirty.ratio": "0.1",
}

ROLES = (
    "transactions",
    "account_updates",
    "dispositions",
    "risk_signals",
    "legs",
    "cases",
    "sightings",
    "decisions",
    "alerts",
    "dead_letters",
    "state",
)

_FOREVER = -1


@dataclass(frozen=True)
class TopicPlan:
    """What one topic must be like.

    Attributes
    ----------
    role
        Its field in the settings (``account_updates``).
    name
        Its name on the cluster.
    partitions
        Partition count.
    configs
        Topic settings it is made with.
    """

    role: str
    name: str
    partitions: int
    configs: Mapping[str, str]

    @property
    def keyed(self) -> bool:
        """Whether its partitions belong together with those of the other keyed topics."""
        return self.role in PARTITIONED_ALIKE


@dataclass(frozen=True)
class TopicFound:
    """What a cluster says about one topic: partition count, smallest replica count, all its settings."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True)
class Problem:
    """One difference from the plan.

    Attributes
    ----------
    topic
        Name of the topic.
    serious
        A worker refuses to start on it: results would be wrong or records lost.
    message
        A sentence that says what is wrong and what to do.
    """

    topic: str
    serious: bool
    message: str


def plan(
    names: Mapping[str, str], partitions: int, *, internal_retention_ms: int = 7 * DAY_MS
) -> tuple[TopicPlan, ...]:
    """Topics of one application.

    Parameters
    ----------
    names
        Topic name by role; roles as in `ROLES`.
    partitions
        Partition count of every keyed topic.
    internal_retention_ms
        How long legs, cases and sightings are kept; must exceed the longest outage.

    Returns
    -------
    tuple of TopicPlan
        One a role, in the order of `ROLES`.

    Examples
    --------
    >>> wanted = plan({role: role.replace("_", "-") for role in ROLES}, 12)
    >>> [(topic.name, topic.partitions) for topic in wanted if topic.configs["cleanup.policy"] == "compact"]
    [('account-updates', 12), ('risk-signals', 1), ('state', 12)]
    """
    configs = {
        "transactions": _deleted_after(7 * DAY_MS),
        "account_updates": COMPACTED,
        "dispositions": _deleted_after(365 * DAY_MS),
        "risk_signals": COMPACTED,
        "legs": _deleted_after(internal_retention_ms),
        "cases": _deleted_after(internal_retention_ms),
        "sightings": _deleted_after(internal_retention_ms),
        "decisions": _deleted_after(7 * DAY_MS),
        "alerts": _deleted_after(90 * DAY_MS),
        "dead_letters": _deleted_after(30 * DAY_MS),
        # Twice what a snapshot may be old: the mark of a removed key must outlive all that hold the key.
        "state": {**COMPACTED, "delete.retention.ms": str(DAY_MS)},
    }
    for role in ("transactions", "account_updates", "dispositions", "risk_signals"):
        configs[role] = {**configs[role], "max.message.bytes": str(LARGEST_INPUT)}
    return tuple(
        # Risk signals are few and every process reads them whole: one partition keeps them in one order.
        TopicPlan(role, names[role], 1 if role == "risk_signals" else partitions, configs[role])
        for role in ROLES
    )


def least_in_sync(replication: int) -> int:
    """Replicas that must hold a record before it counts as written: all but one, so that one may be away.

    Examples
    --------
    >>> [least_in_sync(replication) for replication in (1, 2, 3)]
    [1, 1, 2]
    """
    return max(1, replication - 1)


def problems(wanted: Sequence[TopicPlan], found: Mapping[str, TopicFound], brokers: int) -> list[Problem]:
    """Differences between plan and cluster, the serious ones first.

    Parameters
    ----------
    wanted
        From `plan`.
    found
        What the cluster has, by topic name.
    brokers
        Brokers of the cluster: replication is judged by what it can give.

    Examples
    --------
    >>> for problem in problems(plan({role: role for role in ROLES}, 12)[:1], {}, brokers=3):
    ...     print(problem.message)
    Topic 'transactions' does not exist: run 'stream-guard topics create'.
    """
    result = []
    for topic in wanted:
        have = found.get(topic.name)
        if have is None:
            message = f"Topic '{topic.name}' does not exist: run 'stream-guard topics create'."
            result.append(Problem(topic.name, True, message))
            continue
        differences = [
            *_count_differences(topic, have),
            *_keeping_differences(topic, have),
            *_safety_differences(topic, have, min(WANTED_REPLICATION, brokers)),
        ]
        result += [
            Problem(topic.name, serious, f"Topic '{topic.name}' {text}") for serious, text in differences
        ]
    return sorted(result, key=lambda problem: not problem.serious)


def _deleted_after(milliseconds: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(milliseconds)}


def _count_differences(topic: TopicPlan, have: TopicFound) -> Iterator[tuple[bool, str]]:
    if not topic.keyed or have.partitions == topic.partitions:
        return
    advice = (
        f"set STREAM_GUARD_PARTITIONS={have.partitions}, or nothing"
        if topic.role == "transactions"
        else f"make it anew with {topic.partitions}"
    )
    yield (
        True,
        f"has {have.partitions} partitions where {topic.partitions} are wanted: all keyed topics need the"
        f" same count, because partition p of all of them goes to one process; {advice}.",
    )


def _keeping_differences(topic: TopicPlan, have: TopicFound) -> Iterator[tuple[bool, str]]:
    policy = topic.configs["cleanup.policy"]
    actual = have.configs["cleanup.policy"]
    if set(actual.replace(" ", "").split(",")) != {policy}:
        harm = (
            "older records of a key vanish" if policy == "delete" else "rows not written for a while vanish"
        )
        yield topic.keyed, f"has cleanup.policy={actual}, so {harm}: set cleanup.policy={policy}."
    elif policy == "delete":
        yield from _retention_differences(topic, have)
    marks = int(topic.configs.get("delete.retention.ms", 0))
    kept = int(have.configs["delete.retention.ms"]) if marks else 0
    if kept < marks // 2:
        yield (
            True,
            f"keeps the mark of a removed key for {_duration(kept)} only, so a local snapshot may bring back"
            f" what was removed: set delete.retention.ms={marks}.",
        )
    largest = int(topic.configs.get("max.message.bytes", 0))
    limit = int(have.configs["max.message.bytes"])
    if limit < largest:
        yield (
            False,
            f"takes no record above {limit} bytes, so an oversized one fails at its sender instead of"
            f" becoming a dead letter: set max.message.bytes={largest}.",
        )


def _retention_differences(topic: TopicPlan, have: TopicFound) -> Iterator[tuple[bool, str]]:
    least = int(topic.configs["retention.ms"])
    kept = int(have.configs["retention.ms"])
    if _FOREVER < kept < least:
        yield (
            False,
            f"keeps records for {_duration(kept)} where {_duration(least)} are wanted:"
            f" set retention.ms={least}.",
        )
    size = int(have.configs["retention.bytes"])
    if size != _FOREVER:
        yield (
            False,
            f"has retention.bytes={size}, so a busy hour may push out records before they are read: set"
            " retention.bytes=-1.",
        )


def _safety_differences(topic: TopicPlan, have: TopicFound, possible: int) -> Iterator[tuple[bool, str]]:
    in_sync = int(have.configs["min.insync.replicas"])
    least = least_in_sync(have.replication)
    if in_sync > have.replication:
        yield (
            True,
            f"has {have.replication} replicas and min.insync.replicas={in_sync}, so nothing can be written to"
            f" it: set min.insync.replicas={least}.",
        )
    elif in_sync < least:
        yield (
            False,
            f"has min.insync.replicas={in_sync}, so the failure of one broker can lose acknowledged records:"
            f" set min.insync.replicas={least}.",
        )
    if have.replication < possible:
        yield (
            False,
            f"has {have.replication} replica{'s' if have.replication > 1 else ''} where the cluster can hold"
            f" {possible}: reassign its partitions to {possible} brokers.",
        )
    if have.configs["unclean.leader.election.enable"] != "false":
        yield (
            topic.keyed,
            "lets a replica that is behind take over, which loses acknowledged records: set"
            " unclean.leader.election.enable=false.",
        )


def _duration(milliseconds: int) -> str:
    if milliseconds >= DAY_MS:
        return f"{milliseconds / DAY_MS:.4g} days"
    return f"{milliseconds / 3_600_000:.3g} hours"
