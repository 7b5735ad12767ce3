from __future__ import annotations

import pytest

from stream_guard.simulation import History, generate
from stream_guard.simulation.stream import programme

NOW_MS = 1_795_500_000_123
"""2026-11-24 14:00 in Shanghai."""


@pytest.fixture(scope="session")
def staged() -> History:
    """Every play once, in 220 days."""
    return generate(11, NOW_MS, days=220, accounts=900, repeats=1)


@pytest.fixture(scope="session")
def before_live() -> History:
    """A history with every play prepared for a live stream of 20 s."""
    names = [name for _, name in programme(20, 5)]
    return generate(5, NOW_MS, days=200, accounts=450, live=names, activity=0.4)
