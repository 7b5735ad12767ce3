"""The Faust application: its settings, one agent a role, no credentials in the clear."""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any

import pytest

from stream_guard.streaming.app import QUEUED_BATCHES
from stream_guard.streaming.transport import Batch
from tests.streaming.driver import TOPICS, Keeper, application
from tests.streaming.helpers import LogRecord, on_a_loop


@on_a_loop
async def test_the_application_is_made_with_the_settings_that_the_promise_rests_on() -> None:
    conf = application(Keeper()).conf
    assert conf.table_standby_replicas == 1
    assert conf.consumer_group_instance_id == "worker-0"
    assert conf.stream_wait_empty is True
    assert conf.stream_buffer_maxsize == QUEUED_BATCHES <= 16
    assert conf.web_enabled is False
    assert (conf.topic_allow_declare, conf.topic_disable_leader) == (False, True)
    assert conf.processing_guarantee.value == "at_least_once"
    assert str(conf.canonical_url) == "http://worker-0.invalid"
    assert conf.broker_request_timeout >= 600
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (10.0, 3.0)


@on_a_loop
async def test_every_role_has_one_agent_that_hands_whole_batches_on() -> None:
    app = application(Keeper())
    agents = {name.rpartition(".")[2]: agent for name, agent in app.agents.items()}
    assert set(agents) == set(TOPICS)
    assert {role: agent.channel.get_topic_name() for role, agent in agents.items()} == TOPICS
    assert {agent.concurrency for agent in agents.values()} == {1}
    batch = Batch("payments", 0, 0, [LogRecord(0)])
    channel: Any = agents["transactions"].channel
    decode = channel.schema.compile(app)
    decoded = await decode(SimpleNamespace(value=batch, headers=(), timestamp=0.0, key=None))
    assert decoded.value is batch


def test_credentials_never_travel_in_the_clear() -> None:
    async def build(**connection: Any) -> Any:
        return application(Keeper(), **connection).conf.broker_credentials

    with pytest.raises(ValueError, match="sending credentials in the clear is refused"):
        asyncio.run(build(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN"))
    context = ssl.create_default_context()
    secure = {"security_protocol": "SASL_SSL", "ssl_context": context, "sasl_mechanism": "SCRAM-SHA-512"}
    made = asyncio.run(build(**secure, sasl_plain_username="u", sasl_plain_password="p"))
    assert (made.protocol.value, made.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert made.ssl_context is context
    plain = asyncio.run(build(security_protocol="SSL", ssl_context=context))
    assert plain.protocol.value == "SSL"
    assert asyncio.run(build()) in (None, {})
