"""The worker's own small HTTP server: /metrics, /healthz, /readyz.

Faust's web server is off: it listens on every address and serves table contents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class Verdict(NamedTuple):
    """Answer of a probe: whether it passes, and a sentence why not."""

    ok: bool
    sentence: str


class HealthServer:
    """HTTP server of one worker.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one, which `port` tells after `start`.
    registry
        What /metrics shows.
    healthy
        Asked by /healthz: applied offsets become durable while there is lag.
    ready
        Asked by /readyz: all assigned partitions are loaded.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        healthy: Callable[[], Verdict],
        ready: Callable[[], Verdict],
    ) -> None:
        self.host = host
        self.port = port
        self._registry = registry
        self._healthy = healthy
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._probe(self._healthy))
        app.router.add_get("/readyz", self._probe(self._ready))
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    @staticmethod
    def _probe(ask: Callable[[], Verdict]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            verdict = ask()
            return web.Response(status=200 if verdict.ok else 503, text=verdict.sentence + "\n")

        return answer
