"""The yardstick: a plain Faust agent, one event at a time, with a Table and its changelog.

As Faust's own documentation would have it, at its better settings (orjson, larger polls, a linger of 5 ms).
Run by the benchmark as ``python -m tests.benchmarks.plain_faust worker`` and told in BENCH_* what to do.
"""

from __future__ import annotations

import os
from typing import Any

import faust

from tests.benchmarks.small_job import judge, new_account

PARTITIONS = int(os.environ["BENCH_PARTITIONS"])

app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_BROKER']}",
    store="memory://",
    datadir=os.environ["BENCH_FOLDER"],
    topic_partitions=PARTITIONS,
    topic_replication_factor=1,
    topic_disable_leader=True,
    consumer_auto_offset_reset="earliest",
    web_enabled=False,
    broker_max_poll_records=1_000,
    stream_buffer_maxsize=8_192,
    producer_linger_ms=5,
)
transactions = app.topic(
    os.environ["BENCH_INPUT"], key_type=str, key_serializer="raw", value_serializer="json"
)
alerts = app.topic(os.environ["BENCH_OUTPUT"], value_serializer="json")
accounts = app.Table("accounts", key_type=str, partitions=PARTITIONS)


@app.agent(transactions)
async def watch(stream: Any) -> None:
    async for payment in stream:
        account = payment["account"]
        state = accounts.get(account)
        if state is None:
            state = new_account()
        alert = judge(state, payment)
        accounts[account] = state  # what writes the changelog
        if alert is not None:
            await alerts.send(key=account, value=alert)


if __name__ == "__main__":
    app.main()
