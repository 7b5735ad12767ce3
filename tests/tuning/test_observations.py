"""A history gone through once, as whoever tries parameters sees it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import numpy as np

from stream_guard.backtest import Inputs, Progress, period
from stream_guard.detection.features import INDEX
from stream_guard.history import History
from stream_guard.tuning.observations import Observed, observe
from tests.backtest import story


def _observed(folder: Path, begin: str | None, until: str | None = None, at_once: int = 3) -> list[Observed]:
    path, _ = story.write(folder)
    history = History(path)
    first, last = history.first_ts(), history.last_ts()
    assert first is not None
    assert last is not None
    inputs = Inputs(history, period(first, last, UTC, begin=begin, until=until))
    told: list[Progress] = []
    seen = list(observe(inputs, story.context(), tell=told.append, at_once=at_once))
    assert told[-1].events == (8 if until is None else told[-1].events)
    return seen


def test_what_comes_before_the_period_warms_and_is_not_seen(tmp_path: Path) -> None:
    seen = _observed(tmp_path, "2024-01-03")
    assert sum(len(one.fraud) for one in seen) == 5
    received = seen[0].step.matrix[0, INDEX["payee.in_count_24h"]]
    assert received == 2.0, "C's first payment of the period is its second within 24 h"


def test_nothing_from_the_end_on_is_seen(tmp_path: Path) -> None:
    seen = _observed(tmp_path, None, "2024-01-03")
    assert np.concatenate([one.fraud for one in seen]).tolist() == [False, True, True]


def test_features_are_those_decided_on_whatever_the_partition(tmp_path: Path) -> None:
    whole, pieces = _observed(tmp_path, None, at_once=100), _observed(tmp_path, None, at_once=1)
    np.testing.assert_array_equal(whole[0].step.matrix, np.concatenate([one.step.matrix for one in pieces]))
    assert whole[0].step.matrix[:, INDEX["payee.listed"]].tolist() == [0.0] * 8


def test_a_grid_of_parameters_is_tried_on_the_same_pass(tmp_path: Path) -> None:
    pack = story.pack()
    fired = {50.0: 0, 60.0: 0}
    for one in _observed(tmp_path, None):
        for score in fired:
            params = pack.params_with({("large", "score"): score})
            results = pack.evaluate(one.step.matrix, one.batch.ts, params)
            fired[score] += int((results.score[:, 0] == score).sum())
    assert fired == {50.0: 5, 60.0: 5}
