"""The brokers and their topics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from kafka import IsolationLevel, KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec

from stream_guard.doctor.findings import Finding, error, ok, warning
from stream_guard.settings import Settings
from stream_guard.streaming.topic_plan import WANTED_REPLICATION, TopicFound, TopicPlan, problems
from stream_guard.streaming.topics import BrokerUnreachable, require_listener

TESTED = (4, 3)
"""Version of Apache Kafka that the tests run on."""

ADDRESS_S = 3.0
"""How long one broker may take to accept a connection."""

OPEN_TRANSACTION_S = 3.0
"""A flush takes tens of milliseconds: a transaction open for so long is stuck, or its process is."""


def addresses(servers: Sequence[str]) -> Iterator[Finding]:
    """Whether each address of the settings answers; one that does is enough to start from."""
    for server in servers:
        try:
            require_listener([server], ADDRESS_S)
        except BrokerUnreachable as refusal:
            yield (error if len(servers) == 1 else warning)("broker", str(refusal))


def brokers(admin: KafkaAdminClient) -> Iterator[Finding]:
    """Version and number of the brokers."""
    nodes = admin.describe_cluster()["brokers"]
    versions = {node["broker_id"]: _version(admin, node["broker_id"]) for node in nodes}
    oldest = min(versions.values())
    shown = ", ".join(
        f"{node['host']}:{node['port']} {_dotted(versions[node['broker_id']])}" for node in nodes
    )
    if oldest[0] < TESTED[0]:
        yield warning(
            "broker",
            f"{shown}: older than {TESTED[0]}.0, and this version is tested on {_dotted(TESTED)} alone;"
            " upgrade the brokers, or try fail-overs on a test cluster first.",
        )
    else:
        yield ok("broker", shown)
    fenced = [f"{node['host']}:{node['port']}" for node in nodes if node.get("is_fenced")]
    if fenced:
        yield error(
            "broker", f"{', '.join(fenced)} is fenced by the controller: look at its log, restart it."
        )
    if len(nodes) < WANTED_REPLICATION:
        yield warning(
            "broker",
            f"{len(nodes)} of {WANTED_REPLICATION} brokers: the loss of a disk can lose payments; use at"
            f" least {WANTED_REPLICATION} in production.",
        )


def topics(
    admin: KafkaAdminClient, wanted: Sequence[TopicPlan], found: Mapping[str, TopicFound]
) -> Iterator[Finding]:
    """Existence, partition counts, compaction, retention and replication, as ``topics check`` sees them."""
    different = problems(wanted, found, len(admin.describe_cluster()["brokers"]))
    for problem in different:
        yield (error if problem.serious else warning)("topics", problem.message)
    if not different:
        keyed = next(topic.partitions for topic in wanted if topic.keyed)
        yield ok("topics", f"all {len(wanted)}, {keyed} partitions each of the keyed ones")


def transactions(
    admin: KafkaAdminClient, settings: Settings, found: Mapping[str, TopicFound]
) -> Iterator[Finding]:
    """Whether an open transaction hides committed records from the workers or from readers of alerts."""
    topics = settings.topics
    names = (topics.state, topics.alerts, topics.cases, topics.sightings, topics.risk_signals)
    places = [TopicPartition(name, number) for name in names for number in range(found[name].partitions)]
    before = _hidden_from(admin, places)
    if before:
        time.sleep(OPEN_TRANSACTION_S)
    after = _hidden_from(admin, places)
    stuck = [place for place, offset in after.items() if before.get(place) == offset]
    if stuck:
        yield error(
            "transactions",
            f"a transaction has been open for {OPEN_TRANSACTION_S:g} s or longer on"
            f" {', '.join(f'{place.topic}-{place.partition}' for place in stuck)}, and hides what was"
            " committed after it; find its producer with kafka-transactions.sh find-hanging, and end it.",
        )
    else:
        yield ok("transactions", "none hangs")


def _hidden_from(admin: KafkaAdminClient, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """Offset of the oldest open transaction, of each partition that has one."""
    latest = dict.fromkeys(places, OffsetSpec.LATEST)
    # The stable offsets second: what is written in between does not look like an open transaction.
    ends = admin.list_partition_offsets(latest)
    stable = admin.list_partition_offsets(latest, isolation_level=IsolationLevel.READ_COMMITTED)
    return {place: stable[place].offset for place in places if stable[place].offset < ends[place].offset}


def _version(admin: KafkaAdminClient, node: int) -> tuple[int, ...]:
    return tuple(admin.get_broker_version_data(node).broker_version)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(str(part) for part in version)
