"""What Kafka tests stand on: the shared broker, topics of their own, workers as processes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from stream_guard.settings import Settings, load_settings
from stream_guard.streaming.topics import admin_client, create, plan_for
from tests.kafka.broker import Broker, answers, free_port
from tests.kafka.jars import EXISTING, Unavailable
from tests.kafka.processes import Child

ROOT = Path(__file__).parents[2]
PRODUCTION = ROOT / "configs" / "production.yaml"

READY_S = 180.0
"""A worker compiles its kernels the first time: a minute on an idle machine of two cores."""

Env = dict[str, str]
Records = Sequence[tuple[str | bytes | None, bytes | None]]


@dataclass
class Kafka:
    """A broker to test on.

    Attributes
    ----------
    bootstrap
        Its address.
    broker
        The process behind it; None where STREAM_GUARD_TEST_BROKER names somebody else's.
    """

    bootstrap: str
    broker: Broker | None = None
    _admin: AdminClient | None = field(default=None, repr=False)

    @property
    def admin(self) -> AdminClient:
        """librdkafka's administration client."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def prefix(self, name: str = "test") -> str:
        """A name that no other test uses."""
        return f"{name}-{uuid.uuid4().hex[:10]}"

    def environment(self, app_id: str | None = None) -> Env:
        """Variables that point the product at this broker and at topics of one test."""
        app_id = app_id or self.prefix()
        own = ("transactions", "account_updates", "dispositions", "risk_signals")
        own += ("decisions", "alerts", "dead_letters")
        names = {f"STREAM_GUARD_TOPICS__{role.upper()}": f"{app_id}-{role.replace('_', '-')}" for role in own}
        return {"STREAM_GUARD_BROKER": self.bootstrap, "STREAM_GUARD_APP_ID": app_id, **names}

    def topics(self, app_id: str | None = None, partitions: int = 2) -> Env:
        """Make every topic of the product under names of this test; returns `environment`."""
        environment = self.environment(app_id)
        settings = settings_of(environment)
        with admin_client(settings.python_client()) as client:
            create(client, plan_for(settings, client, partitions))
        return environment

    def topic(self, name: str, partitions: int = 1, **configs: str) -> None:
        """Make one topic (``retention_ms="60000"``) and wait until every partition has a leader."""
        settings = {key.replace("_", "."): value for key, value in configs.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(10)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            made = self.admin.list_topics(name, timeout=10).topics[name].partitions
            if len(made) == partitions and all(partition.leader >= 0 for partition in made.values()):
                return
            time.sleep(0.05)
        raise TimeoutError(f"topic {name} has no leaders after 30 s")

    def configure(self, topic: str, **configs: str) -> None:
        """Change settings of a topic (``retention_ms="60000"``) and wait until the broker shows them."""
        self._configure(ConfigResource.Type.TOPIC, topic, configs)

    def configure_brokers(self, **configs: str) -> None:
        """The same for settings of every broker."""
        for number in self.admin.list_topics(timeout=10).brokers:
            self._configure(ConfigResource.Type.BROKER, str(number), configs)

    def _configure(self, kind: ConfigResource.Type, name: str, configs: Mapping[str, str]) -> None:
        wanted = {key.replace("_", "."): value for key, value in configs.items()}
        entries = [
            ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
            for setting, value in wanted.items()
        ]
        resource = ConfigResource(kind, name, incremental_configs=entries)
        self.admin.incremental_alter_configs([resource])[resource].result(10)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            shown = self.admin.describe_configs([resource])[resource].result(10)
            if all(setting in shown and shown[setting].value == value for setting, value in wanted.items()):
                return
            time.sleep(0.05)
        raise TimeoutError(f"{kind.name.lower()} {name} does not show {wanted} after 30 s")

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records of a partition below `offset`, as retention would."""
        place = TopicPartition(topic, partition, offset)
        self.admin.delete_records([place])[place].result(10)

    def send(self, topic: str, records: Records, /, **headers: bytes) -> None:
        """Write records, keyed and partitioned as Kafka's Java client does; raise if one is refused."""
        errors: list[KafkaError] = []

        def report(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                errors.append(error)

        config = {"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", "linger.ms": 1}
        producer = Producer({**config, "message.max.bytes": 4_000_000})
        for key, value in records:
            producer.produce(topic, value, key, headers=list(headers.items()), on_delivery=report)
            producer.poll(0)
        left = producer.flush(30)
        if errors or left:
            raise KafkaException(errors[0] if errors else KafkaError(KafkaError._MSG_TIMED_OUT))

    def read(
        self, topic: str, *, at_least: int = 0, timeout_s: float = 30.0, committed: bool = True
    ) -> list[Message]:
        """Everything in a topic: by default what `read_committed` readers see.

        Reads to the end as it is now, and on until `at_least` records are there.
        """
        return list(self.stream(topic, at_least=at_least, timeout_s=timeout_s, committed=committed))

    def stream(
        self, topic: str, *, at_least: int = 0, timeout_s: float = 30.0, committed: bool = True
    ) -> Iterator[Message]:
        """The same, a record at a time, for topics that do not fit into memory."""
        config = {
            "bootstrap.servers": self.bootstrap,
            "group.id": self.prefix("reader"),
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
        deadline = time.monotonic() + timeout_s
        consumer = Consumer(config)
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            count = 0
            ended: set[int] = set()
            while len(ended) < len(partitions) or count < at_least:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{topic}: {count} of {at_least} records after {timeout_s:.0f} s")
                for message in consumer.consume(1000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        count += 1
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                    else:
                        raise KafkaException(error)
        finally:
            consumer.close()


def settings_of(environment: Mapping[str, str]) -> Settings:
    """Settings as a worker with these variables has them."""
    return load_settings(PRODUCTION if PRODUCTION.exists() else None, environment)


@contextmanager
def running_kafka() -> Iterator[Kafka]:
    """The broker that STREAM_GUARD_TEST_BROKER names, or one of our own until the end.

    Raises
    ------
    Unavailable
        With one sentence that says what to install.
    """
    existing = os.environ.get("STREAM_GUARD_TEST_BROKER")
    if not existing:
        with Broker() as broker:
            yield Kafka(broker.bootstrap, broker)
    elif answers(existing, 10.0):
        yield Kafka(existing)
    else:
        raise Unavailable(
            f"No Kafka broker answers on {existing} ({EXISTING}): start it, or unset the variable."
        )


class Worker:
    """A worker process.

    Parameters
    ----------
    module
        What is run: the product, or something that starts it with faults planted.
    program
        A program to run instead of Python with `module`.

    Attributes
    ----------
    instance
        Its instance id.
    port
        Where it serves /metrics, /healthz and /readyz.
    child
        The process; its output is in ``child.log``.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        instance: str,
        folder: Path,
        config: Path,
        module: str = "stream_guard",
        program: Path | None = None,
    ) -> None:
        self.instance = instance
        self.port = free_port()
        own = {
            "STREAM_GUARD_INSTANCE_ID": instance,
            "STREAM_GUARD_DATA_DIR": str(folder / instance),
            "STREAM_GUARD_HTTP__PORT": str(self.port),
        }
        self.child = Child(
            [
                *([sys.executable, "-m", module] if program is None else [str(program)]),
                "worker",
                "-c",
                str(config),
            ],
            log=folder / f"{instance}.log",
            folder=ROOT,
            environment={**os.environ, **own, **environment},
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page of its server; status 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            head, _, value = line.rpartition(" ")
            if head.split("{")[0] == name and all(label in head for label in wanted):
                total += float(value)
        return total

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait for /readyz; raise, with the end of the log, when the process ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while self.get("/readyz")[0] != 200:
            if self.child.returncode is not None:
                raise RuntimeError(f"the worker ended with {self.child.returncode}:\n{self.child.tail()}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker is not ready after {timeout_s:.0f} s:\n{self.child.tail()}")
            time.sleep(0.1)

    def kill(self) -> int:
        """SIGKILL."""
        return self.child.end(signal.SIGKILL)

    def terminate(self, timeout_s: float = 15.0) -> int:
        """SIGTERM; returns the exit code."""
        return self.child.end(signal.SIGTERM, timeout_s)


@contextmanager
def running_worker(
    environment: Mapping[str, str],
    *,
    instance: str = "worker-0",
    folder: Path | None = None,
    config: Path = PRODUCTION,
    ready: bool = True,
) -> Iterator[Worker]:
    """A worker until the end of the block; a failure inside it carries the end of the worker's log.

    Parameters
    ----------
    environment
        From `Kafka.topics`, with whatever else the test sets.
    instance
        Its instance id; two at once need two.
    folder
        For its data and its log; a temporary one by default. Given again, it is a restart on the same data.
    ready
        Whether to wait until it is ready.
    """
    with tempfile.TemporaryDirectory(prefix="stream-guard-worker-", ignore_cleanup_errors=True) as temporary:
        worker = Worker(environment, instance=instance, folder=folder or Path(temporary), config=config)
        try:
            if ready:
                worker.wait_ready()
            yield worker
        except BaseException as error:
            error.add_note(f"The log of {instance} ends:\n{worker.child.tail()}")
            raise
        finally:
            worker.child.end(signal.SIGTERM, 15.0)
