"""What a worker refuses to start on, or to go on with: a sentence that says what to do, and the exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from stream_guard.cli.common import Exit
from stream_guard.detection.hashing import murmur2_partition
from stream_guard.streaming import legs as frames
from tests.kafka.bank import SHARED, Wire, payment, settle, wires, write
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


@pytest.mark.parametrize("what", ["missing", "unequal", "uncompacted", "unreachable", "locked"])
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
    elif what == "uncompacted":
        state = settings_of(environment).topics.state
        kafka.configure(state, cleanup_policy="delete")
        sentence, expected = (
            "so rows not written for a while vanish: set cleanup.policy=compact",
            Exit.REFUSED,
        )
    elif what == "locked":
        # The broker speaks plaintext here: a client that brings a password finds nobody to take it.
        environment |= {
            "STREAM_GUARD_SECURITY__PROTOCOL": "SASL_SSL",
            "STREAM_GUARD_SECURITY__USERNAME": "worker",
            "STREAM_GUARD_SECURITY__PASSWORD": "wrong",
        }
        sentence, expected = "check the port and the security settings", Exit.BROKER
    else:
        environment["STREAM_GUARD_BROKER"] = f"127.0.0.1:{free_port()}"
        sentence, expected = "No Kafka broker answers", Exit.BROKER
    code, said = refusal(worker, environment)
    assert code == expected, said
    assert sentence in said
    assert says_so(said)


@pytest.mark.parametrize("what", ["pack", "setting", "file"])
def test_what_is_wrong_with_the_settings_is_said_before_any_broker_is_asked(
    kafka: Kafka, worker: Start, tmp_path: Path, what: str
) -> None:
    environment: Env = {**kafka.topics(partitions=PARTITIONS), **SHARED}
    if what == "pack":
        broken = tmp_path / "broken.yaml"
        broken.write_text(settings_of(environment).models.pack.read_text().replace("when:", "whn:", 1))
        environment["STREAM_GUARD_MODELS__PACK"] = str(broken)
        sentence = "broken.yaml"
    elif what == "setting":
        environment["STREAM_GUARD_POLICY__DEADLINE_MS"] = "soon"
        sentence = "STREAM_GUARD_POLICY__DEADLINE_MS: must be a valid integer"
    else:
        environment["STREAM_GUARD_MODELS__POLICY"] = str(tmp_path / "nowhere.yaml")
        sentence = "nowhere.yaml"
    code, said = refusal(worker, environment)
    assert code == Exit.USAGE, said
    assert sentence in said
    assert says_so(said)


def test_a_leg_that_is_gone_stops_its_partition_with_what_to_do(kafka: Kafka, worker: Start) -> None:
    environment: Env = {**kafka.topics(partitions=1), **SHARED}
    topics = settings_of(environment).topics
    with worker(environment) as running:
        write(kafka, wires(topics.transactions, [payment("e1", NOON, "A1", "B1", 10.0)]))
        settle(1, running)
        (leg,) = kafka.read(topics.legs)
        # What a worker sent before it died: two legs, of which the broker has lost the first.
        running.child.send(signal.SIGSTOP)
        lost = leg_after(leg.value(), offset=2, previous=1)
        write(kafka, [Wire(topics.legs, None, lost, 0)])
        before = running.child.log.stat().st_size
        running.child.send(signal.SIGCONT)
        code = running.child.wait(ENDS_WITHIN_S)
        said = running.child.log.read_text()[before:]
    assert code == Exit.REFUSED, said
    assert "leg" in said
    assert says_so(said)


def leg_after(frame: bytes, offset: int, previous: int) -> bytes:
    """The leg of a later payment, which names the one sent before it."""
    legs = frames.decode([frame])
    assert legs is not None
    changed = legs._replace(offset=np.array([offset]), previous=np.array([previous]))
    return frames.encode(changed, np.flatnonzero(~np.isnan(legs.block[0])))


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
