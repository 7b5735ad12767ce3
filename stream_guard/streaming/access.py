"""Who may do what on the cluster: the least that each role needs, and its users.

A *role* is what a program or a group of people does (`ROLES`); a *user* is a name and a password on the
cluster that has been granted one. Whatever is not granted is refused by the broker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from stream_guard.settings import Settings
from stream_guard.streaming.topics import TopicsRefused

ROLES: Final[Mapping[str, str]] = {
    "core-banking": "sends payments and facts about accounts, reads decisions",
    "worker": "the workers",
    "investigators": "read alerts, write dispositions",
    "liaison": "writes risk signals",
    "ops": "makes topics and changes their settings, looks at the group, reads what goes in and was refused",
    "redrive": "sends again what was refused; give it for as long as that takes, beside ops",
}
"""Roles, with what they are for."""

CLUSTER: Final = "kafka-cluster"
ITERATIONS: Final = 8192
"""Of SCRAM; the least that Kafka takes is 4,096."""

_READ, _WRITE, _DESCRIBE = ACLOperation.READ, ACLOperation.WRITE, ACLOperation.DESCRIBE
_SHOW, _CREATE, _CHANGE = ACLOperation.DESCRIBE_CONFIGS, ACLOperation.CREATE, ACLOperation.ALTER_CONFIGS


class Grant(NamedTuple):
    """One thing that a role may do.

    Attributes
    ----------
    resource
        Kind of thing.
    name
        Its name; with `prefixed` the beginning of it.
    operation
        What may be done with it.
    """

    resource: ResourceType
    name: str
    operation: ACLOperation
    prefixed: bool = False


def grants(role: str, settings: Settings) -> list[Grant]:
    """What a role may do; Kafka lets who may read or write a topic also describe it.

    Examples
    --------
    >>> for grant in grants("investigators", Settings()):
    ...     print(grant.operation.name, grant.resource.name, grant.name + "*" * grant.prefixed)
    READ TOPIC alerts
    WRITE TOPIC dispositions
    READ GROUP investigators-*
    """
    return list(_GRANTS[role](settings))


def _core_banking(settings: Settings) -> Iterator[Grant]:
    topics = settings.topics
    yield from _on([topics.transactions, topics.account_updates], _WRITE)
    yield from _on([topics.decisions], _READ)
    yield Grant(ResourceType.GROUP, "core-banking-", _READ, True)
    # A bank may send its payments in transactions of its own.
    for operation in (_WRITE, _DESCRIBE):
        yield Grant(ResourceType.TRANSACTIONAL_ID, "core-banking-", operation, True)


def _worker(settings: Settings) -> Iterator[Grant]:
    topics = settings.topics
    read = [topics.transactions, topics.account_updates, topics.dispositions, topics.risk_signals]
    own = [topics.legs, topics.cases, topics.sightings, topics.state]
    yield from _on([*read, *own], _READ)
    yield from _on([*own, topics.decisions, topics.alerts, topics.dead_letters, topics.risk_signals], _WRITE)
    # Its start checks the settings of every topic.
    yield from _on(topics.names.values(), _SHOW)
    yield Grant(ResourceType.GROUP, settings.app_id, _READ)
    for operation in (_WRITE, _DESCRIBE):
        yield Grant(ResourceType.TRANSACTIONAL_ID, f"{settings.app_id}-", operation, True)


def _investigators(settings: Settings) -> Iterator[Grant]:
    yield from _on([settings.topics.alerts], _READ)
    yield from _on([settings.topics.dispositions], _WRITE)
    yield Grant(ResourceType.GROUP, "investigators-", _READ, True)


def _liaison(settings: Settings) -> Iterator[Grant]:
    yield from _on([settings.topics.risk_signals], _WRITE)


def _ops(settings: Settings) -> Iterator[Grant]:
    topics = settings.topics
    for operation in (_CREATE, _DESCRIBE, _SHOW, _CHANGE):
        yield from _on(topics.names.values(), operation)
    internal = (topics.legs, topics.cases, topics.sightings)
    yield from _on([*_sources(settings), *internal, topics.dead_letters], _READ)
    yield Grant(ResourceType.GROUP, settings.app_id, _DESCRIBE)
    for operation in (_DESCRIBE, _SHOW):
        yield Grant(ResourceType.CLUSTER, CLUSTER, operation)


def _redrive(settings: Settings) -> Iterator[Grant]:
    yield from _on([*_sources(settings), settings.topics.dead_letters], _READ)
    yield from _on(_sources(settings), _WRITE)


_GRANTS: Final = {
    "core-banking": _core_banking,
    "worker": _worker,
    "investigators": _investigators,
    "liaison": _liaison,
    "ops": _ops,
    "redrive": _redrive,
}


def _sources(settings: Settings) -> list[str]:
    topics = settings.topics
    return [topics.transactions, topics.account_updates, topics.dispositions]


def _on(topics: Iterable[str], operation: ACLOperation) -> Iterator[Grant]:
    return (Grant(ResourceType.TOPIC, topic, operation) for topic in topics)


def grant(admin: KafkaAdminClient, role: str, user: str, settings: Settings) -> int:
    """Let a user do what the role needs; what it may do already stays. Returns the number of grants.

    Raises
    ------
    TopicsRefused
        The cluster refuses one.
    """
    wanted = [_rule(user, entry) for entry in grants(role, settings)]
    outcome = admin.create_acls(wanted)
    if outcome["failed"]:
        raise TopicsRefused(
            f"The cluster refused to grant {role} to {user}: {outcome['failed'][0].description}"
        )
    return len(wanted)


def revoke(admin: KafkaAdminClient, user: str) -> int:
    """Take back everything that a user may do. Returns the number of grants taken back."""
    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    of_user = ACLFilter(f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
    return sum(len(matched) for _, matched, _ in admin.delete_acls([of_user]))


def set_password(admin: KafkaAdminClient, user: str, password: str) -> None:
    """Make a user, or give it another password: connections that stand stay, new ones need the new one.

    Raises
    ------
    TopicsRefused
        The cluster refuses.
    """
    wanted = UserScramCredentialUpsertion(user, ScramMechanism.SCRAM_SHA_512, password, iterations=ITERATIONS)
    _alter(admin, user, wanted)


def remove_user(admin: KafkaAdminClient, user: str) -> None:
    """Take a user's password away: it cannot connect any more.

    Raises
    ------
    TopicsRefused
        The cluster refuses, or knows no such user.
    """
    _alter(admin, user, UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512))


def _alter(
    admin: KafkaAdminClient, user: str, wanted: UserScramCredentialUpsertion | UserScramCredentialDeletion
) -> None:
    refusal = admin.alter_user_scram_credentials([wanted])[user]
    if refusal is not None:
        raise TopicsRefused(f"The cluster refused to change user {user}: {refusal}")


def _rule(user: str, entry: Grant) -> ACL:
    kind = ACLResourcePatternType.PREFIXED if entry.prefixed else ACLResourcePatternType.LITERAL
    place = ResourcePattern(entry.resource, entry.name, kind)
    return ACL(f"User:{user}", "*", entry.operation, ACLPermissionType.ALLOW, place)
