"""Workers that stand still, each in another way: seen from outside in time, or ended by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream_guard.streaming.fatal import EXIT_DEAD_LETTER, EXIT_FATAL
from stream_guard.streaming.worker import ASK_EVERY_S, STALLED_AFTER_S
from tests.benchmarks.payments import encoded, made_up
from tests.chaos.faulty_worker import VARIABLE, Point
from tests.kafka.bank import SHARED, wait_until
from tests.kafka.harness import PRODUCTION, Env, Kafka, Worker, settings_of

SEEN_WITHIN_S = STALLED_AFTER_S + ASK_EVERY_S + 20.0
"""With room for a machine that does many things at once."""

PAYMENTS = list(encoded(made_up(200, 11)))


class Patient(Worker):
    """A worker of its own application, with a fault to be planted."""

    def __init__(self, kafka: Kafka, folder: Path, name: str) -> None:
        self.kafka = kafka
        self.fault = folder / f"{name}.fault"
        environment: Env = {
            **kafka.topics(),
            **SHARED,
            VARIABLE: str(self.fault),
            "STREAM_GUARD_LOG__FORMAT": "json",
        }
        self.transactions = settings_of(environment).topics.transactions
        super().__init__(
            environment, instance=name, folder=folder, config=PRODUCTION, module="tests.chaos.faulty_worker"
        )

    def pay(self, start: int, stop: int) -> None:
        """Send some payments."""
        self.kafka.send(self.transactions, PAYMENTS[start:stop])

    def plant(self, point: Point, number: float = 0.0) -> None:
        """Plant a fault in one step."""
        whole = self.fault.with_suffix(".new")
        whole.write_text(f"{point} {number}")
        whole.rename(self.fault)


@contextmanager
def patients(kafka: Kafka, folder: Path, *names: str) -> Iterator[list[Patient]]:
    """Workers side by side that have decided something and are healthy."""
    workers = [Patient(kafka, folder, name) for name in names]
    try:
        for worker in workers:
            worker.wait_ready()
            worker.pay(0, 50)
        for worker in workers:
            wait_until(lambda worker=worker: worker.metric("stream_guard_state_events") > 0, "work is done")
            assert worker.get("/healthz")[0] == 200
        yield workers
    except BaseException as error:
        for worker in workers:
            error.add_note(f"The log of {worker.instance} ends:\n{worker.child.tail()}")
        raise
    finally:
        for worker in workers:
            worker.kill()


def test_a_worker_that_stands_still_is_not_healthy_or_ends(kafka: Kafka, tmp_path: Path) -> None:
    with patients(kafka, tmp_path, "stuck", "deaf", "dead", "mute") as (stuck, deaf, dead, mute):
        # A dead letter that cannot be written ends the process at once.
        mute.plant(Point.NO_DEAD_LETTERS)
        kafka.send(mute.transactions, [(b"A1", b"no JSON")])
        assert mute.child.wait(30.0) == EXIT_DEAD_LETTER
        (last,) = mute.child.log.read_text().splitlines()[-1:]
        assert "a dead letter could not be written to" in json.loads(last)["message"]

        began = time.monotonic()
        stuck.plant(Point.STUCK)
        deaf.plant(Point.DEAF)
        dead.plant(Point.DEAD_LOOP, 600)
        for worker in (stuck, deaf, dead):
            worker.pay(50, 200)
        for worker in (stuck, deaf):
            wait_until(lambda worker=worker: worker.get("/healthz")[0] == 503, "it is seen", SEEN_WITHIN_S)
            assert "records wait and nothing has become durable for" in worker.get("/healthz")[1]
        # A dead loop answers no probe; then it ends.
        assert dead.child.wait(began + SEEN_WITHIN_S + 30 - time.monotonic()) == EXIT_FATAL
        (last,) = dead.child.log.read_text().splitlines()[-1:]
        assert "the event loop has stood still for 30 s, at " in json.loads(last)["message"]
        assert "fetched_records" in json.loads(last)["message"]

        # What was only held up goes on.
        for worker in (stuck, deaf):
            worker.fault.unlink()
            wait_until(lambda worker=worker: worker.get("/healthz")[0] == 200, "it is healthy again")

    accounts = {payment[0].decode() for payment in PAYMENTS}
    for log in tmp_path.glob("*.log"):
        text = log.read_text()
        assert all(json.loads(line) for line in text.splitlines()), "not every line is JSON"
        assert not [account for account in accounts if account in text]
