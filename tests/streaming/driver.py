"""A Faust application of ours without a broker, and an owner of offsets that notes what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.types import TP

from stream_guard.streaming.app import build_app
from stream_guard.streaming.gather import Gather
from stream_guard.streaming.transport import Batch

TOPICS = {
    "transactions": "payments",
    "legs": "app-legs",
    "cases": "app-cases",
    "sightings": "app-sightings",
    "dispositions": "outcomes",
    "account_updates": "facts",
}


class Keeper:
    """Owner of offsets that notes what it is asked."""

    def __init__(self) -> None:
        self.offsets: dict[TP, int] = {}
        self.opened: list[set[TP]] = []
        self.asked = 0
        self.proofs = 0

    async def open(self, assignment: set[TP]) -> Mapping[TP, int]:
        self.opened.append(assignment)
        return self.offsets

    async def make_durable(self) -> Mapping[TP, int]:
        self.asked += 1
        return self.offsets

    def committed(self) -> None:
        self.proofs += 1

    async def on_transactions(self, batch: Batch) -> None:
        """Nothing."""

    on_legs = on_cases = on_sightings = on_dispositions = on_account_updates = on_transactions


def application(keeper: Any, **connection: Any) -> faust.App:
    return build_app(
        app_id="app",
        brokers=["127.0.0.1:1"],
        instance_id="worker-0",
        data_dir="unused",
        topics=TOPICS,
        processor=keeper,
        connection=connection,
        flush_interval_s=1.0,
        session_timeout_s=10.0,
        heartbeat_s=3.0,
        max_poll_records=500,
        fetch_wait_ms=100,
        gather=Gather(0.0, lambda: 0.0, lambda: 0.0),
    )
