"""Options, fixtures and the table of the chaos suite; README.md says how a scenario is added."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.chaos.drill import Drill
from tests.chaos.table import Row, table
from tests.chaos.verifier import Verdict
from tests.kafka.broker import Broker
from tests.kafka.harness import Kafka
from tests.kafka.jars import Unavailable

HERE = Path(__file__).parent
ROWS = pytest.StashKey[list[Row]]()
SEED = pytest.StashKey[int]()


class Scale(NamedTuple):
    """How much of a scenario is run.

    Attributes
    ----------
    full
        `make chaos`; otherwise the few minutes that are part of every `make test`.
    seed
        Of everything that is chosen.
    """

    full: bool
    seed: int

    def of(self, quick: int, full: int) -> int:
        """One of two sizes."""
        return full if self.full else quick


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--full", action="store_true", help="chaos scenarios at full length, and all of them")
    group.addoption("--seed", type=int, default=None, help="seed of the chaos scenarios (default: a new one)")


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--seed", None)
    config.stash[SEED] = random.SystemRandom().randrange(1_000_000) if chosen is None else chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--full", False):
        left_out = [item for item in items if item.get_closest_marker("chaos_full")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if ROWS in config.stash:
        terminalreporter.section("chaos")
        terminalreporter.write_line(f"seed {config.stash[SEED]}")
        terminalreporter.write_line(table(config.stash[ROWS]))


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> Scale:
    """Quick or full, and the seed."""
    pytestconfig.stash[ROWS] = []
    return Scale(bool(pytestconfig.getoption("--full", False)), pytestconfig.stash[SEED])


@pytest.fixture(scope="package")
def kafka() -> Iterator[Kafka]:
    """A real broker for the scenarios that leave it alone; the others start their own."""
    try:
        with Broker() as broker:
            yield Kafka(broker.bootstrap, broker)
    except Unavailable as problem:
        pytest.fail(str(problem), pytrace=False)


Start = Callable[..., Drill]
Report = Callable[[str, Drill], Verdict]


@pytest.fixture
def drill(tmp_path: Path, scale: Scale) -> Start:
    """Makes drills: ``with drill(kafka, payments=10_000) as run``."""

    def make(kafka: Kafka, **options: object) -> Drill:
        return Drill(kafka, tmp_path, seed=scale.seed, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Report:
    """Judges a drill, puts its row into the table, and fails unless the promise was kept."""

    def judge(scenario: str, run: Drill) -> Verdict:
        verdict = run.judge()
        pytestconfig.stash[ROWS].append(Row(scenario, run.faults, verdict))
        verdict.require_fine()
        return verdict

    return judge
