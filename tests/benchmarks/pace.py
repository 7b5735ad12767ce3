"""Sends records on a fixed schedule and notes when: ``python -m tests.benchmarks.pace``, its own process.

The schedule waits for nobody: a reader that falls behind is given its next record all the same, so that the
latencies hide nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import orjson
from confluent_kafka import Producer

LONGEST_SLEEP_S = 0.001

PRODUCER = {
    "partitioner": "murmur2_random",
    # As a bank's producer is set. It also bounds what is in flight, so that a busy broker is sent fuller
    # batches instead of more of them.
    "enable.idempotence": True,
    "linger.ms": 0,
}


def main() -> None:
    """Send every line of a file; write the monotonic time just before each `produce()`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--lines", type=Path, required=True, help="one payment a line")
    parser.add_argument("--rate", type=float, required=True, help="records a second")
    parser.add_argument("--sent", type=Path, required=True, help="float64 seconds of each line, .npy")
    options = parser.parse_args()
    values = options.lines.read_bytes().splitlines()
    keys = [orjson.loads(value)["account"].encode() for value in values]
    producer = Producer({**PRODUCER, "bootstrap.servers": options.broker})
    producer.list_topics(options.topic, timeout=10)
    sent = np.empty(len(values))
    start = time.monotonic() + 0.1
    for index, (key, value) in enumerate(zip(keys, values, strict=True)):
        due = start + index / options.rate
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(LONGEST_SLEEP_S, left))
        sent[index] = time.monotonic()
        producer.produce(options.topic, value, key)
        producer.poll(0)
    if producer.flush(30):
        raise SystemExit("the broker did not take every record within 30 s")
    np.save(options.sent, sent)


if __name__ == "__main__":
    main()
