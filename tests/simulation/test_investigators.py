from __future__ import annotations

from collections import Counter
from typing import Any

import orjson

from stream_guard.detection.vocabulary import Outcome, Role
from stream_guard.events import Disposition, parse_disposition
from stream_guard.simulation import Truth
from stream_guard.simulation.investigators import FASTEST_S, SLOWEST_S, Desk, judge

TRUTH = {"mule": Truth("drain", Role.MULE, 1), "victim": Truth("drain", Role.VICTIM, 1)}


def alert(warning_id: str, account: str = "mule", status: str = "opened") -> dict[str, Any]:
    return {"warning_id": warning_id, "account": account, "status": status}


def outcomes(account: str) -> Counter[Outcome]:
    return Counter(judge(f"w{n}", account, TRUTH, 1).outcome for n in range(2_000))


def test_most_warnings_are_judged_by_the_truth_and_a_few_stay_open_or_go_wrong() -> None:
    mule, innocent = outcomes("mule"), outcomes("somebody")
    assert mule[Outcome.CONFIRMED] > 0.88 * 2_000
    assert innocent[Outcome.FALSE_POSITIVE] > 0.88 * 2_000
    for counted, wrong in ((mule, Outcome.FALSE_POSITIVE), (innocent, Outcome.CONFIRMED)):
        assert 0.04 < counted[Outcome.INCONCLUSIVE] / 2_000 < 0.09
        assert 0.005 < counted[wrong] / 2_000 < 0.04


def test_a_confirmed_warning_names_the_role_and_no_innocent_account_becomes_a_mule() -> None:
    for account, role in (("mule", Role.MULE), ("victim", Role.VICTIM), ("somebody", Role.VICTIM)):
        for n in range(2_000):
            judgement = judge(f"w{n}", account, TRUTH, 1)
            assert judgement.role == (role if judgement.outcome is Outcome.CONFIRMED else None)


def test_a_judgement_depends_on_the_warning_and_the_seed_only() -> None:
    assert judge("w1", "mule", TRUTH, 1) == judge("w1", "mule", TRUTH, 1)
    assert len({judge("w1", "mule", TRUTH, seed).takes_s for seed in range(5)}) == 5


def test_a_disposition_comes_one_to_four_seconds_after_the_alert() -> None:
    desk = Desk(TRUTH, 1)
    for n in range(200):
        desk.take(alert(f"w{n}"), 10_000)
    assert desk.finished(10_000 + round(FASTEST_S * 1000) - 1) == []
    assert desk.at_work == 200
    assert len(desk.finished(10_000 + round(SLOWEST_S * 1000))) == 200
    assert desk.at_work == 0


def test_a_warning_is_disposed_of_once_and_a_closed_one_never() -> None:
    desk = Desk(TRUTH, 1)
    for status in ("opened", "updated", "escalated", "closed"):
        desk.take(alert("w1", status=status), 0)
    desk.take(alert("w2", status="closed"), 0)
    assert [done["warning_id"] for done in desk.finished(60_000)] == ["w1"]


def test_dispositions_are_valid_by_the_contract() -> None:
    desk = Desk(TRUTH, 1)
    for n in range(300):
        desk.take(alert(f"{n:032x}", account=("mule", "victim", "somebody")[n % 3]), 1_795_500_000_000)
    done = desk.finished(1_795_500_010_000)
    assert len(done) == 300
    assert all(isinstance(parse_disposition(orjson.dumps(disposition)), Disposition) for disposition in done)
