"""The product's topics on a live cluster: look at them, make those that are missing.

Synchronous and quick, with kafka-python's administration client. The worker calls `partition_counts` before
it joins its group; the command line the rest.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from stream_guard.settings import Settings
from stream_guard.streaming.topic_plan import (
    PARTITIONED_ALIKE,
    WANTED_REPLICATION,
    Problem,
    TopicFound,
    TopicPlan,
    least_in_sync,
    plan,
    problems,
)

logger = logging.getLogger(__name__)

DEFAULT_PARTITIONS = 12
"""Divides evenly among 1, 2, 3, 4, 6 and 12 processes, and cannot be changed later without a drain."""

BOOTSTRAP_S = 10.0
"""How long to look for a broker; a healthy one answers within milliseconds."""

LEADERS_WAIT_MS = 30_000
"""A new topic answers only when every partition has a leader; a loaded cluster takes seconds."""


class BrokerUnreachable(Exception):
    """No broker answers, or it refuses us; the message is one sentence that says what to look at."""


class TopicsRefused(Exception):
    """Topics that cannot be used, shown or made; the message is a sentence for each."""


@dataclass(frozen=True)
class Created:
    """Outcome of `create`.

    Attributes
    ----------
    created
        Topics made now.
    existing
        Topics that were there; nothing about them was changed.
    replication
        Replicas of those made now.
    warnings
        Sentences about what is less than wanted.
    """

    created: tuple[str, ...]
    existing: tuple[str, ...]
    replication: int
    warnings: tuple[str, ...]


@contextmanager
def admin_client(
    connection: Mapping[str, Any], *, timeout_s: float = BOOTSTRAP_S
) -> Iterator[KafkaAdminClient]:
    """Administration client of a cluster.

    Parameters
    ----------
    connection
        Keyword arguments of kafka-python clients: ``bootstrap_servers`` and security.
    timeout_s
        How long to look for a broker.

    Raises
    ------
    BrokerUnreachable
        When no broker answers in that time, or one refuses a request later.
    """
    servers = connection["bootstrap_servers"]
    servers = servers.split(",") if isinstance(servers, str) else list(servers)
    require_listener(servers, timeout_s)
    try:
        client = KafkaAdminClient(**connection, bootstrap_timeout_ms=int(timeout_s * 1000))
    except (KafkaError, OSError) as error:
        raise BrokerUnreachable(
            f"{', '.join(servers)} accepts connections but does not answer as a Kafka broker ({error}):"
            " check the port and the security settings."
        ) from error
    with client:
        try:
            yield client
        except KafkaError as error:
            raise BrokerUnreachable(f"The Kafka broker on {', '.join(servers)} refused: {error}") from error


def require_listener(servers: Sequence[str], timeout_s: float) -> None:
    """Raise `BrokerUnreachable` unless one of the addresses accepts connections.

    Kafka's clients go on trying for as long as they are given, and say little about why.

    Examples
    --------
    >>> require_listener(["localhost"], 1.0)
    Traceback (most recent call last):
    ...
    stream_guard.streaming.topics.BrokerUnreachable: 'localhost' is no broker address: write HOST:PORT.
    """
    reasons = []
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit():
            raise BrokerUnreachable(f"{server!r} is no broker address: write HOST:PORT.")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
        except (OSError, OverflowError) as error:
            reasons.append(f"{server}: {getattr(error, 'strerror', None) or error}")
        else:
            return
    raise BrokerUnreachable(
        f"No Kafka broker answers ({'; '.join(reasons)}): start it, or set STREAM_GUARD_BROKER."
    )


def partition_counts(settings: Settings) -> dict[str, int]:
    """Partition count of every topic by name, after a check that a worker can run on them.

    What is merely unwise goes to the log. With the state in memory, only what is read and written is
    looked at: the embedded broker of the demo shows no settings, and promises nothing.

    Raises
    ------
    BrokerUnreachable
        When no broker answers.
    TopicsRefused
        When a topic is missing or would make results wrong or lose records.
    """
    if settings.state.backend == "memory":
        return _counts_only(settings)
    with admin_client(settings.python_client()) as client:
        wanted = plan_for(settings, client)
        found = observe(client, wanted)
        brokers = len(client.describe_cluster()["brokers"])
    different = problems(wanted, found, brokers)
    for problem in different:
        if not problem.serious:
            logger.warning(problem.message)
    serious = [problem.message for problem in different if problem.serious]
    if serious:
        raise TopicsRefused("\n".join(serious))
    return {name: have.partitions for name, have in found.items()}


def plan_for(
    settings: Settings, client: KafkaAdminClient, partitions: int | None = None
) -> tuple[TopicPlan, ...]:
    """Topics that an application needs.

    Parameters
    ----------
    partitions
        Partition count of the keyed topics; None: the settings', else that of the transactions topic where
        there is one, else `DEFAULT_PARTITIONS`.
    """
    count = partitions or settings.partitions
    if count is None:
        transactions = settings.topics.transactions
        (row,) = client.describe_topics([transactions])
        count = len(row["partitions"]) or DEFAULT_PARTITIONS
    kept_ms = int(settings.retention.internal.total_seconds() * 1000)
    return plan(settings.topics.names, count, internal_retention_ms=kept_ms)


def observe(client: KafkaAdminClient, wanted: Sequence[TopicPlan]) -> dict[str, TopicFound]:
    """What the cluster has of the planned topics, by name; one that it has not is left out.

    Raises
    ------
    TopicsRefused
        When the cluster does not show a topic for another reason than its absence.
    """
    described = {}
    for row in client.describe_topics([topic.name for topic in wanted]):
        error = for_code(row["error_code"])
        if row["error_code"] == 0:
            described[row["name"]] = row["partitions"]
        elif error is not UnknownTopicOrPartitionError:
            raise TopicsRefused(f"The cluster does not show topic '{row['name']}': {error.description}")
    if not described:
        return {}
    resources = [ConfigResource("topic", name) for name in described]
    settings = client.describe_configs(resources, config_filter="all")["topic"]
    return {
        name: TopicFound(
            partitions=len(partitions),
            replication=min(len(partition["replica_nodes"]) for partition in partitions),
            configs={key: entry["value"] for key, entry in settings[name].items()},
        )
        for name, partitions in described.items()
    }


def check(client: KafkaAdminClient, wanted: Sequence[TopicPlan]) -> list[Problem]:
    """Differences between the plan and the cluster, the serious ones first."""
    return problems(wanted, observe(client, wanted), len(client.describe_cluster()["brokers"]))


def create(client: KafkaAdminClient, wanted: Sequence[TopicPlan]) -> Created:
    """Make the topics that are missing, replicated as far as the cluster can; change none that exists.

    Raises
    ------
    TopicsRefused
        When the cluster refuses one; those it made in the same request stay.
    """
    there = observe(client, wanted)
    missing = [topic for topic in wanted if topic.name not in there]
    existing = tuple(topic.name for topic in wanted if topic.name in there)
    brokers = len(client.describe_cluster()["brokers"])
    replication = min(WANTED_REPLICATION, brokers)
    if not missing:
        return Created((), existing, replication, ())
    request = {
        topic.name: {
            "num_partitions": topic.partitions,
            "replication_factor": replication,
            "configs": {**topic.configs, "min.insync.replicas": str(least_in_sync(replication))},
        }
        for topic in missing
    }
    answer = client.create_topics(request, raise_errors=False)
    refused = {row["name"]: row for row in answer["topics"] if row["error_code"]}
    for name, row in refused.items():
        # Made by somebody else in the meantime: `check` says whether it is as it should be.
        if row["error_code"] != TopicAlreadyExistsError.errno:
            raise TopicsRefused(f"The cluster refused to make topic '{name}': {row['error_message']}")
    client.wait_for_topics(list(request), timeout_ms=LEADERS_WAIT_MS)
    made = tuple(topic.name for topic in missing if topic.name not in refused)
    return Created(made, (*existing, *refused), replication, _replication_warnings(brokers))


def _counts_only(settings: Settings) -> dict[str, int]:
    """Partition counts by a metadata request alone."""
    require_listener(settings.broker, BOOTSTRAP_S)
    client = AdminClient({**settings.librdkafka(), "log_level": 0})
    try:
        shown = client.list_topics(timeout=BOOTSTRAP_S).topics
    except KafkaException as error:
        raise BrokerUnreachable(f"The Kafka broker does not answer: {error.args[0].str()}.") from error
    names = {role: name for role, name in settings.topics.names.items() if role != "state"}
    counts = {name: len(shown[name].partitions) if name in shown else 0 for name in names.values()}
    wrong = [f"Topic '{name}' does not exist: make it." for name, count in counts.items() if not count]
    keyed = {counts[name] for role, name in names.items() if role in PARTITIONED_ALIKE}
    if not wrong and (len(keyed) > 1 or settings.partitions not in (None, *keyed)):
        wrong = [f"The keyed topics have {sorted(keyed)} partitions: make them with the same count."]
    if wrong:
        raise TopicsRefused("\n".join(wrong))
    return counts


def _replication_warnings(brokers: int) -> tuple[str, ...]:
    if brokers >= WANTED_REPLICATION:
        return ()
    have = "one broker" if brokers == 1 else f"{brokers} brokers"
    return (
        f"The cluster has {have}, so the topics are replicated {min(WANTED_REPLICATION, brokers)} instead of"
        f" {WANTED_REPLICATION} times and the loss of a broker's disk can lose events: use at least"
        f" {WANTED_REPLICATION} brokers in production.",
    )
