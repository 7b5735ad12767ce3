"""A bank's side of the topics: writes to chosen places, follows what comes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.kafka.harness import ROOT, Env, Kafka, Worker

SHARED: Env = {
    # Kernels of the rule pack are compiled once for all tests and kept for the next run.
    "STREAM_GUARD_DATA_DIR": str(ROOT / ".cache" / "worker"),
    # Tests wait for alerts, which come with a flush.
    "STREAM_GUARD_STATE__FLUSH_INTERVAL_S": "0.2",
    # A loaded machine must not make decisions late.
    "STREAM_GUARD_POLICY__DEADLINE_MS": "0",
}
AUDIT: Env = {**SHARED, "STREAM_GUARD_DECISIONS__EMIT": "all", "STREAM_GUARD_DECISIONS__FEATURES": "true"}

QUIET_S = 2.0


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Wire(NamedTuple):
    """A record to write; `partition` None leaves the choice to Kafka's own partitioner."""

    topic: str
    key: str | bytes | None
    value: bytes | None
    partition: int | None = None


def write(kafka: Kafka, records: Iterable[Wire], **config: Any) -> list[Place]:
    """Write records and return where they stand, in the same order."""
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "partitioner": "murmur2_random",
            "message.max.bytes": 4_000_000,
            "enable.idempotence": True,
            **config,
        }
    )
    places: dict[int, Place] = {}
    errors: list[KafkaError] = []

    def reporter(number: int) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                places[number] = Place(message.topic(), message.partition(), message.offset())

        return report

    count = 0
    for count, record in enumerate(records, 1):
        chosen = {} if record.partition is None else {"partition": record.partition}
        producer.produce(record.topic, record.value, record.key, on_delivery=reporter(count - 1), **chosen)
        producer.poll(0)
    left = producer.flush(30)
    if errors or left:
        raise KafkaException(errors[0] if errors else KafkaError(KafkaError._MSG_TIMED_OUT))
    return [places[number] for number in range(count)]


def payment(
    event_id: str, ts: int, account: str, counterparty: str, amount: float, **more: Any
) -> dict[str, Any]:
    """A transaction with what it must have."""
    parties = {"account": account, "counterparty": counterparty}
    return {"event_id": event_id, "ts": ts, **parties, "amount": amount, **more}


def wires(topic: str, values: Iterable[dict[str, Any]]) -> list[Wire]:
    """Messages keyed by their account, as JSON."""
    return [Wire(topic, value["account"], orjson.dumps(value)) for value in values]


class Tail:
    """Follows a topic from its beginning, by default as `read_committed` readers see it."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.topic = topic
        self.records: list[Message] = []
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka.bootstrap,
                "group.id": kafka.prefix("tail"),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, number, 0) for number in partitions])

    def until(self, done: Callable[[list[Message]], bool], timeout_s: float = 60.0) -> list[Message]:
        """Read on until `done` says so of all records read so far."""
        deadline = time.monotonic() + timeout_s
        while not done(self.records):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{self.topic}: not among {len(self.records)} records after {timeout_s:.0f} s"
                )
            for message in self._consumer.consume(500, timeout=0.1):
                if message.error() is not None:
                    raise KafkaException(message.error())
                self.records.append(message)
        return self.records

    def find(self, wanted: Callable[[Message], bool], timeout_s: float = 60.0) -> Message:
        """The first record that is wanted, waited for."""
        return next(filter(wanted, self.until(lambda records: any(map(wanted, records)), timeout_s)))

    def __enter__(self) -> Tail:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()


def wait_until(
    condition: Callable[[], bool], what: str, timeout_s: float = 90.0, poll_s: float = 0.1
) -> None:
    """Look again and again until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not so after {timeout_s:.0f} s")
        time.sleep(poll_s)


def counted(*workers: Worker) -> int:
    """Payments in the state of the workers' partitions."""
    return int(sum(worker.metric("stream_guard_state_events", result="counted") for worker in workers))


def lag(*workers: Worker) -> float:
    """Records that wait in the workers' partitions."""
    return sum(worker.metric("stream_guard_lag") for worker in workers)


def settle(events: int, *workers: Worker, timeout_s: float = 120.0) -> None:
    """Wait until `events` payments are counted and all that follows from them is applied and durable."""
    wait_until(lambda: counted(*workers) >= events, f"{events} payments are counted", timeout_s)
    stay_idle(lambda: lag(*workers) == 0, timeout_s)
    assert counted(*workers) == events


def stay_idle(idle: Callable[[], bool], timeout_s: float) -> None:
    """Wait until nothing is on its way any more.

    What is found about payers travels with a flush: idle for longer than a flush and the worker's look at
    the lag every second take, nothing will come.
    """
    quiet_since = time.monotonic()
    deadline = quiet_since + timeout_s
    while time.monotonic() < quiet_since + QUIET_S:
        if not idle():
            quiet_since = time.monotonic()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not idle after {timeout_s:.0f} s")
        time.sleep(0.1)
