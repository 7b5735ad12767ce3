from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pytest

from stream_guard.detection.vocabulary import Role
from stream_guard.events import parse_transactions
from stream_guard.simulation import History, generate
from stream_guard.simulation.bank import Party, found
from stream_guard.simulation.calendar import DAY_MS, local_days, local_hour, night_before
from stream_guard.simulation.ledger import payments
from stream_guard.simulation.typologies import TYPOLOGIES

NOW_MS = 1_795_500_000_123
LABELS = ("fraud", "group", "label", "scenario", "mule", "victim", "role")


def test_the_same_seed_gives_the_same_bank_byte_for_byte() -> None:
    one, two = (generate(3, NOW_MS, days=50, accounts=200, repeats=1) for _ in range(2))
    assert list(one.records()) == list(two.records())
    assert list(one.account_updates()) == list(two.account_updates())
    assert one.truth == two.truth


def test_another_seed_gives_another_bank() -> None:
    one, two = (generate(seed, NOW_MS, days=50, accounts=60) for seed in (3, 4))
    assert list(one.records())[:50] != list(two.records())[:50]


def test_a_big_bank_has_a_few_hundred_thousand_payments_in_200_days() -> None:
    assert 200_000 < len(generate(1, NOW_MS, days=200, accounts=3_500)) < 500_000


def test_payments_come_in_order_and_within_the_span(staged: History) -> None:
    ts = staged.ledger.ts
    assert (np.diff(ts) >= 0).all()
    assert ts[0] >= staged.start_ms
    assert ts[-1] < staged.end_ms
    assert len(set(staged.event_ids)) == len(staged)


def test_no_label_is_in_a_transaction(staged: History) -> None:
    ids = {"event_id", "ts", "account", "counterparty", "device_id", "ip", "latitude", "longitude"}
    known = ids | {"amount", "type", "channel", "payer_kind", "payee_kind"}
    known |= {"payer_balance_before", "payee_balance_before"}
    for message in list(staged.transactions())[::3]:
        assert set(message) <= known
        text = orjson.dumps({**message, "type": ""}).decode().lower()
        assert not any(label in text for label in LABELS)


def test_ids_say_nothing_about_who_somebody_is(staged: History) -> None:
    rows = [row for placed in staged.episodes for row in placed.episode.roles]
    numbers = np.array([int(str(staged.bank.names[row])[1:]) for row in rows])
    everybody = np.array([int(str(staged.bank.names[row])[1:]) for row in staged.bank.accounts])
    assert abs(np.median(numbers) - np.median(everybody)) < 0.15 * np.ptp(everybody)
    event_numbers = np.diff([int(event_id.rsplit("-", 1)[1]) for event_id in staged.event_ids])
    assert (event_numbers == 1).all()


def test_every_transaction_is_valid_by_the_contract(staged: History) -> None:
    values = [value for _, value in staged.records()][::9]
    parsed, _, rejections = parse_transactions(values)
    assert len(parsed) == len(values)
    assert not rejections


def test_the_truth_names_the_accounts_of_labelled_payments(staged: History) -> None:
    ledger, names = staged.ledger, staged.bank.names
    frauds = np.flatnonzero(ledger.fraud)
    assert 90 < len(frauds) < 0.02 * len(staged)
    for row in frauds.tolist():
        parties = {str(names[ledger.payer[row]]), str(names[ledger.payee[row]])}
        groups = {staged.truth[party].group for party in parties if party in staged.truth}
        assert groups == {int(ledger.group[row])}
    assert {truth.typology for truth in staged.truth.values()} == set(TYPOLOGIES)
    assert {truth.role for truth in staged.truth.values()} == set(Role)


def test_everyday_life_and_look_alikes_are_not_labelled(staged: History) -> None:
    innocent = {placed.group for placed in staged.episodes if not placed.episode.fraud}
    own = np.isin(staged.ledger.group, list(innocent))
    assert own.sum() > 20
    assert not staged.ledger.fraud[own].any()
    assert not staged.ledger.fraud[staged.ledger.group == 0].any()


def test_balances_follow_from_the_payments(staged: History) -> None:
    bank = staged.bank
    row = int(bank.rows(Party.PERSON)[~bank.reserved[bank.rows(Party.PERSON)]][0])
    own = [p for p in payments(staged.ledger) if row in (p.payer, p.payee)]
    balance = own[0].payer_balance if own[0].payer == row else own[0].payee_balance
    for payment in own:
        before = payment.payer_balance if payment.payer == row else payment.payee_balance
        assert before == pytest.approx(balance, abs=0.02)
        balance += payment.amount if payment.payee == row else -payment.amount
    assert staged.balances[row] == pytest.approx(balance, abs=0.02)


def test_nobody_pays_what_they_have_not(staged: History) -> None:
    ledger = staged.ledger
    inside = staged.bank.party[ledger.payer] <= Party.COMPANY
    assert (ledger.payer_balance[inside] >= ledger.amount[inside]).all()
    assert np.isnan(ledger.payer_balance[~inside]).all()


def test_people_sleep_at_night_but_for_those_who_do_not(staged: History) -> None:
    ledger, bank = staged.ledger, staged.bank
    everyday = (ledger.group == 0) & (bank.party[ledger.payer] == Party.PERSON)
    hours = np.array([local_hour(ts, staged.zone) for ts in ledger.ts[everyday].tolist()])
    owl = bank.owl[ledger.payer[everyday]]
    assert (hours[~owl] < 6).mean() < 0.01
    assert (hours[owl] < 6).mean() > 0.1


def test_wages_come_every_month_on_working_days(staged: History) -> None:
    ledger, bank = staged.ledger, staged.bank
    wages = (ledger.type == 2) & (ledger.group == 0)
    days = local_days(staged.start_ms, staged.end_ms, staged.zone)
    which = np.searchsorted(days.midnight, ledger.ts[wages], side="right") - 1
    assert not (days.weekend[which] | days.holiday[which]).any()
    persons = bank.rows(Party.PERSON)
    free = persons[~bank.reserved[persons] & ~bank.reserved[bank.employer[persons]]]
    times = np.bincount(ledger.payee[wages], minlength=len(bank))[free]
    assert ((times >= 6) & (times <= 8)).all()


def test_a_reserved_account_is_quiet_around_its_episode(staged: History) -> None:
    ledger = staged.ledger
    for placed in staged.episodes:
        rows = {row for step in placed.episode.steps for row in (step.payer, step.payee)}
        inside = [row for row in rows if staged.bank.reserved[row]]
        own = np.isin(ledger.payer, inside) | np.isin(ledger.payee, inside)
        near = own & (np.abs(ledger.ts - placed.start_ms) < 7 * DAY_MS)
        assert set(ledger.group[near].tolist()) == {placed.group}


def test_a_dormant_account_needs_a_long_history() -> None:
    short = generate(1, NOW_MS, days=60, accounts=200, repeats=1)
    assert "dormant-wakes" not in {placed.episode.typology for placed in short.episodes}


def test_a_file_of_payments_leaves_out_what_needs_other_topics() -> None:
    history = generate(1, NOW_MS, days=60, accounts=200, repeats=1, only_payments=True)
    played = {placed.episode.typology for placed in history.episodes}
    assert "rapid-in-out" in played
    assert not {"details-changed", "new-telephone", "listed-counterparty"} & played


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"days": 0}, "positive number of days"),
        ({"accounts": 0}, "at least one account"),
        ({"accounts": 20, "repeats": 1}, "ask for more accounts or fewer episodes"),
        ({"accounts": 20, "live": ["no-such-play"]}, "no play is called 'no-such-play'"),
    ],
)
def test_impossible_wishes_are_refused_with_a_sentence(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        generate(1, NOW_MS, **arguments)  # type: ignore[arg-type]


def test_facts_are_sent_for_every_account_and_nobody_else(staged: History) -> None:
    updates = list(staged.account_updates())
    assert {update["account"] for update in updates} == {
        str(staged.bank.names[row]) for row in staged.bank.accounts
    }
    assert all(update["opened"] <= update["ts"] for update in updates)
    years = [update["holder_birth_year"] for update in updates if update["kind"] == "personal"]
    assert all(1930 <= year <= 2010 for year in years)


def test_local_days_are_right_across_a_change_of_daylight_saving() -> None:
    zone = ZoneInfo("Europe/Berlin")
    days = local_days(1_774_565_000_000, 1_774_900_000_000, zone)  # 29 March 2026 has 23 hours
    assert {int(hours) for hours in np.diff(days.midnight) / 3_600_000} == {23, 24}
    assert all(local_hour(int(midnight), zone) == 0 for midnight in days.midnight)


@pytest.mark.parametrize("hour", range(24))
def test_the_last_night_is_never_in_the_future(hour: int) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    now = 1_795_449_600_000 + hour * 3_600_000
    for share in (0.0, 0.5, 0.99):
        night = night_before(now, share, zone)
        assert now - 2 * DAY_MS < night <= now
        assert 1 <= local_hour(night, zone) < 5


def test_a_bank_has_elders_owls_shops_and_companies() -> None:
    bank = found(1_000, NOW_MS, 2026, np.random.default_rng(1))
    persons = bank.rows(Party.PERSON)
    assert 0.1 < (2026 - bank.birth_year[persons] >= 65).mean() < 0.2
    assert 0.02 < bank.owl[persons].mean() < 0.08
    assert len(bank.rows(Party.SHOP)) == 16
    assert len(bank.rows(Party.COMPANY)) == 6
    assert len(set(bank.names.tolist())) == len(bank)
