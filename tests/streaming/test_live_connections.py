"""A closed socket is a lost connection, on uvloop too."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import uvloop
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from stream_guard.streaming.live_connections import LiveConnection


async def with_a_closed_socket(kind: type[Any]) -> Any:
    """A connection whose peer has gone, in the moment before anyone noticed."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    connection = kind("127.0.0.1", 1)
    connection._reader, connection._writer = reader, writer
    connection._read_task = asyncio.create_task(reader.read())
    connection._versions = {MetadataRequest.API_KEY: (0, 5)}
    writer.transport.abort()
    while not writer.is_closing():
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    server.close()
    await server.wait_closed()
    return connection


def on_uvloop(work: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def test_what_aiokafka_does_not_expect_still_happens() -> None:
    async def work() -> None:
        connection = await with_a_closed_socket(conn.AIOKafkaConnection)
        with pytest.raises(RuntimeError, match="closed"):
            connection.send(MetadataRequest([]))

    on_uvloop(work())


@pytest.mark.parametrize("send", ["send", "_send_sasl_token"])
def test_a_closed_socket_is_a_lost_connection(send: str) -> None:
    async def work() -> None:
        connection = await with_a_closed_socket(LiveConnection)
        with pytest.raises(KafkaConnectionError, match="is closed"):
            getattr(connection, send)(MetadataRequest([]) if send == "send" else b"token")
        assert not connection.connected()

    on_uvloop(work())


def test_who_renews_the_metadata_outlives_a_lost_connection_only() -> None:
    # The reason for all this: nothing else is caught there.
    assert "except (KafkaError, asyncio.TimeoutError)" in inspect.getsource(AIOKafkaClient._metadata_update)
    assert "except" not in inspect.getsource(AIOKafkaClient._md_synchronizer)
    assert "conn = AIOKafkaConnection(" in inspect.getsource(conn.create_conn)
