from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from stream_guard.backtest import Period, PeriodError, period

DAY = 86_400_000
FIRST = 1_483_228_800_000  # 2017-01-01T00:00:00Z
LAST = FIRST + 100 * DAY


def test_everything_is_judged_unless_something_else_is_said() -> None:
    assert period(FIRST, LAST, UTC) == Period(FIRST, LAST + 1)


def test_fractions_are_of_the_time_span() -> None:
    assert period(FIRST, LAST, UTC, begin="0.6") == Period(FIRST + 60 * DAY, LAST + 1)
    assert period(FIRST, LAST, UTC, until=".25") == Period(FIRST, FIRST + 25 * DAY)
    assert period(FIRST, LAST, UTC, begin="0", until="1") == Period(FIRST, LAST + 1)


def test_dates_begin_in_the_banks_time_zone_and_until_is_left_out() -> None:
    judged = period(FIRST, LAST, ZoneInfo("Asia/Shanghai"), begin="2017-01-11", until="2017-01-21")
    assert judged == Period(FIRST + 10 * DAY - 8 * 3_600_000, FIRST + 20 * DAY - 8 * 3_600_000)
    assert period(FIRST, LAST, UTC, begin="2017-01-11T00:00:00Z").start == FIRST + 10 * DAY


def test_a_warm_up_is_a_length() -> None:
    assert period(FIRST, LAST, UTC, warm_up="30d").start == FIRST + 30 * DAY
    assert period(FIRST, LAST, UTC, warm_up="90m").start == FIRST + 5_400_000


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"begin": "0.6", "warm_up": "30d"}, "give one of them"),
        ({"begin": "yesterday"}, "--from yesterday: write a date"),
        ({"until": "1.5"}, "--until 1.5: write a date"),
        ({"until": "2017-02-30"}, "--until 2017-02-30: write a date"),
        ({"warm_up": "30"}, "--warmup 30: write a number with s, m, h or d"),
        ({"begin": "0.6", "until": "0.5"}, "Nothing is left to judge"),
        ({"begin": "2018-01-01"}, "the history goes from 2017-01-01T00:00:00Z to"),
    ],
)
def test_what_cannot_be_judged_is_said(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(PeriodError, match=sentence.replace("(", r"\(")):
        period(FIRST, LAST, UTC, **options)


def test_a_period_is_shown_in_utc() -> None:
    assert Period(FIRST, FIRST + DAY + 1).as_dict() == {
        "from": "2017-01-01T00:00:00Z",
        "until": "2017-01-02T00:00:00.001Z",
        "days": 1.0,
    }
