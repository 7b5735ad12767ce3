"""Rows of the matrix, and where compiled kernels are kept, for the tests of the rule language."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_guard.detection.features import INDEX, N

RowMaker = Callable[..., list[float]]


@pytest.fixture
def row() -> RowMaker:
    """Make a row of the matrix: everything missing but what is given (``__`` stands for the point)."""

    def make(**values: float) -> list[float]:
        cells = [math.nan] * N
        for name, number in values.items():
            cells[INDEX[name.replace("__", ".")]] = float(number)
        return cells

    return make


@pytest.fixture(scope="session")
def kernels() -> Path:
    """Folder of compiled kernels that outlives the test run, so that only a changed emitter compiles anew."""
    return Path(__file__).parents[3] / ".cache" / "rules"
