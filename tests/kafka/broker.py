"""A real Apache Kafka for the tests: one node, loopback only, on free ports, gone at the end.

``python -m tests.kafka.broker [--port N]`` runs one in the foreground, for trying things out.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.jars import Unavailable, jars, java
from tests.kafka.processes import Child

START_S = 60.0
"""A broker is up in 3 s; a loaded machine of two cores may need ten times that."""

VOTERS = "controller.quorum.voters"
"""The setting that makes a broker one of several."""

PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # A topic that a test forgot must be an error, not a surprise with default settings.
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Seconds that every new consumer group would wait for members that never come.
    "group.initial.rebalance.delay.ms": "0",
}


class Broker:
    """One broker process and its folder; a context manager that starts it and removes everything.

    Parameters
    ----------
    properties
        Added to, or put in place of, the server properties above.
    heap_mb
        Java heap.
    port
        Port to listen on; 0 takes a free one.
    aside
        Port that it names to clients of a second listener, `aside_port`: a test puts its own proxy there, and
        whoever comes through it stays behind it. 0: no second listener.
    controller, cluster
        Port of its controller and id of its cluster, where `properties` make it one of several by
        ``controller.quorum.voters``.
    ready
        Whether it is up; by default, whether it answers without security on `port`.
    """

    def __init__(
        self,
        properties: Mapping[str, str] | None = None,
        *,
        heap_mb: int = 768,
        port: int = 0,
        aside: int = 0,
        controller: int = 0,
        cluster: str = "",
        ready: Callable[[], bool] | None = None,
    ) -> None:
        self._java = java()
        self._jars = jars()
        self._heap_mb = heap_mb
        self._extra = dict(properties or {})
        self.folder = Path(tempfile.mkdtemp(prefix="stream-guard-kafka-"))
        self.log = self.folder / "broker.log"
        self.port = port or free_port()
        self._controller = controller or free_port()
        self.aside_port = free_port() if aside else 0
        self._aside = aside
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._ready = ready or (lambda: answers(self.bootstrap))
        self._child: Child | None = None
        self._configure(self._extra)
        self._format(cluster or cluster_id())

    @property
    def child(self) -> Child:
        """The running process."""
        if self._child is None:
            raise RuntimeError("the broker is not running: call start() first")
        return self._child

    def start(self, properties: Mapping[str, str] | None = None) -> None:
        """Start on the data that is there and wait until it answers; `properties` are added to the first."""
        self._configure({**self._extra, **(properties or {})})
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start without waiting: one of several answers only when most of them run."""
        command = [*self._run, "kafka.Kafka", str(self.folder / "server.properties")]
        self._child = Child(command, log=self.log, folder=self.folder)

    def stop(self, timeout_s: float = 30.0) -> None:
        """End it in order (SIGTERM), by force after `timeout_s`."""
        self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL); its data stay."""
        self._end(signal.SIGKILL, 30.0)

    def freeze(self) -> None:
        """Stop its clock (SIGSTOP): connections stay open and nothing answers."""
        self.child.send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        self.child.send(signal.SIGCONT)

    def restart(self, properties: Mapping[str, str] | None = None) -> None:
        """Kill it and start it again on the same port and data."""
        self.kill()
        self.start(properties)

    def remove(self) -> None:
        """End it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Broker:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def _run(self) -> list[str]:
        return [
            self._java,
            f"-Xms{min(256, self._heap_mb)}m",
            f"-Xmx{self._heap_mb}m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp",
            f"{self._jars}/*",
        ]

    def _configure(self, extra: Mapping[str, str]) -> None:
        listeners = {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "log.dirs": str(self.folder / "data"),
        }
        if VOTERS not in self._extra:
            listeners["controller.quorum.bootstrap.servers"] = f"127.0.0.1:{self._controller}"
        if self._aside:
            listeners["listeners"] += f",ASIDE://127.0.0.1:{self.aside_port}"
            listeners["advertised.listeners"] += f",ASIDE://127.0.0.1:{self._aside}"
            protocols = f"{PROPERTIES['listener.security.protocol.map']},ASIDE:PLAINTEXT"
            listeners["listener.security.protocol.map"] = protocols
        lines = [f"{name}={value}\n" for name, value in {**PROPERTIES, **listeners, **extra}.items()]
        (self.folder / "server.properties").write_text("".join(lines))

    def _format(self, cluster: str) -> None:
        command = [*self._run, "kafka.tools.StorageTool", "format", "-t", cluster]
        command += [] if VOTERS in self._extra else ["--standalone"]
        command += ["-c", str(self.folder / "server.properties")]
        result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self.folder)
        if result.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Unavailable(
                f"Kafka's storage tool refused the test broker's folder: {result.stdout}{result.stderr}"
            )

    def wait(self) -> None:
        """Wait until it answers."""
        child = self.child
        deadline = time.monotonic() + START_S
        while child.returncode is None and time.monotonic() < deadline:
            if self._ready():
                return
            time.sleep(0.1)
        state = f"did not answer within {START_S:.0f} s" if child.returncode is None else "ended at its start"
        raise Unavailable(f"The test broker on {self.bootstrap} {state}; its log ends:\n{child.tail(20)}")

    def _end(self, number: int, timeout_s: float) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end(number, timeout_s)


def cluster_id() -> str:
    """A new id for a cluster."""
    # Its first byte is fixed: an id that begins with a dash would be taken for an option.
    return base64.urlsafe_b64encode(b"K" + uuid.uuid4().bytes[1:]).decode().rstrip("=")


def answers(bootstrap: str, timeout_s: float = 2.0) -> bool:
    """Whether a broker answers there and is part of its cluster."""
    host, port = bootstrap.split(",")[0].rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout_s).close()
        # librdkafka writes to stderr about what this function is for.
        client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        return bool(client.list_topics(timeout=timeout_s).brokers)
    except (OSError, KafkaException):
        return False


def free_port() -> int:
    """A port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def main() -> int:
    """Run a broker until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.broker", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Broker(port=options.port) as broker:
            print(
                f"Apache Kafka answers on {broker.bootstrap}; Ctrl-C ends it and removes its data.",
                flush=True,
            )
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except Unavailable as problem:
        print(problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
