"""Memory is bounded by accounts: four times the payments take no more of it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stream_guard import history
from tests.backtest import story

ACCOUNTS = 40
PIECE = 128


def peak(folder: Path, payments: int) -> int:
    """Bytes, of payments an hour apart among the same accounts; one in fifty is fraud, one in forty large."""
    at = np.arange(payments)
    changed = {
        "event_id": [f"e{i}" for i in at.tolist()],
        "ts": pa.array(story.T0 + story.HOUR * at, pa.timestamp("ms", "UTC")),
        "account": [f"A{i % ACCOUNTS}" for i in at.tolist()],
        "counterparty": [f"A{(7 * i + 3) % ACCOUNTS}" for i in at.tolist()],
        "amount": np.where(at % 40 == 7, 1_200.0, 100.0),
        "is_fraud": pa.array(at % 50 == 0, pa.int8()),
        "fraud_scenario": ["some"] * payments,
    }
    tracemalloc.start()
    try:
        story.tell(folder, accounts=None, begin=None, changed=changed, at_once=PIECE)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_four_times_the_payments_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BATCH_ROWS", PIECE)
    story.tell(tmp_path)  # what is made once
    few = peak(tmp_path, 6 * PIECE)
    assert peak(tmp_path, 24 * PIECE) < 1.2 * few
