"""Workers on a real Kafka under a real Prometheus and Alertmanager, with the rules in fast motion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from confluent_kafka import Producer

from tests.kafka.bank import payment, wait_until
from tests.kafka.broker import free_port
from tests.kafka.harness import PRODUCTION, Env, Kafka, Worker, settings_of
from tests.ops.inbox import Inbox, open_inbox
from tests.ops.prometheus import Alertmanager, Prometheus
from tests.ops.rules import in_fast_motion
from tests.ops.scene import KERNELS

FASTER = 60
RECEIVERS = {
    ("ops", "critical"): "ops-pager",
    ("ops", "warning"): "ops",
    ("fraud-desk", "critical"): "fraud-desk-now",
    ("fraud-desk", "warning"): "fraud-desk",
}


@dataclass
class Stage:
    """What runs, and what can be done to it."""

    kafka: Kafka
    environment: Env
    folder: Path
    prometheus: Prometheus
    alertmanager: Alertmanager
    inbox: Inbox
    workers: dict[str, Worker] = field(default_factory=dict)
    sent: int = 0
    behind_ms: int = 3 * 3_600_000
    """How far payments' own times lie back: room to let the bank's clock go on."""

    def __post_init__(self) -> None:
        self.topics = settings_of(self.environment).topics

    def start(self, instance: str, **settings: str) -> Worker:
        """Start a worker, or start it again, and have it watched."""
        more = {f"STREAM_GUARD_{name.upper()}": value for name, value in settings.items()}
        # Prometheus knows it again by its address.
        port = self.workers[instance].port if instance in self.workers else free_port()
        more["STREAM_GUARD_HTTP__PORT"] = str(port)
        worker = Worker(
            {**self.environment, **more}, instance=instance, folder=self.folder, config=PRODUCTION
        )
        worker.port = port
        self.workers[instance] = worker
        self.prometheus.watch([f"127.0.0.1:{one.port}" for one in self.workers.values()])
        worker.wait_ready()
        return worker

    @property
    def now(self) -> int:
        """The bank's time, milliseconds."""
        return round(time.time() * 1000) - self.behind_ms

    def pay(self, count: int, *, age_s: float = 0.0, **more: str) -> None:
        """Send harmless payments, with `more` fields; their records are `age_s` old already."""
        now = self.now
        numbers = range(self.sent, self.sent + count)
        self.write(
            (
                orjson.dumps(payment(f"e{i}", now, f"A{i % 500}", f"B{i % 700}", 20.0, **more))
                for i in numbers
            ),
            (f"A{i % 500}" for i in numbers),
            age_s,
        )
        self.sent += count

    def write(self, values: Iterable[bytes], keys: Iterable[str], age_s: float = 0.0) -> None:
        """Send records to the transactions topic."""
        producer = Producer(
            {"bootstrap.servers": self.kafka.bootstrap, "partitioner": "murmur2_random", "log_level": 0}
        )
        topic = self.topics.transactions
        for key, value in zip(keys, values, strict=True):
            stamp = round((time.time() - age_s) * 1000)
            producer.produce(topic, value, key, timestamp=stamp)
            producer.poll(0)
        assert producer.flush(60) == 0

    def quiet(self, *names: str) -> None:
        """None of these alerts fires yet."""
        assert not set(names) & set(self.prometheus.firing())

    def rings(
        self, *names: str, timeout_s: float = 120.0, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait until each has fired, and those who are meant were told, or are not to be; keep its cause up.

        Alertmanager waits a second before it tells of an alert; of one that is over by then it tells nobody.
        """
        waiting = set(names)

        def heard() -> bool:
            meanwhile()
            for name, alert in self.prometheus.firing().items():
                if name in waiting and self._told(alert["labels"]):
                    assert "<error" not in str(alert["annotations"]), alert
                    waiting.discard(name)
            return not waiting

        wait_until(heard, f"{', '.join(names)} fire", timeout_s, poll_s=0.3)

    def _told(self, labels: dict[str, str]) -> bool:
        wanted = RECEIVERS[labels["audience"], labels["severity"]]
        for alert in self.alertmanager.ask("/api/v2/alerts"):
            if alert["labels"] == labels:
                assert [receiver["name"] for receiver in alert["receivers"]] == [wanted]
                inhibited = alert["status"]["state"] == "suppressed"
                return inhibited or labels["alertname"] in self.inbox.received.get(wanted, ())
        return False


@contextmanager
def open_stage(kafka: Kafka, folder: Path, **settings: str) -> Iterator[Stage]:
    """A stage without workers; `settings` are those of all of them."""
    more = {f"STREAM_GUARD_{name.upper()}": value for name, value in settings.items()}
    environment = {**kafka.topics(partitions=2), **KERNELS, **more}
    rules = in_fast_motion(folder / "rules", FASTER, keep={"WorkerRestarting"})
    with (
        open_inbox() as inbox,
        Alertmanager(folder / "alertmanager", inbox.url) as alertmanager,
        Prometheus(
            folder / "prometheus", rules=rules, alertmanager=f"127.0.0.1:{alertmanager.port}"
        ) as prometheus,
    ):
        stage = Stage(kafka, environment, folder, prometheus, alertmanager, inbox)
        try:
            yield stage
        except BaseException as error:
            for name, worker in stage.workers.items():
                error.add_note(f"The log of {name} ends:\n{worker.child.tail()}")
            raise
        finally:
            for worker in stage.workers.values():
                worker.child.end()
