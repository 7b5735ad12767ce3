"""Fixtures of the tests on a real Prometheus; every test in this folder is marked ``ops``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.broker import Broker
from tests.kafka.harness import Kafka
from tests.kafka.jars import Unavailable as NoKafka
from tests.ops.packages import Unavailable, folder

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.ops)


@pytest.fixture(scope="session", autouse=True)
def _packages() -> None:
    try:
        folder()
    except Unavailable as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture(scope="package")
def kafka() -> Iterator[Kafka]:
    """A real broker for this folder."""
    try:
        with Broker() as broker:
            yield Kafka(broker.bootstrap, broker)
    except NoKafka as problem:
        pytest.fail(str(problem), pytrace=False)
