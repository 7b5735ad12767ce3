"""Fixtures of the streaming tests: one partition with the shipped models, and what a worker is built of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_guard.detection.state import Context, PartitionState
from stream_guard.streaming.partition import Partition
from tests.detection.builders import EAGER_ANOMALY, context

MakePartition = Callable[..., Partition]


@pytest.fixture
def two() -> Context:
    """What decides, with two partitions and an anomaly model that learns fast."""
    return context(partitions=2, anomaly=EAGER_ANOMALY, emit_all=True)


@pytest.fixture
def make_partition(two: Context) -> MakePartition:
    """Makes an empty partition of a number."""

    def make(number: int = 0, where: Context = two) -> Partition:
        bank = where.bank
        return Partition(
            number, bank.partitions, PartitionState(where), bank.routing_hash(), "app-sightings", "lineage"
        )

    return make
