"""One run of a scenario: a history that is sent, workers that are faulted, and the verdict at the end."""

from __future__ import annotations

import logging
import random
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
import orjson
import pandas as pd
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from stream_guard.streaming.fatal import EXIT_FATAL, EXIT_FENCED
from tests.chaos import histories
from tests.chaos.faulty_worker import VARIABLE, Point
from tests.chaos.verifier import Place, Sent, Verdict, verify
from tests.kafka.bank import AUDIT, counted, lag, stay_idle, wait_until
from tests.kafka.harness import PRODUCTION, Env, Kafka, Worker, settings_of
from tests.kafka.processes import in_background

logger = logging.getLogger(__name__)

WAIT_S = 600.0
"""Bound of everything that is waited for: three workers compile their kernels side by side the first time."""

FLUSHES = {"STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "1.0"}
"""As in production: what was done since the last one is done again after a kill."""

GO_ON_ANEW = frozenset({EXIT_FATAL, EXIT_FENCED})
"""Exit codes of a worker that must not go on as it is, and is right again when it is started anew."""


def now_ms() -> int:
    """Wall clock, epoch milliseconds."""
    return int(time.time() * 1000)


class Drill:
    """Topics, a history and workers of one scenario; a context manager that ends the workers.

    Parameters
    ----------
    kafka
        The broker.
    folder
        For logs and fault files.
    seed
        Of the history and of `random`.
    payments
        Length of the history.
    partitions
        Of the keyed topics.
    environment
        Settings beside those that show every decision with its features.

    Attributes
    ----------
    random
        For every choice the scenario makes.
    workers
        Those that are meant to run, by instance id.
    faults
        How many were injected.
    ended
        Instance id and exit code of each worker that ended without being told to.
    resent, refused
        What the scenario writes beside the history, for the verifier: ids of payments it sends once more,
        places of records that must become dead letters.
    produced_ms
        When each payment of the history was sent; 0 while it was not.
    """

    def __init__(
        self,
        kafka: Kafka,
        folder: Path,
        *,
        seed: int,
        payments: int,
        partitions: int = 6,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kafka = kafka
        self.folder = folder
        self.random = random.Random(seed)
        self.partitions = partitions
        topics = kafka.topics(partitions=partitions)
        self.environment: Env = {**topics, **AUDIT, **FLUSHES, **(environment or {})}
        self.settings = settings_of(self.environment)
        self.history = histories.made_up(seed, payments, busy_payments=min(400, payments // 120 * 2))
        self.workers: dict[str, Worker] = {}
        self._environments: dict[str, Mapping[str, str] | None] = {}
        self.faults = 0
        self.ended: list[tuple[str, int]] = []
        self.resent: set[str] = set()
        self.refused: set[Place] = set()
        self.sent = 0
        self.produced_ms = np.zeros(len(self.history.payments))
        self._refused: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": int(WAIT_S * 1000),
                "queue.buffering.max.messages": 2_000_000,
                "log_level": 0,
            }
        )
        kafka.send(self.settings.topics.account_updates, histories.updates(self.history))
        kafka.send(self.settings.topics.risk_signals, histories.signals(self.history))

    # -- input --------------------------------------------------------------------------------------------

    @property
    def left(self) -> int:
        """Payments of the history that are not sent yet."""
        return len(self.history.payments) - self.sent

    def send(self, count: int) -> None:
        """Write the next payments of the history; returns when they are handed to the client."""
        part = self.history.payments.iloc[self.sent : self.sent + count]
        for number, payment in enumerate(part.to_dict("records"), self.sent):
            self.produced_ms[number] = now = now_ms()
            self.write(payment["account"], orjson.dumps(payment), now)
        self.sent += len(part)

    @contextmanager
    def flow(self, rate: float) -> Iterator[None]:
        """Write payments at a steady rate, payments/s, until the end of the block or of the history."""

        def flow(stop: threading.Event) -> None:
            started, before = time.monotonic(), self.sent
            while not stop.wait(0.05) and self.left:
                self.send(before + int((time.monotonic() - started) * rate) - self.sent)

        with in_background(flow):
            yield

    def write(self, key: str, value: bytes, timestamp: int) -> None:
        """Hand one record for the transactions topic to the client; `timestamp` in ms."""
        topic = self.settings.topics.transactions
        while True:
            try:
                self._producer.produce(topic, value, key, timestamp=timestamp, on_delivery=self._report)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def _delivered(self) -> None:
        left = self._producer.flush(WAIT_S)
        if self._refused or left:
            raise KafkaException(self._refused[0] if self._refused else KafkaError(KafkaError._MSG_TIMED_OUT))

    # -- workers ------------------------------------------------------------------------------------------

    def start(
        self, *instances: str, ready: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start workers side by side and wait until they are ready."""
        for instance in instances:
            self._environments[instance] = environment
            self.workers[instance] = self.launch(instance, environment=environment)
        if ready:
            for instance in instances:
                self.workers[instance].wait_ready(WAIT_S)

    def launch(
        self, instance: str, *, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> Worker:
        """A worker process that is not one of `workers`."""
        planted = {VARIABLE: str(self._fault_file(instance))}
        return Worker(
            {**self.environment, **planted, **(environment or {})},
            instance=instance,
            folder=folder or self.folder,
            config=PRODUCTION,
            module="tests.chaos.faulty_worker",
        )

    def fault(self, what: str) -> None:
        """Count a fault; the log says when it was."""
        self.faults += 1
        logger.info("%s; %d payments sent", what, self.sent)

    def kill(self, instance: str) -> None:
        """SIGKILL; it is not one of `workers` any more."""
        self.fault(f"kill {instance}")
        self.workers.pop(instance).kill()

    def terminate(self, instance: str) -> None:
        """SIGTERM: a worker ends in order; a process that is none yet may just end."""
        self.fault(f"terminate {instance}")
        worker = self.workers.pop(instance)
        orderly = {0} if worker.get("/healthz")[0] else {0, -signal.SIGTERM}
        code = worker.terminate(WAIT_S)
        assert code in orderly, f"{instance} ended with {code}:\n{worker.child.tail()}"

    def freeze(self, instance: str) -> None:
        """SIGSTOP."""
        self.fault(f"freeze {instance}")
        self.workers[instance].child.send(signal.SIGSTOP)

    def thaw(self, instance: str) -> None:
        """SIGCONT."""
        self.workers[instance].child.send(signal.SIGCONT)

    def plant(self, instance: str, point: Point, seconds: float = 0.0) -> None:
        """Plant a fault in a worker, running or still to be started."""
        self.fault(f"plant {point} in {instance}")
        whole = self.folder / f"{instance}.planting"
        whole.write_text(f"{point} {seconds}")
        whole.rename(self._fault_file(instance))

    def clear(self, instance: str) -> None:
        """Take back what is planted."""
        self._fault_file(instance).unlink(missing_ok=True)

    def dies(self, instance: str) -> None:
        """Wait until a worker is dead of what was planted; it is not one of `workers` any more."""
        worker = self.workers.pop(instance)
        code = worker.child.wait(WAIT_S)
        assert code == -signal.SIGKILL, f"{instance} ended with {code}:\n{worker.child.tail()}"

    def heal(self) -> None:
        """Start again what has ended without being told to, as a supervisor would."""
        for instance, worker in list(self.workers.items()):
            code = worker.child.returncode
            if code is not None:
                worker.child.wait(WAIT_S)
                logger.info("%s ended by itself with %d", instance, code)
                self.ended.append((instance, code))
                self.workers[instance] = self.launch(instance, environment=self._environments.get(instance))

    def wait(self, condition: Callable[[], bool], what: str, poll_s: float = 0.1) -> None:
        """Wait for something, starting again what ends meanwhile."""

        def looked() -> bool:
            self.heal()
            return condition()

        wait_until(looked, what, WAIT_S, poll_s)

    def counted(self) -> int:
        """Payments in the state of the workers' partitions."""
        return counted(*self.workers.values())

    def all_open(self) -> bool:
        """Whether every partition is open, and in one worker only."""
        opened = [number for worker in self.workers.values() for number in partitions_of(worker)]
        return sorted(opened) == sorted(map(str, range(self.partitions)))

    def settled(self) -> None:
        """Wait until everything sent is counted and all that follows from it is durable."""
        logger.info("waiting until %d payments are counted", self.sent)
        self._delivered()
        self.wait(self.all_open, "all partitions are open")
        self._settle(self.sent)

    def _settle(self, payments: int) -> None:
        self.wait(lambda: self.counted() >= payments, f"{payments} payments are counted", 0.5)

        def idle() -> bool:
            self.heal()
            # A partition on its way from one worker to another shows in both, or in none.
            return self.all_open() and not lag(*self.workers.values()) and self.counted() == payments

        try:
            stay_idle(idle, WAIT_S)
        except TimeoutError as error:
            by_worker = {instance: counted(worker) for instance, worker in self.workers.items()}
            raise TimeoutError(f"{error}; {payments} payments were sent, counted are {by_worker}") from None

    # -- the end ------------------------------------------------------------------------------------------

    def judge(self) -> Verdict:
        """Send what is left, wait, probe every account, end the workers and ask the verifier."""
        self.send(self.left)
        self.settled()
        probes = histories.probes(self.history)
        for payment in probes.to_dict("records"):
            self.write(payment["account"], orjson.dumps(payment), now_ms())
        self._delivered()
        self._settle(self.sent + len(probes))
        logger.info("all counted; ending the workers and reading what came out")
        faults = self.faults
        for instance in list(self.workers):
            self.terminate(instance)
        self.faults = faults  # the end is no fault
        payments: pd.DataFrame = self.history.payments.assign(produced=self.produced_ms)
        sent = Sent(
            payments,
            probes,
            self.history.busy,
            self.partitions,
            frozenset(self.resent),
            frozenset(self.refused),
        )
        return verify(self.kafka, self.settings, sent)

    def _fault_file(self, instance: str) -> Path:
        return self.folder / f"{instance}.fault"

    def __enter__(self) -> Drill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers.values():
            if error is not None:
                error.add_note(f"The log of {worker.instance} ends:\n{worker.child.tail()}")
            worker.child.end(signal.SIGKILL)


def partitions_of(worker: Worker) -> set[str]:
    """Partitions that a worker has open."""
    return set(re.findall(r'stream_guard_state_rows\{partition="(\d+)"\}', worker.get("/metrics")[1]))
