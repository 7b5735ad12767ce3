from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from stream_guard.detection.vocabulary import Outcome, Reject, Severity
from stream_guard.detection.warnings import Standing
from stream_guard.feedback.hit_rate import HitRate
from stream_guard.feedback.tallies import Intercepted, Tallies, WarningCount, bank_days

RULES = ("rapid-in-out@3", "drain@1", "trial@1")
SHADOW = np.array([False, False, True])


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_events_decisions_and_refusals_are_counted() -> None:
    tallies = Tallies()
    tallies.events(5, counted=3, repeated=1, late=2)
    tallies.events(6, counted=4)
    tallies.decisions(5, [1, 0, 0, 2, 0])
    tallies.decisions(6, ints(4, 0, 0, 0, 0))
    tallies.rejected(Reject.TOO_OLD)
    tallies.rejected("too_old", 2)
    tallies.anomalies(payer=2)
    assert tallies.counts("events") == {"counted": 7, "repeated": 1, "late": 2}
    assert tallies.counts("decisions") == {"allow": 5, "hold": 2}
    assert tallies.counts("rejected") == {"too_old": 3}
    assert tallies.counts("anomaly") == {"payer": 2}
    assert tallies.window(6, 1).counts("decisions") == {"allow": 4}


def test_decisions_need_a_count_for_each_action() -> None:
    with pytest.raises(ValueError, match="zip"):
        Tallies().decisions(5, [1, 2])


def test_rules_are_tallied_by_version_and_shadow_rules_apart() -> None:
    tallies = Tallies()
    for _ in range(3):
        tallies.rules(RULES, SHADOW, 10, ints(1, 0, 2), ints(0, 4, 0))
    assert tallies.counts("evaluated") == dict.fromkeys(RULES, 30)
    assert tallies.counts("fired") == {"rapid-in-out@3": 3}
    assert tallies.counts("shadow_fired") == {"trial@1": 6}
    assert tallies.counts("not_evaluable") == {"drain@1": 12}


def test_a_rule_that_changes_its_pack_or_its_state_keeps_its_counts() -> None:
    tallies = Tallies()
    tallies.rules(RULES, SHADOW, 10, ints(1, 1, 1), ints(0, 0, 0))
    tallies.rules(RULES, np.zeros(3, np.bool_), 10, ints(1, 1, 1), ints(0, 0, 0))
    tallies.rules(("drain@1",), np.zeros(1, np.bool_), 5, ints(2), ints(1))
    assert tallies.counts("fired") == {"rapid-in-out@3": 2, "drain@1": 4, "trial@1": 1}
    assert tallies.counts("shadow_fired") == {"trial@1": 1}
    assert tallies.counts("evaluated") == {"rapid-in-out@3": 20, "drain@1": 25, "trial@1": 20}


def restored(tallies: Tallies) -> Tallies:
    result = Tallies()
    result.load(tallies.take_dirty())
    return result


@pytest.mark.parametrize(
    "leave",
    [restored, lambda t: Tallies.merge([t]), lambda t: Tallies.from_bytes(t.to_bytes())],
    ids=["changed records", "merged", "whole"],
)
def test_rule_counts_are_in_everything_that_leaves_the_tallies(leave: Callable[[Tallies], Tallies]) -> None:
    tallies = Tallies()
    tallies.rules(RULES, SHADOW, 10, ints(1, 0, 2), ints(0, 4, 0))
    taken = leave(tallies)
    assert taken.counts("fired") == {"rapid-in-out@3": 1}
    assert taken == tallies


def test_the_overall_figure_counts_a_warning_once_and_every_rule_on_it_is_credited_once() -> None:
    tallies = Tallies()
    tallies.entered(Standing.CONFIRMED, 5, ["a@1", "b@1", "anomaly"], {})
    tallies.entered(Standing.FALSE_POSITIVE, 6, ["a@1"], {})
    tallies.entered(Standing.PENDING, 6, ["b@2"], {})
    tallies.joined(6, ["a@1"])
    assert tallies.hit_rate() == HitRate(confirmed=1, false_positive=1, pending=1)
    assert tallies.hit_rates_by_rule() == {
        "a@1": HitRate(confirmed=1, false_positive=1, pending=1),
        "anomaly": HitRate(confirmed=1),
        "b@1": HitRate(confirmed=1),
        "b@2": HitRate(pending=1),
    }
    assert (
        sum(rate.confirmed for rate in tallies.hit_rates_by_rule().values()) != tallies.hit_rate().confirmed
    )


def test_corrections_may_lower_a_figure() -> None:
    tallies = Tallies()
    tallies.entered(Standing.CONFIRMED, 5, ["a@1"], {4: 1000})
    tallies.left(Standing.CONFIRMED, 5, ["a@1"], {4: 1000})
    tallies.entered(Standing.FALSE_POSITIVE, 7, ["a@1"], {4: 1000})
    assert tallies.hit_rate() == HitRate(false_positive=1)
    assert tallies.window(5, 1) == Tallies()
    assert tallies.intercepted_amount().released == 10.0


@pytest.mark.parametrize(("days", "confirmed"), [(1, 1), (7, 2), (30, 3), (365, 4)])
def test_windows_of_7_and_30_days_and_a_year_come_from_day_buckets(days: int, confirmed: int) -> None:
    tallies = Tallies()
    today = 20_000
    for age in (0, 6, 29, 364, 365):
        tallies.entered(Standing.CONFIRMED, today - age, ["a@1"], {})
    window = tallies.window(today, days)
    assert window.hit_rate() == HitRate(confirmed=confirmed)
    assert window.hit_rates_by_rule() == {"a@1": HitRate(confirmed=confirmed)}


def test_amount_intercepted_is_split_into_confirmed_released_and_undecided() -> None:
    tallies = Tallies()
    for amount in (0.1, 0.2, 100.0, 50.0):
        tallies.intercepted(5, amount)
    tallies.entered(Standing.CONFIRMED, 9, ["a@1"], {5: 10_000})
    tallies.entered(Standing.FALSE_POSITIVE, 9, ["a@1"], {5: 10})
    tallies.entered(Standing.INCONCLUSIVE, 9, ["a@1"], {5: 5_000})
    tallies.entered(Standing.EXPIRED, 9, ["a@1"], {5: 20})
    amounts = tallies.intercepted_amount()
    assert amounts == Intercepted(total=150.3, confirmed=100.0, released=0.1)
    assert amounts.undecided == 50.2
    # The split goes by the day of the payment, so that a window's parts never exceed its total.
    assert tallies.window(5, 1).intercepted_amount() == amounts
    assert tallies.window(9, 1).intercepted_amount() == Intercepted(0, 0, 0)


def test_warnings_are_counted_by_rule_version_and_severity() -> None:
    tallies = Tallies()
    tallies.warned("opened", 5, Severity.HIGH, ["b@1", "a|b@1"])
    tallies.warned("opened", 5, Severity.HIGH, ["b@1"])
    tallies.warned("closed_by_expiry", 6, Severity.CRITICAL, ["b@1"])
    assert tallies.counts("warnings") == {"opened": 2, "closed_by_expiry": 1}
    assert list(tallies.warnings_by_rule()) == [
        WarningCount("closed_by_expiry", "critical", "b@1", 1),
        WarningCount("opened", "high", "a|b@1", 1),
        WarningCount("opened", "high", "b@1", 2),
    ]


def test_dispositions_are_counted_by_outcome_and_refusals_apart() -> None:
    tallies = Tallies()
    tallies.disposed(Outcome.CONFIRMED, 5)
    tallies.refused("duplicate")
    assert tallies.counts("dispositions") == {"confirmed": 1}
    assert tallies.counts("dispositions_refused") == {"duplicate": 1}


def test_merging_partitions_adds_them_up() -> None:
    first, second = Tallies(), Tallies()
    first.entered(Standing.CONFIRMED, 5, ["a@1"], {})
    second.entered(Standing.FALSE_POSITIVE, 5, ["a@1"], {})
    second.rules(RULES, SHADOW, 10, ints(1, 0, 2), ints(0, 4, 0))
    both = Tallies.merge([first, second])
    assert both.hit_rate().value == 0.5
    assert both == Tallies.merge([second, first])
    assert both != first


def test_days_are_bank_local() -> None:
    day_of = bank_days(ZoneInfo("Asia/Shanghai"))
    midnight = int(datetime(2026, 11, 24, 16, tzinfo=UTC).timestamp() * 1000)
    assert day_of(midnight) == day_of(midnight - 1) + 1
    assert bank_days(UTC)(midnight) == bank_days(UTC)(midnight - 1)
