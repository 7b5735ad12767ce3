"""The Faust application: topics, agents, and the settings that the promise rests on.

Every setting that differs from Faust's default is here because something was seen to break without it;
the comment beside it says what.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Protocol

import faust
from faust.auth import SASLCredentials, SSLCredentials
from yarl import URL

from stream_guard.streaming.gather import Gather
from stream_guard.streaming.transport import Batch, Consumer, LoopConsumerThread, OffsetKeeper, Transport

OPEN_TIMEOUT_S = 600.0
"""Faust bounds the seek after a rebalance by its request timeout, and that is where state is loaded: ten
minutes read 100 million rows at the measured 200,000 rows/s."""

QUEUED_BATCHES = 4
"""A queued message is a whole fetch here, so Faust's default of 4,096 would be unbounded memory."""


class Processor(OffsetKeeper, Protocol):
    """What the agents hand their batches to."""

    async def on_transactions(self, batch: Batch) -> None:
        """First hop."""

    async def on_legs(self, batch: Batch) -> None:
        """Second hop."""

    async def on_cases(self, batch: Batch) -> None:
        """What was found about payers."""

    async def on_sightings(self, batch: Batch) -> None:
        """Who used which device or address."""

    async def on_dispositions(self, batch: Batch) -> None:
        """Investigators' outcomes."""

    async def on_account_updates(self, batch: Batch) -> None:
        """Facts about accounts."""


class BatchSchema(faust.Schema[Any, Any]):
    """Hands a batch to the agent as it is."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Build the decode function of a topic."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


def build_app(
    *,
    app_id: str,
    brokers: list[str],
    instance_id: str,
    data_dir: str,
    topics: dict[str, str],
    processor: Processor,
    connection: dict[str, Any],
    flush_interval_s: float,
    session_timeout_s: float,
    heartbeat_s: float,
    max_poll_records: int,
    fetch_wait_ms: int,
    gather: Gather,
) -> faust.App:
    """Make the application with its six agents.

    Parameters
    ----------
    topics
        Names by role: transactions, legs, cases, sightings, dispositions, account_updates.
    connection
        Security arguments of aiokafka clients (no bootstrap servers).
    gather
        Decides how long to gather a batch.
    """
    urls = [URL(f"kafka://{broker}") for broker in brokers]
    app = faust.App(
        app_id,
        broker=urls,
        broker_credentials=_credentials(connection),
        broker_client_id=instance_id,
        # Static membership: a restarted process gets its partitions back at once, without a rebalance.
        consumer_group_instance_id=instance_id,
        # The default of 60 s blocks a killed process' partitions that long.
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=heartbeat_s,
        broker_request_timeout=OPEN_TIMEOUT_S,
        broker_max_poll_records=max_poll_records,
        broker_commit_interval=flush_interval_s,
        stream_buffer_maxsize=QUEUED_BATCHES,
        # Without it a shutdown cuts agents in the middle of a batch.
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        # Anything but 0 selects Faust's own assignor, which keeps partition p of all topics together; with
        # 0 and no tables it silently takes a round-robin one that splits them.
        table_standby_replicas=1,
        # Faust's assignor asserts on it; it must differ between processes and survive a restart.
        canonical_url=f"http://{instance_id}.invalid",
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        store="memory://",
        datadir=data_dir,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    thread = type(
        "WorkerThread",
        (LoopConsumerThread,),
        {"consumer_options": connection, "fetch_wait_ms": fetch_wait_ms},
    )
    consumer = type(
        "WorkerConsumer",
        (Consumer,),
        {
            "keeper": processor,
            "leading_topic": topics["legs"],
            "deferred_topic": topics["transactions"],
            "gather": gather,
            "_new_consumer_thread": lambda self: thread(self, loop=self.loop, beacon=self.beacon),
        },
    )
    transport = type("WorkerTransport", (Transport,), {"Consumer": consumer})
    app.transport = transport(urls, app, loop=app.loop)
    handlers = {
        "transactions": processor.on_transactions,
        "legs": processor.on_legs,
        "cases": processor.on_cases,
        "sightings": processor.on_sightings,
        "dispositions": processor.on_dispositions,
        "account_updates": processor.on_account_updates,
    }
    for role, handler in handlers.items():
        _add_agent(app, role, topics[role], handler)
    return app


def _add_agent(app: faust.App, role: str, topic: str, handler: Callable[[Batch], Any]) -> None:
    async def agent(stream: faust.StreamT[Batch]) -> None:
        async for batch in stream:
            await handler(batch)

    # Concurrency stays 1: with more, Faust commits past events still in flight.
    channel = app.topic(topic, schema=BatchSchema(), allow_empty=True)
    app.agent(channel, name=f"stream_guard.{role}", concurrency=1)(agent)


def _credentials(connection: dict[str, Any]) -> Any:
    """Faust's form of the same security arguments; its own producer uses them."""
    context = connection.get("ssl_context")
    protocol = connection.get("security_protocol", "PLAINTEXT")
    if protocol == "PLAINTEXT":
        return None
    if not isinstance(context, ssl.SSLContext):
        raise ValueError(
            "a secure connection needs an SSL context; sending credentials in the clear is refused"
        )
    if protocol == "SSL":
        return SSLCredentials(context=context)
    return SASLCredentials(
        username=connection["sasl_plain_username"],
        password=connection["sasl_plain_password"],
        mechanism=connection["sasl_mechanism"],
        ssl_context=context,
    )
