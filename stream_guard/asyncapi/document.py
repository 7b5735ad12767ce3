"""The AsyncAPI 3 document: topics and their settings, messages, who sends and who receives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from stream_guard import __version__
from stream_guard.alerts import ALERT_SCHEMA_VERSION, DECISION_SCHEMA_VERSION
from stream_guard.asyncapi.examples import example
from stream_guard.detection.vocabulary import Reject
from stream_guard.events import SCHEMA_NAMES
from stream_guard.events.schemas import components, schema_version
from stream_guard.settings import Settings
from stream_guard.streaming.dead_letters import MAX_VALUE, dead_letter
from stream_guard.streaming.topic_plan import TopicPlan, plan
from stream_guard.streaming.topics import DEFAULT_PARTITIONS

ASYNCAPI_VERSION: Final = "3.0.0"
BINDING_VERSION: Final = "0.5.0"
DEAD_LETTER_SCHEMA_VERSION: Final = 1

_HEADERS: Final = {"decision": DECISION_SCHEMA_VERSION, "alert": ALERT_SCHEMA_VERSION}


class _Topic(NamedTuple):
    """What a topic is for; `action` is ours: receive what others write, send what others read."""

    messages: tuple[str, ...]
    key: str
    action: Literal["receive", "send"] | None
    summary: str


_TOPICS: Final[Mapping[str, _Topic]] = {
    "transactions": _Topic(("transaction",), "the payer's account id", "receive", "Every payment."),
    "account_updates": _Topic(("account-update",), "account id", "receive", "Facts about accounts."),
    "dispositions": _Topic(
        ("disposition",), "id of the warned account", "receive", "Investigators' outcomes of warnings."
    ),
    "risk_signals": _Topic(
        ("risk-signal", "risk-signal-withdrawal"),
        "kind:id",
        "receive",
        "Accounts, devices and addresses on a list; the newest record of a key counts.",
    ),
    "decisions": _Topic(
        ("decision",),
        "the payer's account id",
        "send",
        "What to do with payments, at least once. Of several with one decision_id the first stands.",
    ),
    "alerts": _Topic(
        ("alert",),
        "id of the warned account",
        "send",
        "Warnings about accounts, exactly once to readers with isolation.level=read_committed.",
    ),
    "dead_letters": _Topic(("dead-letter",), "none", "send", "Records that were refused, and why."),
    "legs": _Topic(("internal",), "none", None, "Internal: payments on their way to the payee's partition."),
    "cases": _Topic(("internal",), "the payer's account id", None, "Internal: findings about payers."),
    "sightings": _Topic(("internal",), "device or address", None, "Internal: who used which device."),
    "state": _Topic(("internal",), "account id", None, "Internal: the state of the workers."),
}


def document(settings: Settings) -> dict[str, Any]:
    """The document, with the names and brokers of the settings.

    Examples
    --------
    >>> made = document(Settings())
    >>> made["asyncapi"], made["channels"]["transactions"]["address"], len(made["channels"])
    ('3.0.0', 'transactions', 11)
    """
    schemas, parts = components(SCHEMA_NAMES, "#/components/schemas/{model}")
    kept_ms = int(settings.retention.internal.total_seconds() * 1000)
    topics = plan(
        settings.topics.names, settings.partitions or DEFAULT_PARTITIONS, internal_retention_ms=kept_ms
    )
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "stream_guard",
            "version": __version__,
            "description": "Account fraud warnings beside a bank's core system. Keys are partitioned by"
            " Kafka's own partitioner (murmur2); all keyed topics have the same partition count. Times are"
            " milliseconds since 1970-01-01 UTC.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(settings),
        "channels": {topic.role: _channel(topic) for topic in topics},
        "operations": {
            topic.role: _operation(topic.role, action, settings)
            for topic in topics
            if (action := _TOPICS[topic.role].action) is not None
        },
        "components": {
            "messages": {
                **{name: _message(name) for name in SCHEMA_NAMES},
                "risk-signal-withdrawal": _withdrawal(),
                "dead-letter": _dead_letter(),
                "internal": _internal(),
            },
            "schemas": {**parts, **{_schema_name(name): schemas[name] for name in SCHEMA_NAMES}},
            "securitySchemes": {"scram": {"type": "scramSha512"}},
        },
    }


def _servers(settings: Settings) -> dict[str, Any]:
    secure = settings.security.protocol != "PLAINTEXT"
    scram = [{"$ref": "#/components/securitySchemes/scram"}]
    return {
        f"broker-{number}": {
            "host": address,
            "protocol": "kafka-secure" if secure else "kafka",
            **({"security": scram} if settings.security.protocol == "SASL_SSL" else {}),
        }
        for number, address in enumerate(settings.broker)
    }


def _channel(topic: TopicPlan) -> dict[str, Any]:
    described = _TOPICS[topic.role]
    configs = dict(topic.configs)
    shown: dict[str, Any] = {"cleanup.policy": configs["cleanup.policy"].split(",")}
    for name in ("retention.ms", "max.message.bytes"):
        if name in configs:
            shown[name] = int(configs[name])
    return {
        "address": topic.name,
        "summary": described.summary,
        "description": f"Key: {described.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in described.messages},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": shown,
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _operation(role: str, action: str, settings: Settings) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{role}"},
        "summary": _TOPICS[role].summary,
    }
    if action == "receive" and role != "risk_signals":
        group = {"type": "string", "const": settings.app_id}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": BINDING_VERSION}}
    return operation


def _message(name: str) -> dict[str, Any]:
    version = schema_version(name)
    message: dict[str, Any] = {
        "name": f"{name}.v{version}",
        "title": f"{name}, version {version}",
        "payload": {"$ref": f"#/components/schemas/{_schema_name(name)}"},
        "examples": [{"name": "example", "payload": example(name)}],
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING_VERSION}},
    }
    if name in _HEADERS:
        shape = {"type": "string", "const": str(_HEADERS[name]), "description": "version of the schema"}
        message["headers"] = {"type": "object", "properties": {"schema": shape}, "required": ["schema"]}
        message["examples"][0]["headers"] = {"schema": str(_HEADERS[name])}
    return message


def _withdrawal() -> dict[str, Any]:
    version = schema_version("risk-signal")
    return {
        "name": f"risk-signal-withdrawal.v{version}",
        "title": "a risk signal taken back: its key with a null value",
        "payload": {"type": "null"},
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING_VERSION}},
    }


def _dead_letter() -> dict[str, Any]:
    _, headers = dead_letter("transactions", 3, 17, b"{", Reject.NOT_JSON, "the value is not JSON")
    shapes: dict[str, Any] = {name: {"type": "string"} for name, _ in headers}
    shapes["reason"]["enum"] = [reason.value for reason in Reject]
    return {
        "name": f"dead-letter.v{DEAD_LETTER_SCHEMA_VERSION}",
        "title": f"dead letter, version {DEAD_LETTER_SCHEMA_VERSION}",
        "summary": f"The refused bytes, the first {MAX_VALUE:,} of them; headers say where from.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": shapes, "required": list(shapes)},
        "examples": [
            {"name": "example", "headers": {name: text.decode() for name, text in headers}, "payload": "{"}
        ],
    }


def _internal() -> dict[str, Any]:
    return {
        "name": "internal",
        "title": "internal",
        "summary": "Binary; may change with every release. Nobody else reads or writes it.",
        "contentType": "application/octet-stream",
    }


def _schema_name(name: str) -> str:
    """Key of a message's schema beside its parts, which are named as their classes.

    Examples
    --------
    >>> _schema_name("account-update")
    'account-update.v1'
    """
    return f"{name}.v{schema_version(name)}"
