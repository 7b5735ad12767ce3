"""Three brokers, each of them a controller too: what a bank runs, in small."""

from __future__ import annotations

import time
from types import TracebackType

from confluent_kafka.admin import AdminClient

from tests.kafka.broker import VOTERS, Broker, cluster_id, free_port
from tests.kafka.harness import Kafka

BROKERS = 3
HEAP_MB = 320
IN_SYNC_S = 180.0

PROPERTIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # A killed broker is missed after that, and its partitions get other leaders.
    "broker.session.timeout.ms": "6000",
    "controlled.shutdown.enable": "true",
}


class Cluster:
    """Brokers 0, 1 and 2; a context manager that starts and removes them."""

    def __init__(self) -> None:
        cluster = cluster_id()
        ports = [free_port() for _ in range(BROKERS)]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports, 1))
        self.brokers = [
            Broker(
                {**PROPERTIES, "node.id": str(number), VOTERS: voters},
                heap_mb=HEAP_MB,
                controller=port,
                cluster=cluster,
            )
            for number, port in enumerate(ports, 1)
        ]
        self.kafka = Kafka(",".join(broker.bootstrap for broker in self.brokers))

    def wait_in_sync(self) -> None:
        """Wait until every partition has all of its replicas in sync."""
        deadline = time.monotonic() + IN_SYNC_S
        while time.monotonic() < deadline:
            client = AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})
            seen = client.list_topics(timeout=30)
            partitions = [part for topic in seen.topics.values() for part in topic.partitions.values()]
            if len(seen.brokers) == BROKERS and all(
                len(part.isrs) == len(part.replicas) for part in partitions
            ):
                return
            time.sleep(0.5)
        raise TimeoutError(f"replicas are out of sync after {IN_SYNC_S:.0f} s")

    def __enter__(self) -> Cluster:
        try:
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.wait()
            self.wait_in_sync()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for broker in self.brokers:
            broker.remove()
