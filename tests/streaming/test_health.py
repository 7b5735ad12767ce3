"""The worker's own HTTP server, and what its two probes mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from stream_guard.streaming.health import HealthServer, Verdict
from tests.streaming.helpers import on_a_loop


class Probes:
    def __init__(self) -> None:
        self.health = Verdict(True, "healthy: 0 records wait")
        self.readiness = Verdict(False, "the risk signals are being read")


@asynccontextmanager
async def serving(probes: Probes, registry: CollectorRegistry | None = None) -> AsyncIterator[HealthServer]:
    server = HealthServer(
        "127.0.0.1",
        0,
        registry or CollectorRegistry(),
        lambda: probes.health,
        lambda: probes.readiness,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def get(server: HealthServer, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
    ):
        return answer.status, await answer.text(), answer.headers["Content-Type"]


@on_a_loop
async def test_port_0_takes_a_free_one_and_tells_it() -> None:
    async with serving(Probes()) as server:
        assert server.port > 0


@on_a_loop
async def test_a_probe_that_passes_is_200_and_one_that_does_not_503_with_its_sentence() -> None:
    probes = Probes()
    async with serving(probes) as server:
        assert await get(server, "/healthz") == (
            200,
            "healthy: 0 records wait\n",
            "text/plain; charset=utf-8",
        )
        assert (await get(server, "/readyz"))[:2] == (503, "the risk signals are being read\n")
        probes.health = Verdict(False, "7 records wait and nothing has become durable for 31 s")
        probes.readiness = Verdict(True, "ready: 4 partitions")
        # Asked anew each time.
        assert (await get(server, "/healthz"))[0] == 503
        assert (await get(server, "/readyz"))[:2] == (200, "ready: 4 partitions\n")


@on_a_loop
async def test_metrics_are_shown_as_prometheus_reads_them() -> None:
    registry = CollectorRegistry()
    Counter("stream_guard_events_in", "Transactions read", registry=registry).inc(3)
    async with serving(Probes(), registry) as server:
        status, text, kind = await get(server, "/metrics")
    assert status == 200
    assert "stream_guard_events_in_total 3.0" in text.splitlines()
    assert kind.startswith("text/plain; version=")


@on_a_loop
async def test_nothing_else_is_served() -> None:
    async with serving(Probes()) as server:
        for path in ("/", "/table", "/router", "/stats"):
            assert (await get(server, path))[0] == 404


@on_a_loop
async def test_a_taken_port_is_an_error_at_the_start() -> None:
    async with serving(Probes()) as server:
        second = HealthServer(
            "127.0.0.1",
            server.port,
            CollectorRegistry(),
            lambda: Verdict(True, ""),
            lambda: Verdict(True, ""),
        )
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await second.stop()


@on_a_loop
async def test_stopping_frees_the_port_and_stopping_before_the_start_does_nothing() -> None:
    async with serving(Probes()) as server:
        port = server.port
    with pytest.raises(OSError, match=r"refused|failed"):
        await asyncio.open_connection("127.0.0.1", port)
    await HealthServer(
        "127.0.0.1", 0, CollectorRegistry(), lambda: Verdict(True, ""), lambda: Verdict(True, "")
    ).stop()
