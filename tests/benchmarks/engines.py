"""The two things that are measured, as processes: our worker and the plain Faust agent."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from stream_guard.streaming.topics import admin_client, create, plan_for
from tests.benchmarks.log import Log
from tests.benchmarks.meter import pin
from tests.kafka.harness import PRODUCTION, READY_S, ROOT, Kafka, Worker, settings_of
from tests.kafka.processes import Child


class Engine:
    """What both have in common.

    Attributes
    ----------
    output
        Topic of its answers.
    first_work
        Topic whose first record tells when work began.
    """

    name: str
    output: str
    first_work: str
    child: Child

    def __init__(self, kafka: Kafka, log: Log, folder: Path, source: str, partitions: int) -> None:
        self.kafka, self.log, self.folder = kafka, log, folder
        self.source, self.partitions = source, partitions

    def start(self, cores: set[int]) -> None:
        """Start it on some cores."""
        raise NotImplementedError

    def done(self) -> int:
        """Payments it has worked off so far, as the log tells."""
        raise NotImplementedError

    def finished(self, count: int) -> bool:
        """Whether it has done `count` payments and all that follows from them."""
        raise NotImplementedError

    def last_answer(self) -> float | None:
        """Monotonic time of its last answer, where answers come often enough to tell when the work ended."""
        return None

    def stop(self) -> None:
        """End it in order."""
        self.child.end(signal.SIGTERM, 15.0)

    def require_running(self) -> None:
        """Raise, with the end of its log, if it has ended."""
        if self.child.returncode is not None:
            raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.child.tail()}")


class Ours(Engine):
    """One worker as in production, with the shipped models."""

    name = "stream_guard"

    def __init__(
        self, kafka: Kafka, log: Log, folder: Path, source: str, partitions: int, **environment: str
    ) -> None:
        super().__init__(kafka, log, folder, source, partitions)
        self.app_id = kafka.prefix("bench")
        self.environment = kafka.environment(self.app_id)
        self.environment |= {"STREAM_GUARD_TOPICS__TRANSACTIONS": source, **environment}
        settings = settings_of(self.environment)
        with admin_client(settings.python_client()) as client:
            create(client, plan_for(settings, client, partitions))
        names = settings.topics
        self.output, self.first_work = names.decisions, names.legs
        self._cases = names.cases
        self.dead_letters = names.dead_letters

    def start(self, cores: set[int]) -> None:
        self.worker = Worker(self.environment, instance="bench", folder=self.folder, config=PRODUCTION)
        self.child = self.worker.child
        pin(self.child.pid, cores)

    def done(self) -> int:
        return sum(self._committed(self.source))

    def finished(self, count: int) -> bool:
        if self.done() < count:
            return False
        # Cases end with marks of transactions that no reader is given, at most one of each partition.
        for topic, marks in ((self.first_work, 0), (self._cases, self.partitions)):
            ends = self.log.ends(topic)
            if any(at < end - marks for at, end in zip(self._committed(topic), ends, strict=True)):
                return False
        return True

    def last_answer(self) -> float | None:
        return self.log.last_time(self.output)

    def _committed(self, topic: str) -> list[int]:
        wanted = [TopicPartition(topic, number) for number in range(self.partitions)]
        try:
            asked = self.kafka.admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(self.app_id, wanted)], request_timeout=5
            )
            found = asked[self.app_id].result(6).topic_partitions
        except (KafkaException, TimeoutError):  # no group has ever met on this broker
            return [0] * self.partitions
        offsets = {one.partition: max(0, one.offset) for one in found or ()}
        return [offsets.get(number, 0) for number in range(self.partitions)]


class PlainFaust(Engine):
    """One plain Faust worker with a Table."""

    name = "plain Faust"

    def __init__(self, kafka: Kafka, log: Log, folder: Path, source: str, partitions: int) -> None:
        super().__init__(kafka, log, folder, source, partitions)
        self.group = kafka.prefix("bench-plain")
        self.output = f"{self.group}-alerts"
        self.first_work = f"{self.group}-accounts-changelog"
        kafka.topic(self.output, partitions)

    def start(self, cores: set[int]) -> None:
        own = {
            "BENCH_BROKER": self.kafka.bootstrap,
            "BENCH_GROUP": self.group,
            "BENCH_INPUT": self.source,
            "BENCH_OUTPUT": self.output,
            "BENCH_PARTITIONS": str(self.partitions),
            "BENCH_FOLDER": str(self.folder / self.group),
        }
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.plain_faust",
            "worker",
            "-l",
            "warn",
            "--without-web",
        ]
        self.child = Child(
            command, log=self.folder / f"{self.group}.log", folder=ROOT, environment={**os.environ, **own}
        )
        pin(self.child.pid, cores)

    def done(self) -> int:
        # Every payment writes one changelog record.
        return sum(self.log.ends(self.first_work))

    def finished(self, count: int) -> bool:
        return self.done() >= count


@contextmanager
def running(engine: Engine, cores: set[int]) -> Iterator[Engine]:
    """An engine until the end of the block; a failure inside it carries the end of its log."""
    engine.start(cores)
    try:
        yield engine
    except BaseException as error:
        error.add_note(f"The log of {engine.name} ends:\n{engine.child.tail()}")
        raise
    finally:
        engine.stop()


class Progress(NamedTuple):
    """How many payments an engine had done at a time of the monotonic clock."""

    when: float
    done: int


def wait_finished(engine: Engine, count: int, timeout_s: float, every_s: float = 0.1) -> Progress:
    """Wait until `count` payments are worked off, or until `timeout_s` after the first of them.

    Raises
    ------
    TimeoutError
        Not even one is, in the time that a first compilation may take.
    """
    give_up, begun = time.monotonic() + READY_S, False
    while True:
        engine.require_running()
        finished, done, now = engine.finished(count), engine.done(), time.monotonic()
        if done and not begun:
            give_up, begun = now + timeout_s, True
        if finished or now > give_up:
            break
        time.sleep(every_s)
    if not begun:
        raise TimeoutError(f"{engine.name} did not begin within {READY_S:.0f} s")
    return Progress(now, done)


def figures(**values: Any) -> dict[str, Any]:
    """Measured figures, rounded to what is worth keeping."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
