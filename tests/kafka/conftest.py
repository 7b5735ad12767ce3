"""Fixtures of the tests on a real Apache Kafka; every test in this folder is marked ``kafka``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.kafka.harness import Env, Kafka, Worker, running_kafka, running_worker
from tests.kafka.jars import Unavailable

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real broker, one for the whole session: tests keep apart by topics of their own."""
    try:
        with running_kafka() as running:
            yield running
    except Unavailable as problem:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def topics(kafka: Kafka) -> Env:
    """All topics of the product with two partitions; the variables that name them."""
    return kafka.topics()


@pytest.fixture
def worker(tmp_path: Path) -> Callable[..., AbstractContextManager[Worker]]:
    """Starts workers: ``with worker(env, instance="worker-0") as running``; restarts find the same data."""

    def start(environment: Env, **options: object) -> AbstractContextManager[Worker]:
        return running_worker(environment, folder=tmp_path, **options)  # type: ignore[arg-type]

    return start
