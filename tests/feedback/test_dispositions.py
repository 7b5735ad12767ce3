"""Dispositions, hit rate and risk signals, sentence by sentence of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.alerts import AlertStatus, ClosedBy, Reason
from stream_guard.detection.findings import Finding
from stream_guard.detection.vocabulary import Action, Outcome, Role, Severity, Side, SignalSource
from stream_guard.detection.warning_book import WarningBook
from stream_guard.feedback.dispositions import Disposed, SignalRecord, Verdict, dispose
from stream_guard.feedback.hit_rate import HitRate
from stream_guard.feedback.tallies import Intercepted, Tallies

DAY = 86_400_000
T0 = 20_000 * DAY


@dataclass(frozen=True)
class Policy:
    warn_at: float = 50.0
    warning_ttl_s: float = 30 * 86_400.0

    def severity(self, score: float) -> Severity:
        return Severity(sum(score >= cut for cut in (70, 85, 95)))


class Disposition(NamedTuple):
    disposition_id: str
    warning_id: str
    account: str
    outcome: Outcome
    role: Role | None
    ts: int


class Desk:
    """A book, its tallies, and what an investigator does with them."""

    def __init__(self) -> None:
        self.tallies = Tallies()
        self.book = WarningBook(Policy(), self.tallies, lambda ts: ts // DAY)
        self.events = 0

    def warn(self, account: str = "a", ts: int = T0, rule: str = "r1", amount: float = 0.0) -> str:
        """Open a warning, on a payment of that amount held; its id."""
        self.events += 1
        reason = Reason(
            rule=rule, version=1, account=account, side=Side.PAYEE, score=60, text="", evidence={}
        )
        finding = Finding(
            side=Side.PAYEE,
            account=account,
            event_id=f"e{self.events}",
            event_hash=self.events,
            ts=ts,
            amount=amount,
            action=Action.HOLD,
            score=60.0,
            reasons=(reason,),
            warn=False,
            intercepted=amount > 0,
            pack="p",
        )
        if amount > 0:
            self.tallies.intercepted(ts // DAY, amount)
        return self.book.consider(finding, ts)[-1].warning_id

    def dispose(
        self,
        warning: str,
        outcome: Outcome,
        role: Role | None = None,
        *,
        account: str = "a",
        ts: int = T0,
        disposition: str | None = None,
        stream_ts: int | None = None,
        listed_by: SignalSource | None = None,
    ) -> Disposed:
        message = Disposition(disposition or f"d-{ts}-{outcome}-{role}", warning, account, outcome, role, ts)
        now = ts if stream_ts is None else stream_ts
        return dispose(self.book, self.tallies, message, now, listed_by=listed_by)


def test_a_disposition_closes_the_warning_and_counts() -> None:
    desk = Desk()
    warning = desk.warn()
    assert desk.tallies.hit_rate() == HitRate(pending=1)
    verdict, (alert,), signal = desk.dispose(warning, Outcome.FALSE_POSITIVE, ts=T0 + 5)
    assert (verdict, signal) == (Verdict.COUNTED, None)
    assert (alert.status, alert.closed_by, alert.outcome) == (
        AlertStatus.CLOSED,
        ClosedBy.DISPOSITION,
        Outcome.FALSE_POSITIVE,
    )
    assert desk.tallies.hit_rate() == HitRate(false_positive=1)
    assert desk.tallies.counts("dispositions") == {"false_positive": 1}


def test_the_same_disposition_id_is_a_duplicate() -> None:
    desk = Desk()
    warning = desk.warn()
    desk.dispose(warning, Outcome.FALSE_POSITIVE, disposition="d1")
    before = desk.tallies.hit_rate()
    again = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, disposition="d1", ts=T0 + DAY)
    assert again == (Verdict.DUPLICATE, [], None)
    assert desk.tallies.hit_rate() == before
    assert desk.tallies.counts("dispositions") == {"false_positive": 1}
    assert desk.tallies.counts("dispositions_refused") == {"duplicate": 1}


def test_the_ids_remembered_are_bounded() -> None:
    desk = Desk()
    warning = desk.warn()
    for n in range(100):
        desk.dispose(warning, Outcome.INCONCLUSIVE, disposition=f"d{n}", ts=T0 + n)
    kept = desk.book.find(b"a", warning)
    assert kept is not None
    assert kept.disposition_ids == [f"d{n}" for n in range(36, 100)]


def test_an_unknown_warning_and_a_wrong_account_are_told_apart() -> None:
    desk = Desk()
    warning = desk.warn("a")
    desk.warn("b")
    assert desk.dispose("nothing", Outcome.INCONCLUSIVE).verdict is Verdict.UNKNOWN_WARNING
    assert desk.dispose(warning, Outcome.INCONCLUSIVE, account="b").verdict is Verdict.WRONG_ACCOUNT
    assert desk.dispose(warning, Outcome.INCONCLUSIVE, account="c").verdict is Verdict.WRONG_ACCOUNT
    assert desk.tallies.hit_rate() == HitRate(pending=2)
    assert desk.tallies.counts("dispositions_refused") == {"unknown_warning": 1, "wrong_account": 2}
    assert desk.tallies.counts("dispositions") == {}


def test_confirmed_needs_a_role() -> None:
    desk = Desk()
    with pytest.raises(ValueError, match="needs a role"):
        desk.dispose(desk.warn(), Outcome.CONFIRMED)


def test_the_newest_ts_replaces_the_outcome_and_corrects_the_figures() -> None:
    desk = Desk()
    warning = desk.warn(amount=100.0)
    desk.dispose(warning, Outcome.CONFIRMED, Role.VICTIM, ts=T0)
    assert desk.tallies.intercepted_amount() == Intercepted(100.0, 100.0, 0.0)
    verdict, (alert,), _ = desk.dispose(warning, Outcome.FALSE_POSITIVE, ts=T0 + DAY)
    assert verdict is Verdict.COUNTED
    assert (alert.status, alert.revision, alert.outcome) == (AlertStatus.CLOSED, 3, Outcome.FALSE_POSITIVE)
    assert desk.tallies.hit_rate() == HitRate(false_positive=1)
    assert desk.tallies.hit_rates_by_rule() == {"r1@1": HitRate(false_positive=1)}
    assert desk.tallies.intercepted_amount() == Intercepted(100.0, 0.0, 100.0)
    assert desk.tallies.counts("warnings")["closed_by_disposition"] == 1


def test_an_older_disposition_is_taken_in_but_does_not_replace_the_newer() -> None:
    desk = Desk()
    warning = desk.warn()
    desk.dispose(warning, Outcome.FALSE_POSITIVE, ts=T0 + DAY)
    late = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, ts=T0, disposition="late")
    assert late == (Verdict.SUPERSEDED, [], None)
    assert desk.tallies.hit_rate() == HitRate(false_positive=1)
    assert desk.tallies.counts("dispositions") == {"false_positive": 1, "confirmed": 1}
    again = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, ts=T0, disposition="late")
    assert again.verdict is Verdict.DUPLICATE


def test_closed_warnings_accept_dispositions_for_90_days() -> None:
    desk = Desk()
    warning = desk.warn()
    desk.dispose(warning, Outcome.INCONCLUSIVE)
    last = T0 + 90 * DAY - 1
    assert desk.dispose(warning, Outcome.CONFIRMED, Role.VICTIM, ts=last).verdict is Verdict.COUNTED
    assert desk.dispose(warning, Outcome.INCONCLUSIVE, ts=last + 1).verdict is Verdict.UNKNOWN_WARNING
    assert desk.tallies.hit_rate() == HitRate(confirmed=1)


def test_an_expired_warning_accepts_a_disposition_and_leaves_the_expired() -> None:
    desk = Desk()
    warning = desk.warn(amount=7.0)
    (expired,) = desk.book.expire(T0 + 30 * DAY)
    assert expired.closed_by is ClosedBy.EXPIRY
    assert desk.tallies.hit_rate() == HitRate(expired=1)
    assert desk.tallies.intercepted_amount().undecided == 7.0
    verdict, (alert,), _ = desk.dispose(warning, Outcome.CONFIRMED, Role.VICTIM, ts=T0 + 31 * DAY)
    assert verdict is Verdict.COUNTED
    assert (alert.closed_by, alert.outcome) == (ClosedBy.EXPIRY, Outcome.CONFIRMED)
    assert desk.tallies.hit_rate() == HitRate(confirmed=1)
    assert desk.tallies.intercepted_amount().confirmed == 7.0
    assert desk.tallies.counts("warnings") == {"opened": 1, "closed_by_expiry": 1}


def test_a_disposition_after_the_life_time_finds_the_warning_expired() -> None:
    desk = Desk()
    warning = desk.warn()
    disposed = desk.dispose(warning, Outcome.INCONCLUSIVE, ts=T0 + 40 * DAY)
    assert [alert.outcome for alert in disposed.alerts] == [None, Outcome.INCONCLUSIVE]
    assert [alert.revision for alert in disposed.alerts] == [2, 3]


def test_a_confirmed_mule_becomes_a_risk_signal_for_one_year() -> None:
    desk = Desk()
    warning = desk.warn("6222:1")
    signal = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, account="6222:1", ts=T0 + 5).signal
    assert signal is not None
    assert signal.key == b"account:6222:1"
    assert signal.value is not None
    assert orjson.loads(signal.value) == {
        "kind": "account",
        "id": "6222:1",
        "level": 90,
        "source": "disposition",
        "reason": f"confirmed mule, warning {warning}",
        "valid_from": T0 + 5,
        "valid_to": T0 + 5 + 365 * DAY,
    }


@pytest.mark.parametrize(
    ("outcome", "role"),
    [
        (Outcome.CONFIRMED, Role.VICTIM),
        (Outcome.FALSE_POSITIVE, None),
        (Outcome.INCONCLUSIVE, None),
        (Outcome.FALSE_POSITIVE, Role.MULE),
        (Outcome.INCONCLUSIVE, Role.MULE),
    ],
)
def test_a_victim_and_an_unconfirmed_account_are_never_listed(outcome: Outcome, role: Role | None) -> None:
    desk = Desk()
    warning = desk.warn()
    assert desk.dispose(warning, outcome, role).signal is None
    listed = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, ts=T0 + 1).signal
    assert listed is not None
    # ... and a correction away from the confirmed mule withdraws the signal.
    assert desk.dispose(warning, outcome, role, ts=T0 + 2).signal == SignalRecord(b"account:a", None)


def test_a_withdrawal_does_not_take_back_what_another_warning_found() -> None:
    desk = Desk()
    first = desk.warn()
    desk.dispose(first, Outcome.CONFIRMED, Role.MULE, ts=T0 + 1)
    second = desk.warn()
    renewed = desk.dispose(second, Outcome.CONFIRMED, Role.MULE, ts=T0 + 2).signal
    assert renewed is not None
    assert renewed.value is not None
    back = desk.dispose(second, Outcome.FALSE_POSITIVE, ts=T0 + 3).signal
    assert back is not None
    assert back.value is not None
    assert orjson.loads(back.value)["valid_from"] == T0 + 1
    assert desk.dispose(first, Outcome.FALSE_POSITIVE, ts=T0 + 4).signal == SignalRecord(b"account:a", None)


def test_nor_what_a_warning_found_that_is_forgotten_since() -> None:
    desk = Desk()
    first = desk.warn()
    desk.dispose(first, Outcome.CONFIRMED, Role.MULE, ts=T0 + 1)
    later = T0 + 80 * DAY
    second = desk.warn(ts=later)
    desk.dispose(second, Outcome.CONFIRMED, Role.MULE, ts=later)
    back = desk.dispose(second, Outcome.INCONCLUSIVE, ts=later + 20 * DAY).signal
    assert desk.book.find(b"a", first) is None
    assert back is not None
    assert back.value is not None
    assert orjson.loads(back.value)["reason"] == f"confirmed mule, warning {first}"


@pytest.mark.parametrize("source", [SignalSource.POLICE, SignalSource.BANK])
def test_anothers_listing_of_the_account_is_neither_overwritten_nor_withdrawn(source: SignalSource) -> None:
    desk = Desk()
    warning = desk.warn()
    assert desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, ts=T0, listed_by=source).signal is None
    assert desk.dispose(warning, Outcome.INCONCLUSIVE, ts=T0 + 1, listed_by=source).signal is None


def test_our_own_listing_is_replaced_and_withdrawn() -> None:
    desk = Desk()
    warning = desk.warn()
    ours = SignalSource.DISPOSITION
    listed = desk.dispose(warning, Outcome.CONFIRMED, Role.MULE, ts=T0, listed_by=ours).signal
    assert listed is not None
    assert desk.dispose(warning, Outcome.INCONCLUSIVE, ts=T0 + 1, listed_by=ours).signal == (
        b"account:a",
        None,
    )


def test_a_disposition_that_changes_nothing_but_its_ids_is_kept_in_the_state() -> None:
    desk = Desk()
    warning = desk.warn()
    desk.dispose(warning, Outcome.INCONCLUSIVE, ts=T0 + 1)
    kept = dict(desk.book.take_dirty())
    desk.dispose(warning, Outcome.INCONCLUSIVE, ts=T0, disposition="older")
    kept.update(desk.book.take_dirty())
    restored = Desk()
    restored.book.load(kept.items())
    again = restored.dispose(warning, Outcome.INCONCLUSIVE, ts=T0, disposition="older")
    assert again.verdict is Verdict.DUPLICATE


# -- the figures against a recomputation ----------------------------------------------------------------

WARNINGS = 5
AMOUNTS = [0.1, 0.2, 1234.56, 7.0, 99.99]

outcomes = st.sampled_from(
    [
        (Outcome.CONFIRMED, Role.MULE),
        (Outcome.CONFIRMED, Role.VICTIM),
        (Outcome.FALSE_POSITIVE, None),
        (Outcome.INCONCLUSIVE, None),
    ]
)
messages = st.lists(
    st.tuples(st.integers(0, WARNINGS - 1), outcomes, st.integers(0, 4)), max_size=20
).flatmap(
    lambda made: st.tuples(
        st.permutations([(n, *message) for n, message in enumerate(made)]),
        st.permutations([(n, *message) for n, message in enumerate(made)]),
    )
)


def run(order: list[tuple[int, int, tuple[Outcome, Role | None], int]]) -> Desk:
    desk = Desk()
    ids = [desk.warn(f"a{n}", T0 + n * DAY, f"r{n % 2}", amount) for n, amount in enumerate(AMOUNTS)]
    for n, which, (outcome, role), day in order:
        desk.dispose(
            ids[which],
            outcome,
            role,
            account=f"a{which}",
            ts=T0 + day * DAY,
            stream_ts=T0 + 6 * DAY,
            disposition=f"d{n:02}",
        )
    return desk


@settings(deadline=None)
@given(messages)
def test_the_figures_are_those_of_the_final_outcomes_whatever_the_order(
    orders: tuple[list[tuple[int, int, tuple[Outcome, Role | None], int]], ...],
) -> None:
    desk, other = run(orders[0]), run(orders[1])
    assert desk.tallies.counts("hits") == other.tallies.counts("hits")
    for family in ("hits", "hits_by_rule", "intercepted", "dispositions", "warnings", "warnings_by_rule"):
        assert desk.tallies.counts(family) == other.tallies.counts(family)
        for day in range(-1, 7):
            ours = desk.tallies.window(T0 // DAY + day, 1).counts(family)
            assert ours == other.tallies.window(T0 // DAY + day, 1).counts(family)

    newest: dict[int, tuple[int, str, Outcome]] = {}
    for n, which, (outcome, _), day in orders[0]:
        newest[which] = max(newest.get(which, (-1, "", outcome)), (day, f"d{n:02}", outcome))
    expected = dict.fromkeys(HitRate._fields, 0)
    by_rule = {rule: dict.fromkeys(HitRate._fields, 0) for rule in ("r0@1", "r1@1")}
    amounts = {"confirmed": 0, "false_positive": 0}
    for which in range(WARNINGS):
        standing = newest[which][2].value if which in newest else "pending"
        expected[standing] += 1
        by_rule[f"r{which % 2}@1"][standing] += 1
        if standing in amounts:
            amounts[standing] += round(AMOUNTS[which] * 100)
    assert desk.tallies.hit_rate() == HitRate(**expected)
    assert desk.tallies.hit_rates_by_rule() == {rule: HitRate(**counts) for rule, counts in by_rule.items()}
    split = desk.tallies.intercepted_amount()
    assert (split.confirmed, split.released) == (amounts["confirmed"] / 100, amounts["false_positive"] / 100)
    assert split.total == 1341.85

    today = T0 // DAY + 2
    in_window = dict.fromkeys(HitRate._fields, 0)
    for which in range(WARNINGS):
        day, standing = (newest[which][0], newest[which][2].value) if which in newest else (which, "pending")
        in_window[standing] += day in (1, 2)
    assert desk.tallies.window(today, 2).hit_rate() == HitRate(**in_window)
