"""Where a demo takes place: the broker, its topics, and the settings of the worker that go with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream_guard.demo.broker import FETCH_WAIT_MS, EmbeddedBroker
from stream_guard.demo.child import Child
from stream_guard.settings import Settings, load_settings
from stream_guard.streaming.topics import admin_client, create, plan_for

ROOM = 2_000
"""Payments on their way when the next chunk of a history may be sent, together 3,500. They are two weeks of
it: the payments of one partition must not run ahead of those of another by the 31 days after which one is too
old. And they are at most 3 MB of the 5 that the embedded broker keeps of a partition."""

REAL_PARTITIONS = 4
"""As many as the embedded broker has."""

OWN_TOPICS = (
    "transactions",
    "account_updates",
    "dispositions",
    "risk_signals",
    "decisions",
    "alerts",
    "dead_letters",
)
"""Roles whose topics are named after the run on a real broker; internal ones carry the application's name."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place that is ready for a worker.

    Attributes
    ----------
    settings
        Of the worker, and of who reads and writes beside it.
    overrides
        Environment variables that make the worker's settings these.
    embedded
        The embedded broker; None where a real one is used.
    """

    settings: Settings
    overrides: Mapping[str, str]
    embedded: Child | None

    @property
    def url(self) -> str:
        """Of the worker's own server."""
        return f"http://{self.settings.http.host}:{self.settings.http.port}"

    @property
    def brokers(self) -> str:
        """Addresses, with commas."""
        return ",".join(self.settings.broker)

    @property
    def client(self) -> dict[str, Any]:
        """Librdkafka settings but for the addresses."""
        return {key: value for key, value in self.settings.librdkafka().items() if key != "bootstrap.servers"}

    @property
    def reader(self) -> dict[str, Any]:
        """The same for consumers."""
        return self.client | ({"fetch.wait.max.ms": FETCH_WAIT_MS} if self.embedded is not None else {})

    def topic(self, role: str) -> str:
        """Name of a topic."""
        return self.settings.topics.names[role]

    @property
    def header(self) -> str:
        """What a spectator has to know before anything else."""
        where = (
            "embedded broker (librdkafka's mock cluster), state in memory only"
            if self.embedded is not None
            else f"broker {self.brokers}, with topics of this run only"
        )
        return f"stream_guard demo: {where}, one machine; metrics on {self.url}/metrics"


def embedded_site(config: Path, run: str, stack: ExitStack) -> Site:
    """A site on the embedded broker, which `stack` ends.

    Parameters
    ----------
    config
        Settings file of the worker.
    run
        Name of this run.
    stack
        Ends what was started here.
    """
    overrides = _common(run) | {"STREAM_GUARD_STATE__BACKEND": "memory"}
    broker = EmbeddedBroker(_load(config, overrides).topics.names.values())
    stack.callback(broker.stop)
    broker.start()
    overrides |= {
        "STREAM_GUARD_BROKER": broker.address,
        "STREAM_GUARD_CONSUMER__FETCH_WAIT_MS": str(FETCH_WAIT_MS),
        # A fetch brings one batch of a partition however long we gather.
        "STREAM_GUARD_CONSUMER__GATHER_MS": "0",
    }
    return _site(config, overrides, broker)


def real_site(config: Path, run: str, address: str, stack: ExitStack) -> Site:
    """A site on a real broker, with topics of its own that `stack` deletes.

    Parameters
    ----------
    config, run, stack
        As in :func:`embedded_site`.
    address
        ``HOST:PORT``.
    """
    overrides = _common(run) | {"STREAM_GUARD_STATE__BACKEND": "kafka", "STREAM_GUARD_BROKER": address}
    for role in OWN_TOPICS:
        overrides[f"STREAM_GUARD_TOPICS__{role.upper()}"] = f"demo-{run}-{role.replace('_', '-')}"
    site = _site(config, overrides, None)
    stack.callback(_delete_topics, site.settings)
    with admin_client(site.settings.python_client()) as client:
        create(client, plan_for(site.settings, client, site.settings.partitions or REAL_PARTITIONS))
    return site


def _common(run: str) -> dict[str, str]:
    return {
        "STREAM_GUARD_APP_ID": f"stream-guard-demo-{run}",
        "STREAM_GUARD_INSTANCE_ID": "demo-0",
        "STREAM_GUARD_DECISIONS__EMIT": "all",
    }


def _site(config: Path, overrides: dict[str, str], embedded: Child | None) -> Site:
    settings = _load(config, overrides)
    overrides["STREAM_GUARD_HTTP__PORT"] = str(free_port(settings.http.host, settings.http.port))
    return Site(_load(config, overrides), overrides, embedded)


def _load(config: Path, overrides: Mapping[str, str]) -> Settings:
    return load_settings(config, {**os.environ, **overrides})


def _delete_topics(settings: Settings) -> None:
    with admin_client(settings.python_client()) as client:
        client.delete_topics(list(settings.topics.names.values()))


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody listens on it, else a free one.

    Raises
    ------
    OSError
        No port can be opened on `host`.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            probe.bind((host, 0))
        return int(probe.getsockname()[1])
