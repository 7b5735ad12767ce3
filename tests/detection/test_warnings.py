"""Warnings of a partition, sentence by sentence of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_guard.alerts import ANOMALY_RULE, Alert, AlertStatus, ClosedBy, Reason, encode_alert, warning_id
from stream_guard.detection import warned_account
from stream_guard.detection.findings import Finding
from stream_guard.detection.vocabulary import Action, Outcome, Role, Severity, Side
from stream_guard.detection.warned_account import WarnedAccount
from stream_guard.detection.warning_book import WarningBook
from stream_guard.detection.warnings import REASONS_KEPT, Standing

DAY = 86_400_000
T0 = 20_000 * DAY


@dataclass(frozen=True)
class Policy:
    warn_at: float = 50.0
    warning_ttl_s: float = 30 * 86_400.0

    def severity(self, score: float) -> Severity:
        return Severity(sum(score >= cut for cut in (70, 85, 95)))


@dataclass
class Log:
    """A tally that remembers what it was told."""

    lines: list[tuple[object, ...]] = field(default_factory=list)

    def warned(self, what: str, day: int, severity: Severity, rules: Iterable[str]) -> None:
        self.lines.append((what, day, severity.label, *rules))

    def joined(self, day: int, rules: Iterable[str]) -> None:
        if rules:
            self.lines.append(("joined", day, *rules))

    def entered(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        self.lines.append((f"+{standing}", day, *rules, dict(intercepted)))

    def left(
        self, standing: Standing, day: int, rules: Iterable[str], intercepted: Mapping[int, int]
    ) -> None:
        self.lines.append((f"-{standing}", day, *rules, dict(intercepted)))


def day_of(ts: int) -> int:
    return ts // DAY


def a_book(policy: Policy | None = None, log: Log | None = None) -> WarningBook:
    return WarningBook(policy or Policy(), log or Log(), day_of)


def a_reason(
    rule: str, score: float = 60.0, account: str = "a", side: Side = Side.PAYEE, version: int = 1
) -> Reason:
    return Reason(
        rule=rule,
        version=version,
        account=account,
        side=side,
        score=score,
        text=f"{rule} fired",
        evidence={"x": 1.0},
    )


def a_finding(
    event: str = "e1",
    score: float = 60.0,
    rules: Iterable[str] = ("r1",),
    *,
    account: str = "a",
    side: Side = Side.PAYEE,
    ts: int = T0,
    amount: float = 100.0,
    warn: bool = False,
    intercepted: bool = False,
    version: int = 1,
    pack: str = "p1",
) -> Finding:
    return Finding(
        side=side,
        account=account,
        event_id=event,
        event_hash=int.from_bytes(event.encode()[-8:], "big"),
        ts=ts,
        amount=amount,
        action=Action.CONFIRM,
        score=score,
        reasons=tuple(a_reason(rule, score, account, side, version) for rule in rules),
        warn=warn,
        intercepted=intercepted,
        pack=pack,
    )


def close(
    book: WarningBook,
    outcome: Outcome,
    stream_ts: int,
    account: str = "a",
    role: Role | None = None,
    disposition: str = "d1",
) -> Alert:
    warning = book.current(account.encode())
    assert warning is not None
    (alert,) = book.settle(warning, outcome, role, (stream_ts, disposition), stream_ts)
    return alert


# -- opening ------------------------------------------------------------------------------------------


def test_a_warning_opens_when_the_sides_score_reaches_warn_at() -> None:
    book = a_book()
    assert book.consider(a_finding(score=49.9), T0) == []
    (alert,) = book.consider(a_finding("e2", score=50.0, amount=12.34), T0 + 5)
    assert alert == Alert(
        warning_id=warning_id("a", "e2"),
        revision=1,
        account="a",
        side=Side.PAYEE,
        status=AlertStatus.OPENED,
        severity="low",
        score=50.0,
        reasons=[a_reason("r1", 50.0)],
        event_ids=["e2"],
        amount=12.34,
        opened_at=T0 + 5,
        updated_at=T0 + 5,
        closed_by=None,
        outcome=None,
        pack="p1",
    )
    assert len(book) == 1


def test_warn_at_is_the_policys() -> None:
    assert a_book(Policy(warn_at=80)).consider(a_finding(score=79), T0) == []
    assert len(a_book(Policy(warn_at=20)).consider(a_finding(score=20), T0)) == 1


def test_a_warning_opens_when_a_rule_says_so_whatever_the_score() -> None:
    (alert,) = a_book().consider(a_finding(score=5.0, warn=True), T0)
    assert (alert.status, alert.severity) == (AlertStatus.OPENED, "low")


def test_a_finding_without_live_reasons_opens_and_updates_nothing() -> None:
    book = a_book()
    empty = a_finding(score=90.0, rules=())
    assert book.consider(empty, T0) == []
    book.consider(a_finding(), T0)
    book.take_dirty()
    assert book.consider(empty, T0) == []
    assert book.take_dirty() == []


def test_payer_and_payee_of_one_payment_can_each_get_a_warning() -> None:
    book = a_book()
    (payee,) = book.consider(a_finding(account="b", side=Side.PAYEE), T0)
    (payer,) = book.consider(a_finding(account="a", side=Side.PAYER), T0)
    assert (payee.account, payee.side, payer.account, payer.side) == ("b", Side.PAYEE, "a", Side.PAYER)
    assert payee.warning_id != payer.warning_id


@pytest.mark.parametrize(
    ("score", "severity"),
    [(50, "low"), (69.9, "low"), (70, "medium"), (85, "high"), (95, "critical"), (100, "critical")],
)
def test_severity_is_low_50_medium_70_high_85_critical_95(score: float, severity: str) -> None:
    (alert,) = a_book().consider(a_finding(score=score), T0)
    assert alert.severity == severity


# -- updating -----------------------------------------------------------------------------------------


def test_one_open_warning_an_account_updated_when_a_new_rule_joins() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1", rules=["r1"]), T0)
    (updated,) = book.consider(a_finding("e2", rules=["r1", "r2"], amount=1.0, pack="p2"), T0 + 9)
    assert updated.warning_id == opened.warning_id
    assert (updated.status, updated.revision) == (AlertStatus.UPDATED, 2)
    assert (updated.opened_at, updated.updated_at) == (T0, T0 + 9)
    assert [reason.rule for reason in updated.reasons] == ["r1", "r2"]
    assert updated.event_ids == ["e2", "e1"]
    assert (updated.amount, updated.pack) == (101.0, "p2")
    assert len(book) == 1


def test_a_rule_below_warn_at_joins_an_open_warning() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    (alert,) = book.consider(a_finding("e2", 30, [ANOMALY_RULE]), T0)
    assert (alert.status, alert.score) == (AlertStatus.UPDATED, 60.0)


def test_another_version_of_a_rule_is_a_new_rule() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    (alert,) = book.consider(a_finding("e2", version=2), T0)
    assert [reason.key for reason in alert.reasons] == ["r1@1", "r1@2"]


def test_updated_when_severity_rises_and_then_called_escalated() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    (alert,) = book.consider(a_finding("e2", 86), T0)
    assert (alert.status, alert.severity, alert.score, alert.revision) == (
        AlertStatus.ESCALATED,
        "high",
        86.0,
        2,
    )
    assert book.consider(a_finding("e3", 94), T0) == []


def test_a_rise_and_a_new_rule_at_once_are_one_escalation() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    (alert,) = book.consider(a_finding("e2", 70, ["r2"]), T0)
    assert (alert.status, alert.revision) == (AlertStatus.ESCALATED, 2)


def test_payments_that_change_nothing_are_added_without_an_alert() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    assert book.consider(a_finding("e2", 65, amount=0.1), T0 + 1) == []
    assert book.consider(a_finding("e3", 55, amount=0.2), T0 + 2) == []
    (alert,) = book.consider(a_finding("e4", 60, ["r2"], amount=1.0), T0 + 3)
    assert alert.revision == 2
    assert alert.event_ids == ["e4", "e3", "e2", "e1"]
    assert alert.amount == 101.3
    assert alert.score == 65.0


def test_a_warning_keeps_the_side_of_the_event_that_opened_it_and_takes_findings_of_both() -> None:
    book = a_book()
    book.consider(a_finding("e1", side=Side.PAYEE), T0)
    (alert,) = book.consider(a_finding("e2", 61, ["r2"], side=Side.PAYER), T0)
    assert alert.side is Side.PAYEE
    assert [(reason.rule, reason.side) for reason in alert.reasons] == [
        ("r2", Side.PAYER),
        ("r1", Side.PAYEE),
    ]


def test_the_newest_reason_of_a_rule_is_shown_and_the_highest_score_first() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    book.consider(a_finding("e2", 52), T0)
    (alert,) = book.consider(a_finding("e3", 55, ["r2"]), T0)
    assert [(reason.rule, reason.score) for reason in alert.reasons] == [("r2", 55.0), ("r1", 52.0)]
    assert alert.score == 60.0


def test_event_ids_are_the_newest_20_by_event_time() -> None:
    book = a_book()
    for n in range(25):
        book.consider(a_finding(f"e{n}", ts=T0 + n, amount=1.0), T0 + n)
    book.consider(a_finding("late", ts=T0 - DAY, amount=1.0), T0 + 25)
    (alert,) = book.consider(a_finding("middle", rules=["r2"], ts=T0 + 20, amount=1.0), T0 + 25)
    assert alert.event_ids == [
        *("e24", "e23", "e22", "e21", "middle"),
        *(f"e{n}" for n in range(20, 5, -1)),
    ]
    assert alert.amount == 27.0


def test_a_payment_is_counted_once_though_both_its_sides_are_the_account() -> None:
    book = a_book()
    book.consider(a_finding("e1", side=Side.PAYEE, amount=10.0), T0)
    (alert,) = book.consider(
        a_finding("e1", rules=["r2"], side=Side.PAYER, amount=10.0, intercepted=True), T0
    )
    assert (alert.amount, alert.event_ids) == (10.0, ["e1"])
    for intercepted in (False, True):
        book.consider(a_finding("e1", side=Side.PAYER, amount=10.0, intercepted=intercepted), T0)
    warning = book.current(b"a")
    assert warning is not None
    assert warning.intercepted == {day_of(T0): 1000}


def test_a_payment_is_known_again_among_the_last_64_also_after_a_restart() -> None:
    book = a_book()
    for n in range(64, 0, -1):
        book.consider(a_finding(f"e{n}", amount=1.0), T0)
    restarted = a_book()
    restarted.load(book.take_dirty())
    for again in ("e64", "new", "e64", "e63", "e2"):
        restarted.consider(a_finding(again, amount=1.0), T0)
    warning = restarted.current(b"a")
    assert warning is not None
    # "new" pushed out the oldest, which was e63 after e64 had been met again.
    assert warning.cents == 6600
    assert len(warning.seen) == 64


def test_an_alert_stays_bounded_however_many_rules_join_and_all_of_them_are_remembered() -> None:
    book = a_book()
    alerts = [
        alert for n in range(100) for alert in book.consider(a_finding(f"e{n}", 50 + n / 100, [f"r{n}"]), T0)
    ]
    assert len(alerts) == 100
    assert [reason.rule for reason in alerts[-1].reasons] == [
        f"r{n}" for n in range(99, 99 - REASONS_KEPT, -1)
    ]
    assert book.consider(a_finding("again", 50, ["r0"]), T0) == []


# -- closing, silence, forgetting -----------------------------------------------------------------------


def test_a_disposition_closes() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    alert = close(book, Outcome.CONFIRMED, T0 + 7, role=Role.MULE)
    assert (alert.status, alert.closed_by, alert.outcome) == (
        AlertStatus.CLOSED,
        ClosedBy.DISPOSITION,
        Outcome.CONFIRMED,
    )
    assert (alert.revision, alert.updated_at) == (2, T0 + 7)
    assert len(book) == 0


def test_a_later_warning_has_a_new_id_and_starts_anew() -> None:
    book = a_book()
    (first,) = book.consider(a_finding("e1", 90, ["r1", "r2"]), T0)
    close(book, Outcome.CONFIRMED, T0, role=Role.MULE)
    (second,) = book.consider(a_finding("e2", 60), T0)
    assert second.warning_id not in (first.warning_id, warning_id("a", "e1"))
    assert (second.revision, second.severity, second.event_ids) == (1, "low", ["e2"])


def test_even_an_event_that_opened_one_before_opens_a_new_id() -> None:
    book = a_book()
    (first,) = book.consider(a_finding("e1", side=Side.PAYEE), T0)
    close(book, Outcome.CONFIRMED, T0, role=Role.VICTIM)
    (second,) = book.consider(a_finding("e1", side=Side.PAYER), T0)
    assert second.warning_id != first.warning_id


def test_an_undisposed_warning_expires_30_days_after_its_opening() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    book.consider(a_finding("e2", rules=["r2"]), T0 + 29 * DAY)
    assert book.expire(T0 + 30 * DAY - 1) == []
    (alert,) = book.expire(T0 + 30 * DAY)
    assert (alert.status, alert.closed_by, alert.outcome) == (AlertStatus.CLOSED, ClosedBy.EXPIRY, None)
    assert alert.updated_at == T0 + 30 * DAY
    assert book.expire(T0 + 31 * DAY) == []


def test_the_oldest_pending_warning_is_known_also_after_a_restart() -> None:
    book = a_book()
    assert book.oldest is None
    book.consider(a_finding("e1", account="A"), T0)
    book.consider(a_finding("e2", account="B"), T0 + DAY)
    assert (book.oldest, len(book)) == (T0, 2)
    restored = a_book()
    restored.load(book.take_dirty())
    assert (restored.oldest, len(restored)) == (T0, 2)
    book.expire(T0 + 30 * DAY)
    assert (book.oldest, len(book)) == (T0 + DAY, 1)
    book.expire(T0 + 31 * DAY)
    assert (book.oldest, len(book)) == (None, 0)


def test_the_life_time_is_the_policys_also_when_it_changes() -> None:
    book = a_book(Policy(warning_ttl_s=60))
    book.consider(a_finding("e1"), T0)
    book.use(Policy(warning_ttl_s=120))
    assert book.expire(T0 + 60_000) == []
    assert len(book.expire(T0 + 120_000)) == 1


def test_a_finding_after_the_expiry_opens_a_new_warning_though_nobody_called_expire() -> None:
    book = a_book()
    (first,) = book.consider(a_finding("e1"), T0)
    late = T0 + 40 * DAY
    closed, opened = book.consider(a_finding("e2", ts=late), late)
    assert (closed.warning_id, closed.closed_by) == (first.warning_id, ClosedBy.EXPIRY)
    assert closed.updated_at == T0 + 30 * DAY
    assert (opened.status, opened.warning_id) == (AlertStatus.OPENED, warning_id("a", "e2"))


def test_after_a_false_positive_the_same_rules_open_nothing_for_7_days() -> None:
    book = a_book()
    book.consider(a_finding("e1", 80, ["r1", "r2"]), T0)
    close(book, Outcome.FALSE_POSITIVE, T0 + DAY)
    until = T0 + 8 * DAY
    assert book.consider(a_finding("e2", 80, ["r1", "r2"]), T0 + DAY) == []
    assert book.consider(a_finding("e3", 60, ["r2"]), until - 1) == []
    assert book.consider(a_finding("e4", 60, ["r2"], warn=True), until - 1) == []
    assert len(book.consider(a_finding("e5", 60, ["r2"]), until)) == 1


def test_unless_severity_is_higher() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    close(book, Outcome.FALSE_POSITIVE, T0)
    assert book.consider(a_finding("e2", 69), T0 + 1) == []
    assert len(book.consider(a_finding("e3", 70), T0 + 1)) == 1


def test_other_rules_are_not_silenced() -> None:
    book = a_book()
    book.consider(a_finding("e1", 60), T0)
    close(book, Outcome.FALSE_POSITIVE, T0)
    (alert,) = book.consider(a_finding("e2", 60, ["r1", "r2"]), T0 + 1)
    assert [reason.rule for reason in alert.reasons] == ["r1", "r2"]


def test_the_silence_is_the_accounts_own() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    close(book, Outcome.FALSE_POSITIVE, T0)
    assert len(book.consider(a_finding("e2", account="b"), T0 + 1)) == 1


@pytest.mark.parametrize("outcome", [Outcome.CONFIRMED, Outcome.INCONCLUSIVE])
def test_other_outcomes_silence_nothing(outcome: Outcome) -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    close(book, outcome, T0, role=Role.MULE)
    assert len(book.consider(a_finding("e2"), T0 + 1)) == 1


def test_a_correction_ends_or_begins_the_silence() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    close(book, Outcome.FALSE_POSITIVE, T0)
    warning = book.find(b"a", opened.warning_id)
    assert warning is not None
    (corrected,) = book.settle(warning, Outcome.INCONCLUSIVE, None, (T0 + 1, "d2"), T0 + 1)
    assert (corrected.status, corrected.outcome, corrected.revision) == (
        AlertStatus.CLOSED,
        Outcome.INCONCLUSIVE,
        3,
    )
    book.settle(warning, Outcome.FALSE_POSITIVE, None, (T0 + 2, "d3"), T0 + 2)
    assert book.consider(a_finding("e2"), T0 + 3) == []


def test_a_disposition_that_says_the_same_again_is_not_alerted() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    close(book, Outcome.FALSE_POSITIVE, T0)
    warning = book.find(b"a", opened.warning_id)
    assert warning is not None
    assert book.settle(warning, Outcome.FALSE_POSITIVE, None, (T0 + DAY, "d2"), T0 + DAY) == []
    assert len(book.consider(a_finding("e2"), T0 + 7 * DAY)) == 1


def test_closed_warnings_are_kept_90_days_and_then_forgotten() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    close(book, Outcome.INCONCLUSIVE, T0)
    book.take_dirty()
    assert book.expire(T0 + 90 * DAY - 1) == []
    assert book.find(b"a", opened.warning_id) is not None
    assert book.expire(T0 + 90 * DAY) == []
    assert book.find(b"a", opened.warning_id) is None
    assert book.owner(opened.warning_id) is None
    assert book.take_dirty() == [(b"a", None)]


def test_an_expired_warning_is_kept_90_days_from_its_expiry() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    book.expire(T0 + 119 * DAY)
    assert book.find(b"a", opened.warning_id) is not None
    book.expire(T0 + 120 * DAY)
    assert book.find(b"a", opened.warning_id) is None


def test_a_silence_begun_by_a_late_correction_outlives_the_90_days() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    close(book, Outcome.INCONCLUSIVE, T0)
    warning = book.find(b"a", opened.warning_id)
    assert warning is not None
    book.settle(warning, Outcome.FALSE_POSITIVE, None, (T0 + 89 * DAY, "d2"), T0 + 89 * DAY)
    assert book.consider(a_finding("e2"), T0 + 95 * DAY) == []
    assert len(book.consider(a_finding("e3"), T0 + 96 * DAY)) == 1


def test_a_confirmed_mule_stays_known_for_a_year_after_its_warning_is_forgotten() -> None:
    book = a_book()
    (opened,) = book.consider(a_finding("e1"), T0)
    close(book, Outcome.CONFIRMED, T0, role=Role.MULE)
    book.expire(T0 + 91 * DAY)
    assert book.find(b"a", opened.warning_id) is None
    assert book.listing(b"a") == (T0, opened.warning_id)
    book.take_dirty()
    book.expire(T0 + 365 * DAY)
    assert book.listing(b"a") is None
    assert book.take_dirty() == [(b"a", None)]


def test_of_forgotten_mule_findings_the_newest_stays_known() -> None:
    book = a_book()
    (first,) = book.consider(a_finding("e1"), T0)
    warning = book.find(b"a", first.warning_id)
    assert warning is not None
    book.settle(warning, Outcome.CONFIRMED, Role.MULE, (T0 + 9, "d1"), T0)
    (second,) = book.consider(a_finding("e2"), T0 + 1)
    warning = book.find(b"a", second.warning_id)
    assert warning is not None
    book.settle(warning, Outcome.CONFIRMED, Role.MULE, (T0 + 5, "d2"), T0 + 1)
    book.expire(T0 + 91 * DAY)
    assert book.listing(b"a") == (T0 + 9, first.warning_id)


# -- tallies, state -------------------------------------------------------------------------------------


def test_the_tally_is_told_every_change_once() -> None:
    log = Log()
    book = a_book(log=log)
    day = day_of(T0)
    book.consider(a_finding("e1", 60, intercepted=True, amount=5.0, ts=T0 - DAY), T0)
    book.consider(a_finding("e2", 60), T0)
    book.consider(a_finding("e3", 60, ["r1", "r2"]), T0 + DAY)
    book.consider(a_finding("e4", 70, ["r2"], intercepted=True, amount=1.5), T0 + DAY)
    close(book, Outcome.FALSE_POSITIVE, T0 + 2 * DAY)
    amounts = {day - 1: 500, day: 150}
    assert log.lines == [
        ("opened", day, "low", "r1@1"),
        ("+pending", day, "r1@1", {}),
        ("joined", day, "r2@1"),
        ("updated", day + 1, "low", "r2@1"),
        ("escalated", day + 1, "medium", "r2@1"),
        ("-pending", day, "r1@1", "r2@1", amounts),
        ("closed_by_disposition", day + 2, "medium", "r1@1", "r2@1"),
        ("+false_positive", day + 2, "r1@1", "r2@1", amounts),
    ]


def test_expiry_costs_nothing_while_nothing_is_due() -> None:
    book = a_book()
    for n in range(50):
        book.consider(a_finding("e", account=f"a{n}"), T0 + n)
    book.take_dirty()
    assert book.expire(T0 + 30 * DAY - 1) == []
    assert book.take_dirty() == []
    alerts = book.expire(T0 + 30 * DAY + 9)
    assert [alert.account for alert in alerts] == [f"a{n}" for n in range(10)]
    assert [key for key, _ in book.take_dirty()] == [f"a{n}".encode() for n in range(10)]


def test_a_due_time_that_has_changed_since_is_passed_over() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    close(book, Outcome.INCONCLUSIVE, T0 + DAY)
    book.take_dirty()
    assert book.expire(T0 + 30 * DAY) == []
    assert book.take_dirty() == []


def test_an_older_state_is_upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    ((key, value),) = book.take_dirty()
    assert value is not None
    old = orjson.loads(value) | {"v": 0}
    del old["forgotten"]
    monkeypatch.setitem(warned_account.ACCOUNT_UPGRADES, 0, lambda record: {**record, "forgotten": None})
    loaded = a_book()
    loaded.load([(key, orjson.dumps(old))])
    assert loaded.current(key) == book.current(key)


def test_another_versions_state_is_refused_with_what_to_do() -> None:
    book = a_book()
    with pytest.raises(ValueError, match="new application id"):
        book.load([(b"a", b'{"v":99}')])
    book.consider(a_finding("e1"), T0)
    ((key, value),) = book.take_dirty()
    assert value is not None
    record = orjson.loads(value)
    del record["warnings"][0]["seen"]
    with pytest.raises(ValueError, match="rebuild it"):
        a_book().load([(key, orjson.dumps(record))])


def test_loading_takes_the_newest_value_and_a_tombstone() -> None:
    book = a_book()
    book.consider(a_finding("e1"), T0)
    first = book.take_dirty()
    close(book, Outcome.CONFIRMED, T0, role=Role.MULE)
    second = book.take_dirty()
    loaded = a_book()
    loaded.load([*first, (b"b", None), *second])
    assert loaded.current(b"a") is None
    assert loaded.listing(b"a") is not None
    loaded.load([(b"a", None)])
    assert loaded.listing(b"a") is None
    assert loaded.owner(warning_id("a", "e1")) is None
    assert loaded.take_dirty() == []


steps = st.lists(
    st.tuples(
        st.integers(0, 12 * DAY),  # how far stream time moves on
        st.sampled_from(["find", "find", "find", "close", "correct", "expire"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from([10.0, 30.0, 55.0, 60.0, 72.0, 90.0, 99.0]),
        st.sets(st.sampled_from(["r1", "r2", "r3", ANOMALY_RULE]), min_size=1),
        st.sampled_from(Outcome),
        st.sampled_from(Role),
        st.booleans(),
    ),
    max_size=25,
)


def play(book: WarningBook, step: tuple[object, ...], n: int, stream_ts: int) -> list[Alert]:
    _, what, account, score, rules, outcome, role, intercepted = step
    key = str(account).encode()
    if what == "find":
        # Few ids, so that payments are met again and ids are used anew.
        finding = a_finding(
            f"e{n % 7}",
            score,  # type: ignore[arg-type]
            sorted(rules),  # type: ignore[call-overload]
            account=str(account),
            side=Side.PAYER if intercepted else Side.PAYEE,
            ts=stream_ts - n,
            amount=n + 0.01,
            intercepted=bool(intercepted),
        )
        return book.consider(finding, stream_ts)
    if what == "expire":
        return book.expire(stream_ts)
    alerts = book.advance(key, stream_ts)
    warning = book.current(key)
    if what == "correct":
        kept = book._accounts.get(key, WarnedAccount()).warnings
        warning = kept[0] if kept else None
    if warning is not None:
        disposed = (stream_ts, f"d{n}")
        alerts += book.settle(warning, outcome, role, disposed, stream_ts)  # type: ignore[arg-type]
    return alerts


@settings(deadline=None)
@given(steps, st.integers(0, 25))
def test_a_book_restored_at_any_point_goes_on_as_if_nothing_had_happened(
    script: list[tuple[object, ...]], cut: int
) -> None:
    logs = Log(), Log()
    straight, restored = (a_book(log=log) for log in logs)
    kept: dict[bytes, bytes | None] = {}
    stream_ts = T0
    for n, step in enumerate(script):
        stream_ts += step[0]  # type: ignore[operator]
        if n == cut:
            kept.update(restored.take_dirty())
            restored = a_book(log=logs[1])
            restored.load(kept.items())
        elif n % 3 == 0:
            kept.update(restored.take_dirty())
        ours, theirs = (play(book, step, n, stream_ts) for book in (straight, restored))
        assert [encode_alert(a) for a in ours] == [encode_alert(a) for a in theirs]
    assert logs[0].lines == logs[1].lines
    final = dict(straight.take_dirty())
    kept.update(restored.take_dirty())
    assert {k: v for k, v in kept.items() if v is not None} == {
        k: v for k, v in final.items() if v is not None
    }


@settings(deadline=None)
@given(steps)
def test_nothing_depends_on_when_expire_is_called(script: list[tuple[object, ...]]) -> None:
    eager, lazy = a_book(), a_book()
    ours: list[Alert] = []
    theirs: list[Alert] = []
    stream_ts = T0
    for n, step in enumerate(script):
        stream_ts += step[0]  # type: ignore[operator]
        if step[1] != "expire":
            ours += eager.expire(stream_ts) + play(eager, step, n, stream_ts)
            theirs += play(lazy, step, n, stream_ts)
    ours += eager.expire(stream_ts + 400 * DAY)
    theirs += lazy.expire(stream_ts + 400 * DAY)
    key = lambda alert: (alert.account, alert.opened_at, alert.warning_id, alert.revision)  # noqa: E731
    assert sorted(ours, key=key) == sorted(theirs, key=key)
    assert not eager._accounts
    assert not lazy._accounts


@settings(deadline=None)
@given(steps)
def test_what_enters_a_standing_leaves_it_exactly_once(script: list[tuple[object, ...]]) -> None:
    log = Log()
    book = a_book(log=log)
    stream_ts = T0
    for n, step in enumerate(script):
        stream_ts += step[0]  # type: ignore[operator]
        for alert in play(book, step, n, stream_ts):
            assert len(alert.event_ids) <= 20
            assert (alert.closed_by is None) == (alert.status is not AlertStatus.CLOSED)
            assert alert.opened_at <= alert.updated_at
        for account in book._accounts.values():
            assert sum(w.is_open for w in account.warnings) <= 1
    balance: dict[str, int] = {}
    for what, *_ in log.lines:
        if isinstance(what, str) and what[0] in "+-":
            balance[what[1:]] = balance.get(what[1:], 0) + (1 if what[0] == "+" else -1)
    opened = sum(line[0] == "opened" for line in log.lines)
    assert sum(balance.values()) == opened
    assert all(count >= 0 for count in balance.values())
    assert balance.get("pending", 0) == len(book)
