from __future__ import annotations

import numpy as np
import pytest

from stream_guard.alerts import AlertStatus
from stream_guard.backtest.judge import Judge
from stream_guard.backtest.sets import ANOMALY
from stream_guard.backtest.view import NOT_YET, Chunk, Opened, View
from stream_guard.detection.in_step import InStep
from tests.detection.builders import EAGER_ANOMALY, context
from tests.detection.test_in_step import busy_stream, columns_of

DAY = 86_400_000


def chunk(payer: list[int], payee: list[int], ts: list[int], fraud: list[int], start: int = 0) -> Chunk:
    n = len(payer)
    return Chunk(
        start,
        np.array(ts) * DAY,
        np.array(ts),
        np.full(n, 100.0),
        np.array(payer),
        np.array(payee),
        np.array(fraud, np.bool_),
    )


def opened(view: View, part: Chunk, payer: list[int], payee: list[int]) -> list[tuple[int, int]]:
    out = view.openings(
        part, np.arange(len(part.ts)), np.array(payer, np.bool_), np.array(payee, np.bool_), 30 * DAY
    )
    return list(zip(out.position.tolist(), out.row.tolist(), strict=True))


def sized(rows: int) -> View:
    view = View()
    view.fit(rows)
    return view


def test_one_warning_is_open_an_account_until_it_expires() -> None:
    view = sized(2)
    part = chunk([0, 0, 0, 0], [1, 1, 1, 1], [0, 29, 30, 31], [0, 0, 0, 0])
    assert opened(view, part, [1, 1, 1, 1], [0, 0, 0, 0]) == [(0, 0), (2, 0)]
    assert opened(view, chunk([0], [1], [59], [0], 4), [1], [0]) == []
    assert opened(view, chunk([0], [1], [60], [0], 5), [1], [0]) == [(0, 0)]


def test_payer_and_payee_of_one_payment_can_each_get_a_warning() -> None:
    assert opened(sized(2), chunk([0], [1], [0], [0]), [1], [1]) == [(0, 1), (0, 0)]


def test_a_party_that_is_no_account_gets_none() -> None:
    assert opened(sized(2), chunk([-1, 0], [1, -1], [0, 0], [0, 0]), [1, 1], [1, 1]) == [(0, 1), (1, 0)]


def test_what_comes_after_a_warning_could_have_been_saved_and_what_opened_it_could_not() -> None:
    view = sized(3)
    part = chunk([0, 0, 2, 1], [1, 1, 1, 2], [0, 1, 2, 3], [1, 1, 1, 1])
    # The second payment warns its payer, row 0; the third its payee, row 1.
    view.warn(part, Opened(np.array([1, 2]), np.array([0, 1])))
    assert view.follow(part, np.array([0, 1, 2, 3])).tolist() == [False, False, False, True]
    assert (view.saved, view.saved_amount) == (1, 100.0)
    assert view.later.tolist() == [0.0, 100.0, 0.0]
    assert view.follow(chunk([0], [-1], [4], [1], 4), np.array([0])).tolist() == [True]
    assert view.later.tolist() == [100.0, 100.0, 0.0]


def test_figures_stay_when_accounts_come_to_it() -> None:
    view = sized(1)
    part = chunk([0], [-1], [5], [0])
    view.warn(part, Opened(*np.array([opened(view, part, [1], [0])[0]]).T))
    view.score(part, np.array([0]), np.array([70.0]), np.array([0.0]), np.array([2], np.uint8))
    view.fit(4)
    assert view.best.tolist() == [70.0, 0.0, 0.0, 0.0]
    assert view.warnings.tolist() == [1, 0, 0, 0]
    assert view.first_ts.tolist() == [5 * DAY, NOT_YET, NOT_YET, NOT_YET]
    assert opened(view, chunk([0, 3], [-1, -1], [6, 6], [0, 0]), [1, 1], [0, 0]) == [(1, 3)]


@pytest.mark.parametrize("seed", range(2))
def test_views_open_the_warnings_that_the_book_opens(seed: int) -> None:
    where = context(anomaly=EAGER_ANOMALY)
    stream = sorted(busy_stream(seed), key=lambda one: one["ts"])
    bank, judge = InStep(where), Judge(where)
    # Without a rule that never fires it is the whole pack, decided once more.
    batch = columns_of(stream, where)
    step = bank.run(batch)
    none = np.zeros(len(stream), np.bool_)
    judge.add(batch, step, none, np.zeros(len(stream), np.int32), len(bank.profiles))
    judge.finish()
    view = next(
        view
        for (kind, column), view in judge.sets.views.items()
        if kind == "without" and column != ANOMALY and judge.fired[column] == 0
    )
    alerts = [alert for said in step.said for alert in said.alerts if alert.status is AlertStatus.OPENED]
    assert len(alerts) > 3
    assert judge.whole.warnings.sum() == len(alerts)
    assert np.array_equal(view.warnings, judge.whole.warnings)
    assert np.array_equal(view.first_ts, judge.whole.first_ts)
    assert np.array_equal(view.best, judge.whole.best)
    assert view.cards.value() == judge.whole.cards.value()
