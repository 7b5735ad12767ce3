"""What a worker refuses to start on, or to go on with: a sentence that says what to do, and the exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stream_guard.cli.common import Exit
from stream_guard.detection.hashing import murmur2_partition
from tests.kafka.bank import SHARED, payment, settle, wires, write
from tests.kafka.broker import free_port
from tests.kafka.harness import Env, Kafka, Worker, settings_of

PARTITIONS = 2
NOON = 1_763_956_800_000
ENDS_WITHIN_S = 120.0

Start = Callable[..., AbstractContextManager[Worker]]


def refusal(worker: Start, environment: Env) -> tuple[int, str]:
    """Exit code of a worker that must not start, and what it said since."""
    with worker(environment, ready=False) as running:
        log: Path = running.child.log
        before = log.stat().st_size
        code = running.child.wait(ENDS_WITHIN_S)
    return code, log.read_text()[before:]


def says_so(said: str) -> bool:
    """Whether it speaks to a person."""
    return "Traceback" not in said


@pytest.mark.parametrize("what", ["missing", "unequal", "unreachable"])
def test_what_is_wrong_with_the_cluster_is_said_at_the_start(kafka: Kafka, worker: Start, what: str) -> None:
    environment = {**kafka.topics(partitions=PARTITIONS), **SHARED}
    if what == "missing":
        environment["STREAM_GUARD_TOPICS__DISPOSITIONS"] = "nowhere"
        sentence, expected = "Topic 'nowhere' does not exist: run 'stream-guard topics create'", Exit.REFUSED
    elif what == "unequal":
        other = kafka.prefix("three")
        kafka.topic(other, 3, cleanup_policy="compact")
        environment["STREAM_GUARD_TOPICS__ACCOUNT_UPDATES"] = other
        sentence, expected = f"'{other}' has 3 partitions where 2 are wanted", Exit.REFUSED
    else:
        environment["STREAM_GUARD_BROKER"] = f"127.0.0.1:{free_port()}"
        sentence, expected = "No Kafka broker answers", Exit.BROKER
    code, said = refusal(worker, environment)
    assert code == expected, said
    assert sentence in said
    assert says_so(said)


def test_records_lost_to_retention_other_parties_and_a_topic_made_anew_are_refused(
    kafka: Kafka, worker: Start
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **SHARED}
    topic = settings_of(environment).topics.transactions
    account = next(f"A{n}" for n in range(99) if murmur2_partition(f"A{n}".encode(), PARTITIONS) == 0)

    def pay(first: int, count: int) -> None:
        numbers = range(first, first + count)
        write(kafka, wires(topic, [payment(f"e{n}", NOON + n, account, "B1", 10.0) for n in numbers]))

    # The log moves on, further than the worker has read, while it stands still.
    with worker(environment) as running:
        pay(0, 30)
        settle(30, running)
        running.child.send(signal.SIGSTOP)
        time.sleep(1.5)  # what the broker was asked before is answered by now
        pay(30, 20)
        kafka.delete_before(topic, 0, 45)
        before = running.child.log.stat().st_size
        running.child.send(signal.SIGCONT)
        code = running.child.wait(ENDS_WITHIN_S)
        said = running.child.log.read_text()[before:]
    lost = (
        f"{topic}-0 starts at offset 45 but the state ends at 30: records were deleted before they were read"
    )
    assert code == Exit.REFUSED, said
    assert lost in said
    assert says_so(said)

    # A restart alone does not help.
    code, said = refusal(worker, environment)
    assert code == Exit.REFUSED, said
    assert lost in said
    assert "start under a new application id" in said

    # Other parties are accounts now: rows would be split.
    code, said = refusal(worker, {**environment, "STREAM_GUARD_PARTIES__NOT_ACCOUNTS": "EXT_*,B*"})
    assert code == Exit.REFUSED, said
    assert "was built with another routing" in said
    assert says_so(said)

    # The topic was made anew: it ends below what the state has read.
    kafka.admin.delete_topics([topic])[topic].result(30)
    remake(kafka, topic)
    code, said = refusal(worker, environment)
    assert code == Exit.REFUSED, said
    assert f"{topic}-0 ends at offset 0 but the state has read to 30: the topic was made anew" in said
    assert says_so(said)


def remake(kafka: Kafka, topic: str) -> None:
    """Make a topic that is being deleted: the name is free when the broker says so."""
    deadline = time.monotonic() + 30
    while topic in kafka.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline, "the topic is still there"
        time.sleep(0.1)
    kafka.topic(topic, PARTITIONS)
